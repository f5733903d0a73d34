"""`EventCount`: how the poll thread wakes tasks, whichever event loops they run in.

A waiter takes `now` first, then looks at the state it waits for, and then waits until something has happened since. So
no wake-up is lost, and none has to be taken back: what woke one waiter wakes each of the others, too. (The pattern is
known under this name.) `asyncio.Event` belongs to the first event loop that waits for it.
"""

from __future__ import annotations

import asyncio
import logging

_log = logging.getLogger("rbhq_stream")

Moment = object
"""Compared by identity: two are the same only if nothing happened in between."""


class EventCount:
    """Wakes tasks of any event loop, from any thread."""

    def __init__(self) -> None:
        self.now: Moment = object()
        """When the last thing happened."""
        # written by the event loops' threads; in the order in which they began to wait
        self._waiters: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def notify(self) -> None:
        """Something happened. Wakes all that wait."""
        self.now = object()
        for waiter, loop in self._waiters.copy().items():  # a copy is atomic
            try:
                loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:  # the event loop was closed, and its task will never run again
                self._waiters.pop(waiter, None)
                _log.debug("the event loop is closed; nobody to wake")

    async def wait(self, since: Moment, timeout: float | None) -> None:
        """Waits until something has happened.

        Args:
            since: `now`, from before the caller looked at what it waits for.
            timeout: the most seconds to wait.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _wake, waiter)
        self._waiters[waiter] = loop  # before the comparison: from here on a notification wakes it
        try:
            if self.now is since:
                await waiter
        finally:
            self._waiters.pop(waiter, None)
            if timer is not None:
                timer.cancel()

    def is_awaited_elsewhere(self) -> bool:
        """Whether a task waits in another event loop, which is running."""
        here = asyncio.get_running_loop()
        return any(loop is not here and loop.is_running() for loop in self._waiters.copy().values())


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
