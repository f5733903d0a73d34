"""A made-up fixed-odds market: a favourite and outsiders, whose prices move the way a bookmaker's do."""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from math import exp
from random import Random

from rbhq_stream.events import PriceType, PriceUpdate

PROPERTY_IDS = {
    PriceType.WIN: 12,
    PriceType.PLACE: 13,
    PriceType.PLACE_2: 147,
    PriceType.PLACE_3: 148,
    PriceType.PLACE_4: 149,
}
_PLACES_OF = {PriceType.PLACE_2: 2, PriceType.PLACE_3: 3, PriceType.PLACE_4: 4}

# from, to, step, in cents
_STEPS = ((101, 105, 1), (105, 200, 5), (200, 400, 10), (400, 600, 20), (600, 1000, 50), (1000, 2100, 100))
_LONG = (21, 23, 26, 29, 31, 34, 41, 46, 51, 61, 67, 71, 81, 91, 101, 126, 151, 201, 251, 301, 401, 501)


def _ladder() -> tuple[Decimal, ...]:
    cents = [price for start, stop, step in _STEPS for price in range(start, stop, step)]
    # RBHQ writes "4.4" and "11", not "4.40" and "11.00"
    short = [Decimal(str(price / 100).removesuffix(".0")) for price in cents]
    return (*short, *map(Decimal, _LONG))


PRICE_LADDER = _ladder()
"""Every price there is, from 1.01 to 501."""
_FLOATS = tuple(map(float, PRICE_LADDER))
_CHANCES = tuple(1 / price for price in _FLOATS)
_TOP = len(PRICE_LADDER) - 1


def _nearest(price: float) -> int:
    index = bisect_left(_FLOATS, price)
    if index == 0:
        return 0
    if index > _TOP:
        return _TOP
    return index if _FLOATS[index] - price < price - _FLOATS[index - 1] else index - 1


# the share of the win odds that is paid for a place, by the number of places
_PLACE_ODDS = {2: 0.36, 3: 0.25, 4: 0.18}
_PLACE_PRICES = {
    places: tuple(PRICE_LADDER[_nearest(1 + (price - 1) * share)] for price in _FLOATS)
    for places, share in _PLACE_ODDS.items()
}


def places_paid(field_size: int) -> int:
    """How many places `PriceType.PLACE` pays: three from eight runners on, two from five, else the win only."""
    return 3 if field_size >= 8 else 2 if field_size >= 5 else 1


def place_markets(field_size: int) -> tuple[PriceType, ...]:
    """Which of `PLACE_2`, `PLACE_3` and `PLACE_4` are offered: one with n places wants 2 n runners at least."""
    return tuple(price_type for price_type, places in _PLACES_OF.items() if field_size >= 2 * places)


def deductions(win_price: Decimal) -> dict[int, Decimal]:
    """What a scratching takes off each dollar of the payouts, by number of places (1: win), in whole cents.

    The shorter the price of the scratched runner, the more.
    """
    index = PRICE_LADDER.index(win_price)
    shares = {1: float(win_price)} | {places: float(prices[index]) * places for places, prices in _PLACE_PRICES.items()}
    return {places: Decimal(min(75, int(85 / share))).scaleb(-2) for places, share in shares.items()}


