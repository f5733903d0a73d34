"""A second, naive way to compute the state of a race and what a bet on it pays: from its raw events, sorted by time.

It follows docs/race-book.md and docs/settlement.md, in fractions and without the library's own steps. The times of the
records in one topic must differ, and never go back within a partition.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from rbhq_stream import (
    Event,
    Finality,
    Outcome,
    PriceEvent,
    PriceType,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
)
from tests.settlements import FACTOR_FIELDS, PLACES

_DEDUCTION_FIELDS = {
    PriceType.WIN: "win_deduction",
    PriceType.PLACE: "place_deduction",
    PriceType.PLACE_2: "two_place_deduction",
    PriceType.PLACE_3: "three_place_deduction",
    PriceType.PLACE_4: "four_place_deduction",
}
_CAUTION = ["OPEN", "CLOSED", "INTERIM", "FINAL", "PROTEST", "DELAYED", "ABANDONED"]
_PENDING, _REFUND, _LOST = (Outcome.PENDING, Fraction(0)), (Outcome.REFUNDED, Fraction(1)), (Outcome.LOST, Fraction(0))


def time_of(event: Event) -> datetime:
    time = event.require_record().timestamp
    assert time is not None
    return time


class NaiveRace:
    """What the events of one race mean, whichever order they arrived in."""

    def __init__(self, events: Iterable[Event]) -> None:
        in_order = sorted(events, key=time_of)
        self.scratchings: dict[int, list[tuple[Scratching, datetime]]] = {}
        """The scratchings of each runner that is out, since its last reinstatement, with the times of their records."""
        stated: RaceStatusEvent | None = None
        self.result: RaceResultEvent | None = None
        for event in in_order:
            if isinstance(event, PriceEvent):
                self._fold(event)
            elif isinstance(event, RaceStatusEvent):
                stated = event
            else:
                self.result = event
        spoken = [event for event in (stated, self.result) if event is not None]
        spoken.sort(key=lambda event: (time_of(event), _CAUTION.index(str(event.status))))
        self.status = spoken[-1].status if spoken else None
        self._other = spoken[0].status if len(spoken) == 2 else None

    def _fold(self, event: PriceEvent) -> None:
        undone = {one.runner_number for one in event.unscratchings}
        for one in event.scratchings:
            if one.runner_number not in undone:
                self.scratchings.setdefault(one.runner_number, []).append((one, time_of(event)))
        for runner in undone:
            self.scratchings.pop(runner, None)

    @property
    def placed(self) -> set[int]:
        """The runners with a position or a payout."""
        return {
            listed.runner_number
            for listed in self._listed
            if (listed.final_position or 0) > 0 or any(_factor(listed, price_type) for price_type in PLACES)
        }

    @property
    def _listed(self) -> tuple[RunnerResult, ...]:
        return () if self.result is None else self.result.results

    @property
    def finality(self) -> Finality:
        if self.result is None:
            return Finality.VOID if self.status == RaceStatus.ABANDONED else Finality.NONE
        statuses = self.status, self._other, self.result.status
        if RaceStatus.ABANDONED in statuses:
            is_void = self.status == RaceStatus.ABANDONED and RaceStatus.FINAL not in statuses
            return Finality.VOID if is_void else Finality.PROVISIONAL
        is_final = self.status == RaceStatus.FINAL == self.result.status
        has_winner = any(listed.final_position == 1 for listed in self._listed)
        is_clear = is_final and has_winner and not self.placed & self.scratchings.keys()
        return Finality.FINAL if is_clear else Finality.PROVISIONAL

    def deductions(self, price_type: PriceType, struck_at: datetime) -> tuple[dict[int, Fraction], list[int]]:
        """The deductions of a bet by runner, and the runners whose deduction is not known."""
        known, unclear = dict[int, Fraction](), list[int]()
        for runner, stated in sorted(self.scratchings.items()):
            times = [one.scratch_time for one, _ in stated if one.scratch_time is not None]
            if (times[-1] if times else stated[0][1]) <= struck_at:
                continue
            found: list[Decimal] = [
                deduction for one, _ in stated if (deduction := getattr(one, _DEDUCTION_FIELDS[price_type])) is not None
            ]
            if found and 0 <= found[-1] <= 1:
                known[runner] = Fraction(found[-1])
            else:
                unclear.append(runner)
        return known, unclear

    def worth(
        self, runner: int, price_type: PriceType, price: str, struck_at: datetime, field: Iterable[int]
    ) -> tuple[Outcome, Fraction]:
        """What a bet of 1 pays by the default rules.

        Args:
            runner: The runner.
            price_type: The type of the price.
            price: The price.
            struck_at: When the bet was struck.
            field: All runners of the race, scratched ones included.
        """
        if self.finality is Finality.VOID:
            return _REFUND
        if runner in self.scratchings:
            return _PENDING if runner in self.placed else _REFUND
        if self.result is None or not self._listed or RaceStatus.PROTEST in (self.status, self.result.status):
            return _PENDING
        paid_as = price_type
        if price_type == PriceType.PLACE:
            starters = len(set(field) - self.scratchings.keys())
            if starters < 5:
                return _REFUND
            paid_as = PriceType.PLACE_3 if starters >= 8 else PriceType.PLACE_2
        share = self._share(runner, paid_as, field)
        if not share:
            return _PENDING if share is None else _LOST
        deductions, unclear = self.deductions(price_type, struck_at)
        kept = max(Fraction(0), 1 - sum(deductions.values(), Fraction(0)))
        return _PENDING if unclear else (Outcome.WON, Fraction(price) * kept * share)

    def _share(self, runner: int, paid_as: PriceType, field: Iterable[int]) -> Fraction | None:
        """The part of the payout that a runner gets; `None` if it is not known."""
        mine = next((listed for listed in self._listed if listed.runner_number == runner), None)
        factors = [_factor(listed, paid_as) for listed in self._listed]
        positions = [listed.final_position for listed in self._listed]
        if all(factor is None for factor in factors):
            if 1 not in positions:
                return None
            position = None if mine is None else mine.final_position
            if mine is not None and (position is None or not 1 <= position <= PLACES[paid_as]):
                return Fraction(0)
            if position is not None:
                ahead = sum(other is not None and 1 <= other < position for other in positions)
                free = PLACES[paid_as] - max(position - 1, ahead)
                return Fraction(1) if positions.count(position) <= free else None
        if mine is None:
            return Fraction(0) if runner in field else None
        return Fraction(_factor(mine, paid_as) or 0)


def _factor(listed: RunnerResult, price_type: PriceType) -> Decimal | None:
    factor: Decimal | None = getattr(listed.payout_factors, FACTOR_FIELDS[price_type])
    return factor
