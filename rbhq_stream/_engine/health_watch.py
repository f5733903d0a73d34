"""`HealthWatch`: the thread that determines the feed's health.

It is a thread of its own because the others can be busy: the poll thread with brokers that do not reply, the
application with a slow handler. At intervals it observes the feed, passes the observation to the state machine,
publishes the result and delivers the signal, if there is one. If that fails, the feed ends with the error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from queue import Empty, SimpleQueue

import attrs

from rbhq_stream._engine.buffer import Buffer
from rbhq_stream._engine.schedule_thread import ScheduleThread
from rbhq_stream._health.log_line import log_level, log_line
from rbhq_stream._health.machine import HealthMachine
from rbhq_stream._health.observation import Observation
from rbhq_stream._health.standstill import Clocks, standstill
from rbhq_stream.events import Event
from rbhq_stream.health import Health, HealthReason, HealthRules, HealthState
from rbhq_stream.signals import Signal

_log = logging.getLogger("rbhq_stream")

LOOK_INTERVAL = 0.2
"""Seconds between two observations of the feed."""
REPLY_TIMEOUT = 0.5
"""Maximum seconds that the poll thread waits until its failure has been observed."""


def _boot_clock() -> int | None:
    """Returns the clock that runs on while the host is suspended, if there is one."""
    try:
        time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):  # not on Linux, or not in this sandbox
        return None
    return time.CLOCK_BOOTTIME


_BOOT_CLOCK = _boot_clock()


class HealthWatch:
    """Owns the thread and the state machine.

    Args:
        name: the name of the feed, for the log.
        rules: the limits.
        topics: the class of the events in each topic.
        buffer: the buffer of the feed, which is observed.
        counts: returns how many events were handed over and how many records were bad. Called on the health thread.
        oldest_start: returns when the longest running handler began (monotonic), if several run at once. Called on the
            health thread.
        is_closed: returns whether the application has closed the feed.
        deliver: delivers a signal.
        failed: called with the exception that a logging handler of the application raised.
    """

    def __init__(
        self,
        *,
        name: str,
        rules: HealthRules,
        topics: Mapping[str, type[Event]],
        buffer: Buffer,
        counts: Callable[[], tuple[int, int]],
        oldest_start: Callable[[], float | None],
        is_closed: Callable[[], bool],
        deliver: Callable[[Signal], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._machine = HealthMachine(rules, topics, _clocks(), datetime.now(timezone.utc))
        self._schedule = None if rules.schedule is None else ScheduleThread(rules.schedule, rules.before_jump)
        self._name = name
        self._buffer = buffer
        self._counts = counts
        self._oldest_start = oldest_start
        self._is_closed = is_closed
        self._deliver = deliver
        self._failed = failed
        self._failure: BaseException | None = None  # written by the poll thread, once
        self._is_started = self._is_ending = False  # likewise
        self._defect: BaseException | None = None  # what ended the health thread; it writes this, once
        self._thread: threading.Thread | None = None  # likewise
        self._requests: SimpleQueue[threading.Event] = SimpleQueue()
        self._looked_at = _clocks()  # when the feed was last observed; the health thread writes this and the rest
        self._has_ended = False
        self._busy_since: tuple[int, float] | None = None  # how many records were processed, and since when so many

    def current(self) -> Health:
        """Returns the health. From any thread."""
        health = self._machine.current
        if not self.is_running:
            if self._is_closed() and health.state is not HealthState.CLOSED:
                now = self._wall()
                return attrs.evolve(health, reason=HealthReason.CLOSED, detail="the feed was closed", since=now, at=now)
            return health
        clocks = _clocks()
        stood_still = standstill(self._looked_at, clocks)
        return health if stood_still is None else _aged(health, stood_still, datetime.now(timezone.utc))

    @property
    def is_running(self) -> bool:
        """Whether the health thread runs. From any thread."""
        return self._is_started and not self._has_ended

    def join(self, timeout: float) -> None:
        """Waits until the health thread has ended, once `end` was called; at most `timeout` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    # the poll thread's side

    def look(self) -> Health:
        """Looks now, and returns the health."""
        self._request_look().wait(REPLY_TIMEOUT)
        return self._machine.current

    def check(self) -> None:
        """Raises the exception that ended the health thread, if there was one: a feed without a health must end."""
        if self._defect is not None:
            raise self._defect

    def start(self) -> None:
        """Starts the health thread."""
        if self._schedule is not None:
            self._schedule.start()
        self._looked_at = _clocks()
        thread = threading.Thread(target=self._run, name="rbhq_stream health", daemon=True)
        thread.start()
        self._thread = thread
        self._is_started = True  # not before: there may be no thread to be had

    def note_failure(self, error: BaseException) -> None:
        """Notes that the feed has ended with an error. Returns when that has been observed."""
        self._failure = error
        if self._defect is None:
            self._request_look().wait(REPLY_TIMEOUT)

    def end(self) -> None:
        """The poll thread has ended. Looks once more and ends."""
        self._is_ending = True
        self._request_look()

    def _request_look(self) -> threading.Event:
        looked = threading.Event()
        self._requests.put(looked)
        return looked

    # the thread

    def _run(self) -> None:
        try:
            is_last = False
            while not is_last:
                request = None
                with suppress(Empty):
                    request = self._requests.get(timeout=LOOK_INTERVAL)
                is_last = self._is_ending  # read before the look
                self._look()
                if request is not None:
                    request.set()
        except BaseException as error:  # noqa: BLE001  # a thread has no caller: the poll thread raises it, by `check`
            self._give_up(error)
        finally:
            self._has_ended = True
            if self._schedule is not None:
                self._schedule.end()

    def _give_up(self, error: BaseException) -> None:
        """Reports that the health can't be determined any more, and has the poll thread end the feed."""
        changed = self._machine.give_up(error, self._wall())
        with suppress(Exception):  # it may be what has failed
            self._deliver(changed)
        self._defect = error  # not before, so that the application hears that the feed is down, and then gets the error
        with suppress(Exception):  # likewise
            _log.error("the health of the %s can't be determined any more", self._name, exc_info=error)

    def _look(self) -> None:
        clocks, wall = _clocks(), self._wall()
        now = clocks.monotonic
        buffer = self._buffer
        schedule = None
        if self._schedule is not None and buffer.progress is not None:  # not before, as a replay's time is not known
            schedule = self._schedule.reply(now, wall)
        events, bad_records = self._counts()
        waiting = buffer.waiting_records
        changed = self._machine.step(
            Observation(
                clocks=clocks,
                wall=wall,
                is_open=buffer.is_open,
                is_closed=self._is_closed(),
                failure=self._failure,
                progress=buffer.progress,
                schedule=schedule,
                handler_running=self._handler_running(now, waiting),
                waiting_records=waiting,
                waiting_bytes=buffer.waiting_bytes,
                buffer_fill=buffer.fill,
                events=events,
                bad_records=bad_records,
            )
        )
        self._looked_at = clocks
        if changed is not None:
            self._deliver(changed)
            try:
                _log.log(log_level(changed), "%s", log_line(self._name, changed))
            except Exception as error:  # noqa: BLE001  # from a logging handler of the application: it is passed on
                self._failed(error)

    def _wall(self) -> datetime:
        """Returns the time now: by this host's clock or, for a replay, in the source, as of the last report."""
        progress = self._buffer.progress
        time_of_source = None if progress is None else progress.source.time
        return datetime.now(timezone.utc) if time_of_source is None else time_of_source

    def _handler_running(self, now: float, waiting: int) -> float:
        """Returns for how many seconds nothing was processed although something waits."""
        processed = self._buffer.processed_records
        if not waiting:
            self._busy_since = None
            return 0.0
        if self._busy_since is None or self._busy_since[0] != processed:
            self._busy_since = processed, now
        started = self._oldest_start()
        return now - (self._busy_since[1] if started is None else min(started, self._busy_since[1]))


def _clocks() -> Clocks:
    """Reads this host's clocks. `feed.health` does so, which an application may read for each event."""
    return Clocks(time.monotonic(), time.time(), None if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK))


def _aged(health: Health, stood_still: str, at: datetime) -> Health:
    """Returns what a snapshot means that was not renewed in time, as nothing that it states can be relied on.

    Args:
        health: the snapshot.
        stood_still: why it was not renewed.
        at: the time now (UTC).
    """
    detail = f"the feed's health is not known: {stood_still}"
    since = health.since if health.reason is HealthReason.SUSPENDED else health.at
    return attrs.evolve(health, reason=HealthReason.SUSPENDED, detail=detail, since=since, at=at)
