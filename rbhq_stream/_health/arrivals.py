"""What follows from the arrival of records: whether a topic is silent, and whether the clocks agree."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta

from rbhq_stream._health.observation import Arrival, Progress, ScheduleReply
from rbhq_stream.events import Event, PriceEvent
from rbhq_stream.health import HealthReason, HealthRules, TopicHealth

SCHEDULE_TIMEOUT = 3.0
"""Seconds after which a schedule that has not returned counts as failed."""
AGES = 3
"""How many records in a row must have a wrong time. A single one may have been delayed on its way."""


class Arrivals:
    """The newest record of each topic.

    Args:
        rules: the limits.
        topics: the class of the events in each topic.
    """

    def __init__(self, rules: HealthRules, topics: Mapping[str, type[Event]]) -> None:
        self._rules = rules
        self._kinds = topics
        self._reading_since: dict[str, float] = {}
        self._newest: Mapping[str, Arrival] = {}
        self._ages: deque[float] = deque(maxlen=AGES)  # of records that arrived after the feed had caught up

    def update(self, progress: Progress, now: float, *, is_current: bool) -> None:
        """Notes the records that have arrived.

        Args:
            progress: what the poll thread knows.
            now: the time now (monotonic).
            is_current: whether records arrive as they are published, so that their age is meaningful.
        """
        topics = {partition.topic for partition in progress.partitions}
        is_current = is_current and progress.source.time is None  # the age by this host's clock means nothing otherwise
        self._reading_since = {topic: self._reading_since.get(topic, now) for topic in topics}
        for topic, arrival in progress.arrivals.items():
            known = self._newest.get(topic)
            if is_current and arrival.age is not None and (known is None or known.at != arrival.at):
                self._ages.append(arrival.age)
        self._newest = progress.arrivals

    def topics(self, now: float) -> dict[str, TopicHealth]:
        """Returns the newest record of each topic, as figures."""
        return {
            topic: TopicHealth(
                newest=self._newest[topic].timestamp if topic in self._newest else None,
                silent_for=self._silent_for(topic, now),
            )
            for topic in self._reading_since
        }

    def verdict(
        self, now: float, wall: datetime, delay: float, schedule: ScheduleReply | None
    ) -> tuple[HealthReason, str] | None:
        """Returns the first problem that applies, if there is one.

        Args:
            now: the time now (monotonic).
            wall: the same by this host's clock.
            delay: by how much the feed itself may delay records, in seconds.
            schedule: what the schedule returned, if there is one.
        """
        return self._silence(now) or self._silence_before_jump(now, wall, schedule) or self._clocks(delay)

    def _silence(self, now: float) -> tuple[HealthReason, str] | None:
        for topic in self._reading_since:
            kind = self._kinds.get(topic)
            limit = None if kind is None else self._rules.max_silence.get(kind)
            silent = self._silent_for(topic, now)
            if limit is not None and silent > limit:
                return HealthReason.TOPIC_SILENT, f"no record from {topic!r} for {silent:.0f} s (limit: {limit:g} s)"
        return None

    def _silence_before_jump(
        self, now: float, wall: datetime, schedule: ScheduleReply | None
    ) -> tuple[HealthReason, str] | None:
        if schedule is None:
            return None
        if schedule.called_at is not None and now - schedule.called_at > SCHEDULE_TIMEOUT:
            return HealthReason.SCHEDULE_FAILED, f"the schedule has not returned for {now - schedule.called_at:.0f} s"
        if schedule.failure is not None:
            return HealthReason.SCHEDULE_FAILED, schedule.failure
        jump = next((jump for jump in schedule.jumps if jump >= wall), None)
        if jump is None or jump - wall > timedelta(seconds=self._rules.before_jump):
            return None
        limit = self._rules.max_silence_before_jump
        for topic in self._reading_since:
            silent = self._silent_for(topic, now)
            if self._kinds.get(topic) is PriceEvent and silent > limit:
                text = f"no price for {silent:.0f} s (limit: {limit:g} s), and a race jumps at {jump:%H:%M:%S} UTC"
                return HealthReason.SILENT_BEFORE_JUMP, text
        return None

    def _clocks(self, delay: float) -> tuple[HealthReason, str] | None:
        limit = self._rules.max_clock_skew
        if limit is None or len(self._ages) < AGES:
            return None
        youngest, oldest = min(self._ages), max(self._ages)
        if youngest > limit + delay:
            text = f"new records are {youngest:.0f} s old when they arrive: the publisher is late, or a clock is wrong"
            return HealthReason.CLOCK_DISAGREES, text
        if oldest < -limit:
            text = f"new records are {-oldest:.0f} s ahead of this host's clock: one of the two clocks is wrong"
            return HealthReason.CLOCK_DISAGREES, text
        return None

    def _silent_for(self, topic: str, now: float) -> float:
        arrival = self._newest.get(topic)
        since = self._reading_since[topic]
        return now - (since if arrival is None else max(since, arrival.at))
