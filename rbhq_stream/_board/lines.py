"""A board as plain lines, where there is no terminal: one for each notice."""

from __future__ import annotations

from datetime import tzinfo
from types import TracebackType

from typing_extensions import Self

from rbhq_stream._board.notices import Notice


class Lines:
    """Prints a line for each notice.

    Args:
        zone: The time zone of the times; `None`: that of this machine.
        hint: A line to print first.
    """

    is_drawn = False

    def __init__(self, zone: tzinfo | None = None, *, hint: str | None = None) -> None:
        self._zone = zone
        self._hint = hint

    def __enter__(self) -> Self:
        if self._hint:
            print(self._hint, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def report(self, notice: Notice) -> None:
        """Prints a notice. From any thread: it is one write."""
        print(f"{notice.as_line(self._zone)}\n", end="", flush=True)

    def end(self, summary: list[str]) -> None:
        """Prints the summary."""
        if summary:
            print("\n".join(["", *summary]), flush=True)
