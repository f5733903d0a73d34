"""`read` and `aread`: the events between two times, in time order, without a consumer group and without commits.

A reading is a feed of its own for each iteration: it belongs to no group, merges by time, and ends when every partition
was read to the end of the time range.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
from attrs import frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.cursor import OnBadRecord
from rbhq_stream._engine.feed import Feed
from rbhq_stream._engine.time_order import Window
from rbhq_stream._recording.replay import Replay
from rbhq_stream._timestamps import first_millisecond
from rbhq_stream.events import Event, RaceId
from rbhq_stream.events._race_id import race_ids
from rbhq_stream.source import Source

CLOCK_MARGIN = timedelta(minutes=1)
"""How much is read before and after the time range, too. The clocks of producers differ, so a record may be
earlier than its predecessor in its partition. It is found if it is earlier by at most this much."""


@frozen(kw_only=True)
class ReadProgress:
    """How far a reading has come."""

    events: int
    """How many events it has returned."""
    at: datetime | None
    """The time of the newest record (UTC); `None` before the first."""
    fraction: float
    """How much of the time range lies before that record, from 0 to 1; 1 when everything was read."""


@frozen
class _TimeRange:
    """The arguments of a reading, after they were checked."""

    config: FeedConfig
    since: datetime
    until: datetime
    races: frozenset[RaceId] | None
    on_bad_record: OnBadRecord
    source: Source | None

    @property
    def window(self) -> Window:
        """The time range in milliseconds, the precision of records."""
        since, until = first_millisecond(self.since), first_millisecond(self.until)
        return Window(since, until, margin=CLOCK_MARGIN // timedelta(milliseconds=1))

    def includes(self, event: Event) -> bool:
        """Returns whether the event is of one of the races."""
        return self.races is None or event.race_id in self.races


def _time_range(
    config: FeedConfig,
    since: datetime,
    until: datetime | None,
    *,
    races: Collection[RaceId] | None,
    source: Source | None,
    **options: Any,
) -> _TimeRange:
    """Checks the arguments of a reading.

    Raises:
        TypeError: a time is not a datetime, or a race is not a `RaceId`.
        ValueError: there is no such time range, or some of it is still to come, also in a replay.
    """
    now = datetime.now(timezone.utc)
    since = checks.aware("since", since)
    until = now if until is None else checks.aware("until", until)
    if until > now:
        raise ValueError(f"until={until!r}: is in the future; use a Feed for what is still to come")
    if since >= until:
        raise ValueError(f"since={since!r}: is not before until={until!r}")
    if isinstance(source, Replay) and source.speed != math.inf:
        raise ValueError(f"source=….at({source.speed:g}): its end is still to come; read it at full speed, by at()")
    bounded = attrs.evolve(config, group_id=None, start=since - CLOCK_MARGIN)
    return _TimeRange(bounded, since, until, None if races is None else race_ids(races), source=source, **options)


class _Meter:
    """Counts what one reading returns. Written by the thread that iterates, read by any."""

    def __init__(self, time_range: _TimeRange) -> None:
        self._time_range = time_range
        self._events = 0
        self._newest: Event | None = None
        self._is_complete = False

    def note(self, event: Event) -> bool:
        """Notes that an event was read. Returns whether the application gets it."""
        self._newest = event
        if not self._time_range.includes(event):
            return False
        self._events += 1
        return True

    def finish(self) -> None:
        """Notes that everything was read."""
        self._is_complete = True

    @property
    def progress(self) -> ReadProgress:
        """How far the reading has come."""
        time_range, newest = self._time_range, self._newest
        at = None if newest is None else newest.require_record().timestamp
        fraction = 0.0
        if self._is_complete:
            fraction = 1.0
        elif at is not None:
            fraction = min(1.0, max(0.0, (at - time_range.since) / (time_range.until - time_range.since)))
        return ReadProgress(events=self._events, at=at, fraction=fraction)


class _TimeRangeFeed(Feed):
    def __init__(self, time_range: _TimeRange) -> None:
        self._window = time_range.window
        super().__init__(
            time_range.config, on_bad_record=time_range.on_bad_record, source=time_range.source, order="time"
        )


class _AsyncTimeRangeFeed(AsyncFeed):
    def __init__(self, time_range: _TimeRange) -> None:
        self._window = time_range.window
        super().__init__(
            time_range.config, on_bad_record=time_range.on_bad_record, source=time_range.source, order="time"
        )


class _Readable:
    """What `Reading` and `AsyncReading` share."""

    def __init__(
        self,
        config: FeedConfig,
        *,
        since: datetime,
        until: datetime | None,
        races: Collection[RaceId] | None,
        on_bad_record: OnBadRecord,
        source: Source | None,
    ) -> None:
        self._time_range = _time_range(config, since, until, races=races, on_bad_record=on_bad_record, source=source)
        self._meter = _Meter(self._time_range)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._time_range.since} to {self._time_range.until}>"

    @property
    def progress(self) -> ReadProgress:
        """How far the newest iteration has come. From any thread."""
        return self._meter.progress


class Reading(_Readable):
    """The events of a time range, as `read` returns it. Nothing uses the network before it is iterated.

    Each iteration reads from the beginning. One that is left early, by `break` or an exception, disconnects when its
    iterator is dropped.
    """

    def __iter__(self) -> Iterator[Event]:
        """Connects, and yields the events in time order.

        Raises:
            DecodeError: a record is bad (with `on_bad_record="raise"`). This ends the iteration.
            ConnectError: the topics can't be read, or not to the end of the time range.
            DataLossError: records were deleted from the brokers before they were read.
        """
        meter = self._meter = _Meter(self._time_range)
        with closing(_TimeRangeFeed(self._time_range)) as feed:
            for event in feed:
                if meter.note(event):
                    yield event
        meter.finish()


class AsyncReading(_Readable):
    """The events of a time range, as `aread` returns it. Nothing uses the network before it is iterated.

    Each iteration reads from the beginning. To leave one early, wrap its iterator in `contextlib.aclosing`, so that it
    disconnects immediately.
    """

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Connects, and yields the events in time order.

        Raises:
            DecodeError: a record is bad (with `on_bad_record="raise"`). This ends the iteration.
            ConnectError: the topics can't be read, or not to the end of the time range.
            DataLossError: records were deleted from the brokers before they were read.
        """
        meter = self._meter = _Meter(self._time_range)
        feed = _AsyncTimeRangeFeed(self._time_range)
        try:
            async for event in feed:
                if meter.note(event):
                    yield event
        finally:
            await feed.close()
        meter.finish()


