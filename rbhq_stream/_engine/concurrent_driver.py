"""`ConcurrentDriver`: calls the handlers of many races at once, for the `run` of both `Feed` and `AsyncFeed`.

The thread or task that called `run` performs the steps: it takes events from the buffer, starts them as the scheduler
decides, and delivers signals while no handler is running. The handlers of a started event are called elsewhere, on a
thread or in a task of the facade, which reports the outcome.

All state about events in flight belongs to the run. When a run ends, even by an interrupt at any line, only what the
cursor has settled counts. The rest is rewound and delivered again.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Union

from attrs import Factory, define, frozen

from rbhq_stream._engine.cursor import Position
from rbhq_stream._engine.driver import Driver
from rbhq_stream._engine.scheduler import InFlight, Scheduler
from rbhq_stream._engine.session import FailedHandler
from rbhq_stream._engine.steps import LetOthersRun, Raise, Start, Steps, Wait
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event
from rbhq_stream.retry import Retry
from rbhq_stream.signals import HealthChanged, Signal

_log = logging.getLogger("rbhq_stream")

DEFAULT_MAX_IN_FLIGHT = 1_000
"""How many events may be in flight by default, or twice as many as may be handled at once, if that is more."""


@frozen
class Limits:
    """How many events a run handles at once, and how it ends."""

    at_once: int
    max_in_flight: int
    drain_timeout: float
    """How many seconds running handlers have to return when the run ends."""

    @classmethod
    def of(cls, name: str, at_once: int, max_in_flight: int | None, drain_timeout: float) -> Limits:
        """Checks the arguments of `run`; `name` is what it calls the first one.

        Raises:
            ValueError: no run could keep to them.
        """
        if at_once < 1:
            raise ValueError(f"{name}={at_once}: expected at least 1")
        if max_in_flight is None:
            max_in_flight = max(DEFAULT_MAX_IN_FLIGHT, 2 * at_once)
        elif max_in_flight < at_once:
            raise ValueError(f"max_in_flight={max_in_flight}: expected at least {name}={at_once}")
        if not drain_timeout >= 0:
            raise ValueError(f"drain_timeout={drain_timeout}: expected seconds, 0 or more")
        return cls(at_once, max_in_flight, drain_timeout)


@define(eq=False)
class Delivery:
    """An event that was taken from the buffer, to be handled."""

    event: Event
    position: Position
    """The cursor's position after it."""
    handling: Steps[bool]
    """Calls its handlers."""

    def __str__(self) -> str:
        return f"{type(self.event).__name__} of race {self.event.race_id}"


Job = InFlight[Delivery]
Result = Union[bool, Wait, BaseException]
"""What became of an attempt: all handlers have returned, or one failed and is called again after a wait, or one has
failed for good."""


@define(eq=False)
class Run:
    """One call of `run` that handles several events at once."""

    limits: Limits
    retry: Retry
    scheduler: Scheduler[Delivery]
    failure: BaseException | None = None
    """What the first handler that failed for good raised."""
    refusal: DecodeError | None = None
    """The error of the bad record that ends the run."""
    is_ending: bool = False
    """Whether no further event is to be started."""
    _reports: deque[tuple[Job, Result]] = Factory(deque)  # any thread appends, the one that called `run` removes
    _is_cancelling: bool = False

    def refuse(self, error: DecodeError) -> None:
        """Notes the error of a bad record that ends the run."""
        self.refusal = error

    def end(self) -> None:
        """Notes that no further event is to be started."""
        self.is_ending = True

    def report(self, job: Job, result: Result) -> None:
        """Notes what became of an attempt. From any thread."""
        self._reports.append((job, result))

    def expect_cancellations(self) -> None:
        """Notes that the running handlers are now cancelled, so what they raise is not a failure."""
        self._is_cancelling = True

    def collect(self, now: float) -> int:
        """Passes the reported outcomes to the scheduler.

        Returns:
            How many events were handled.
        """
        count = 0
        reports = self._reports
        while reports:
            job, result = reports[0]
            if result is True:
                self.scheduler.finish(job)
                count += 1
            elif isinstance(result, Wait):
                self.scheduler.wait(job, now + (result.timeout or 0.0))
            else:
                self.scheduler.wait(job, math.inf)  # the run ends before that
                if isinstance(result, BaseException):
                    self._note_failure(job, result)
            reports.popleft()  # not before: an interrupt would lose the report
        return count

    def _note_failure(self, job: Job, error: BaseException) -> None:
        if self.failure is None and not self._is_cancelling:
            self.failure = error
        elif error is not self.failure and isinstance(error, Exception):
            _log.error(
                "another handler failed before the feed ended: %r; its event is delivered again: %s",
                error,
                job.item,
            )


