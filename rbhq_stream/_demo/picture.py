"""The demo as a picture in a terminal: the market of the next race, all races, and the notices.

This is the only module that needs rich.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from math import log
from types import TracebackType

from rich import box
from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from rbhq_stream import RaceStatus
from rbhq_stream._demo.board import Board, Notice, RaceView, RunnerView, cents, dollars
from rbhq_stream._demo.plain import MELBOURNE
from rbhq_stream._demo.suspension import Suspension
from rbhq_stream._demo.tally import Tally

_FRAMES_PER_SECOND = 12
_MIN_COLUMNS, _MIN_LINES = 70, 18
_WIDE = 104
_MIN_TICKER_LINES = 6
_SPARK_COLUMNS = 16
_FRAME_LINES = 3
"""Lines of a market's frame and column headings."""
_BARS = "▁▂▃▄▅▆▇█"
_FLASH_SECONDS = 0.15

_COLOURS = {
    "OPEN": "green",
    "RE-OPENED": "green",
    "REINSTATED": "green",
    "CLOSED": "yellow",
    "LIVE": "green",
    "SUSPENDED": "bright_red",
    "SCRATCHED": "red",
    "DEDUCTION": "red",
    "INTERIM": "cyan",
    "PROTEST": "magenta",
    "FINAL": "bright_blue",
    "RESULT": "bright_white",
    "AMENDED": "magenta",
    "ABANDONED": "bright_red",
}


def is_large_enough() -> bool:
    """Returns whether the terminal has room for the picture."""
    size = Console().size
    return size.width >= _MIN_COLUMNS and size.height >= _MIN_LINES


