"""One race in the book: folds its events into facts, and reports what each changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import copy
from functools import partial

import attrs

from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.applied import Admission, Applied
from rbhq_stream._book.changes import (
    Anomaly,
    Change,
    FinalityChanged,
    StatusChanged,
    price_changed,
)
from rbhq_stream._book.facts import Facts
from rbhq_stream._book.history import BEGINNING, END
from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.lifecycle import Standing, Transition, transition
from rbhq_stream._book.present import Present
from rbhq_stream._book.price_log import Entry, PriceLog
from rbhq_stream._book.prices import Prices, PriceTable, updated, withdrawn
from rbhq_stream._book.provenance import Location, Partition, RecordMark, mark_at
from rbhq_stream._book.race_history import RaceHistory
from rbhq_stream._book.scratching_changes import scratching_changes
from rbhq_stream._book.snapshots import SavedRace
from rbhq_stream._book.state import RaceState
from rbhq_stream._book.statement_changes import with_result, with_status
from rbhq_stream._timestamps import to_micros
from rbhq_stream.events import Event, PriceEvent, PriceUpdate, RaceId, RaceResultEvent, RaceStatusEvent


class BookedRace:
    """One race in the book. One thread applies events, any thread may read.

    Args:
        race_id: The race.
        log: An empty log for its price updates.
        is_complete: Whether everything that was published about the race is known, or will be applied now.
    """

    def __init__(self, race_id: RaceId, log: PriceLog, *, is_complete: bool) -> None:
        self.race_id = race_id
        self.newest = BEGINNING
        """The time of the newest record about the race, in microseconds since 1970."""
        self._oldest = END
        self._present = Present(race_id, log, is_complete=is_complete)
        self._applied: dict[Partition, Applied] = {}
        self._plain: tuple[Partition, Applied] | None = None
        """The partition of the last event, if all it had was prices and a time, and all prices count: no runner is
        scratched, and the race has not ended.
        """
        self._arrivals = 0
        self._scratched: frozenset[int] = frozenset()
        self._standing = Standing()
        self._contradictions: frozenset[tuple[AnomalyKind, int | None]] = frozenset()
        self._ended_at: int | None = None
        self._history = RaceHistory()

    # reading

    @property
    def partitions(self) -> Collection[Partition]:
        """The partitions that records about the race came from."""
        return self._applied.keys()

    def state(self) -> RaceState:
        """Returns the race as it is now: the same object until something changes."""
        return self._present.state()

    def state_at(self, micros: int) -> RaceState | None:
        """Returns the race as it was at a time; `None` if that is before its first record.

        Raises:
            TooEarlyError: what was known then is no longer kept.
        """
        if micros < self._oldest:
            return None
        facts, prices = self._history.at(micros), self._present.log.at(micros)
        table = PriceTable(prices | withdrawn(prices, facts.ledger.scratched))
        return facts.state(self.race_id, table, is_complete=self._present.is_complete)

    # applying

    def apply_next(
        self, updates: Sequence[PriceUpdate], topic: str, number: int, offset: int, micros: int, *, lists_prices: bool
    ) -> list[Change] | None:
        """Applies an event that has nothing but prices, if it is like the last one and follows it: nearly all are.

        It does what `apply` does, in half of the time.

        Args:
            updates: The updates of prices.
            topic: The topic of the record.
            number: The partition of the record.
            offset: The offset of the record, of which the event is the only one.
            micros: The time of the record.
            lists_prices: Whether to return the changes of prices.

        Returns:
            What it changed; `None` if it has not applied the event, which is left to `apply`.
        """
        plain = self._plain
        if plain is None or micros < self.newest or not updates:
            return None
        partition, applied = plain
        if partition[1] != number or partition[0] != topic or offset <= applied.offset:
            return None
        changes: list[Change] = []
        known = None
        if lists_prices:
            location = partition, offset, 0, micros, offset + 1
            known = self._add_moves(changes, (Entry(updates, location, micros),), location)
        self._present.enter_next(updates, offset, micros, known)
        applied.advance_to(offset, micros)
        self.newest = micros
        return changes

    def apply(self, event: Event, location: Location | None, *, lists_prices: bool) -> list[Change] | None:
        """Applies an event.

        Args:
            event: The event.
            location: Its record.
            lists_prices: Whether to return the changes of prices too.

        Returns:
            What it changed; `None` if it was applied before.
        """
        changes: list[Change] = []
        applied, micros, is_plain = None, None, False
        self._plain = None
        if location is not None:
            micros = location[3]
            applied = self._applied.get(location[0])
            if applied is None:
                applied = self._applied[location[0]] = Applied()
            elif location[1] <= applied.offset and not self._admits(location, applied, changes):
                return None
        if isinstance(event, PriceEvent):
            has_more = event.scratchings or event.unscratchings or self._scratched or self._ended_at is not None
            is_plain = bool(event.price_updates) and not has_more
            changes += self._apply_prices(event, location, lists_prices=lists_prices)
        elif isinstance(event, RaceStatusEvent):
            changes += self._apply_status(event, location)
        else:
            changes += self._apply_result(event, location)
        if applied is not None and location is not None:
            # Only now: if an interrupt comes before this, the event can be applied again, which does no harm.
            applied.advance(location)
            if is_plain and micros is not None and location[2] == 0:
                self._plain = location[0], applied
        if micros is None:
            micros = BEGINNING
        if micros > self.newest:  # noqa: PLR1730  # max() takes three times as long
            self.newest = micros
        if micros < self._oldest:  # noqa: PLR1730  # min() takes three times as long
            self._oldest = micros
        return changes

    def set_complete(self, *, is_complete: bool) -> list[Change]:
        """Sets whether everything that was published about the race is known."""
        self._present.set_complete(is_complete=is_complete)
        return self._restated(self._present.facts, None)

    # saving

    def saved(self) -> SavedRace:
        """Returns the race to be saved. Its history is not saved."""
        return self.remembered()()

    def remembered(self) -> Callable[[], SavedRace]:
        """Returns a function that returns the race to be saved as it is now, whatever is applied until it is called."""
        prices, facts = self._present.copied()
        ids = self.race_id.meeting_id, self.race_id.event_number
        applied = {partition: copy(one) for partition, one in self._applied.items()}
        return partial(SavedRace.of, ids, prices, facts, applied, (self._oldest, self.newest))

    def restore(self, saved: SavedRace) -> None:
        """Makes a new race the saved one."""
        prices, facts = saved.facts()
        self._applied, self.newest, self._oldest = saved.partitions(), saved.newest, saved.oldest
        self._arrivals = max(facts.stated_arrival, facts.posted_arrival)
        self._scratched = frozenset(facts.ledger.scratched)
        self._history.begin_at(saved.newest, facts)
        self._restated(facts, None)
        self._present.begin_at(saved.newest, prices, facts)

    # the parts of it

    def _admits(self, location: Location, applied: Applied, changes: list[Change]) -> bool:
        """Returns whether a record is to be applied whose offset is not higher than the last one."""
        admission = applied.admission(location)
        if admission is Admission.RESTARTED:
            detail = f"offset {location[1]} after offset {applied.offset}"
            kind = AnomalyKind.OFFSETS_RESTARTED
            changes.append(Anomaly(self.race_id, mark_at(location), kind, detail=detail))
        return admission is not Admission.DUPLICATE

    def _apply_prices(self, event: PriceEvent, location: Location | None, *, lists_prices: bool) -> list[Change]:
        if event.scratchings or event.unscratchings:
            return self._apply_scratchings(event, location, lists_prices=lists_prices)
        changes: list[Change] = []
        updates: Sequence[PriceUpdate] = event.price_updates
        if self._scratched:
            updates = self._of_starters(updates, location, self._scratched, changes)
        if updates and self._is_after_end(location):
            changes.append(Anomaly(self.race_id, mark_at(location), AnomalyKind.PRICE_AFTER_END))
        micros = self._dated(location)
        known = None
        if lists_prices:
            known = self._add_moves(changes, [Entry(updates, location, micros)], location)
        self._present.enter_prices(updates, location, micros, known)
        return changes

    def _apply_scratchings(self, event: PriceEvent, location: Location | None, *, lists_prices: bool) -> list[Change]:
        """Applies an event that changes more than prices."""
        facts, mark = self._present.facts, mark_at(location)
        ledger, changes = self._scratched_by(event, location, mark)
        scratched = frozenset(ledger.scratched)
        updates = self._of_starters(event.price_updates, location, scratched, changes)
        entries: list[Entry] = []
        if event.scratchings:
            on_time, entries = self._withdrawals(scratched, location)
            updates = [*on_time, *updates]
        if updates:
            entries = [Entry(updates, location, self._dated(location)), *entries]
        if updates and self._is_after_end(location):
            changes.append(Anomaly(self.race_id, mark, AnomalyKind.PRICE_AFTER_END))
        known = self._add_moves(changes, entries, location) if lists_prices else None
        if ledger is not facts.ledger:
            facts = facts._replace(ledger=ledger)
            self._scratched = scratched
            newest = BEGINNING if location is None else self._applied[location[0]].newest
            self._history.ledgers.add(max(self._dated(location), newest), ledger)
            changes += self._restated(facts, mark)
        self._present.enter_facts(facts, entries, known)
        return changes

    def _add_moves(self, changes: list[Change], entries: Sequence[Entry], location: Location | None) -> Prices:
        """Adds what price updates change, which are to be entered next with what is returned."""
        moves, known = self._present.moves(entries)
        if moves:
            race_id, mark = self.race_id, mark_at(location)
            changes += [price_changed(race_id, mark, key, old, new) for key, old, new in moves]
        return known

    def _withdrawals(
        self, scratched: Collection[int], location: Location | None
    ) -> tuple[list[PriceUpdate], list[Entry]]:
        """Returns the updates that withdraw the prices of scratched runners.

        A price that a newer record of another partition stated is withdrawn by an entry of its own, as of that record.
        """
        on_time: list[PriceUpdate] = []
        entries: list[Entry] = []
        for key, price in self._present.prices().items():
            value, _, _, last = price
            if key[0] not in scratched or value is None:
                continue
            if last is None or updated(price, None, location)[0] is None:
                on_time.append(PriceUpdate(*key))
            else:
                entries.append(Entry([PriceUpdate(*key)], last, self._dated(last)))
        return on_time, entries

    def _of_starters(
        self,
        updates: Sequence[PriceUpdate],
        location: Location | None,
        scratched: Collection[int],
        changes: list[Change],
    ) -> list[PriceUpdate]:
        """Returns the updates without those of scratched runners, whose prices are an anomaly."""
        kept = []
        for update in updates:
            runner = update.runner_number
            if runner not in scratched:
                kept.append(update)
            elif update.price is not None:
                kind = AnomalyKind.PRICE_OF_SCRATCHED_RUNNER
                changes.append(Anomaly(self.race_id, mark_at(location), kind, runner))
        return kept

    def _apply_status(self, event: RaceStatusEvent, location: Location | None) -> list[Change]:
        facts, mark = self._present.facts, mark_at(location)
        new, changes = with_status(self.race_id, facts, event, mark, self._arrivals + 1)
        if new is not facts:
            assert new.stated is not None, "it is the status of this event"
            self._history.stated.add(self._dated(location), (new.stated, new.stated_arrival))
            changes += self._arrived(new, mark)
        return changes

    def _apply_result(self, event: RaceResultEvent, location: Location | None) -> list[Change]:
        facts, mark = self._present.facts, mark_at(location)
        new, changes = with_result(self.race_id, facts, event, mark, self._arrivals + 1)
        if new is not facts:
            self._history.posted.add(self._dated(location), (new.posted, new.posted_arrival))
            changes += self._arrived(new, mark)
        return changes

    def _arrived(self, facts: Facts, mark: RecordMark | None) -> list[Change]:
        """Enters the facts after a status or a result, and returns what follows from them."""
        self._arrivals += 1
        changes = self._restated(facts, mark)
        self._present.enter_facts(facts)
        return changes

    def _scratched_by(
        self, event: PriceEvent, location: Location | None, mark: RecordMark | None
    ) -> tuple[DeductionLedger, list[Change]]:
        """Returns the ledger after the scratchings and unscratchings of an event, and what they change."""
        before = self._present.facts.ledger
        if self._is_restarted(location):
            event = attrs.evolve(event)  # without its record, whose offset would order it before earlier events
        after = before.with_event(event)
        priced = frozenset(runner for runner, _ in self._present.prices())
        changes = scratching_changes(self.race_id, mark, event, before=before, after=after, priced=priced)
        if changes and self._ended_at is not None and self._is_after_end(location):
            changes.append(Anomaly(self.race_id, mark, AnomalyKind.SCRATCHING_AFTER_END))
        return after, changes

    def _is_restarted(self, location: Location | None) -> bool:
        """Whether the offsets of the partition restarted, now or before."""
        if location is None:
            return False
        applied = self._applied[location[0]]
        return applied.is_restarted or location[1] < applied.offset

    def _restated(self, facts: Facts, mark: RecordMark | None) -> list[Change]:
        """Returns the changes of status and finality that follow from new facts, or from a change of completeness."""
        race_id, before = self.race_id, self._standing
        statements = facts.statements()
        after = statements.standing(is_complete=self._present.is_complete)
        contradictions, ended_at = statements.contradictions(), statements.ended_at()
        changes: list[Change] = []
        if after.status is not None and after.status != before.status:
            changes.append(StatusChanged(race_id, mark, before.status, after.status))
            if transition(before.status, after.status) is Transition.REVERSED:
                detail = f"{after.status} after {before.status}"
                changes.append(Anomaly(race_id, mark, AnomalyKind.STATUS_REVERSED, detail=detail))
        for kind, runner in sorted(contradictions - self._contradictions, key=str):
            changes.append(Anomaly(race_id, mark, kind, runner))
        if after.finality is not before.finality:
            changes.append(FinalityChanged(race_id, mark, before.finality, after.finality, after.reason))
        self._standing, self._contradictions = after, contradictions
        self._ended_at = None if ended_at is None else to_micros(ended_at)
        return changes

    def _is_after_end(self, location: Location | None) -> bool:
        micros = None if location is None else location[3]
        return micros is not None and self._ended_at is not None and micros > self._ended_at

    def _dated(self, location: Location | None) -> int:
        """Returns the time from which a fact counts: without one of its own, that of the newest fact before it."""
        micros = None if location is None else location[3]
        return self.newest if micros is None else micros
