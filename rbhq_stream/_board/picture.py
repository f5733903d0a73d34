"""A board as a picture in a terminal: the markets of the next races, all races, and the notices. It needs rich.

The background thread draws what the watch has at that moment. Drawing changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType

from rich import box
from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from rbhq_stream import RaceId
from rbhq_stream._board.agenda import around, next_to_jump
from rbhq_stream._board.caption import Caption
from rbhq_stream._board.market import SUSPENDED, Market, MarketRow
from rbhq_stream._board.notices import cents, dollars
from rbhq_stream._board.watch import Watch

_FRAMES_PER_SECOND = 12
_MIN_COLUMNS, _MIN_LINES = 70, 18
_WIDE = 104
_MIN_TICKER_LINES = 6
_SPARK_COLUMNS = 16
_FRAME_LINES = 3
"""Lines of a market's frame and column headings."""
_MAX_RACE_COLUMNS = 24

_COLOURS = {
    "OPEN": "green",
    "RE-OPENED": "green",
    "REINSTATED": "green",
    "LIVE": "green",
    "CLOSED": "yellow",
    "SCRATCHED": "red",
    "DEDUCTION": "red",
    SUSPENDED: "bright_red",
    "INTERIM": "cyan",
    "PROTEST": "magenta",
    "FINAL": "bright_blue",
    "RESULT": "bright_white",
    "AMENDED": "magenta",
    "ANOMALY": "magenta",
    "ABANDONED": "bright_red",
}


def too_small() -> str | None:
    """Returns what to do if the terminal has no room for the picture."""
    size = Console().size
    if size.width >= _MIN_COLUMNS and size.height >= _MIN_LINES:
        return None
    return (
        f"For a picture instead of lines: a terminal of at least {_MIN_COLUMNS} columns and {_MIN_LINES} lines;"
        f" this one has {size.width} and {size.height}"
    )


