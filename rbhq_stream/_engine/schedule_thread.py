"""`ScheduleThread`: calls the application's schedule where it can't hold up anything else.

It is a function of the application, so it may block: on a database, on a lock. Then the health must still be determined
and reported, so the schedule is called on a thread of its own.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import NamedTuple

from rbhq_stream._health.observation import ScheduleReply
from rbhq_stream.health import Schedule

SCHEDULE_INTERVAL = 5.0
"""Seconds between two calls of the schedule."""

_Period = tuple[datetime, datetime]


class _Outcome(NamedTuple):
    """The outcome of a call."""

    call: int
    """The number of the call."""
    jumps: tuple[datetime, ...]
    failure: str | None


class ScheduleThread:
    """Owns the thread. The other methods but `start` are called by the health thread.

    Args:
        schedule: the application's function.
        before_jump: how long before a jump it matters, in seconds.
    """

    def __init__(self, schedule: Schedule, before_jump: float) -> None:
        self._schedule = schedule
        self._before_jump = timedelta(seconds=before_jump)
        self._periods: SimpleQueue[_Period | None] = SimpleQueue()
        self._outcome = _Outcome(0, (), "the schedule has not returned yet")  # the schedule thread replaces it
        self._calls = 0  # the health thread writes this and the rest
        self._called_at = float("-inf")
        self._period: _Period | None = None

    def start(self) -> None:
        """Starts the thread. Called before the health thread is started."""
        threading.Thread(target=self._run, name="rbhq_stream schedule", daemon=True).start()

    def reply(self, now: float, wall: datetime) -> ScheduleReply:
        """Returns what the schedule returned last, and calls it again if it is time to do so.

        Args:
            now: the time now (monotonic).
            wall: the same by the clock that the schedule is judged by.
        """
        outcome = self._outcome
        is_running = outcome.call < self._calls
        if not is_running and (now >= self._called_at + SCHEDULE_INTERVAL or not self._covers(wall)):
            self._call(now, wall)
            is_running = True
        return ScheduleReply(
            jumps=outcome.jumps, failure=outcome.failure, called_at=self._called_at if is_running else None
        )

    def end(self) -> None:
        """Has the thread end as soon as the schedule has returned. Nobody waits for that."""
        self._periods.put(None)

    def _call(self, now: float, wall: datetime) -> None:
        # longer than needed, so that the last reply is good enough until the schedule has returned again
        self._period = wall, wall + self._before_jump + timedelta(seconds=2 * SCHEDULE_INTERVAL)
        self._calls += 1
        self._called_at = now
        self._periods.put(self._period)

    def _covers(self, wall: datetime) -> bool:
        """Whether the period that was asked for last still has all jumps that matter. In a fast replay it ends soon."""
        if self._period is None:
            return False
        since, until = self._period
        return since <= wall <= until - self._before_jump

    def _run(self) -> None:
        call = 0
        while (period := self._periods.get()) is not None:
            call += 1
            since, until = period
            try:
                jumps = {jump for jump in self._schedule(since, until) if since <= jump <= until}
                self._outcome = _Outcome(call, tuple(sorted(jumps)), None)
            # the application's: what it raises becomes the reason, and even a SystemExit must not end the thread
            except BaseException as error:  # noqa: BLE001
                self._outcome = _Outcome(call, (), f"the schedule raised {type(error).__name__}: {error}")
