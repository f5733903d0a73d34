"""`Feed`: RBHQ's events by iteration or by callbacks, in the caller's own thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
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


class Feed(Handlers):
    """RBHQ's feed as typed events, at least once, for one thread of the application.

    Iterate it, or register handlers with `on` and call `run`. Nothing touches the network before it is
    entered (`with`), iterated or run. Asking for the next event says that the last one is done; leaving the
    `with` block in peace says so too, leaving it by an exception doesn't, and that event comes again after a
    restart. `stop` may be called from any thread or signal handler; everything else belongs to one thread at
    a time.

    Args:
        config: what RBHQ gave you.
        commit: `"auto"` as above, or `"manual"`: an event is done when it was passed to `ack`, in any order.
        on_bad_record: what to do with a record that can't be decoded: `"raise"` its `DecodeError` (iterating
        goes on after it),
            `"skip"` it (an ERROR in the log, and counted in `stats`), or a callable that stores it, such as a
            dead-letter sink: the record is done when it returns, and comes again if it raises.
        source: where the records come from instead of Kafka; for tests and replays.
        positions: the offsets to begin at, `{(topic, partition): offset}`, or a callable that is asked for them each
            time partitions are assigned, on the feed's poll thread; what it raises ends the feed. See `SqlOffsets`.
            The partitions it doesn't name start at the group's committed offsets, else at `config.start`.
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
        super().__init__(may_await=False)
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._session = Session(config, commit, on_bad_record, source, self._ring, positions=positions)
        self._cursor = self._session.cursor
        self._signals = self._session.signals
        self._entered = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session!r}>"

    # a resource

    def __enter__(self) -> Self:
        """Connects, unless `stop` is called: then there are no events.

        Raises:
            ConnectError: why it can't, within `connect_timeout` seconds.
            ConfigError: a mapping of `positions` names a partition that does not exist.
            DataLossError: records are gone that were to be read first.
            FeedClosedError: it was closed before.
        """
        self._entered = True
        try:
            self._session.start()
            while not self._session.is_connected() and not self._session.stopped:
                self._wait(None)
        except BaseException:
            self._session.close(in_peace=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close(in_peace=error is None)

    def close(self) -> None:
        """Says that the last event is done, commits, and leaves the consumer group, within `close_timeout` seconds."""
        self._session.close(in_peace=True)

    def stop(self) -> None:
        """Ends `run` and the iteration after the event in hand. From any thread or signal handler; again is
        harmless.
        """
        self._session.stopped = True
        self._bell.put(None)

    @property
    def stats(self) -> FeedStats:
        """What was seen so far. From any thread."""
        return self._cursor.stats()

    # events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """The next event; waits for it. The one before it is done.

        Raises:
            StopIteration: `stop` was called.
            DecodeError: the next record is bad (with `on_bad_record="raise"`). Ask again to go on after it.
            ConnectError: the feed can't be had, or no longer.
            DataLossError: records are gone that were not read yet.
            FeedClosedError: it was closed.
        """
        cursor = self._cursor
        if not self._session.stopped:
            event = None if self._signals else cursor.peek()
            if event is None:
                event = self._wait_for_event(None)
            if event is not None:
                cursor.taken = True  # the last thing before it is handed over: see `cursor`
                return event
        self._end()
        raise StopIteration

    def poll(self, timeout: float) -> Event | None:
        """The next event, or `None` after `timeout` seconds without one or when `stop` was called. The one
        before it is done.

        Raises: as iterating does, but for StopIteration.
        """
        cursor = self._cursor
        if not self._session.stopped:
            event = self._wait_for_event(time.monotonic() + timeout)
            if event is not None:
                cursor.taken = True  # as above
                return event
        if self._session.stopped:
            self._end()
        return None

    def batches(self, max_events: int = 500, max_wait: float = 0.1) -> Iterator[list[Event]]:
        """Iterates lists of events: at least one, at most `max_events`, collected for at most `max_wait`
        seconds after the first.

        Asking for the next batch says that the last one is done, all of it.

        Raises: as iterating does, between two batches. ValueError: `max_events` is not positive, `max_wait`
        is negative.
        """
        check_batch(max_events, max_wait)
        return Batches(self, max_events, max_wait)

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

    def run(self, *, retry: Retry = NO_RETRY) -> None:
        """Calls the handlers for each event until `stop`, and closes the feed if it was not entered by `with`.

        An event is done when all its handlers returned. A handler that raises is called again as `retry`
        says. What it raises in the end ends `run` and reaches its caller; that event comes again, at the next
        `run` or after a restart.

        Raises: what handlers raise, and as iterating does, but for StopIteration.
        """
        if self._entered:
            self._handle_all(retry)
        else:
            try:
                self._handle_all(retry)
            except BaseException:
                self._session.close(in_peace=False)
                raise

    def _handle_all(self, retry: Retry) -> None:
        while (event := self._wait_for_event(None, retry)) is not None and self._handled(event, retry):
            self._cursor.taken = True  # not before: what was not handled is shown again
        self._end()

    def _handled(self, event: Event | Signal, retry: Retry) -> bool:
        """Calls the handlers for it; `False` when the feed was stopped before all of them returned."""
        for handler, arguments in self._dispatcher.calls(event):  # noqa: SIM110  # a generator can't raise StopIteration
            if not self._called(handler, arguments, retry):
                return False
        return True

    def _called(self, handler: Handler, arguments: tuple[object, ...], retry: Retry) -> bool:
        """Calls the handler until it returns; `False` when the feed was stopped before it did."""
        waits = retry.waits()
        while True:
            try:
                handler(*arguments)
            except Exception as error:
                wait = next(waits, None)
                if wait is None:
                    raise
                log.warning("handler %r failed, calling it again in %.3g s: %r", handler, wait, error)
            else:
                return True
            deadline = time.monotonic() + wait
            while (left := deadline - time.monotonic()) > 0:
                if self._session.stopped:
                    return False
                self._wait(left)

    def _next_batch(self, max_events: int, max_wait: float) -> list[Event]:
        """The next batch, or an empty one when the feed was stopped. See `batches`."""
        cursor = self._cursor
        while not self._session.stopped:
            batch: list[Event] = []
            event = self._wait_for_event(None)
            deadline = time.monotonic() + max_wait
            while event is not None:
                batch.append(event)
                if len(batch) == max_events:
                    break
                event = cursor.gather()
                while event is None and not cursor.is_blocked and (left := deadline - time.monotonic()) > 0:
                    if self._session.stopped or self._signals:
                        break
                    self._wait(left)
                    event = cursor.gather()
            if batch and not self._signals:
                return batch
            # what was collected is shown again after the signal, unless it was lost
        self._end()
        return []

    # waiting

    def _wait_for_event(self, deadline: float | None, retry: Retry = NO_RETRY) -> Event | None:
        """The next event, not taken yet; `None` when the feed is stopped or at the deadline (monotonic).
        Tells the signals there are.
        """
        session = self._session
        while not session.stopped:
            if self._signals:
                self._tell(retry)
                continue
            event = session.show()
            if event is not None:
                return event
            timeout = None if deadline is None else deadline - time.monotonic()
            if timeout is not None and not timeout > 0:  # also a NaN
                return None
            self._wait(timeout)
        return None

    def _tell(self, retry: Retry) -> None:
        """Calls the handlers for the oldest signal, after the event in hand."""
        self._cursor.settle()
        try:
            if self._handled(self._signals[0], retry):
                self._signals.popleft()  # not before: what was not handled is told again
        except (StopIteration, StopAsyncIteration) as stop:  # which would be taken for the end of the events
            raise RuntimeError("a handler of signals raised StopIteration") from stop

    def _wait(self, timeout: float | None) -> None:
        limit = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)  # the queue can't wait for longer
        with suppress(Empty):
            self._bell.get(timeout=limit)

    def _ring(self) -> None:
        if self._bell.empty():
            self._bell.put(None)

    def _end(self) -> None:
        """The iteration is over."""
        if self._session.closed:
            self._session.start()  # raises FeedClosedError
        if not self._entered:
            self._session.close(in_peace=True)


class Batches(Iterator[list[Event]]):
    """What `Feed.batches` answers. After a `DecodeError` it goes on, if asked."""

    def __init__(self, feed: Feed, max_events: int, max_wait: float) -> None:
        self._feed = feed
        self._max_events = max_events
        self._max_wait = max_wait

    def __next__(self) -> list[Event]:
        batch = self._feed._next_batch(self._max_events, self._max_wait)  # noqa: SLF001  # one idea in two classes
        if not batch:
            raise StopIteration
        self._feed._cursor.taken = True  # noqa: SLF001  # the last thing before it is handed over: see `cursor`
        return batch