class Picture:
    """Draws in a background thread while the feed is read."""

    def __init__(
        self, board: Board, tally: Tally, suspension: Suspension, clock: Callable[[], datetime], speed: float
    ) -> None:
        self._board = board
        self._tally = tally
        self._suspension = suspension
        self._clock = clock
        self._flash = timedelta(seconds=_FLASH_SECONDS * speed)
        self._speed = speed
        self._notices: deque[Notice] = deque(maxlen=100)
        self._console = Console()
        self._switch_interval = sys.getswitchinterval()
        self._live = Live(
            console=self._console,
            screen=True,
            refresh_per_second=_FRAMES_PER_SECOND,
            get_renderable=self._draw,
        )

    def __enter__(self) -> Self:
        # Drawing holds the interpreter lock: by default the reader would wait for it for 5 ms at a time.
        sys.setswitchinterval(0.0005)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()
        sys.setswitchinterval(self._switch_interval)

    def tell(self, notices: list[Notice]) -> None:
        if notices:
            with self._board.lock:
                self._notices.extend(notices)

    def end(self, summary: list[str]) -> None:
        title, *lines = summary
        self._console.print(_panel("The day", self._races(self._board.in_order())))
        self._console.print(Text(title, style="bold"))
        for line in lines:
            self._console.print(Text(line))

    def _draw(self) -> RenderableType:
        width, height = self._console.size
        with self._board.lock:
            race = self._board.next_to_jump(self._clock())
            lines = height - 2
            body = Layout()
            if width >= _WIDE:
                body.split_row(Layout(self._market(race, lines), ratio=8), Layout(self._news(race, lines), ratio=7))
            else:
                ticker = max(_MIN_TICKER_LINES, lines - _lines_of(race))
                body.split_column(Layout(self._market(race, lines - ticker)), Layout(self._ticker(ticker), size=ticker))
            page = Layout()
            page.split_column(Layout(self._header(), size=1), body, Layout(self._footer(), size=1))
            return page

    def _news(self, race: RaceView, lines: int) -> RenderableType:
        count = min(len(self._board.races), max(4, lines // 3))
        column = Layout()
        column.split_column(
            Layout(_panel("Races", self._races(self._around(race, count))), size=count + 2),
            Layout(self._ticker(lines - count - 2)),
        )
        return column

    def _header(self) -> RenderableType:
        grid = Table.grid(expand=True)
        grid.add_column()
        grid.add_column(justify="right")
        now = self._clock().astimezone(MELBOURNE)
        left = Text(no_wrap=True, overflow="ellipsis")
        if self._suspension.is_live:
            left.append(" RBHQ ", "bold black on bright_green")
            left.append("  a simulated race day, through rbhq_stream", "bold")
        else:
            left.append(" SUSPENDED ", "bold white on red")
            left.append(f"  {self._suspension.why}", "bold")
        right = Text.assemble((f"{now:%a %d %b  %H:%M:%S}", "bold"), (f"  {self._speed:.0f}x ", "dim"))
        grid.add_row(left, right)
        return grid

    def _footer(self) -> RenderableType:
        tally = self._tally
        latency = tally.latency(newest=1000)
        facts = [
            (f"{tally.events:,}", "events"),
            (f"{tally.rate:,.0f}", "a second"),
            *([(f"{latency[0]:.1f} ms", "latency"), (f"{latency[1]:.1f} ms", "p99")] if latency else []),
            (f"{tally.kinds['race status']}", "statuses"),
            (f"{tally.kinds['race result']}", "results"),
        ]
        text = Text(" ", no_wrap=True, overflow="crop")
        for number, what in facts:
            text.append(f"  {number}", "bold cyan").append(f" {what}", "dim")
        return text

    def _market(self, race: RaceView, lines: int) -> RenderableType:
        now = self._clock()
        table = Table(box=None, expand=True, padding=(0, 1, 0, 0), show_header=True, header_style="dim")
        table.add_column("", justify="right", width=2)
        table.add_column("Runner", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("", width=_SPARK_COLUMNS, no_wrap=True)
        table.add_column("Win", justify="right", width=7)
        table.add_column("", width=1)
        table.add_column("Place", justify="right", width=6)
        shown, hidden = _fitting(_known(race), lines - _FRAME_LINES)
        for runner in shown:
            table.add_row(*self._runner(runner, now))
        if hidden:
            table.add_row("", Text(f"and {hidden} more", style="dim italic"))
        return _panel(self._title(race, now), table)

    def _runner(self, runner: RunnerView, now: datetime) -> tuple[RenderableType, ...]:
        if runner.is_scratched:
            off = Text(f"{cents(runner.deduction)} off", style="red")
            return Text(str(runner.number), "dim"), Text(runner.name, "dim strike"), Text("scratched", "dim"), off
        colour = {-1: "green", 0: "white", 1: "red"}[runner.trend]
        has_moved = runner.moved is not None and now - runner.moved < self._flash
        style = f"bold {colour} reverse" if has_moved and runner.trend else f"bold {colour}"
        arrow = {-1: "▼", 0: " ", 1: "▲"}[runner.trend]
        return (
            Text(str(runner.number), "bold"),
            Text(runner.name),
            Text(_sparkline(list(runner.history), _SPARK_COLUMNS), colour),
            Text(f" {dollars(runner.price)}", style),
            Text(arrow, colour),
            Text(dollars(runner.place), "dim"),
        )

    def _title(self, race: RaceView, now: datetime) -> Text:
        status = self._status(race) or "…"
        title = Text.assemble((f" {race.label} ", "bold"), (f"{race.code} ", "dim"))
        title.append(f" {status} ", f"bold reverse {_COLOURS.get(status, 'white')}")
        if race.status is RaceStatus.OPEN:
            title.append(f" {_until(race.race.jump - now)} ", "dim")
        return title

    def _status(self, race: RaceView) -> str:
        if race.status is RaceStatus.OPEN and not self._suspension.is_live:
            return "SUSPENDED"
        return race.status.value if race.status else ""

    def _around(self, race: RaceView, count: int) -> list[RaceView]:
        races = self._board.in_order()
        first = min(max(0, races.index(race) - count // 2), max(0, len(races) - count))
        return races[first : first + count]

    def _races(self, races: Sequence[RaceView]) -> RenderableType:
        table = Table.grid(expand=True, padding=(0, 1, 0, 0))
        table.add_column(width=5)
        table.add_column(no_wrap=True, width=max(len(race.label) for race in races))
        table.add_column(width=9)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for race in races:
            status = self._status(race)
            table.add_row(
                Text(f"{race.race.jump.astimezone(MELBOURNE):%H:%M}", "dim"),
                Text(race.label),
                Text(status, _COLOURS.get(status, "white")),
                Text(race.placed[0] if race.placed else "", "dim"),
            )
        return table

    def _ticker(self, lines: int) -> RenderableType:
        table = Table.grid(expand=True, padding=(0, 1, 0, 0))
        table.add_column(width=5)
        table.add_column(width=10)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        # the newest first
        for notice in list(self._notices)[: -lines - 1 : -1]:
            table.add_row(
                Text(f"{notice.at.astimezone(MELBOURNE):%H:%M}", "dim"),
                Text(notice.what, _COLOURS.get(notice.what, "white")),
                Text.assemble((f"{notice.race} ", "bold"), notice.text),
            )
        return _panel("As it comes", table)


def _panel(title: str | Text, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", box=box.ROUNDED, border_style="grey37")


def _known(race: RaceView) -> list[RunnerView]:
    # a reserve has no price until another runner is scratched
    return [runner for runner in race.runners.values() if runner.price is not None or runner.is_scratched]


def _lines_of(race: RaceView) -> int:
    return len(_known(race)) + _FRAME_LINES


def _fitting(runners: list[RunnerView], rows: int) -> tuple[list[RunnerView], int]:
    """Returns the runners for which there is room, scratched and short-priced ones first, and how many are left out."""
    if len(runners) <= rows:
        return runners, 0
    by_chance = sorted(runners, key=lambda runner: (not runner.is_scratched, runner.opened_at or Decimal(999)))
    kept = {runner.number for runner in by_chance[: max(0, rows - 1)]}
    return [runner for runner in runners if runner.number in kept], len(runners) - len(kept)


def _sparkline(prices: Sequence[Decimal], width: int) -> str:
    prices = prices[-width:]
    if len(prices) < 2:
        return ""
    # by ratio: from 2 to 3 is as much as from 20 to 30
    heights = [log(price) for price in prices]
    low, high = min(heights), max(heights)
    span = max(high - low, 0.2)
    return "".join(_BARS[min(7, int((height - low) / span * 8))] for height in heights)


def _until(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    return f"jumps in {seconds // 60}:{seconds % 60:02}" if seconds >= 0 else "is late"