class ConcurrentDriver(Driver):
    """A driver that can have the handlers of several events called at once."""

    _current_run: Run | None = None

    @property
    def _oldest_start(self) -> float | None:
        """When the longest running handler began, by the driver's clock.

        `None` while no handler is running, and always while events are handled one by one. From any thread.
        """
        run = self._current_run
        return None if run is None else run.scheduler.oldest_start

    def _new_run(self, limits: Limits, retry: Retry) -> Run:
        self._session.check_process()
        scheduler = Scheduler[Delivery](at_once=limits.at_once, max_in_flight=limits.max_in_flight)
        self._current_run = run = Run(limits, retry, scheduler)
        return run

    def _handle_at_once(self, run: Run) -> Steps[None]:
        """Has the handlers of many events called until the feed is stopped or one of them fails."""
        session, cursor, scheduler = self._session, self._cursor, run.scheduler
        cursor.settle(self._handed_over)
        is_ahead = False  # whether events were shown that are not settled yet
        while not session.is_stopped:
            self._collect(run)
            if run.failure is not None:
                yield Raise(run.failure)
            if (job := self._next_job(run)) is not None:
                yield Start(job)
                continue
            if is_ahead and scheduler.is_idle:
                self._collect(run)
                cursor.settle_all()  # including records without events after the last one with events
                is_ahead = False
            if self._events_this_turn >= self._events_per_turn:
                self._events_this_turn = 0
                yield LetOthersRun()
                continue
            if self._signals:
                if not self._has_handler(self._signals[0]):
                    self._signals.popleft()
                    continue
                if scheduler.is_idle:
                    yield from self._deliver_signal(run.retry)
                    continue
                if isinstance(self._signals[0], HealthChanged):
                    # it may be about a handler that is running, and the other races must not wait for that one
                    if (yield from self._handle(self._signals[0], run.retry)):
                        self._signals.popleft()
                    continue
            elif scheduler.has_room:
                event = self._show_first(run) if scheduler.is_idle else cursor.gather(past_bad_records=True)
                if event is not None:
                    delivery = Delivery(event, cursor.position, self._handle(event, run.retry))
                    scheduler.add(delivery, (event.meeting_id, event.event_number))
                    is_ahead = True
                    self._events_this_turn += 1
                    continue
            yield Wait(None if scheduler.due is None else max(0.0, scheduler.due - self._clock()))

    def _next_job(self, run: Run) -> Job | None:
        """Returns the event to be attempted next, if there is one and room for it."""
        scheduler = run.scheduler
        while (job := scheduler.start(self._clock())) is not None and not self._cursor.owns(job.item.position):
            scheduler.finish(job)  # its partition is now assigned to another member of the consumer group
        return job

    def _show_first(self, run: Run) -> Event | None:
        """Shows the next event while none is in flight."""
        try:
            return self._session.show(self._handed_over, defers=True)
        except DecodeError as error:
            if self._session.raises_bad_records:
                run.refuse(error)
            raise

    def _has_handler(self, signal: Signal) -> bool:
        return isinstance(signal, FailedHandler) or next(self._dispatcher.calls(signal), None) is not None

    def _attempt(self, job: Job) -> Steps[bool | Wait]:
        """Calls the handlers of a started event until all have returned, or one has failed.

        Returns:
            The wait after which a failed handler is called again, or else whether the event is processed.
        """
        handling = job.item.handling
        outcome: Exception | None = None
        while True:
            try:
                step = handling.send(outcome)
            except StopIteration as end:
                is_processed: bool = end.value
                return is_processed
            if isinstance(step, Wait):
                return step
            outcome = yield step

    def _report(self, run: Run, job: Job, result: Result) -> None:
        """Notes what became of an attempt. From any thread."""
        run.report(job, result)
        self._wake()

    def _collect(self, run: Run) -> None:
        """Passes the reported outcomes on, and settles the events that are processed now."""
        self._cursor.count_events(run.collect(self._clock()))
        last = run.scheduler.take_processed()
        if last is not None:
            self._cursor.settle_up_to(last.position)

    def _drain(self, run: Run, is_over: Callable[[], bool], *, then: str) -> Steps[None]:
        """Waits until the running handlers have returned, and settles what is processed by then.

        Args:
            is_over: returns whether no handler is running.
            then: what happens to the handlers that have not returned by then, for the log.
        """
        run.end()
        timeout = run.limits.drain_timeout
        deadline = self._clock() + timeout
        while not is_over() and (left := deadline - self._clock()) > 0:
            yield Wait(None if left == math.inf else left)
        self._collect(run)
        if not is_over():
            _log.warning(
                "handlers that had not returned %.3g s after the feed ended are %s, and their events are delivered"
                " again: %s",
                timeout,
                then,
                ", ".join(map(str, run.scheduler.running())),
            )

    def _end_run(self) -> None:
        self._current_run = None

    def _conclude(self, run: Run) -> Steps[None]:
        """Ends a run that was stopped, when its handlers have returned."""
        if run.failure is not None:
            yield Raise(run.failure)
        yield from self._finish()
