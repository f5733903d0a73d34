"""`Driver`: how a feed waits, batches, retries and delivers signals, written once for `Feed` and `AsyncFeed`.

Each operation is a generator that decides what happens next, but does not wait itself. It yields steps: wait, call this
handler, let other tasks run, raise this error. The facade performs each step in its own way, blocking or awaiting, and
sends back the exception if a handler raised one. Everything that must survive an interrupt is an attribute, because a
generator that an interrupt has ended is dropped, and the next operation starts a new one.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from typing import Literal

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.cursor import FeedStats, OnBadRecord
from rbhq_stream._engine.dispatch import Handler, Handlers
from rbhq_stream._engine.immediate import Immediate
from rbhq_stream._engine.session import FailedHandler, Session
from rbhq_stream._engine.steps import Call, LetOthersRun, Raise, Steps, Wait
from rbhq_stream._engine.time_order import Window
from rbhq_stream._recording import RecordTo
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.health import Health, HealthRules
from rbhq_stream.positions import Positions
from rbhq_stream.retry import NO_RETRY, Retry
from rbhq_stream.signals import Signal
from rbhq_stream.source import Source

_log = logging.getLogger("rbhq_stream")

LAST_SIGNALS_TIMEOUT = 1.0
"""Seconds that closing waits at most until handlers that are called immediately have handled the last signals."""
LAST_SIGNALS_INTERVAL = 0.02
"""Seconds between two looks whether they have."""
CLOSE_CHECK_INTERVAL = 0.1
"""Seconds between two checks whether the poll thread has ended. They are needed because another thread may have
consumed the wake-up."""


class Driver(Handlers):
    """The base class of `Feed` and `AsyncFeed`, which perform its steps. They set `_immediate` first.

    Those that read only a time range set `_window` as well.

    Args:
        wake: wakes the thread or task that performs a `Wait`. Called from any thread.
        events_per_turn: while events are waiting, let other tasks run after this many events.
        clock: the time in seconds, monotonic.
    """

    _immediate: Immediate
    _window: Window | None = None

    def __init__(
        self,
        config: FeedConfig,
        *,
        commit: Literal["auto", "manual"],
        on_bad_record: OnBadRecord,
        source: Source | None,
        record_to: RecordTo | str | os.PathLike[str] | None,
        positions: Positions | None,
        health: HealthRules | None,
        order: Literal["arrival", "time"],
        may_await: bool,
        wake: Callable[[], None],
        events_per_turn: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(may_await=may_await)
        self._config = config
        self._session = Session(
            config,
            commit,
            on_bad_record,
            source,
            wake,
            record_to=record_to,
            rules=health or HealthRules(),
            immediate=self._deliver_immediately,
            oldest_start=lambda: self._oldest_start,
            positions=positions,
            order=order,
            window=self._window,
            clock=clock,
        )
        self._cursor = self._session.cursor
        self._signals = self._session.signals
        self._wake = wake
        self._events_per_turn = events_per_turn
        self._events_this_turn = 0
        self._clock = clock
        self._is_entered = False
        self._handed_over: Event | None = None
        """The last event that the application got. It is assigned directly before an event or a batch is returned: see
        `cursor`.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session!r}>"

    def stop(self) -> None:
        """Ends `run` and the iteration after the current event. Idempotent. From any thread or signal handler.

        Raises:
            ForkedFeedError: the feed was entered before this process was forked.
        """
        self._session.check_process()
        self._session.is_stopped = True
        self._wake()

    @property
    def config(self) -> FeedConfig:
        """The configuration that the feed was made with."""
        return self._config

    @property
    def stats(self) -> FeedStats:
        """The counts of events and records so far. From any thread.

        Raises:
            ForkedFeedError: the feed was entered before this process was forked.
        """
        self._session.check_process()
        return self._cursor.stats(self._handed_over)

    @property
    def _oldest_start(self) -> float | None:
        """When the longest running handler began, if several run at once. From any thread."""
        return None

    @property
    def health(self) -> Health:
        """Whether the feed can be trusted at present, and why. From any thread, at any time.

        Raises:
            ForkedFeedError: the feed was entered before this process was forked.
        """
        self._session.check_process()
        return self._session.health

    def ack(self, event: RaceEvent) -> None:
        """Acknowledges an event, with `commit="manual"`. From any thread, in any order.

        Safe to call more than once for one event. Has no effect when the event's partition is now assigned to another
        member, or when the feed is closed.

        Args:
            event: an event that this feed handed over, or a copy of it, for example from a process pool.

        Raises:
            TypeError: it is not an event.
            ValueError: the feed has `commit="auto"`, or it did not hand over this event.
            ForkedFeedError: the feed was entered before this process was forked.
        """
        self._session.check_process()
        self._session.acknowledge(event)

    def _deliver_immediately(self, signal: Signal) -> None:
        handlers = self._dispatcher.immediate(signal)
        if handlers:
            self._immediate.deliver(signal, handlers)

    def _note_failed_handler(self, error: BaseException) -> None:
        self._session.note_failed_handler(error)

    def _check_usable(self) -> None:
        self._session.check_process()

    # operations, as steps

    def _connect(self) -> Steps[None]:
        """Starts the feed and waits until the subscription works or `stop` is called."""
        session = self._session
        session.start()
        while not session.is_connected() and not session.is_stopped:
            yield Wait(None)

    def _next_event(self, deadline: float | None, retry: Retry = NO_RETRY) -> Steps[Event | None]:
        """Returns the next event, which is shown but not handed over yet. Delivers signals first.

        Returns:
            `None` when the feed is stopped or at the deadline (by the clock).
        """
        session = self._session
        while not session.is_stopped:
            if self._events_this_turn >= self._events_per_turn:
                self._cursor.settle(self._handed_over)
                self._events_this_turn = 0
                yield LetOthersRun()
                continue
            if self._signals:
                yield from self._deliver_signal(retry)
                continue
            event = session.show(self._handed_over)
            if event is not None:
                self._events_this_turn += 1
                return event
            if self._signals:
                continue
            timeout = None if deadline is None else deadline - self._clock()
            if timeout is not None and not timeout > 0:  # also a NaN
                return None
            yield Wait(timeout)
        return None

    def _next_batch(self, max_events: int, max_wait: float) -> Steps[list[Event]]:
        """Returns the next batch, or an empty one when the feed is stopped. See `Feed.batches`."""
        cursor, session = self._cursor, self._session
        while not session.is_stopped:
            batch: list[Event] = []
            event = yield from self._next_event(None)
            deadline = self._clock() + max_wait
            while event is not None:
                batch.append(event)
                if len(batch) == max_events:
                    break
                event = cursor.gather()
                while event is None and not cursor.is_batch_ended and (left := deadline - self._clock()) > 0:
                    if session.is_stopped or self._signals:
                        break
                    yield Wait(left)
                    event = cursor.gather()
            if batch and not self._signals:
                self._events_this_turn += len(batch) - 1
                return batch
            # the signal comes first: what was collected is shown again after it, unless its partition was lost
        yield from self._finish()
        return []

    def _handle_all(self, retry: Retry) -> Steps[None]:
        """Calls the handlers for each event until the feed is stopped."""
        while (event := (yield from self._next_event(None, retry))) is not None:
            if not (yield from self._handle(event, retry)):
                break
            self._handed_over = event  # not before: an event that was not handled is shown again
        yield from self._finish()

    def _handle(self, item: Event | Signal, retry: Retry) -> Steps[bool]:
        """Calls the handlers for an event or a signal.

        Returns:
            `False` when the feed was stopped before all of them had returned.
        """
        for handler, arguments in self._dispatcher.calls(item):
            self._session.check_process()  # a handler before it may have forked
            error = yield Call(handler, arguments)
            if error is not None and not (yield from self._call_again(item, handler, arguments, error, retry)):
                return False
        return True

    def _call_again(
        self, item: Event | Signal, handler: Handler, arguments: tuple[object, ...], error: Exception, retry: Retry
    ) -> Steps[bool]:
        """Calls a handler that has raised an error again, as often as `retry` says. Then the error is raised.

        Returns:
            `False` when the feed was stopped before the handler had returned.
        """
        for wait in retry.waits():
            _log.warning("handler %r failed and is called again in %.3g s: %r", handler, wait, error)
            deadline = self._clock() + wait
            while (left := deadline - self._clock()) > 0:
                if self._session.is_stopped:
                    return False
                yield Wait(left)
            again = yield Call(handler, arguments)
            if again is None:
                return True
            error = again
        yield Raise(_not_an_end(error) if isinstance(item, Signal) else error)  # and is never resumed
        return False

    def _deliver_signal(self, retry: Retry) -> Steps[None]:
        """Calls the handlers for the oldest signal. The current event is processed first."""
        self._cursor.settle(self._handed_over)
        signal = self._signals[0]
        if isinstance(signal, FailedHandler):
            self._signals.popleft()
            yield Raise(_not_an_end(signal.error))  # and is never resumed
        if (yield from self._handle(signal, retry)):
            self._signals.popleft()  # not before: a signal that was not handled is delivered again

    def _close(self, *, is_normal: bool) -> Steps[None]:
        """Commits what is processed and leaves the consumer group, within `close_timeout`. Can be repeated.

        Args:
            is_normal: whether the feed is closed without an exception. If so, the current event counts as processed.
        """
        session = self._session
        if session.is_forked:
            if is_normal:
                session.check_process()
            return  # in a forked child, the exception that is already being raised is more useful, even a SystemExit
        if is_normal and not session.is_closed:
            self._cursor.settle(self._handed_over)
        session.leave()
        while (left := session.time_to_close) > 0:
            yield Wait(min(left, CLOSE_CHECK_INTERVAL))
        session.finish_closing()
        if self._dispatcher.has_immediate:
            deadline = self._clock() + LAST_SIGNALS_TIMEOUT
            while (session.is_watched or not self._immediate.is_idle) and self._clock() < deadline:
                yield Wait(LAST_SIGNALS_INTERVAL)
        self._wake()  # another thread may be reading, and the waits above have taken its wake-ups

    def _finish(self) -> Steps[None]:
        """Ends an iteration: closes a feed that was not entered by `with`."""
        self._session.check_process()
        if self._session.is_closed:
            self._session.start()  # raises FeedClosedError
        if not self._is_entered:
            yield from self._close(is_normal=True)


def _not_an_end(error: BaseException) -> BaseException:
    """Returns the error, or a RuntimeError if a `for` loop would take it for the end of the events."""
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    replaced = RuntimeError(f"a handler of signals raised {type(error).__name__}")
    replaced.__cause__ = error
    return replaced


def check_batch(max_events: int, max_wait: float) -> None:
    """Checks the arguments of `batches`.

    Raises:
        ValueError: such a batch could never be collected.
    """
    if max_events < 1:
        raise ValueError(f"max_events={max_events}: expected at least 1")
    if not max_wait >= 0:
        raise ValueError(f"max_wait={max_wait}: expected seconds, 0 or more")