class Picture:
    """Draws in a background thread while the feed is read.

    Args:
        watch: What to draw.
        caption: Its title, its last line and its time zone.
    """

    is_drawn = True

    def __init__(self, watch: Watch, caption: Caption) -> None:
        self._watch = watch
        self._caption = caption
        self._console = Console()
        self._switch_interval = sys.getswitchinterval()
        self._live = Live(
            console=self._console,
            screen=True,
            refresh_per_second=_FRAMES_PER_SECOND,
            get_renderable=self.draw,
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

    def end(self, summary: list[str]) -> None:
        """Prints all races and the summary, after the picture was removed. Prints nothing if there is no summary."""
        if not summary:
            return
        races = self._watch.races()
        if races:
            self._console.print(_panel("The day", self._races(races)))
        title, *lines = summary
        self._console.print(Text(title, style="bold"))
        for line in lines:
            self._console.print(Text(line))

    def draw(self) -> RenderableType:
        """Returns the picture as of now."""
        width, height = self._console.size
        lines = height - 2
        races = self._watch.races()
        first = next_to_jump(races, self._watch.is_over, self._watch.is_known) if races else 0
        body = Layout()
        if width >= _WIDE:
            body.split_row(
                Layout(self._markets(races, first, lines), ratio=8), Layout(self._news(races, first, lines), ratio=7)
            )
        else:
            market = self._watch.market(races[first]) if races else None
            ticker = max(_MIN_TICKER_LINES, lines - (_lines_of(market) if market else _FRAME_LINES))
            body.split_column(
                Layout(self._market(market, lines - ticker) if market else _waiting()),
                Layout(self._ticker(ticker), size=ticker),
            )
        page = Layout()
        page.split_column(Layout(self._header(), size=1), body, Layout(self._footer(width), size=1))
        return page

    def _markets(self, races: list[RaceId], first: int, lines: int) -> RenderableType:
        """Returns the market of the next race, and those of the races after it for which there is room."""
        if not races:
            return _waiting()
        parts: list[Layout] = []
        for race_id in races[first:]:
            if parts and (self._watch.is_over(race_id) or not self._watch.is_known(race_id)):
                continue
            market = self._watch.market(race_id)
            if parts and lines < _lines_of(market):
                break
            parts.append(Layout(self._market(market, lines), size=min(lines, _lines_of(market))))
            lines -= _lines_of(market)
        if lines > 0:
            parts.append(Layout(Text(" ")))
        column = Layout()
        column.split_column(*parts)
        return column

    def _news(self, races: list[RaceId], first: int, lines: int) -> RenderableType:
        count = min(max(1, len(races)), max(4, lines // 3))
        column = Layout()
        column.split_column(
            Layout(_panel("Races", self._races(around(races, first, count))), size=count + 2),
            Layout(self._ticker(lines - count - 2)),
        )
        return column

    def _header(self) -> RenderableType:
        grid = Table.grid(expand=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        now = self._local(self._watch.clock())
        left = Text(no_wrap=True, overflow="ellipsis")
        if self._watch.is_live:
            left.append(" RBHQ ", "bold black on bright_green")
            left.append(f"  {self._caption.title}", "bold")
        else:
            left.append(f" {SUSPENDED} ", "bold white on red")
            left.append(f"  {self._watch.why_not}", "bold")
        speed = f"  {self._caption.speed:.0f}x" if self._caption.speed is not None else ""
        grid.add_row(left, Text.assemble((f"{now:%a %d %b  %H:%M:%S}", "bold"), (f"{speed} ", "dim")))
        return grid

    def _footer(self, width: int) -> RenderableType:
        text = Text(no_wrap=True, overflow="crop")
        for number, what in self._caption.facts():
            fact = Text.assemble(("  │  " if text else " ", "dim"), (number, "bold cyan"), (f" {what}", "dim"))
            if text.cell_len + fact.cell_len > width:
                break
            text.append(fact)
        return text

    def _market(self, market: Market, lines: int) -> RenderableType:
        now = self._watch.clock()
        table = Table(box=None, expand=True, padding=(0, 1, 0, 0), show_header=True, header_style="dim")
        table.add_column("", justify="right", width=max(2, len(str(max((r.number for r in market.rows), default=0)))))
        table.add_column("Runner", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("", width=_SPARK_COLUMNS, no_wrap=True)
        table.add_column("Win", justify="right", width=7)
        table.add_column("", width=1)
        table.add_column("Place", justify="right", width=6)
        shown, hidden = market.fitting(lines - _FRAME_LINES)
        for row in shown:
            table.add_row(*self._runner(row, now))
        if hidden:
            table.add_row("", Text(f"and {hidden} more", style="dim italic"))
        return _panel(_title(market, now), table)

    def _runner(self, row: MarketRow, now: datetime) -> tuple[RenderableType, ...]:
        if row.is_scratched:
            off = Text(f"{cents(row.deduction)} off", style="red")
            return Text(str(row.number), "dim"), Text(row.name, "dim strike"), Text("scratched", "dim"), off
        colour = {-1: "green", 0: "white", 1: "red"}[row.trend]
        has_moved = row.trail.moved is not None and now - row.trail.moved < self._caption.flash
        style = f"bold {colour} reverse" if has_moved and row.trend else f"bold {colour}"
        return (
            Text(str(row.number), "bold"),
            Text(row.name),
            Text(row.trail.sparkline(_SPARK_COLUMNS), colour),
            Text(f" {dollars(row.win)}", style),
            Text({-1: "▼", 0: " ", 1: "▲"}[row.trend], colour),
            Text(dollars(row.place), "dim"),
        )

    def _races(self, races: Sequence[RaceId]) -> RenderableType:
        markets = [self._watch.market(race_id) for race_id in races]
        longest = max((len(market.label) for market in markets), default=1)
        table = Table.grid(expand=True, padding=(0, 1, 0, 0))
        table.add_column(width=5)
        table.add_column(no_wrap=True, overflow="ellipsis", width=min(longest, _MAX_RACE_COLUMNS))
        table.add_column(width=9)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for market in markets:
            start = "" if market.start is None else f"{self._local(market.start):%H:%M}"
            table.add_row(
                Text(start, "dim"),
                Text(market.label),
                Text(market.status, _COLOURS.get(market.status, "white")),
                Text(market.placed[0] if market.placed else "", "dim"),
            )
        return table

    def _ticker(self, lines: int) -> RenderableType:
        table = Table.grid(expand=True, padding=(0, 1, 0, 0))
        table.add_column(width=5)
        table.add_column(width=10)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for notice in self._watch.notices(lines):
            table.add_row(
                Text(f"{self._local(notice.at):%H:%M}", "dim"),
                Text(notice.what, _COLOURS.get(notice.what, "white")),
                Text.assemble((f"{notice.subject} ", "bold"), notice.text),
            )
        return _panel("As it comes", table)

    def _local(self, time: datetime) -> datetime:
        return time.astimezone(self._caption.zone)


def _title(market: Market, now: datetime) -> Text:
    title = Text.assemble((f" {market.label} ", "bold"), (f"{market.kind} " if market.kind else "", "dim"))
    title.append(f" {market.status or '…'} ", f"bold reverse {_COLOURS.get(market.status, 'white')}")
    if market.is_open and market.start is not None:
        title.append(f" {_until(market.start - now)} ", "dim")
    elif market.placed:
        title.append(f" {market.placed[0]} ", "dim")
    return title


def _waiting() -> RenderableType:
    return _panel("Market", Text("Nothing has come yet.", "dim"))


def _panel(title: str | Text, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", box=box.ROUNDED, border_style="grey37")


def _lines_of(market: Market) -> int:
    return len(market.rows) + _FRAME_LINES


def _until(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    if seconds < 0:
        return "is late"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"jumps in {hours} h {minutes:02} min" if hours else f"jumps in {minutes}:{seconds:02}"
