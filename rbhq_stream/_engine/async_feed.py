"""`AsyncFeed`: a feed in the application's own event loop. It performs the driver's steps by awaiting.

The poll thread wakes it once for each batch of records, not once for each record. Everything that waits can be
cancelled, and a cancelled wait loses no event.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Literal, TypeVar

from typing_extensions import Self

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.concurrent_driver import ConcurrentDriver, Job, Limits, Run
from rbhq_stream._engine.cursor import OnBadRecord
from rbhq_stream._engine.driver import check_batch
from rbhq_stream._engine.event_count import EventCount
from rbhq_stream._engine.handler_tasks import HandlerTasks
from rbhq_stream._engine.immediate import ImmediateTasks
from rbhq_stream._engine.steps import Call, LetOthersRun, Raise, Steps, Wait
from rbhq_stream._engine.unfinished_work import check_result
from rbhq_stream._recording import RecordTo
from rbhq_stream.errors import FeedInUseError
from rbhq_stream.events import Event
from rbhq_stream.health import HealthRules
from rbhq_stream.positions import Positions
from rbhq_stream.retry import NO_RETRY, Retry
from rbhq_stream.source import Source

_T = TypeVar("_T")

EVENTS_PER_TURN = 50
"""While events are waiting, `AsyncFeed` lets the application's other tasks run after this many events."""


