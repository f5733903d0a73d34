"""`EventCount`: how the poll thread wakes tasks, whichever event loops they run in.

A waiter first reads `now`, then checks the state it waits for, and then waits until something has happened since. So no
wake-up is lost, and none has to be reset: a notification wakes all waiters. (This pattern is known as an event count.)
`asyncio.Event` can't be used, because it is bound to the first event loop that waits for it.
"""

from __future__ import annotations

import asyncio
import logging

_log = logging.getLogger("rbhq_stream")

Moment = object
"""A point in time, compared by identity: two moments are the same only if nothing happened in between."""


class EventCount:
    """Wakes tasks of any event loop, from any thread."""

    def __init__(self) -> None:
        self.now: Moment = object()
        """The moment of the last notification."""
        # written by the event loops' threads; in the order in which they began to wait
        self._waiters: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def notify(self) -> None:
        """Notes that something has happened, and wakes all waiters."""
        self.now = object()
        for waiter, loop in self._waiters.copy().items():  # a copy is atomic
            self._waiters.pop(waiter, None)  # it need not be woken twice, which costs a system call each time
            try:
                loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:  # the event loop was closed, so its task will never run again
                _log.debug("the event loop is closed, so no task is woken")

    async def wait(self, since: Moment, timeout: float | None) -> None:
        """Waits until something has happened since a moment.

        Args:
            since: `now`, as it was before the caller checked the state it waits for.
            timeout: the maximum time to wait, in seconds.
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
