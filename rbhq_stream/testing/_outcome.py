"""How a made-up race ends: who finishes where, what each place is worth, what the totes pay."""

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

_SHOWN_PLACES = 4
_CENTS = Decimal("0.01")
_TEN_CENTS = Decimal("0.1")

Placings = tuple[tuple[int, ...], ...]
"""Runner numbers in the order they finished; those in one group finished together, in a dead heat."""


def run_race(rng: Random, market: Market) -> Placings:
    """Runs the race: whoever the market likes is likelier to be in front."""
    times = {runner: -log(1 - rng.random()) / market.chance(runner) for runner in market.runners}
    return tuple((runner,) for runner in sorted(times, key=times.__getitem__))


def dead_heat(placings: Placings, position: int) -> Placings:
    """The same, but with those in `position` and behind it (1: first and second) not to be told apart."""
    first, second = placings[position - 1 : position + 1]
    return (*placings[: position - 1], (*first, *second), *placings[position + 1 :])


def swap_first_two(placings: Placings) -> Placings:
    """A protest of the second against the winner is upheld."""
    first, second, *others = placings
    return (second, first, *others)


def disqualify(placings: Placings, runner: int) -> Placings:
    """The runner is taken out of the result; those behind it move up."""
    left = (tuple(number for number in group if number != runner) for group in placings)
    return tuple(group for group in left if group)


def payout_factor(position: int, tied: int, places: int) -> Decimal | None:
    """What one of `tied` runners that share `position` gets of a payout for so many places; `None` if it gets none.

    Two that share the last place paid get half each.
    """
    paid = min(tied, places - position + 1)
    return (Decimal(paid) / tied).quantize(_CENTS).normalize() if paid > 0 else None


@frozen
class Settlement:
    """A race that was run: makes its results, whatever the placings turn out to be."""

    meeting: Meeting
    race: Race
    market: Market
    """At the close of betting: starting prices are its prices."""
    field_size: int
    """How many there were when the place markets were offered."""
    tote: str
    """Whose pools pay."""

    def result(self, status: RaceStatus, at: datetime, placings: Placings, *, with_dividends: bool) -> RaceResultEvent:
        """The result as RBHQ would send it."""
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
            if position > _SHOWN_PLACES:
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
    """Dividends are rounded down to ten cents; less than the stake is not paid."""
    return max(Decimal("1.04"), Decimal(str(amount)).quantize(_TEN_CENTS, ROUND_DOWN))
