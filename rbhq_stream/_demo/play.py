"""Publishes a simulated race day in compressed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import groupby

from rbhq_stream._demo.tally import PUBLISHED_AT
from rbhq_stream.testing import EmbeddedBroker, Simulator, TimedEvent

MELBOURNE = timezone(timedelta(hours=11), "AEDT")
"""Where the simulated day takes place."""
_BEFORE_FIRST_JUMP = timedelta(minutes=5)
"""What happens before that is published at once, as the backlog that a late feed has to catch up with."""
_SECONDS_PER_RACE = 5
_GAP = timedelta(minutes=4)
_OUTAGE_SECONDS = 3.0
_OUTAGE_BEGINS = 0.4
"""When the broker is away, as a part of the whole time."""
_SHORTEST_WITH_OUTAGE = 8.0
"""A demo that takes fewer seconds has no outage."""


class Player:
    """A short race day, its clock, and the thread that publishes it."""

    def __init__(self, seed: int, seconds: float) -> None:
        races = max(2, min(40, round(seconds / _SECONDS_PER_RACE)))
        meetings = min(4, races)
        # one race every four minutes, of each meeting in turn
        self.simulator = Simulator(
            seed,
            meetings=meetings,
            races=-(-races // meetings),
            price_records=1200,
            opens_before=timedelta(minutes=40),
            interval=_GAP * meetings,
        )
        self._day: list[TimedEvent] = list(self.simulator.events())
        first_jump = min(race.jump for meeting in self.simulator.meetings for race in meeting.races)
        self._begin = first_jump - _BEFORE_FIRST_JUMP
        self.speed = (self._day[-1].at - self._begin).total_seconds() / seconds
        self._outage_after = seconds * _OUTAGE_BEGINS if seconds >= _SHORTEST_WITH_OUTAGE else None
        self.published = 0
        self.failure: BaseException | None = None
        self._started: float | None = None
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def now(self) -> datetime:
        """Returns the time of the simulated day."""
        if self._started is None:
            return self._begin
        return self._begin + timedelta(seconds=(time.monotonic() - self._started) * self.speed)

    def publish_backlog(self, broker: EmbeddedBroker) -> None:
        """Publishes what happened before the clock starts."""
        backlog = [timed for timed in self._day if timed.at < self._begin]
        self._publish(broker, backlog, headers=None, together=timedelta(minutes=1))

    def start(self, broker: EmbeddedBroker, on_end: Callable[[], None]) -> None:
        """Starts the clock and the thread that publishes the rest at its time. Safe to call more than once.

        Args:
            broker: Where to publish.
            on_end: Called by that thread when everything is published, or publishing has failed or was stopped.
        """
        if self._started is None:
            self._started = time.monotonic()
            self._threads.append(threading.Thread(target=self._play, args=(broker, on_end), name="rbhq-demo-publisher"))
            if self._outage_after is not None:
                self._threads.append(
                    threading.Thread(target=self._have_outage, args=(broker,), name="rbhq-demo-outage")
                )
            for thread in self._threads:
                thread.start()

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Ends it early. Any thread or signal handler may call it."""
        self._stop.set()

    def join(self) -> None:
        """Stops publishing, and waits until the threads have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _play(self, broker: EmbeddedBroker, on_end: Callable[[], None]) -> None:
        try:
            due: list[TimedEvent] = []
            for timed in self._day[self.published :]:
                if self._seconds_until(timed.at) > 0:
                    self._publish_now(broker, due)
                    due = []
                    if self._stop.wait(self._seconds_until(timed.at)):
                        return
                due.append(timed)
            self._publish_now(broker, due)
        except BaseException as failure:  # noqa: BLE001  # the main thread raises it
            self.failure = failure
            self._stop.set()
        finally:
            on_end()

    def _have_outage(self, broker: EmbeddedBroker) -> None:
        """Makes the broker unreachable for a while. What happens meanwhile is published as soon as it is back."""
        if not self._stop.wait(self._outage_after):
            with broker.outage():
                self._stop.wait(_OUTAGE_SECONDS)

    def _seconds_until(self, at: datetime) -> float:
        return max(0.0, (at - self.now()).total_seconds() / self.speed)

    def _publish_now(self, broker: EmbeddedBroker, events: list[TimedEvent]) -> None:
        headers = {PUBLISHED_AT: str(time.monotonic_ns()).encode()}
        self._publish(broker, events, headers=headers, together=timedelta(seconds=1))

    def _publish(
        self, broker: EmbeddedBroker, events: list[TimedEvent], headers: dict[str, bytes] | None, together: timedelta
    ) -> None:
        """Publishes events with their times. Those of one such interval are published by one call, which is faster."""
        # counted first: the feed may deliver them before publish returns
        self.published += len(events)
        for _, group in groupby(events, key=lambda timed: (timed.at - self._day[0].at) // together):
            at_once = list(group)
            broker.publish(*(timed.event for timed in at_once), headers=headers, timestamp=at_once[-1].at)
