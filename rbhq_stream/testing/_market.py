"""A simulated fixed-odds market: a favourite and outsiders, with prices that move the way a bookmaker's do."""

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

# lowest price, the price after the highest, step: in cents
_STEPS = ((101, 105, 1), (105, 200, 5), (200, 400, 10), (400, 600, 20), (600, 1000, 50), (1000, 2100, 100))
_LONG_ODDS = (21, 23, 26, 29, 31, 34, 41, 46, 51, 61, 67, 71, 81, 91, 101, 126, 151, 201, 251, 301, 401, 501)


def _ladder() -> tuple[Decimal, ...]:
    cents = [price for start, stop, step in _STEPS for price in range(start, stop, step)]
    # without trailing zeros, as RBHQ writes them: "4.4" and "11"
    short = [Decimal(str(price / 100).removesuffix(".0")) for price in cents]
    return (*short, *map(Decimal, _LONG_ODDS))


PRICE_LADDER = _ladder()
"""The prices that a market may show, from 1.01 to 501. A *rung* is an index into this ladder."""
_FLOATS = tuple(map(float, PRICE_LADDER))
_IMPLIED_CHANCES = tuple(1 / price for price in _FLOATS)
_TOP_RUNG = len(PRICE_LADDER) - 1


def _nearest_rung(price: float) -> int:
    index = bisect_left(_FLOATS, price)
    if index == 0:
        return 0
    if index > _TOP_RUNG:
        return _TOP_RUNG
    return index if _FLOATS[index] - price < price - _FLOATS[index - 1] else index - 1


# the part of the win odds that a place bet pays, by the number of places paid
_PLACE_ODDS = {2: 0.36, 3: 0.25, 4: 0.18}
_PLACE_PRICES = {
    places: tuple(PRICE_LADDER[_nearest_rung(1 + (price - 1) * share)] for price in _FLOATS)
    for places, share in _PLACE_ODDS.items()
}


def places_paid(field_size: int) -> int:
    """Returns how many places `PriceType.PLACE` pays: three with eight runners or more, two with five, else one."""
    return 3 if field_size >= 8 else 2 if field_size >= 5 else 1


def place_markets(field_size: int) -> tuple[PriceType, ...]:
    """Returns which of `PLACE_2`, `PLACE_3` and `PLACE_4` are offered: n places need at least 2 n runners."""
    return tuple(price_type for price_type, places in _PLACES_OF.items() if field_size >= 2 * places)


def deductions(win_price: Decimal) -> dict[int, Decimal]:
    """Returns the deductions for a scratched runner, in dollars for each dollar of the payout and whole cents.

    The shorter the runner's price, the larger they are.

    Returns:
        The deductions by the number of places that the bet pays; 1 is the win.
    """
    index = PRICE_LADDER.index(win_price)
    shares = {1: float(win_price)} | {places: float(prices[index]) * places for places, prices in _PLACE_PRICES.items()}
    return {places: Decimal(min(75, int(85 / share))).scaleb(-2) for places, share in shares.items()}


_WIN_AGAIN = (PriceType.WIN,) * 6
"""Win prices move more often than all place prices together."""


