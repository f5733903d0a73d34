"""`AsyncFeed`: the same feed for an application with an event loop of its own.

The engine is the one of `Feed`; only the waiting differs. The poll thread rings once for a batch of records,
not once for each, and everything that waits can be cancelled: a cancelled wait has taken nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Literal

from typing_extensions import Self

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.cursor import FeedStats, OnBadRecord
from rbhq_stream._engine.dispatch import Handler, Handlers
from rbhq_stream._engine.session import Session, check_batch
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.positions import Positions
from rbhq_stream.retry import NO_RETRY, Retry
from rbhq_stream.signals import Signal
from rbhq_stream.source import Source

log = logging.getLogger("rbhq_stream")

EVENTS_BEFORE_PAUSE = 50
"""While there are events waiting, the application's other tasks get their turn after so many."""


class AsyncFeed(Handlers):
    """RBHQ's feed as typed events, at least once, for one task of an asyncio application.

    As `Feed`, with `async with`, `async for` and `await`; handlers may be coroutine functions or plain ones.
    It uses the event loop it is entered, iterated or run in. `stop` may be called from any thread, task or
    signal handler.

    Args: as `Feed`. An `on_bad_record` callable is called in the event loop's thread and should not block for long;
    a `positions` callable is a plain function, called on the poll thread.
    """

    def __init__(
        self,
        config: FeedConfig,
        *,
        commit: Literal["auto", "manual"] = "auto",
        on_bad_record: OnBadRecord = "raise",
        source: Source | None = None,
        positions: Positions | None = None,
    ) -> None:
        super().__init__(may_await=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell = asyncio.Event()
        self._session = Session(config, commit, on_bad_record, source, self._ring, positions=positions)
        self._cursor = self._session.cursor
        self._signals = self._session.signals
        self._entered = False
        self._since_pause = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session!r}>"

    # a resource

    async def __aenter__(self) -> Self:
        """Connects, unless `stop` is called: then there are no events.

        Raises:
            ConnectError: why it can't, within `connect_timeout` seconds.
            ConfigError: a mapping of `positions` names a partition that does not exist.
            DataLossError: records are gone that were to be read first.
            FeedClosedError: it was closed before.
        """
        self._entered = True
        self._loop = asyncio.get_running_loop()
        try:
            self._session.start()
            while not self._session.is_connected() and not self._session.stopped:
                await self._wait(None)
        except BaseException:
            await self._close(in_peace=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close(in_peace=error is None)

    async def close(self) -> None:
        """Says that the last event is done, commits, and leaves the consumer group, within `close_timeout` seconds."""
        await self._close(in_peace=True)

    def stop(self) -> None:
        """Ends `run` and the iteration after the event in hand. From any thread or signal handler; again is
        harmless.
        """
        self._session.stopped = True
        self._ring()

    @property
    def stats(self) -> FeedStats:
        """What was seen so far. From any thread."""
        return self._cursor.stats()

    # events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; waits for it. The one before it is done. Cancelled, it has taken nothing.

        Raises:
            StopAsyncIteration: `stop` was called.
            DecodeError: the next record is bad (with `on_bad_record="raise"`). Ask again to go on after it.
            ConnectError: the feed can't be had, or no longer.
            DataLossError: records are gone that were not read yet.
            FeedClosedError: it was closed.
        """
        cursor = self._cursor
        if not self._session.stopped:
            event = None if self._signals or self._since_pause >= EVENTS_BEFORE_PAUSE else cursor.peek()
            if event is None:
                event = await self._wait_for_event(None)
            else:
                self._since_pause += 1
            if event is not None:
                cursor.taken = True  # the last thing before it is handed over: see `cursor`
                return event
        await self._end()
        raise StopAsyncIteration

    async def poll(self, timeout: float) -> Event | None:  # as Feed.poll
        """The next event, or `None` after `timeout` seconds without one or when `stop` was called. The one
        before is done.

        Raises: as iterating does, but for StopAsyncIteration.
        """
        cursor = self._cursor
        if not self._session.stopped:
            event = await self._wait_for_event(asyncio.get_running_loop().time() + timeout)
            if event is not None:
                cursor.taken = True  # as above
                return event
        if self._session.stopped:
            await self._end()
        return None

    def batches(self, max_events: int = 500, max_wait: float = 0.1) -> AsyncIterator[list[Event]]:
        """Iterates lists of events: at least one, at most `max_events`, collected for at most `max_wait`
        seconds after the first. Asking for the next batch says that the last one is done, all of it.

        Raises: as iterating does, between two batches. ValueError: `max_events` is not positive, `max_wait`
        is negative.
        """
        check_batch(max_events, max_wait)
        return AsyncBatches(self, max_events, max_wait)

    def ack(self, event: RaceEvent) -> None:
        """Acknowledges an event, with `commit="manual"`. From any thread, in any order.

        Safe to call more than once for one event. Changes nothing when the event's partition is another member's by
        now, or the feed is closed.

        Args:
            event: an event that this feed handed over, or a copy of it, for example from a process pool.

        Raises:
            TypeError: it is not an event.
            ValueError: the feed acknowledges by itself (`commit="auto"`), or it did not hand over this event.
        """
        self._session.acknowledge(event)

    async def run(self, *, retry: Retry = NO_RETRY) -> None:
        """Calls the handlers for each event until `stop`, one after the other, and closes the feed if it was
        not entered.

        As `Feed.run`. A handler that is cancelled is not done, and its event comes again.

        Raises: what handlers raise, and as iterating does, but for StopAsyncIteration.
        """
        if self._entered:
            await self._handle_all(retry)
        else:
            try:
                await self._handle_all(retry)
            except BaseException:
                await self._close(in_peace=False)
                raise

    async def _handle_all(self, retry: Retry) -> None:
        while (event := await self._wait_for_event(None, retry)) is not None and await self._handled(event, retry):
            self._cursor.taken = True  # not before: what was not handled is shown again
        await self._end()

    async def _handled(self, event: Event | Signal, retry: Retry) -> bool:
        """Calls the handlers for it; `False` when the feed was stopped before all of them returned."""
        for handler, arguments in self._dispatcher.calls(event):
            if not await self._called(handler, arguments, retry):
                return False
        return True

    async def _called(self, handler: Handler, arguments: tuple[object, ...], retry: Retry) -> bool:
        """Calls the handler until it returns; `False` when the feed was stopped before it did."""
        waits = retry.waits()
        loop = asyncio.get_running_loop()
        while True:
            try:
                answer = handler(*arguments)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                wait = next(waits, None)
                if wait is None:
                    raise
                log.warning("handler %r failed, calling it again in %.3g s: %r", handler, wait, error)
            else:
                return True
            deadline = loop.time() + wait
            while (left := deadline - loop.time()) > 0:
                if self._session.stopped:
                    return False
                await self._wait(left)

    async def _next_batch(self, max_events: int, max_wait: float) -> list[Event]:
        """The next batch, or an empty one when the feed was stopped. See `batches`."""
        cursor = self._cursor
        loop = asyncio.get_running_loop()
        while not self._session.stopped:
            batch: list[Event] = []
            event = await self._wait_for_event(None)
            deadline = loop.time() + max_wait
            while event is not None:
                batch.append(event)
                if len(batch) == max_events:
                    break
                event = cursor.gather()
                while event is None and not cursor.is_blocked and (left := deadline - loop.time()) > 0:
                    if self._session.stopped or self._signals:
                        break
                    await self._wait(left)
                    event = cursor.gather()
            if batch and not self._signals:
                self._since_pause += len(batch) - 1
                return batch
            # what was collected is shown again after the signal, unless it was lost
        await self._end()
        return []

    # waiting

    async def _pause(self) -> None:
        """Gives the application's other tasks their turn, after the event in hand."""
        self._cursor.settle()
        self._since_pause = 0
        await asyncio.sleep(0)

    async def _wait_for_event(self, deadline: float | None, retry: Retry = NO_RETRY) -> Event | None:
        """The next event, not taken yet; `None` when the feed is stopped or at the deadline (the loop's time).
        Tells the signals there are.
        """
        session = self._session
        loop = self._loop = asyncio.get_running_loop()
        while not session.stopped:
            if self._since_pause >= EVENTS_BEFORE_PAUSE:
                await self._pause()
                continue
            if self._signals:
                await self._tell(retry)
                continue
            event = session.show()
            if event is not None:
                self._since_pause += 1
                return event
            timeout = None if deadline is None else deadline - loop.time()
            if timeout is not None and not timeout > 0:  # also a NaN
                return None
            await self._wait(timeout)
        return None

    async def _tell(self, retry: Retry) -> None:  # as Feed._tell
        """Calls the handlers for the oldest signal, after the event in hand. Cancelled, it is told again."""
        self._cursor.settle()
        try:
            if await self._handled(self._signals[0], retry):
                self._signals.popleft()
        except StopAsyncIteration as stop:
            raise RuntimeError("a handler of signals raised StopAsyncIteration") from stop

    async def _wait(self, timeout: float | None) -> None:  # a deadline is kept by the callers
        if timeout is None:
            await self._bell.wait()
        else:
            handle = asyncio.get_running_loop().call_later(timeout, self._bell.set)
            try:
                await self._bell.wait()
            finally:
                handle.cancel()
        self._bell.clear()

    def _ring(self) -> None:
        """Wakes the waiting task, from any thread."""
        loop = self._loop
        if loop is not None and not self._bell.is_set():
            try:
                loop.call_soon_threadsafe(self._bell.set)
            except RuntimeError:  # the loop is closed: nobody waits
                log.debug("the event loop is closed; nobody to wake")

    async def _close(self, *, in_peace: bool) -> None:
        """Closes; cancelled, it goes on by itself."""
        self._loop = asyncio.get_running_loop()
        self._session.leave(in_peace=in_peace)
        while (left := self._session.intake.time_to_leave) > 0:
            await self._wait(left)
        self._session.check_left()

    async def _end(self) -> None:
        """The iteration is over."""
        if self._session.closed:
            self._session.start()  # raises FeedClosedError
        if not self._entered:
            await self._close(in_peace=True)


class AsyncBatches(AsyncIterator[list[Event]]):
    """What `AsyncFeed.batches` answers. After a `DecodeError` it goes on, if asked."""

    def __init__(self, feed: AsyncFeed, max_events: int, max_wait: float) -> None:
        self._feed = feed
        self._max_events = max_events
        self._max_wait = max_wait

    async def __anext__(self) -> list[Event]:
        batch = await self._feed._next_batch(self._max_events, self._max_wait)  # noqa: SLF001  # one idea in two classes
        if not batch:
            raise StopAsyncIteration
        self._feed._cursor.taken = True  # noqa: SLF001  # the last thing before it is handed over: see `cursor`
        return batch
