"""The market of one race as a board shows it: a row for each runner. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from attrs import frozen

from rbhq_stream import PriceType, RaceId, RaceState
from rbhq_stream._board.names import Names
from rbhq_stream._board.notices import placings
from rbhq_stream._board.trails import Trail

SUSPENDED = "SUSPENDED"
_NO_TRAIL = Trail()
_NO_CHANCE = Decimal("Infinity")


@frozen
class MarketRow:
    """A runner in the market."""

    number: int
    name: str
    win: Decimal | None
    opening: Decimal | None
    """Its first win price."""
    place: Decimal | None
    trail: Trail
    is_scratched: bool
    deduction: Decimal | None
    """What its scratching takes off the win dollar."""

    @property
    def trend(self) -> int:
        """-1 if its price is shorter than the first one, 1 if it is longer, else 0."""
        if self.win is None or self.opening is None:
            return 0
        return (self.win > self.opening) - (self.win < self.opening)


@frozen
class Market:
    """The market of a race."""

    race_id: RaceId
    label: str
    kind: str
    """The kind of racing."""
    status: str
    """The race's status; `SUSPENDED` for an open race whose feed can't be trusted; empty if there is none."""
    is_open: bool
    """Whether the race is open by its status."""
    start: datetime | None
    """The scheduled start."""
    rows: tuple[MarketRow, ...]
    """The runners that have or had a price, and those that are scratched, by number."""
    placed: tuple[str, ...]
    """The placings in words."""

    def fitting(self, count: int) -> tuple[Sequence[MarketRow], int]:
        """Returns the runners for which there is room, and how many are left out.

        Scratched runners are kept first, then those with the shortest opening prices.

        Args:
            count: The number of lines. One of them is kept free if runners are left out.
        """
        if len(self.rows) <= count:
            return self.rows, 0
        by_chance = sorted(self.rows, key=lambda row: (not row.is_scratched, row.opening or _NO_CHANCE))
        kept = {row.number for row in by_chance[: max(0, count - 1)]}
        return [row for row in self.rows if row.number in kept], len(self.rows) - len(kept)


def market(race: RaceState, names: Names, trails: Mapping[int, Trail], *, is_trusted: bool) -> Market:
    """Returns the market of a race.

    Args:
        race: Its state.
        names: The names of races and runners.
        trails: How the runners' prices have moved.
        is_trusted: Whether the feed can be trusted. If not, betting is suspended.
    """
    race_id = race.race_id
    scratched = race.scratched
    numbers = sorted({runner for runner, _ in race.prices} | set(scratched))
    rows = []
    for number in numbers:
        win = race.prices.get((number, PriceType.WIN))
        rows.append(
            MarketRow(
                number,
                names.runner(race_id, number),
                win=None if win is None else win.value,
                opening=None if win is None else win.opening,
                place=race.price(number, PriceType.PLACE),
                trail=trails.get(number, _NO_TRAIL),
                is_scratched=number in scratched,
                deduction=scratched[number].win_deduction if number in scratched else None,
            )
        )
    status = str(race.status) if race.status is not None else ""
    return Market(
        race_id,
        names.race(race_id),
        names.kind(race_id),
        SUSPENDED if race.is_open and not is_trusted else status,
        race.is_open,
        names.start(race_id),
        tuple(rows),
        placings(race.result, names) if race.result is not None else (),
    )