class Market:
    """The prices of one race. Its methods return what changed, as RBHQ would send it."""

    def __init__(self, rng: Random, runners: tuple[int, ...]) -> None:
        self._rng = rng
        places = places_paid(len(runners))
        self._types: dict[PriceType, int] = {
            **({PriceType.PLACE: places} if places > 1 else {}),
            **{price_type: _PLACES_OF[price_type] for price_type in place_markets(len(runners))},
        }
        self._place_types = tuple(self._types)
        self._overround = rng.uniform(1.15, 1.25)
        strengths = [exp(rng.gauss(0, 0.85)) for _ in runners]
        scale = self._overround / sum(strengths)
        # where each runner's win price stands on the ladder
        self._rungs = {
            runner: _nearest(1 / min(0.8, strength * scale))
            for runner, strength in zip(runners, strengths, strict=True)
        }
        # where the market's opinion began, and pulls back to
        self._anchors = dict(self._rungs)
        # above 0: the money is elsewhere, the price tends to drift
        self._trends = {runner: rng.gauss(0, 0.12) for runner in runners}
        self._shown: dict[tuple[int, PriceType], Decimal] = {}
        self._withdrawn: dict[int, int] = {}
        self._rebalance()

    @property
    def runners(self) -> tuple[int, ...]:
        """Who is in the market now."""
        return tuple(self._rungs)

    @property
    def overround(self) -> float:
        """The sum of the chances that the win prices imply: what is above 1 is the bookmaker's."""
        return sum(_CHANCES[rung] for rung in self._rungs.values())

    def win_price(self, runner: int) -> Decimal:
        """The runner's win price, also when it was withdrawn."""
        return PRICE_LADDER[self._rungs[runner] if runner in self._rungs else self._withdrawn[runner]]

    def place_price(self, runner: int, places: int) -> Decimal:
        """The runner's price for a place when so many places are paid."""
        return _PLACE_PRICES[places][self._rungs[runner]]

    def chance(self, runner: int) -> float:
        """How likely the runner wins, in the market's opinion."""
        return _CHANCES[self._rungs[runner]] / self.overround

    def opening(self) -> tuple[tuple[PriceUpdate, ...], ...]:
        """Every price of the race, in two lots: win and place, then the places by number."""
        lots = ((PriceType.WIN, PriceType.PLACE), _PLACES_OF)
        return tuple(
            tuple(
                self._show(runner, price_type)
                for price_type in lot
                if price_type is PriceType.WIN or price_type in self._types
                for runner in self._rungs
            )
            for lot in lots
        )

    def tick(self) -> tuple[PriceUpdate, ...]:
        """One price moves: mostly a win price, else a place price that follows the win price."""
        rng = self._rng
        runners = list(self._rungs)
        runner = runners[int(rng.random() * len(runners))]
        if rng.random() < 0.45 and self._place_types:
            price_type = self._place_types[int(rng.random() * len(self._place_types))]
            if self._price(runner, price_type) != self._shown.get((runner, price_type)):
                return (self._show(runner, price_type),)
        self._move(runner)
        return (self._show(runner, PriceType.WIN),)

    def reprice(self, prices: int | None = None) -> tuple[PriceUpdate, ...]:
        """The whole market moves: the win price of each runner, and place prices up to so many prices (10 to 20)."""
        rng = self._rng
        for runner in self._rungs:
            if rng.random() < 0.4:
                self._move(runner)
        return self._all(rng.randint(10, 20) if prices is None else prices)

    def withdraw(self, runner: int) -> None:
        """Takes a runner out; the others shorten."""
        self._withdrawn[runner] = self._rungs.pop(runner)
        for price_type in PriceType:
            self._shown.pop((runner, price_type), None)
        self._rebalance()

    def reinstate(self, runner: int) -> None:
        """Puts a withdrawn runner back at about the price it had; the others drift."""
        self._rungs[runner] = self._withdrawn.pop(runner)
        self._rebalance()

    def admit(self, runner: int) -> None:
        """Adds a runner that was not in the market: a reserve."""
        self._rungs[runner] = _nearest(self._rng.uniform(8, 30))
        self._anchors[runner] = self._rungs[runner]
        self._trends[runner] = 0
        self._rebalance()

    def _move(self, runner: int) -> None:
        rng = self._rng
        rung = self._rungs[runner]
        overround = self.overround
        if overround > self._overround + 0.02:
            drifts = True
        elif overround < self._overround - 0.02:
            drifts = False
        else:
            drifts = rng.random() < 0.5 + self._trends[runner] - 0.05 * (rung - self._anchors[runner])
        step = 2 if rng.random() < 0.15 else 1
        moved = min(_TOP, rung + step) if drifts else max(0, rung - step)
        if moved == rung:
            moved = rung - 1 if drifts else rung + 1
        self._rungs[runner] = moved

    def _rebalance(self) -> None:
        # a few rounds: the ladder is too coarse for the short prices to meet the overround at once
        for _ in range(4):
            scale = self._overround / self.overround
            if abs(scale - 1) < 0.02:
                return
            for runner, rung in self._rungs.items():
                self._rungs[runner] = self._anchors[runner] = _nearest(_FLOATS[rung] / scale)

    def _all(self, prices: int) -> tuple[PriceUpdate, ...]:
        updates = [self._show(runner, PriceType.WIN) for runner in self._rungs]
        for price_type in self._place_types:
            for runner in self._rungs:
                if len(updates) >= prices:
                    return tuple(updates)
                updates.append(self._show(runner, price_type))
        return tuple(updates)

    def _price(self, runner: int, price_type: PriceType) -> Decimal:
        rung = self._rungs[runner]
        return PRICE_LADDER[rung] if price_type is PriceType.WIN else _PLACE_PRICES[self._types[price_type]][rung]

    def _show(self, runner: int, price_type: PriceType) -> PriceUpdate:
        price = self._shown[runner, price_type] = self._price(runner, price_type)
        return PriceUpdate(runner, price_type, PROPERTY_IDS[price_type], price)
