"""Ctrl-C and SIGTERM for commands that run until they are interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from typing_extensions import Self


class Interruption:
    """Turns Ctrl-C and SIGTERM into a request to end, instead of an exception at an arbitrary point of the program.

    In another thread than the main one it does nothing, because only the main thread may handle signals.
    """

    def __init__(self) -> None:
        self.requested = False
        self._actions: tuple[Callable[[], None], ...] = ()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def then(self, *actions: Callable[[], None]) -> None:
        """Sets the action for the request, and performs it at once if the request was made already."""
        self._actions = actions
        if self.requested:
            self._act()

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:  # a second signal may arrive while the first one is handled
            self.requested = True
            self._act()

    def _act(self) -> None:
        for action in self._actions:
            action()
