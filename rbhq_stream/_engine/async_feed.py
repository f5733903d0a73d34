"""`AsyncFeed`: the same feed in the event loop of the application. It performs the driver's steps by awaiting.

The poll thread wakes it once for a batch of records, not once for each. Everything that waits can be cancelled: a
cancelled wait has taken nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Literal, TypeVar

from typing_extensions import Self

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.cursor import OnBadRecord
from rbhq_stream._engine.driver import Call, Driver, Raise, Steps, Wait, check_batch
from rbhq_stream._engine.event_count import EventCount
from rbhq_stream._engine.unfinished_work import check_result
from rbhq_stream.errors import FeedInUseError
from rbhq_stream.events import Event
from rbhq_stream.positions import Positions
from rbhq_stream.retry import NO_RETRY, Retry
from rbhq_stream.source import Source

_T = TypeVar("_T")

EVENTS_PER_TURN = 50
"""While events are waiting, the other tasks of the application get their turn after so many."""


class AsyncFeed(Driver):
    """RBHQ's feed as typed events, at least once, for one task of an asyncio application.

    As `Feed`, with `async with`, `async for` and `await`; handlers may be coroutine functions or plain functions. It
    belongs to no event loop: it may be read in one after the other, for example by two calls of `asyncio.run`, and
    closed in any. `stop` may be called from any thread, task or signal handler.

    Args:
        config: what RBHQ gave you.
        commit: as for `Feed`.
        on_bad_record: as for `Feed`. A callable is called in the event loop's thread and should not block for long.
        source: as for `Feed`.
        positions: as for `Feed`. A callable is a plain function and is called on the poll thread.
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
        self._changes = EventCount()
        super().__init__(
            config,
            commit=commit,
            on_bad_record=on_bad_record,
            source=source,
            positions=positions,
            may_await=True,
            wake=self._changes.notify,
            events_per_turn=EVENTS_PER_TURN,
        )

    # a resource

    async def __aenter__(self) -> Self:
        """Connects, and returns when the subscription works or `stop` was called. Then there are no events.

        Raises:
            ConnectError: why it can't, within `connect_timeout` seconds.
            ConfigError: a mapping of `positions` names a partition that does not exist.
            DataLossError: records that were to be read first are gone.
            FeedClosedError: the feed was closed before.
            ForkedFeedError: the feed was entered before this process was forked.
            FeedInUseError: another event loop is reading it.
        """
        self._check_alone()
        self._is_entered = True
        try:
            await self._perform(self._connect())
        except BaseException:
            await self._perform(self._close(is_normal=False))
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._perform(self._close(is_normal=error is None))

    async def close(self) -> None:
        """Acknowledges the current event, commits, and leaves the consumer group, within `close_timeout` seconds.

        Idempotent. When it is cancelled the poll thread goes on closing by itself.
        """
        await self._perform(self._close(is_normal=True))

    # events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Acknowledges the current event, waits for the next one and returns it. Cancelled, it has taken nothing.

        Raises:
            StopAsyncIteration: `stop` was called.
            DecodeError: the next record is bad (with `on_bad_record="raise"`). Iterating on continues after it.
            ConnectError: the feed can't be had, or no longer.
            DataLossError: records that were not read yet are gone.
            FeedClosedError: the feed was closed.
            ForkedFeedError: the feed was entered before this process was forked.
            FeedInUseError: another event loop is reading it.
        """
        event = None
        if not self._session.is_stopped:
            if not self._signals and self._events_this_turn < EVENTS_PER_TURN:
                event = self._cursor.next(self._handed_over)
            if event is None:
                event = await self._perform(self._next_event(None))
            else:
                self._events_this_turn += 1
        if event is None:
            await self._perform(self._finish())
            raise StopAsyncIteration
        self._handed_over = event
        return event

    async def poll(self, timeout: float) -> Event | None:
        """Acknowledges the current event and returns the next one. Cancelled, it has taken nothing.

        Args:
            timeout: seconds to wait for it.

        Returns:
            The event, or `None` when none came in time or `stop` was called.

        Raises:
            DecodeError: the next record is bad (with `on_bad_record="raise"`). The next call goes on after it.
            ConnectError: the feed can't be had, or no longer.
            DataLossError: records that were not read yet are gone.
            FeedClosedError: the feed was closed.
            ForkedFeedError: the feed was entered before this process was forked.
            FeedInUseError: another event loop is reading it.
        """
        event = await self._perform(self._next_event(self._clock() + timeout))
        if event is None:
            if self._session.is_stopped:
                await self._perform(self._finish())
            return None
        self._handed_over = event
        return event

    def batches(self, max_events: int = 500, max_wait: float = 0.1) -> AsyncIterator[list[Event]]:
        """Iterates lists of events. Requesting the next batch acknowledges the current one, all of it.

        Args:
            max_events: the most events in a batch. It holds one at least.
            max_wait: seconds to collect after the first event.

        Raises:
            ValueError: `max_events` is not positive, or `max_wait` is negative.
            DecodeError: between two batches, as iterating does. Iterating on continues after it.
            ConnectError: the feed can't be had, or no longer.
            DataLossError: records that were not read yet are gone.
            FeedClosedError: the feed was closed.
            ForkedFeedError: the feed was entered before this process was forked.
            FeedInUseError: another event loop is reading it.
        """
        self._session.check_process()
        check_batch(max_events, max_wait)

        async def batch() -> list[Event]:
            events = await self._perform(self._next_batch(max_events, max_wait))
            if not events:
                raise StopAsyncIteration
            self._handed_over = events[-1]
            return events

        return _Batches(batch)

    async def run(self, *, retry: Retry = NO_RETRY) -> None:
        """Calls the handlers for each event until `stop`, and closes the feed if it was not entered by `async with`.

        As `Feed.run`. An event whose handler is cancelled is not acknowledged, and is delivered again.

        Args:
            retry: how often and after which waits a handler that raised is called again.

        Raises:
            Exception: what a handler raised.
            TypeError: a handler returned without having run: see `on`. It is not called again.
            DecodeError: a record is bad (with `on_bad_record="raise"`).
            ConnectError: the feed can't be had, or no longer.
            DataLossError: records that were not read yet are gone.
            FeedClosedError: the feed was closed.
            ForkedFeedError: the feed was entered before this process was forked.
            FeedInUseError: another event loop is reading it.
        """
        if self._is_entered:
            await self._perform(self._handle_all(retry))
        else:
            try:
                await self._perform(self._handle_all(retry))
            except BaseException:
                await self._perform(self._close(is_normal=False))
                raise

    # performing steps

    async def _perform(self, steps: Steps[_T]) -> _T:
        """Performs the steps of an operation and returns its result."""
        outcome: Exception | None = None
        while True:
            since = self._changes.now  # before the driver looks at anything
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                returned: _T = end.value
                return returned
            outcome = None
            if isinstance(step, Call):
                try:
                    result = step.handler(*step.arguments)
                    if inspect.isawaitable(result):
                        result = await result
                except Exception as error:  # noqa: BLE001  # the driver decides whether it is called again
                    outcome = error
                else:
                    if result is not None:
                        check_result(result, f"the handler of {type(step.arguments[0]).__name__}", step.handler)
            elif isinstance(step, Wait):
                if not self._session.is_closed:
                    self._check_alone()
                await self._changes.wait(since, step.timeout)
            elif isinstance(step, Raise):
                raise step.error
            else:
                await asyncio.sleep(0)

    def _check_alone(self) -> None:
        """Checks that no other event loop reads the feed: the one would acknowledge the other's current event."""
        if self._changes.is_awaited_elsewhere():
            raise FeedInUseError(
                "this feed is being read in another event loop, in another thread: one task at a time may read a feed."
                " End that task first, or make a feed for each event loop"
            )


class _Batches(AsyncIterator[list[Event]]):
    """Not a generator, which would end with the first `DecodeError`."""

    def __init__(self, batch: Callable[[], Awaitable[list[Event]]]) -> None:
        self._batch = batch

    def __anext__(self) -> Awaitable[list[Event]]:
        return self._batch()
