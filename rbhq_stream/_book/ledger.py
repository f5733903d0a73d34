"""The deduction ledger of one race: every scratching, each of its revisions, and every reinstatement, with their times.

What RBHQ stated about a runner is a list of entries, oldest first. The newest of them decides:

    newest entry      the runner is    its deduction applies to
    none              in the race      no bet
    a reinstatement   in the race      no bet, whenever it was struck, because the scratching was a mistake
    a scratching      scratched        bets struck before it was scratched

"Before it was scratched" is decided by the entries since the newest reinstatement, so a runner that was scratched,
reinstated and scratched again was scratched the second time only. It was scratched at the newest scratch time that
these entries state; if they state none, at the time of the first one's record. A bet struck at that very instant was
not struck before it, and bears no deduction.

The deduction is the newest that these entries state, also when it was revised after the bet was struck. A revision
that states none for a price type leaves the earlier one in force: RBHQ can revoke it with 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Union

import attrs
from attrs import frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.exact import exact_sum
from rbhq_stream._book.provenance import RecordMark, precedes
from rbhq_stream._timestamps import with_zone
from rbhq_stream.events import PriceEvent, PriceType, Scratching, Unscratching

_Fact = Union[Scratching, Unscratching]


@frozen
class LedgerEntry:
    """A scratching as RBHQ stated it from one time on, or a reinstatement.

    RBHQ sends the earlier scratchings again with each new one. A repetition that changes nothing makes no entry.
    """

    fact: Scratching | Unscratching
    """What RBHQ stated."""
    recorded: RecordMark | None = None
    """The first record that stated it; `None` for an event without a record."""
    repeated: RecordMark | None = None
    """The last record that stated it; the same as `recorded` if none repeated it."""

    @property
    def runner_number(self) -> int:
        """The runner that was scratched or reinstated."""
        return self.fact.runner_number

    @property
    def recorded_at(self) -> datetime | None:
        """The time of the first record that stated it (UTC); `None` if it is not known."""
        return None if self.recorded is None else self.recorded.time


@frozen
class ScratchingHistory:
    """What RBHQ stated about one runner, oldest first. A runner that was never scratched has none."""

    runner_number: int
    entries: tuple[LedgerEntry, ...]

    @property
    def scratching(self) -> Scratching | None:
        """The newest scratching; `None` while the runner is in the race."""
        newest = self.entries[-1].fact
        return newest if isinstance(newest, Scratching) else None

    @property
    def scratched_at(self) -> datetime | None:
        """When the runner was scratched (UTC); `None` while it is in the race, and if no time is known."""
        return _scratched_at(_last_scratching(self.entries))


@frozen
class Deduction:
    """What the scratching of one runner takes from a payout."""

    runner_number: int
    """The runner that was scratched."""
    fraction: Decimal
    """The part of the payout that is deducted, from 0 to 1."""
    scratched_at: datetime
    """When the runner was scratched (UTC)."""
    revision: LedgerEntry
    """The entry that states the fraction."""


@frozen
class Deductions:
    """The deductions from bets of one price type that were struck at one time."""

    price_type: PriceType
    struck_at: datetime
    items: tuple[Deduction, ...] = ()
    """A deduction for each runner that was scratched after the bet was struck, by runner number."""
    unclear: tuple[int, ...] = ()
    """Scratched runners that may have a deduction which is not in `items`: RBHQ stated no deduction for the price type,
    or none between 0 and 1, or neither the scratching nor its record has a time.
    """
    reinstated: tuple[LedgerEntry, ...] = ()
    """The reinstatement of each runner that was scratched after the bet was struck, or at an unknown time, and is in
    the race again. Its deduction no longer applies.
    """

    @property
    def total(self) -> Decimal:
        """The sum of the deductions, as a fraction of the payout; at most 1."""
        return min(Decimal(1), exact_sum(item.fraction for item in self.items))


@frozen
class DeductionLedger:
    """Every scratching of one race with each of its revisions, and every reinstatement.

    A ledger is immutable: `with_event` returns another one, which shares the unchanged parts. The order of events is
    that of their records. A record that is applied late is inserted before the later ones, and one that is applied
    again changes nothing. Events that the application constructed have no record, and count as later than everything
    that was applied before them."""

    histories: tuple[ScratchingHistory, ...] = ()
    """The history of each runner that was ever scratched or reinstated, by runner number."""

    def with_event(self, event: PriceEvent) -> DeductionLedger:
        """Returns the ledger after an event; the same object if the event states nothing new.

        Of several statements about one runner in one event the last one counts, and a reinstatement comes after a
        scratching.

        Args:
            event: Prices of this race. Only its scratchings and unscratchings matter.
        """
        stated: tuple[_Fact, ...] = event.scratchings + event.unscratchings
        facts = {fact.runner_number: fact for fact in stated}
        if not facts:
            return self
        mark = RecordMark.of(event)
        changed = {}
        for runner, fact in facts.items():
            entries = self.entries(runner)
            after = _inserted(entries, fact, mark)
            if after is not entries:
                changed[runner] = ScratchingHistory(runner, after)
        if not changed:
            return self
        histories = {history.runner_number: history for history in self.histories} | changed
        return DeductionLedger(tuple(histories[runner] for runner in sorted(histories)))

    def entries(self, runner_number: int) -> tuple[LedgerEntry, ...]:
        """Returns what RBHQ stated about a runner, oldest first; nothing for one that was never scratched."""
        history = self._history(runner_number)
        return () if history is None else history.entries

    def scratching(self, runner_number: int) -> Scratching | None:
        """Returns the newest scratching of a runner; `None` while it is in the race."""
        history = self._history(runner_number)
        return None if history is None else history.scratching

    def scratched_at(self, runner_number: int) -> datetime | None:
        """Returns when a runner was scratched (UTC); `None` while it is in the race, and if no time is known."""
        history = self._history(runner_number)
        return None if history is None else history.scratched_at

    @property
    def scratched(self) -> Mapping[int, Scratching]:
        """The runners that are scratched now, each with its newest scratching, by runner number."""
        return {history.runner_number: found for history in self.histories if (found := history.scratching) is not None}

    def deductions(self, price_type: PriceType, *, struck_at: datetime) -> Deductions:
        """Returns the deductions from bets of a price type that were struck at a time.

        Args:
            price_type: The type of the bet's price.
            struck_at: When the bet was struck; an aware time.

        Raises:
            TypeError: `struck_at` is not a `datetime`.
            ValueError: `struck_at` has no time zone.
        """
        struck_at = checks.aware("struck_at", struck_at)
        items, unclear, reinstated = list[Deduction](), list[int](), list[LedgerEntry]()
        for history in self.histories:
            runner, current = history.runner_number, _last_scratching(history.entries)
            if not current:
                if _was_scratched_since(history.entries, struck_at):
                    reinstated.append(history.entries[-1])
                continue
            scratched_at = _scratched_at(current)
            if scratched_at is not None and scratched_at <= struck_at:
                continue
            stated = _newest_stated(current, price_type)
            if scratched_at is None or stated is None:
                unclear.append(runner)
            else:
                items.append(Deduction(runner, stated[0], scratched_at, stated[1]))
        return Deductions(price_type, struck_at, tuple(items), tuple(unclear), tuple(reinstated))

    def _history(self, runner_number: int) -> ScratchingHistory | None:
        # few runners of a race are scratched, so a look at each is as quick as a dictionary
        return next((history for history in self.histories if history.runner_number == runner_number), None)


# what the entries of one runner mean


def _last_scratching(entries: Sequence[LedgerEntry]) -> Sequence[LedgerEntry]:
    """Returns the entries since the newest reinstatement: the current scratching and its revisions, or none."""
    begin = len(entries)
    while begin and isinstance(entries[begin - 1].fact, Scratching):
        begin -= 1
    return entries[begin:]


def _scratched_at(scratching: Sequence[LedgerEntry]) -> datetime | None:
    for entry in reversed(scratching):
        stated = stated_time(entry.fact)
        if stated is not None:
            return stated
    return scratching[0].recorded_at if scratching else None


def stated_time(fact: _Fact) -> datetime | None:
    """Returns when a runner was scratched or reinstated, as RBHQ stated it (UTC); `None` if it did not."""
    return with_zone(fact.scratch_time if isinstance(fact, Scratching) else fact.unscratch_time)


def _newest_stated(scratching: Sequence[LedgerEntry], price_type: PriceType) -> tuple[Decimal, LedgerEntry] | None:
    """Returns the newest deduction that is stated, if it is one, and the entry that states it."""
    for entry in reversed(scratching):
        fraction = entry.fact.deduction(price_type) if isinstance(entry.fact, Scratching) else None
        if fraction is not None:
            return (fraction, entry) if fraction.is_finite() and 0 <= fraction <= 1 else None
    return None


def _was_scratched_since(entries: Sequence[LedgerEntry], struck_at: datetime) -> bool:
    """Whether a runner that is in the race now was once scratched after a time, or at an unknown one."""
    while entries:
        scratching = _last_scratching(entries)
        if scratching:
            scratched_at = _scratched_at(scratching)
            if scratched_at is None or struck_at < scratched_at:
                return True
        entries = entries[: -len(scratching) or -1]
    return False


# the order of the entries


def _inserted(entries: tuple[LedgerEntry, ...], fact: _Fact, mark: RecordMark | None) -> tuple[LedgerEntry, ...]:
    """Returns the entries with a statement in its place; the same object if it states nothing new.

    Each entry stands for a run of equal statements, from `recorded` to `repeated`, and neighbours differ.
    """
    at = len(entries)
    while at and precedes(mark, entries[at - 1].recorded):
        at -= 1
    earlier, later = entries[:at], entries[at:]
    entry = LedgerEntry(fact, mark, mark)
    if earlier:
        *others, last = earlier
        if last.fact == fact:
            if not precedes(last.repeated, mark):
                return entries
            return (*others, attrs.evolve(last, repeated=mark), *later)
        if precedes(mark, last.repeated):
            # a late record from the middle of a run of equal statements, which is two runs from now on
            return (
                *others,
                attrs.evolve(last, repeated=last.recorded),
                entry,
                attrs.evolve(last, recorded=last.repeated),
                *later,
            )
    if later and later[0].fact == fact:
        return (*earlier, attrs.evolve(later[0], recorded=mark), *later[1:])
    return (*earlier, entry, *later)
