"""How a simulated race ends: finishing positions, payout factors and dividends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from math import log, prod
from random import Random

from attrs import frozen

from rbhq_stream.events import (
    Dividend,
    PayoutFactors,
    PoolDividend,
    PriceType,
    RaceResultEvent,
    RaceStatus,
    RunnerResult,
)
from rbhq_stream.testing._market import Market, place_markets
from rbhq_stream.testing._racecard import Meeting, Race

_POSITIONS_SHOWN = 4
_CENTS = Decimal("0.01")
_TEN_CENTS = Decimal("0.1")

Placings = tuple[tuple[int, ...], ...]
"""Runner numbers in finishing order. The runners of one group finished in a dead heat."""


def run_race(rng: Random, market: Market) -> Placings:
    """Draws the finishing order. A runner's chance is the one that its price implies."""
    times = {runner: -log(1 - rng.random()) / market.chance(runner) for runner in market.runners}
    return tuple((runner,) for runner in sorted(times, key=times.__getitem__))


def dead_heat(placings: Placings, position: int) -> Placings:
    """Returns the placings with a dead heat between the runners in a position and in the next one."""
    first, second = placings[position - 1 : position + 1]
    return (*placings[: position - 1], (*first, *second), *placings[position + 1 :])


def swap_first_two(placings: Placings) -> Placings:
    """Returns the placings after the runner-up's protest against the winner was upheld."""
    first, second, *others = placings
    return (second, first, *others)


def disqualify(placings: Placings, runner: int) -> Placings:
    """Returns the placings without a runner; those behind it move up."""
    left = (tuple(number for number in group if number != runner) for group in placings)
    return tuple(group for group in left if group)


def payout_factor(position: int, tied: int, places: int) -> Decimal | None:
    """Returns the part of a payout that a runner in a dead heat gets. Two that share the last place paid get half each.

    Args:
        position: the finishing position, 1 for the winner.
        tied: how many runners share it.
        places: how many places the bet pays.

    Returns:
        The factor, or `None` when the position is not paid.
    """
    paid = min(tied, places - position + 1)
    return (Decimal(paid) / tied).quantize(_CENTS).normalize() if paid > 0 else None


@frozen
class Settlement:
    """What is needed to make the results of a race from its placings."""

    meeting: Meeting
    race: Race
    market: Market
    """The market at the close of betting; its prices are the starting prices."""
    field_size: int
    """The number of runners when the place markets were offered."""
    tote: str
    """The name of the tote whose dividends are in the result."""

    def result(self, status: RaceStatus, at: datetime, placings: Placings, *, with_dividends: bool) -> RaceResultEvent:
        """Returns the result as RBHQ would send it."""
        return RaceResultEvent(
            self.race.race_id.meeting_id,
            self.race.race_id.event_number,
            status,
            venue=self.meeting.venue,
            source="RBHQ",
            host="RBHQ",
            date_created=at,
            results=self._results(placings),
            dividends=self._dividends(placings) if with_dividends else (),
        )

    def _results(self, placings: Placings) -> tuple[RunnerResult, ...]:
        offered = place_markets(self.field_size)
        results = []
        position = 1
        for group in placings:
            if position > _POSITIONS_SHOWN:
                break
            of = {places: payout_factor(position, len(group), places) for places in (1, 2, 3, 4)}
            factors = PayoutFactors(
                win=of[1],
                place2=of[2] if PriceType.PLACE_2 in offered else None,
                place3=of[3] if PriceType.PLACE_3 in offered else None,
                place4=of[4] if PriceType.PLACE_4 in offered else None,
            )
            results += [
                RunnerResult(
                    runner,
                    self.race.name_of(runner),
                    position,
                    payout_factor=of[1] or Decimal(1),
                    payout_factors=factors,
                )
                for runner in group
            ]
            position += len(group)
        return tuple(results)

    def _dividends(self, placings: Placings) -> tuple[Dividend, ...]:
        order = [runner for group in placings for runner in group]
        winners = placings[0]
        starting = tuple(PoolDividend((runner,), self.market.win_price(runner)) for runner in winners)
        share = 1 / len(winners)
        win = tuple(PoolDividend((runner,), self._pays([runner], 0.86 * share)) for runner in winners)
        places = min(3, len(order) - 1) if self.field_size >= 8 else 2
        place = tuple(
            PoolDividend((runner,), _dollars(float(self.market.place_price(runner, max(places, 2))) * 0.95))
            for runner in order[:places]
        )
        dividends = [Dividend("SP", starting), Dividend(f"{self.tote} Win", win), Dividend(f"{self.tote} Place", place)]
        exotics = ("Quinella", 2, 0.5), ("Exacta", 2, 0.9), ("Trifecta", 3, 0.8), ("First Four", 4, 0.6)
        for pool, size, takes in exotics:
            if len(order) >= size:
                selections = tuple(sorted(order[:size]) if pool == "Quinella" else order[:size])
                amount = self._pays(selections, takes)
                dividends.append(Dividend(f"{self.tote} {pool}", (PoolDividend(selections, amount),)))
        return tuple(dividends)

    def _pays(self, selections: Sequence[int], takes: float) -> Decimal:
        return _dollars(prod(1 / self.market.chance(runner) for runner in selections) * takes)


def _dollars(amount: float) -> Decimal:
    """Returns a dividend: rounded down to ten cents, and at least 1.04."""
    return max(Decimal("1.04"), Decimal(str(amount)).quantize(_TEN_CENTS, ROUND_DOWN))