class AsyncFeed(ConcurrentDriver):
    """RBHQ's feed as typed events, at least once, for one task of an asyncio application.

    It works like `Feed`, with `async with`, `async for` and `await`. Handlers may be coroutine functions or plain
    functions. It is not bound to an event loop: it may be read in one after the other, for example by two calls of
    `asyncio.run`, and closed in any of them. `stop` may be called from any thread, task or signal handler.

    Args:
        config: the access data that RBHQ gave you, and the settings of the feed.
        commit: as for `Feed`.
        on_bad_record: as for `Feed`. A callable is called in the event loop's thread and should not block for long.
        source: as for `Feed`.
        record_to: as for `Feed`.
        positions: as for `Feed`. A callable is a plain function and is called on the poll thread.
        health: as for `Feed`.
        order: as for `Feed`.
    """

    def __init__(
        self,
        config: FeedConfig,
        *,
        commit: Literal["auto", "manual"] = "auto",
        on_bad_record: OnBadRecord = "raise",
        source: Source | None = None,
        record_to: RecordTo | str | os.PathLike[str] | None = None,
        positions: Positions | None = None,
        health: HealthRules | None = None,
        order: Literal["arrival", "time"] = "arrival",
    ) -> None:
        self._changes = EventCount()
        self._tasks = ImmediateTasks(self._note_failed_handler)
        self._immediate = self._tasks
        self._handler_tasks: HandlerTasks | None = None
        self._continued = 0  # how many events were handled since a task was started
        super().__init__(
            config,
            commit=commit,
            on_bad_record=on_bad_record,
            source=source,
            record_to=record_to,
            positions=positions,
            health=health,
            order=order,
            may_await=True,
            wake=self._changes.notify,
            events_per_turn=EVENTS_PER_TURN,
        )

    # a resource

    async def __aenter__(self) -> Self:
        """Connects, and returns when the subscription works, or when `stop` was called, in which case there are no
        events.

        Raises:
            ConnectError: the feed could not connect within `connect_timeout` seconds.
            ConfigError: a mapping of `positions` names a partition that does not exist.
            DataLossError: the first records to read were deleted from the brokers.
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

        Idempotent. If it is cancelled, the poll thread continues to close the feed by itself.
        """
        await self._perform(self._close(is_normal=True))

    # events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Acknowledges the current event, waits for the next one and returns it. If it is cancelled, no event is lost.

        Raises:
            StopAsyncIteration: `stop` was called.
            DecodeError: the next record is bad (with `on_bad_record="raise"`). The next call continues after it.
            ConnectError: the feed can't connect, or a permanent error has ended it.
            DataLossError: the next records were deleted from the brokers before they were read.
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
        """Acknowledges the current event and returns the next one. If it is cancelled, no event is lost.

        Args:
            timeout: seconds to wait for it.

        Returns:
            The event, or `None` if none arrived in time or `stop` was called.

        Raises:
            DecodeError: the next record is bad (with `on_bad_record="raise"`). The next call continues after it.
            ConnectError: the feed can't connect, or a permanent error has ended it.
            DataLossError: the next records were deleted from the brokers before they were read.
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
        """Iterates over lists of events. Requesting the next batch acknowledges all of the current one.

        Args:
            max_events: the maximum number of events in a batch. A batch has at least one.
            max_wait: seconds to wait for more events after the first one.

        Raises:
            ValueError: `max_events` is not positive, or `max_wait` is negative.
            DecodeError: the next record is bad, raised between two batches. The next call continues after it.
            ConnectError: the feed can't connect, or a permanent error has ended it.
            DataLossError: the next records were deleted from the brokers before they were read.
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

    async def run(
        self,
        *,
        retry: Retry = NO_RETRY,
        concurrency: int = 1,
        max_in_flight: int | None = None,
        drain_timeout: float = math.inf,
    ) -> None:
        """Calls the handlers for each event until `stop`, and closes the feed if it was not entered by `async with`.

        It works like `Feed.run`. When it is cancelled, so are the handlers that are running. An event whose handler is
        cancelled is not acknowledged, and is delivered again.

        Args:
            retry: how often a handler that raised is called again, and after which pauses.
            concurrency: the maximum number of events whose handlers run at the same time, each in a task of its own.
                The events of one race are handled one after the other, in the order in which they arrived. Handlers for
                signals are called in the task that called `run`, those for `HealthChanged` immediately, the others
                while no other handler is running.
            max_in_flight: the maximum number of events that are taken from the buffer and not finished, if
                `concurrency` is more than 1. Events that wait for an earlier one of their race count too. The default
                is 1,000, or twice `concurrency` if that is more.
            drain_timeout: when the run ends, the maximum time to wait for the handlers that are running, in seconds, if
                `concurrency` is more than 1. Handlers that have not returned by then are cancelled.

        Raises:
            ValueError: an argument is out of range.
            Exception: what a handler raised.
            TypeError: a handler returned without running its code: see `on`. It is not called again.
            DecodeError: a record is bad (with `on_bad_record="raise"`).
            ConnectError: the feed can't connect, or a permanent error has ended it.
            DataLossError: the next records were deleted from the brokers before they were read.
            FeedClosedError: the feed was closed.
            ForkedFeedError: the feed was entered before this process was forked.
            FeedInUseError: another event loop is reading it.
        """
        limits = Limits.of("concurrency", concurrency, max_in_flight, drain_timeout)
        if self._is_entered:
            await self._run(limits, retry)
        else:
            try:
                await self._run(limits, retry)
            except BaseException:
                await self._perform(self._close(is_normal=False))
                raise

    async def _run(self, limits: Limits, retry: Retry) -> None:
        if limits.at_once == 1:
            await self._perform(self._handle_all(retry))
            return
        run = self._new_run(limits, retry)
        self._handler_tasks = tasks = HandlerTasks()
        try:
            await self._run_in(tasks, run)
        except BaseException as error:
            self._end_run()
            if error is run.refusal:
                self._cursor.refuse()  # not before: another exception, by an interrupt, would take its place
            raise
        self._end_run()
        await self._perform(self._conclude(run))

    async def _run_in(self, tasks: HandlerTasks, run: Run) -> None:
        try:
            await self._perform(self._handle_at_once(run))
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._perform(self._drain(run, tasks.is_over, then="cancelled"))
            raise
        else:
            if not self._session.is_forked:  # in a child process the handlers are not waited for
                await self._perform(self._drain(run, tasks.is_over, then="cancelled"))
        finally:
            run.expect_cancellations()
            await tasks.cancel()
            self._collect(run)  # a handler may have returned although it was cancelled

    def _start(self, job: Job) -> None:
        run, tasks = self._current_run, self._handler_tasks
        assert run is not None, "it is a step of one"
        assert tasks is not None, "it is a step of a run that has some"
        self._continued = 0
        tasks.start(self._work(run, job))

    async def _work(self, run: Run, first: Job) -> None:
        """Attempts to handle an event, and then the next ones. A task of its own.

        A new task for each event would start it two turns of the event loop later. But it must not keep the event loop
        to itself, should the handlers be plain functions.
        """
        job: Job | None = first
        while job is not None:
            try:
                result = await self._perform(self._attempt(job))
            except BaseException as error:  # noqa: BLE001  # `run` raises it
                self._report(run, job, error)
                return
            self._report(run, job, result)
            self._continued += 1
            if self._session.is_stopped or run.is_ending or self._continued > EVENTS_PER_TURN:
                return
            self._collect(run)
            job = self._next_job(run) if run.failure is None else None

    # performing steps

    async def _perform(self, steps: Steps[_T]) -> _T:
        """Performs the steps of an operation and returns its result."""
        self._note_loop()
        outcome: Exception | None = None
        while True:
            since = self._changes.now  # before the driver checks anything, so that no wake-up is missed
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
            elif isinstance(step, LetOthersRun):
                await asyncio.sleep(0)
            elif isinstance(step, Raise):
                raise step.error
            else:
                self._start(step.job)

    def _note_loop(self) -> None:
        """Has immediate handlers called in this event loop, unless another one is reading the feed."""
        # in a forked process there is no running event loop
        if not self._session.is_forked and not self._changes.is_awaited_elsewhere():
            self._tasks.use(asyncio.get_running_loop())

    def _check_alone(self) -> None:
        """Checks that no other event loop reads the feed, because each would acknowledge the other's current event."""
        if self._changes.is_awaited_elsewhere():
            raise FeedInUseError(
                "this feed is being read by a task in another event loop, but only one task at a time may read a feed."
                " End that task first, or make a feed for each event loop"
            )


class _Batches(AsyncIterator[list[Event]]):
    """An iterator over batches. It is not a generator, because the first `DecodeError` would end a generator."""

    def __init__(self, batch: Callable[[], Awaitable[list[Event]]]) -> None:
        self._batch = batch

    def __anext__(self) -> Awaitable[list[Event]]:
        return self._batch()
