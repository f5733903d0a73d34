"""One race in the book: folds its events into facts, and reports what each changes.

The facts of all three topics are in one immutable tuple that is replaced as a whole, so a reader in another thread sees
the facts before an event or those after it, never a mixture. Unchanged parts are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import copy
from decimal import Decimal
from functools import partial

import attrs

from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.applied import Admission, Applied
from rbhq_stream._book.changes import (
    Anomaly,
    Change,
    FinalityChanged,
    ResultAmended,
    ResultPosted,
    StatusChanged,
    price_changed,
)
from rbhq_stream._book.facts import Facts
from rbhq_stream._book.history import BEGINNING, END
from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.lifecycle import (
    PostedResult,
    Standing,
    StatedStatus,
    Transition,
    is_amendment,
    is_same_result,
    posted_again,
    transition,
)
from rbhq_stream._book.prices import Price, PriceKey, updated, withdrawn
from rbhq_stream._book.provenance import Location, RecordMark, mark_at, precedes, to_micros
from rbhq_stream._book.race_history import RaceHistory
from rbhq_stream._book.scratching_changes import scratching_changes
from rbhq_stream._book.snapshots import SavedRace
from rbhq_stream._book.state import RaceState
from rbhq_stream.events import Event, PriceEvent, RaceId, RaceResultEvent, RaceStatus, RaceStatusEvent

MAX_REVISIONS = 100
"""How many different results of a race are kept. Few have more than four."""


class BookedRace:
    """One race in the book. One thread applies events, any thread may read.

    Args:
        race_id: The race.
        history: How many price updates are kept for `as_of`.
        is_complete: Whether everything that was published about the race is known, or will be applied now.
    """

    def __init__(self, race_id: RaceId, *, history: int, is_complete: bool) -> None:
        self.race_id = race_id
        self.newest = BEGINNING
        """The time of the newest record about the race, in microseconds since 1970."""
        self._oldest = END
        self._is_complete = is_complete
        # Replaced as a whole: a reader sees the race before an event or after it. Nobody writes to the dictionary.
        self._now: tuple[dict[PriceKey, Price], Facts] = {}, Facts()
        self._snapshot: tuple[object, bool, RaceState] | None = None
        self._applied: dict[tuple[str, int], Applied] = {}
        self._arrivals = 0
        self._scratched: frozenset[int] = frozenset()
        self._standing = Standing()
        self._contradictions: frozenset[tuple[AnomalyKind, int | None]] = frozenset()
        self._ended_at: int | None = None
        self._history = RaceHistory(history)

    # reading

    @property
    def partitions(self) -> Collection[tuple[str, int]]:
        """The partitions that records about the race came from."""
        return self._applied.keys()

    def state(self) -> RaceState:
        """Returns the race as it is now: the same object until something changes."""
        snapshot, now, is_complete = self._snapshot, self._now, self._is_complete
        if snapshot is None or snapshot[0] is not now or snapshot[1] is not is_complete:
            prices, facts = now
            snapshot = now, is_complete, facts.state(self.race_id, prices, is_complete=is_complete)
            self._snapshot = snapshot
        return snapshot[2]

    def state_at(self, micros: int) -> RaceState | None:
        """Returns the race as it was at a time; `None` if that is before its first record.

        Raises:
            TooEarlyError: what was known then is no longer kept.
        """
        if micros < self._oldest:
            return None
        prices, facts = self._history.at(micros)
        return facts.state(self.race_id, prices, is_complete=self._is_complete)

    # applying

    def apply(self, event: Event, location: Location | None) -> list[Change] | None:
        """Applies an event.

        Returns:
            What it changed; `None` if it was applied before.
        """
        restarted = None
        applied, micros = None, None
        if location is not None:
            partition, offset, micros = location[:2], location[2], location[4]
            applied = self._applied.get(partition)
            if applied is None:
                applied = self._applied[partition] = Applied()
            elif offset <= applied.offset:
                admission = applied.admission(location)
                if admission is Admission.DUPLICATE:
                    return None
                if admission is Admission.RESTARTED:
                    detail = f"offset {offset} after offset {applied.offset}"
                    restarted = Anomaly(self.race_id, mark_at(location), AnomalyKind.OFFSETS_RESTARTED, detail=detail)
        mark = mark_at(location)
        if isinstance(event, PriceEvent):
            changes = self._apply_prices(event, location, mark)
        elif isinstance(event, RaceStatusEvent):
            changes = self._apply_status(event, location, mark)
        else:
            changes = self._apply_result(event, location, mark)
        if applied is not None and location is not None:
            # Only now: if an interrupt comes before this, the event can be applied again, which does no harm.
            applied.advance(location)
        if micros is None:
            micros = BEGINNING
        # max() and min() take three times as long
        if micros > self.newest:  # noqa: PLR1730
            self.newest = micros
        if micros < self._oldest:  # noqa: PLR1730
            self._oldest = micros
        return changes if restarted is None else [restarted, *changes]

    def set_complete(self, *, is_complete: bool) -> list[Change]:
        """Sets whether everything that was published about the race is known."""
        self._is_complete = is_complete
        return self._restated(self._now[1], None)

    # saving

    def saved(self) -> SavedRace:
        """Returns the race to be saved. Its history is not saved."""
        return self.remembered()()

    def remembered(self) -> Callable[[], SavedRace]:
        """Returns a function that returns the race to be saved as it is now, whatever is applied until it is called."""
        prices, facts = self._now
        ids = self.race_id.meeting_id, self.race_id.event_number
        applied = {partition: copy(one) for partition, one in self._applied.items()}
        return partial(SavedRace.of, ids, prices, facts, applied, (self._oldest, self.newest))

    def restore(self, saved: SavedRace) -> None:
        """Makes a new race the saved one."""
        prices, facts = saved.facts()
        self._applied, self.newest, self._oldest = saved.partitions(), saved.newest, saved.oldest
        self._arrivals = max(facts.stated_arrival, facts.posted_arrival)
        self._scratched = frozenset(facts.ledger.scratched)
        self._history.begin_at(saved.newest, prices, facts)
        self._restated(facts, None)
        self._now = prices, facts

    # the parts of it

    def _apply_prices(self, event: PriceEvent, location: Location | None, mark: RecordMark | None) -> list[Change]:
        old_prices, facts = self._now
        changes: list[Change] = []
        ledger, scratched = facts.ledger, self._scratched
        if event.scratchings or event.unscratchings:
            ledger, changes = self._scratched_by(event, location, mark)
            scratched = frozenset(ledger.scratched)
        if scratched:
            rows = self._rows(event, mark, scratched, changes)
        else:
            rows = [((update.runner_number, update.price_type), update.price) for update in event.price_updates]
        if rows and self._ended_at is not None and self._is_after_end(location):
            changes.append(Anomaly(self.race_id, mark, AnomalyKind.PRICE_AFTER_END))
        prices = old_prices.copy()
        for key, value in rows:
            before = prices.get(key)
            prices[key] = after = updated(before, value, mark)
            old, new = None if before is None else before.value, after.value
            if old is not new:  # equal prices are the same object
                changes.append(price_changed(self.race_id, mark, key, old, new))
        micros = None if location is None else location[4]
        dated = self.newest if micros is None else micros
        self._history.prices.add(dated, location, rows)
        if ledger is facts.ledger:
            self._now = prices, facts
            return changes
        self._withdraw_newer(prices, scratched, mark, changes)
        new_facts = facts._replace(ledger=ledger)
        self._scratched = scratched
        newest = BEGINNING if location is None else self._applied[location[:2]].newest
        self._history.ledgers.add(max(dated, newest), ledger)
        changes += self._restated(new_facts, mark)
        self._now = prices, new_facts
        return changes

    def _rows(
        self, event: PriceEvent, mark: RecordMark | None, scratched: frozenset[int], changes: list[Change]
    ) -> list[tuple[PriceKey, Decimal | None]]:
        """Returns the prices that an event states or withdraws, where runners are scratched."""
        rows: list[tuple[PriceKey, Decimal | None]] = []
        if event.scratchings:
            prices = self._now[0]
            rows += [(key, None) for key, old in prices.items() if key[0] in scratched and old.value is not None]
        for update in event.price_updates:
            runner = update.runner_number
            if runner not in scratched:
                rows.append(((runner, update.price_type), update.price))
            elif update.price is not None:
                changes.append(Anomaly(self.race_id, mark, AnomalyKind.PRICE_OF_SCRATCHED_RUNNER, runner))
        return rows

    def _withdraw_newer(
        self, prices: dict[PriceKey, Price], scratched: frozenset[int], mark: RecordMark | None, changes: list[Change]
    ) -> None:
        """Withdraws the prices of scratched runners that a newer record of another partition stated."""
        for key, price in withdrawn(prices, scratched).items():
            changes.append(price_changed(self.race_id, mark, key, prices[key].value, None))
            prices[key] = price
            if price.recorded is not None and price.recorded.time is not None:
                micros = to_micros(price.recorded.time)
                location = *price.recorded.coordinates, price.recorded.part, micros, 0
                self._history.prices.add(micros, location, [(key, None)])

    def _apply_status(self, event: RaceStatusEvent, location: Location | None, mark: RecordMark | None) -> list[Change]:
        prices, facts = self._now
        last = facts.stated
        if last is not None and _is_late(mark, last.repeated):
            return [self._late(mark, f"{event.status} after {last.status}")]
        if last is not None and last.status == event.status:
            if mark is None:
                return []
            stated = attrs.evolve(last, repeated=mark)
            changes: list[Change] = []
        else:
            stated = StatedStatus(event.status, mark, mark)
            changes = self._peculiarities(event.status, mark)
        if event.runner_number is not None:
            changes.append(Anomaly(self.race_id, mark, AnomalyKind.STATUS_OF_A_RUNNER, event.runner_number))
        self._arrivals += 1
        new = facts._replace(stated=stated, stated_arrival=self._arrivals)
        self._history.stated.add(self._dated(location), (stated, self._arrivals))
        changes += self._restated(new, mark)
        self._now = prices, new
        return changes

    def _apply_result(self, event: RaceResultEvent, location: Location | None, mark: RecordMark | None) -> list[Change]:
        prices, facts = self._now
        last = facts.posted[-1] if facts.posted else None
        if last is not None and _is_late(mark, last.repeated):
            return [self._late(mark, f"a result that is {event.status} after one that is {last.result.status}")]
        if last is not None and is_same_result(last.result, event):
            again = posted_again(last, event, mark)
            if again is last:
                return []
            posted = (*facts.posted[:-1], again)
            changes: list[Change] = []
        else:
            result = PostedResult(attrs.evolve(event), 1 if last is None else last.revision + 1, mark, mark)
            posted = (*facts.posted[1 - MAX_REVISIONS :], result)
            changes = self._peculiarities(event.status, mark)
            if last is not None and is_amendment(facts.posted, event):
                changes.append(ResultAmended(self.race_id, mark, last, result))
            else:
                changes.append(ResultPosted(self.race_id, mark, last, result))
        self._arrivals += 1
        new = facts._replace(posted=posted, posted_arrival=self._arrivals)
        self._history.posted.add(self._dated(location), (posted, self._arrivals))
        changes += self._restated(new, mark)
        self._now = prices, new
        return changes

    def _scratched_by(
        self, event: PriceEvent, location: Location | None, mark: RecordMark | None
    ) -> tuple[DeductionLedger, list[Change]]:
        """Returns the ledger after the scratchings and unscratchings of an event, and what they change."""
        prices, facts = self._now
        before = facts.ledger
        if self._is_restarted(location):
            event = attrs.evolve(event)  # without its record, whose offset would order it before earlier events
        after = before.with_event(event)
        priced = frozenset(runner for runner, _ in prices)
        changes = scratching_changes(self.race_id, mark, event, before=before, after=after, priced=priced)
        if changes and self._ended_at is not None and self._is_after_end(location):
            changes.append(Anomaly(self.race_id, mark, AnomalyKind.SCRATCHING_AFTER_END))
        return after, changes

    def _is_restarted(self, location: Location | None) -> bool:
        """Whether the offsets of the partition restarted, now or before."""
        if location is None:
            return False
        applied = self._applied[location[:2]]
        return applied.is_restarted or location[2] < applied.offset

    def _restated(self, facts: Facts, mark: RecordMark | None) -> list[Change]:
        """Returns the changes of status and finality that follow from new facts, or from a change of completeness."""
        race_id, before = self.race_id, self._standing
        statements = facts.statements()
        after = statements.standing(is_complete=self._is_complete)
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

    def _peculiarities(self, status: RaceStatus, mark: RecordMark | None) -> list[Change]:
        if status.is_known:
            return []
        return [Anomaly(self.race_id, mark, AnomalyKind.UNKNOWN_STATUS, detail=str(status))]

    def _late(self, mark: RecordMark | None, detail: str) -> Anomaly:
        return Anomaly(self.race_id, mark, AnomalyKind.OUT_OF_ORDER, detail=detail)

    def _is_after_end(self, location: Location | None) -> bool:
        micros = None if location is None else location[4]
        return micros is not None and self._ended_at is not None and micros > self._ended_at

    def _dated(self, location: Location | None) -> int:
        """Returns the time from which a fact counts: without one of its own, that of the newest fact before it."""
        micros = None if location is None else location[4]
        return self.newest if micros is None else micros


def _is_late(mark: RecordMark | None, last: RecordMark | None) -> bool:
    """Whether a record is older than another one of its topic, in another partition."""
    return mark is not None and last is not None and mark.partition != last.partition and precedes(mark, last)
