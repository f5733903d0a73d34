"""A progress bar on standard error while a feed catches up. It needs rich."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from rbhq_stream import Health, HealthState

_REFRESHES_PER_SECOND = 4
_COLUMNS = 40


class CatchUpBar:
    """Shows how far a feed has caught up, and nothing while it is live. When it ends, it is erased.

    Args:
        health: Returns the feed's health. Called by the thread that draws.
    """

    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health
        self._most = 0
        self._live = Live(
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=_REFRESHES_PER_SECOND,
            redirect_stdout=False,
            get_renderable=self.draw,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def draw(self) -> RenderableType:
        """Returns the bar as of now."""
        health = self._health()
        left = health.figures.lag
        if health.state is not HealthState.CATCHING_UP or not left:
            self._most = 0
            return Text("")
        self._most = max(self._most, left)
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_row(
            "catching up",
            ProgressBar(total=self._most, completed=self._most - left, width=_COLUMNS),
            f"{left:,} records to go",
        )
        return row