def read(
    config: FeedConfig,
    *,
    since: datetime,
    until: datetime | None = None,
    races: Collection[RaceId] | None = None,
    on_bad_record: OnBadRecord = "raise",
    source: Source | None = None,
) -> Reading:
    """Returns the events between two times, to be iterated in time order over all topics and partitions.

    It joins no consumer group and commits nothing, whatever `config.group_id` is, so it does not affect any feed.
    Memory does not depend on the length of the time range. The order is that of `Feed(order="time")`.

    Args:
        config: the access data that RBHQ gave you. `config.start` is not used.
        since: where the time range begins; records of this time are included. Aware.
        until: where it ends; records of this time are not included. Aware, not in the future, and by default now.
        races: the races whose events are returned; by default all.
        on_bad_record: as for `Feed`, but an error that is raised ends the iteration.
        source: the source of the records, if it is not Kafka. It must state the ends of its partitions.

    Raises:
        TypeError: a time is not a datetime, or a race is not a `RaceId`.
        ValueError: a time has no zone, `since` is not before `until`, `until` is in the future, or the source is a
            recording that is not replayed at full speed.
    """
    return Reading(config, since=since, until=until, races=races, on_bad_record=on_bad_record, source=source)


def aread(
    config: FeedConfig,
    *,
    since: datetime,
    until: datetime | None = None,
    races: Collection[RaceId] | None = None,
    on_bad_record: OnBadRecord = "raise",
    source: Source | None = None,
) -> AsyncReading:
    """Returns the events between two times, to be iterated with `async for`. It is the same as `read` otherwise.

    Args:
        config: as for `read`.
        since: as for `read`.
        until: as for `read`.
        races: as for `read`.
        on_bad_record: as for `read`. A callable is called in the event loop's thread and should not block for long.
        source: as for `read`.

    Raises:
        TypeError: a time is not a datetime, or a race is not a `RaceId`.
        ValueError: a time has no zone, `since` is not before `until`, `until` is in the future, or the source is a
            recording that is not replayed at full speed.
    """
    return AsyncReading(config, since=since, until=until, races=races, on_bad_record=on_bad_record, source=source)
