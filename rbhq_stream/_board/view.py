"""What the user sees of a board: a picture where a terminal has room for it, else lines."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from rbhq_stream._board import screen
from rbhq_stream._board.caption import Caption
from rbhq_stream._board.lines import Lines
from rbhq_stream._board.watch import Watch


class View(AbstractContextManager[Any], Protocol):
    """A picture, or lines. It shows what the watch has while its block runs."""

    is_drawn: bool
    """Whether it has the terminal's screen for itself."""

    def end(self, summary: list[str]) -> None:
        """Shows a summary, after the block."""


def choose_view(watch: Watch, caption: Caption, *, plain: bool) -> View:
    """Returns the view that fits where standard output goes.

    Args:
        watch: What to show. Lines are printed for the notices that it reports.
        caption: What is around it.
        plain: Whether to print lines even in a terminal.
    """
    hint = None
    if not plain and screen.can_draw():
        if screen.has_rich():
            from rbhq_stream._board.picture import Picture, too_small  # noqa: PLC0415  # rich is an optional extra

            hint = too_small()
            if hint is None:
                return Picture(watch, caption)
        else:
            hint = screen.RICH_HINT
    lines = Lines(caption.zone, hint=hint)
    watch.report_to(lines.report)
    return lines