class Market:
    """The prices of one race. Its methods return the prices that changed, as RBHQ would send them."""

    def __init__(self, rng: Random, runners: tuple[int, ...]) -> None:
        self._rng = rng
        places = places_paid(len(runners))
        self._types: dict[PriceType, int] = {
            **({PriceType.PLACE: places} if places > 1 else {}),
            **{price_type: _PLACES_OF[price_type] for price_type in place_markets(len(runners))},
        }
        self._overround = rng.uniform(1.15, 1.25)
        strengths = [exp(rng.gauss(0, 0.85)) for _ in runners]
        scale = self._overround / sum(strengths)
        # the rung of each runner's win price
        self._rungs = {
            runner: _nearest_rung(1 / min(0.8, strength * scale))
            for runner, strength in zip(runners, strengths, strict=True)
        }
        self._withdrawn: dict[int, int] = {}
        self._rebalance()

    @property
    def runners(self) -> tuple[int, ...]:
        """The numbers of the runners that have prices now."""
        return tuple(self._rungs)

    @property
    def overround(self) -> float:
        """The sum of the chances that the win prices imply. What is above 1 is the bookmaker's margin."""
        return sum(_IMPLIED_CHANCES[rung] for rung in self._rungs.values())

    def win_price(self, runner: int) -> Decimal:
        """Returns a runner's win price; for a withdrawn runner, its last one."""
        return PRICE_LADDER[self._rungs[runner] if runner in self._rungs else self._withdrawn[runner]]

    def place_price(self, runner: int, places: int) -> Decimal:
        """Returns a runner's price for a place bet that pays so many places."""
        return _PLACE_PRICES[places][self._rungs[runner]]

    def chance(self, runner: int) -> float:
        """Returns the chance of winning that a runner's price implies, without the bookmaker's margin."""
        return _IMPLIED_CHANCES[self._rungs[runner]] / self.overround

    def opening(self) -> tuple[tuple[PriceUpdate, ...], ...]:
        """Returns every price of the race in two groups: win and place first, then two, three and four places."""
        win_and_place = [PriceType.WIN, *(kind for kind in self._types if kind is PriceType.PLACE)]
        others = [kind for kind in self._types if kind is not PriceType.PLACE]
        return tuple(
            tuple(self._update(runner, kind) for kind in kinds for runner in self._rungs)
            for kinds in (win_and_place, others)
        )

    def tick(self) -> tuple[PriceUpdate, ...]:
        """Moves the win price of a runner, or returns a place price, which follows the win price."""
        runner = self._rng.choice(self.runners)
        price_type = self._rng.choice((*_WIN_AGAIN, *self._types))
        if price_type is PriceType.WIN:
            self._move(runner)
        return (self._update(runner, price_type),)

    def reprice(self, prices: int | None = None) -> tuple[PriceUpdate, ...]:
        """Moves the market, and returns all win prices, then place prices up to a total of `prices` (by default 10 to
        20)."""
        rng = self._rng
        for runner in self._rungs:
            if rng.random() < 0.4:
                self._move(runner)
        return self._all(rng.randint(10, 20) if prices is None else prices)

    def withdraw(self, runner: int) -> None:
        """Removes a runner; the prices of the others shorten."""
        self._withdrawn[runner] = self._rungs.pop(runner)
        self._rebalance()

    def reinstate(self, runner: int) -> None:
        """Adds a withdrawn runner again at about its earlier price; the prices of the others drift."""
        self._rungs[runner] = self._withdrawn.pop(runner)
        self._rebalance()

    def admit(self, runner: int) -> None:
        """Adds a runner that had no price before, a reserve."""
        self._rungs[runner] = _nearest_rung(self._rng.uniform(8, 30))
        self._rebalance()

    def _move(self, runner: int) -> None:
        rng = self._rng
        rung = self._rungs[runner]
        overround = self.overround
        # a price that becomes longer drifts; drifts and firmings together keep the overround
        drifts = rng.random() < 0.5 if abs(overround - self._overround) < 0.02 else overround > self._overround
        step = 2 if rng.random() < 0.15 else 1
        moved = min(_TOP_RUNG, rung + step) if drifts else max(0, rung - step)
        if moved == rung:
            moved = rung - 1 if drifts else rung + 1
        self._rungs[runner] = moved

    def _rebalance(self) -> None:
        # more than once: the ladder is too coarse at short prices to meet the overround at the first try
        for _ in range(4):
            scale = self._overround / self.overround
            if abs(scale - 1) < 0.02:
                return
            for runner, rung in self._rungs.items():
                self._rungs[runner] = _nearest_rung(_FLOATS[rung] / scale)

    def _all(self, prices: int) -> tuple[PriceUpdate, ...]:
        places = [(runner, kind) for kind in self._types for runner in self._rungs]
        shown = [(runner, PriceType.WIN) for runner in self._rungs] + places[: max(0, prices - len(self._rungs))]
        return tuple(self._update(runner, kind) for runner, kind in shown)

    def _update(self, runner: int, price_type: PriceType) -> PriceUpdate:
        prices = PRICE_LADDER if price_type is PriceType.WIN else _PLACE_PRICES[self._types[price_type]]
        return PriceUpdate(runner, price_type, PROPERTY_IDS[price_type], prices[self._rungs[runner]])
