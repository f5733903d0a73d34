"""`Feed`: RBHQ's events by iteration or by callbacks, in the caller's own thread. It performs the driver's steps."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Literal, TypeVar

from typing_extensions import Self

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.concurrent_driver import ConcurrentDriver, Job, Limits, Run
from rbhq_stream._engine.cursor import OnBadRecord
from rbhq_stream._engine.dispatch import Handler
from rbhq_stream._engine.driver import check_batch
from rbhq_stream._engine.immediate import ImmediateThread
from rbhq_stream._engine.steps import Call, Raise, Start, Steps, Wait
from rbhq_stream._engine.unfinished_work import check_result
from rbhq_stream._engine.worker_threads import WorkerThreads
from rbhq_stream._recording import RecordTo
from rbhq_stream.events import Event
from rbhq_stream.health import HealthRules
from rbhq_stream.positions import Positions
from rbhq_stream.retry import NO_RETRY, Retry
from rbhq_stream.source import Source

_T = TypeVar("_T")


class Feed(ConcurrentDriver):
    """RBHQ's feed as typed events, at least once, for one thread of the application.

    Iterate over it, or register handlers with `on` and call `run`. Nothing uses the network before the feed is entered
    (`with`), iterated or run. Requesting the next event acknowledges the current one. A normal exit from the `with`
    block acknowledges it too; an exit by an exception does not, and that event is delivered again after a restart.
    `stop` may be called from any thread or signal handler. All other methods may be used by one thread at a time,
    except those that are documented for any thread.
    `run` can call the handlers for many races at the same time, on threads of its own.

    Args:
        config: the access data that RBHQ gave you, and the settings of the feed.
        commit: `"auto"` as above, or `"manual"`: each event is acknowledged by passing it to `ack`, in any order.
        on_bad_record: what to do with a record that can't be decoded: `"raise"` its `DecodeError` (requesting
            the next event continues after it), `"skip"` it (it is logged as an ERROR and counted in `stats`), or call a
            function that stores it, such as a dead-letter sink: the record is processed when the function returns, and
            delivered again if it raises.
        source: the source of the records, if it is not Kafka; for tests and replays.
        record_to: a folder to record everything in that is read, or a `RecordTo`. See `Recording`.
        positions: the offsets to start at, `{(topic, partition): offset}`, or a callable that returns them each time
            partitions are assigned. It is called on the feed's poll thread, and an exception that it raises ends the
            feed. See `SqlOffsets`. Partitions that are not named start at the group's committed offsets or, if there
            are none, at `config.start`.
        health: the limits by which `feed.health` is judged; by default those of `HealthRules()`.
        order: `"arrival"`: events are handed over as their records arrive, in order within each partition. `"time"`:
            while the feed catches up, the records of all partitions are merged by their times, so that a scratching
            comes before the result that followed it; from then on as they arrive. While it catches up, up to six times
            `config.buffer_records` may wait in memory, within `config.buffer_bytes`.

    Raises:
        ConfigError: `record_to` can't be written to, or `health` limits the silence of a topic that is not read.
        ValueError: an argument is not one of those above.
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
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._immediate = ImmediateThread(self._note_failed_handler)
        self._threads: WorkerThreads[Job] | None = None
        super().__init__(
            config,
            commit=commit,
            on_bad_record=on_bad_record,
            source=source,
            record_to=record_to,
            positions=positions,
            health=health,
            order=order,
            may_await=False,
            wake=self._ring,
        )

    # a resource

    def __enter__(self) -> Self:
        """Connects, and returns when the subscription works, or when `stop` was called, in which case there are no
        events.

        Raises:
            ConnectError: the feed could not connect within `connect_timeout` seconds.
            ConfigError: a mapping of `positions` names a partition that does not exist.
            DataLossError: the first records to read were deleted from the brokers.
            FeedClosedError: the feed was closed before.
            ForkedFeedError: the feed was entered before this process was forked.
        """
        self._is_entered = True
        try:
            self._perform(self._connect())
        except BaseException:
            self._perform(self._close(is_normal=False))
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._perform(self._close(is_normal=error is None))

    def close(self) -> None:
        """Acknowledges the current event, commits, and leaves the consumer group, within `close_timeout` seconds.

        Idempotent. After an interrupt, the poll thread continues to close the feed by itself, and `close` may be called
        again.
        """
        self._perform(self._close(is_normal=True))

    # events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """Acknowledges the current event, waits for the next one and returns it.

        Raises:
            StopIteration: `stop` was called.
            DecodeError: the next record is bad (with `on_bad_record="raise"`). The next call continues after it.
            ConnectError: the feed can't connect, or a permanent error has ended it.
            DataLossError: the next records were deleted from the brokers before they were read.
            FeedClosedError: the feed was closed.
            ForkedFeedError: the feed was entered before this process was forked.
        """
        event = None
        if not self._session.is_stopped:
            if not self._signals:
                event = self._cursor.next(self._handed_over)
            if event is None:
                event = self._perform(self._next_event(None))
        if event is None:
            self._perform(self._finish())
            raise StopIteration
        self._handed_over = event
        return event

    def poll(self, timeout: float) -> Event | None:
        """Acknowledges the current event and returns the next one.

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
        """
        event = self._perform(self._next_event(self._clock() + timeout))
        if event is None:
            if self._session.is_stopped:
                self._perform(self._finish())
            return None
        self._handed_over = event
        return event

    def batches(self, max_events: int = 500, max_wait: float = 0.1) -> Iterator[list[Event]]:
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
        """
        self._session.check_process()
        check_batch(max_events, max_wait)

        def batch() -> list[Event]:
            events = self._perform(self._next_batch(max_events, max_wait))
            if events:
                self._handed_over = events[-1]
            return events

        # Not a generator, because the first DecodeError would end it. `iter` is written in C, so no interrupt can
        # arrive between the assignment above and the application
        return iter(batch, [])

    def run(
        self,
        *,
        retry: Retry = NO_RETRY,
        workers: int = 1,
        max_in_flight: int | None = None,
        drain_timeout: float = math.inf,
    ) -> None:
        """Calls the handlers for each event until `stop`, and closes the feed if it was not entered by `with`.

        An event is acknowledged when all its handlers have returned. If a handler still raises after its retries, `run`
        raises that exception. The event is then handled again: by the next `run` if the feed is still open, otherwise
        after a restart.

        Args:
            retry: how often a handler that raised is called again, and after which pauses.
            workers: the maximum number of events whose handlers run at the same time, each on a thread of its own. The
                events of one race are handled one after the other, in the order in which they arrived. Handlers for
                signals are called in the thread that called `run`, those for `HealthChanged` immediately, the others
                while no other handler is running.
            max_in_flight: the maximum number of events that are taken from the buffer and not finished, if `workers` is
                more than 1. Events that wait for an earlier one of their race count too. The default is 1,000, or twice
                `workers` if that is more.
            drain_timeout: when the run ends, the maximum time to wait for the handlers that are running, in seconds, if
                `workers` is more than 1. Handlers that have not returned by then are abandoned: they keep running, but
                their events are not acknowledged. A second interrupt (Ctrl-C) abandons them immediately.

        Raises:
            ValueError: an argument is out of range.
            Exception: what a handler raised.
            TypeError: a handler returned without running its code: see `on`. It is not called again.
            DecodeError: a record is bad (with `on_bad_record="raise"`).
            ConnectError: the feed can't connect, or a permanent error has ended it.
            DataLossError: the next records were deleted from the brokers before they were read.
            FeedClosedError: the feed was closed.
            ForkedFeedError: the feed was entered before this process was forked.
        """
        limits = Limits.of("workers", workers, max_in_flight, drain_timeout)
        if self._is_entered:
            self._run(limits, retry)
        else:
            try:
                self._run(limits, retry)
            except BaseException:
                self._perform(self._close(is_normal=False))
                raise

    def _run(self, limits: Limits, retry: Retry) -> None:
        if limits.at_once == 1:
            self._handle_each(retry)
            return
        run = self._new_run(limits, retry)
        self._threads = threads = WorkerThreads(limits.at_once, partial(self._work, run), self._ring)
        try:
            self._run_on(threads, run)
        except BaseException as error:
            threads.close()  # again: an interrupt may have left it half done
            self._end_run()
            if error is run.refusal:
                self._cursor.refuse()  # not before: another exception, by an interrupt, would take its place
            raise
        self._end_run()
        self._perform(self._conclude(run))

    def _handle_each(self, retry: Retry) -> None:
        """Does what the driver's `_handle_all` does, but without its steps while events are waiting: they take as long
        as many a handler.
        """
        session, cursor, signals, dispatcher = self._session, self._cursor, self._signals, self._dispatcher
        is_handled = True
        while is_handled:
            event = None if signals or session.is_stopped else cursor.next(self._handed_over)
            if event is None:
                event = self._perform(self._next_event(None, retry))
                if event is None:
                    break
            for handler in dispatcher.whole(event):
                if session.is_forked:  # a handler before it may have forked
                    session.check_process()
                failed = result = None
                try:
                    result = handler(event)
                except Exception as error:  # noqa: BLE001  # the driver decides whether it is called again
                    failed = error
                if failed is not None:
                    is_handled = self._perform(self._call_again(event, handler, (event,), failed, retry))
                    if not is_handled:
                        break
                elif result is not None:
                    check_result(result, f"the handler of {type(event).__name__}", handler)
            if is_handled and dispatcher.has_parts:
                is_handled = self._handle_parts(event, retry)
            if is_handled:
                self._handed_over = event  # not before: an event that was not handled is shown again
        self._perform(self._finish())

    def _handle_parts(self, event: Event, retry: Retry) -> bool:
        """Calls the handlers for the parts of an event.

        Returns:
            `False` when the feed was stopped before all of them had returned.
        """
        for handler, arguments in self._dispatcher.calls_for_parts(event):
            self._session.check_process()  # a handler before it may have forked
            error = self._call(handler, arguments)
            if error is not None and not self._perform(self._call_again(event, handler, arguments, error, retry)):
                return False
        return True

    def _run_on(self, threads: WorkerThreads[Job], run: Run) -> None:
        try:
            threads.start()
            self._perform(self._handle_at_once(run))
        finally:
            threads.close()
            self._perform(self._drain(run, threads.is_over, then="abandoned"))

    def _work(self, run: Run, job: Job) -> None:
        """Attempts to handle an event. On a worker thread."""
        try:
            result = self._perform(self._attempt(job))
        except BaseException as error:  # noqa: BLE001  # `run` raises it
            self._report(run, job, error)
        else:
            self._report(run, job, result)
        self._session.check_process()  # a handler may have forked: in the child this thread is the only one

    # performing steps

    def _perform(self, steps: Steps[_T]) -> _T:
        """Performs the steps of an operation and returns its result."""
        outcome: Exception | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                returned: _T = end.value
                return returned
            outcome = None
            if isinstance(step, Call):
                outcome = self._call(step.handler, step.arguments)
            elif isinstance(step, Wait):
                self._wait(step.timeout)
            elif isinstance(step, Raise):
                raise step.error
            elif isinstance(step, Start):
                assert self._threads is not None, "it is a step of a run that has some"
                self._threads.put(step.job)

    @staticmethod
    def _call(handler: Handler, arguments: tuple[object, ...]) -> Exception | None:
        """Calls a handler.

        Returns:
            What it raised.

        Raises:
            TypeError: it returned without running its code.
        """
        try:
            result = handler(*arguments)
        except Exception as error:  # noqa: BLE001  # the driver decides whether it is called again
            return error
        if result is not None:
            check_result(result, f"the handler of {type(arguments[0]).__name__}", handler)
        return None

    def _wait(self, timeout: float | None) -> None:
        limit = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)  # no queue can wait longer
        with suppress(Empty):
            self._bell.get(timeout=limit)

    def _ring(self) -> None:
        if self._bell.empty():
            self._bell.put(None)
