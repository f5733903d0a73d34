"""`DaySource`: delivers the plan of a day to a feed, and reports when all of it is handled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from rbhq_stream._config import Topics
from rbhq_stream._timestamps import from_milliseconds
from rbhq_stream._wire import decode
from rbhq_stream.errors import DataLossError, DecodeError
from rbhq_stream.events import Event
from rbhq_stream.record import RawRecord
from rbhq_stream.signals import HealthChanged
from rbhq_stream.source import TopicPartition
from rbhq_stream.testing._memory import MemorySource
from rbhq_stream.testing._plan import DayRecord, Plan

TOPICS = Topics(prices="prices", race_status="status", race_results="results")
_RECORDS_PER_POLL = 20
_POLL_INTERVAL = 0.01
_LIVE_TIMEOUT = 10.0
"""Seconds to wait at the end of the day until the feed is live."""


class DaySource(MemorySource):
    """Takes the next steps of a plan each time the feed polls.

    Args:
        plan: the plan.
        must_be_live: whether the day ends only when the application has been notified that the feed is live.
    """

    def __init__(self, plan: Plan, *, must_be_live: bool) -> None:
        super().__init__(TOPICS)
        self.when_handled: Callable[[], None] = lambda: None
        """Called when everything is handled."""
        self._plan = list(plan)
        self._step = 0
        self._reached_at = time.monotonic()  # when the current step became the next one
        self._values: dict[TopicPartition, list[bytes | None]] = {TopicPartition(name, 0): [] for name in TOPICS.names}
        # a feed without a committed offset would begin silently at the first record that retention has left
        self.committed.update(dict.fromkeys(self._values, 0))
        self._is_live = not must_be_live
        self._outages = 0

    @property
    def has_steps(self) -> bool:
        """Whether anything happens on the day."""
        return bool(self._plan)

    def cut_off(self, *topics: str) -> None:
        """Makes topics unreachable. Outages may overlap: each needs a `reconnect` of its own."""
        self._outages += 1
        super().cut_off(*topics)

    def reconnect(self) -> None:
        """Ends an outage. All topics are reachable again with the end of the last one."""
        self._outages -= 1
        if self._outages <= 0:
            super().reconnect()

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        """Takes the next steps of the plan, and returns the records to read."""
        if self._step == len(self._plan):
            self._end_if_handled()
            return super().poll(min(timeout, _POLL_INTERVAL))
        is_waiting = not self._take_steps()
        return super().poll(min(timeout, _POLL_INTERVAL) if is_waiting else 0.0)

    def note_health(self, signal: HealthChanged) -> None:
        """Notes that the application was notified of a change of the feed's health."""
        self._is_live = signal.health.ok

    def continue_after(self, loss: DataLossError) -> list[Event]:
        """Lets the next feed continue at the first record that is left, and returns the events that were lost."""
        partition = TopicPartition(loss.topic, loss.partition)
        self.committed[partition] = loss.available_offset
        missed: list[Event] = []
        for value in self._values[partition][loss.expected_offset : loss.available_offset]:
            with suppress(DecodeError):  # it is a bad record, or a tombstone
                missed += decode(TOPICS.kinds[loss.topic], value or b"")
        return missed

    def _take_steps(self) -> bool:
        """Takes the next steps, and returns whether there were any that need not wait."""
        for count in range(_RECORDS_PER_POLL):
            if self._step == len(self._plan):
                return True
            step = self._plan[self._step]
            if isinstance(step, DayRecord):
                self.publish_raw(
                    step.topic, step.value, key=step.key, timestamp=from_milliseconds(round(step.at * 1000))
                )
                self._values[TopicPartition(step.topic, 0)].append(step.value)
            elif count:
                return True  # first, the feed gets what was published before
            elif time.monotonic() < self._reached_at + step.after or (step.once_handled and not self._is_handled()):
                return False
            else:
                step.do(self)
            self._step += 1
            self._reached_at = time.monotonic()
        return True

    def _is_handled(self) -> bool:
        """Whether the application has handled what it can read, or a slow source makes that take too long.

        What it has handled is committed too, unless commits are ignored. So the same seed has the same records
        delivered again, however fast the application is.
        """
        if self.is_slow:
            return True
        done = {p: self._opened().processed(p) if p in self._ignored else self.committed.get(p) for p in self._next}
        return not self._has_records() and all((done[p] or 0) >= end for p, end in self._next.items())

    def _end_if_handled(self) -> None:
        super().reconnect()  # the last outages may have no end
        if all(self.committed.get(partition, 0) >= len(values) for partition, values in self._values.items()) and (
            self._is_live or time.monotonic() > self._reached_at + _LIVE_TIMEOUT
        ):
            self.when_handled()
