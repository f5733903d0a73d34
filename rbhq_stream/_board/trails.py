"""What a board remembers of the past, beyond the state of the races: how prices have moved, and when betting ended."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from decimal import Decimal
from math import log

from attrs import define, field, frozen

from rbhq_stream import Change, PriceChanged, PriceType, RaceId, RaceLeft, RaceStatus, StatusChanged

_LENGTH = 60
_BARS = "▁▂▃▄▅▆▇█"


@frozen
class Trail:
    """The win prices that a runner has had."""

    prices: tuple[Decimal, ...] = ()
    """The newest ones, oldest first."""
    moved: datetime | None = None
    """When the last one came."""

    def sparkline(self, width: int) -> str:
        """Returns the newest prices as a line of bars, one column for each; empty if there are fewer than two."""
        prices = self.prices[-width:]
        if len(prices) < 2:
            return ""
        # by ratio: from 2 to 3 is as much as from 20 to 30
        heights = [log(price) for price in prices]
        low, high = min(heights), max(heights)
        span = max(high - low, 0.2)
        return "".join(_BARS[min(len(_BARS) - 1, int((height - low) / span * len(_BARS)))] for height in heights)


@define
class _RaceTrails:
    prices: dict[int, deque[Decimal]] = field(factory=dict)
    moved: dict[int, datetime] = field(factory=dict)
    shut_at: datetime | None = None


class Trails:
    """Follows the changes of a book. What it keeps is bounded for each runner, and forgotten when the race leaves."""

    def __init__(self) -> None:
        self._races: dict[RaceId, _RaceTrails] = {}

    def note(self, change: Change, at: datetime) -> None:
        """Notes a change that happened at this time."""
        if isinstance(change, PriceChanged):
            if change.price_type is PriceType.WIN and change.after is not None:
                race = self._race(change.race_id)
                race.prices.setdefault(change.runner_number, deque(maxlen=_LENGTH)).append(change.after)
                race.moved[change.runner_number] = at
        elif isinstance(change, StatusChanged):
            race = self._race(change.race_id)
            race.shut_at = None if change.after is RaceStatus.OPEN else race.shut_at or at
        elif isinstance(change, RaceLeft):
            self._races.pop(change.race_id, None)

    def of_race(self, race_id: RaceId) -> dict[int, Trail]:
        """Returns the trails of the runners of a race, by runner number."""
        race = self._races.get(race_id)
        if race is None:
            return {}
        return {runner: Trail(tuple(prices), race.moved[runner]) for runner, prices in race.prices.items()}

    def shut_at(self, race_id: RaceId) -> datetime | None:
        """Returns when betting on a race ended; `None` while it is open or nothing is known about it."""
        race = self._races.get(race_id)
        return None if race is None else race.shut_at

    def _race(self, race_id: RaceId) -> _RaceTrails:
        return self._races.setdefault(race_id, _RaceTrails())
