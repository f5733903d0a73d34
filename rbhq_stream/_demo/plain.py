"""The demo as plain lines, where there is no terminal: one for each notable change, none for a price change."""

from __future__ import annotations

from datetime import timedelta, timezone
from types import TracebackType

from typing_extensions import Self

from rbhq_stream._demo.board import Notice

MELBOURNE = timezone(timedelta(hours=11), "AEDT")


class Plain:
    """Prints a line for each notice."""

    def __init__(self, hint: str | None = None) -> None:
        self._hint = hint

    def __enter__(self) -> Self:
        if self._hint:
            print(self._hint, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def tell(self, notices: list[Notice]) -> None:
        for notice in notices:
            at = notice.at.astimezone(MELBOURNE)
            line = f"{at:%H:%M:%S}  {notice.race:<20} {notice.what:<10} {notice.text}".rstrip()
            print(f"{line}\n", end="", flush=True)  # one write, as two threads print

    def end(self, summary: list[str]) -> None:
        print("\n".join(["", *summary]), flush=True)
