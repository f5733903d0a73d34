"""`Replay`: a recording as a source of a feed."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, chain
from operator import attrgetter

from rbhq_stream._recording.columns import RecordedRecord
from rbhq_stream._timestamps import MAX_MILLISECONDS, from_milliseconds
from rbhq_stream.record import RawRecord
from rbhq_stream.source import Owner, PartitionEnd, SourceStatus, TopicPartition

MAX_WAIT = 0.02
"""Seconds between two checks for records that are due, and so the longest delay of a record."""

_time_of = attrgetter("time")


class Replay:
    """A `Source` that replays a recording, in the order in which its records arrived. Made by `Recording.at`.

    At a finite speed it hands over each record when its time has come, counted from the first record, and a record that
    came after a later one together with that one. The feed is live from the beginning then. At full speed the feed
    catches up until the end of the recording, and is live then.

    With `order="time"`, records of partitions that are ahead of the others wait in memory, as many as there are.

    When everything is handed over, the iteration over the feed ends, as after `stop`. Commits are not stored, and a
    second feed on the same replay starts at the beginning again.

    Args:
        chunks: iterates over the records, each time from the beginning.
        partitions: the offsets of each partition, from the first one to the last one.
        began: a time that no record is before; `None` if the records have no times.
        speed: how fast the time of the records passes.
        clock: the time in seconds, monotonic.

    Raises:
        ValueError: the speed is not positive.
    """

    def __init__(
        self,
        chunks: Callable[[], Iterator[list[RecordedRecord]]],
        partitions: Mapping[TopicPartition, range],
        began: datetime | None,
        speed: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed={speed}: expected a positive number, such as 1, 60 or math.inf")
        self._make_chunks = chunks
        self._partitions = partitions
        self._first_time = began
        self._speed = speed
        self._clock = clock
        self._owner: Owner | None = None
        self._is_paused = False

    @property
    def speed(self) -> float:
        """How fast the time of the records passes."""
        return self._speed

    def open(self, owner: Owner) -> None:
        """Assigns the partitions of the recording to the feed. Called by the feed.

        Raises:
            ConfigError: the application's `positions` name a partition that the recording does not have.
            RecordingError: the recording can't be read.
        """
        self._owner = owner
        partitions = self._partitions
        owner.connected(list(partitions))
        given = owner.assigned(list(partitions))
        self._starts = {p: given[p] for p in partitions if p in given and given[p] > partitions[p].start}
        self._next = {p: given.get(p, offsets.start) for p, offsets in partitions.items()}
        self._ends = {p: max(offsets.stop, self._next[p]) for p, offsets in partitions.items()}
        for partition, offset in self._next.items():
            owner.positioned(partition, offset)
        self._chunks: Iterator[list[RecordedRecord]] = self._make_chunks()
        self._waiting: list[RecordedRecord] = []
        self._due_at: list[int] = []  # for each of those, the latest time so far
        self._latest = -1  # of the times so far, in milliseconds since 1970
        self._began: tuple[float, int] | None = None  # by the clock, and by the records
        self._held: frozenset[TopicPartition] = frozenset()
        self._aside: dict[TopicPartition, list[RecordedRecord]] = {}  # of partitions that are or were held
        self._has_ended = self._is_paused = False

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        """Returns the records that are due. Called by the feed."""
        deadline = time.monotonic() + timeout
        while not (records := self._due()):
            left = deadline - time.monotonic()
            if left <= 0:
                return ()
            time.sleep(min(left, MAX_WAIT))
        return records

    def status(self) -> SourceStatus:
        """Returns where the partitions end, and what time it is in the recording. Called by the feed."""
        now = time.monotonic()
        ends = self._ends if self._speed == math.inf else self._next
        return SourceStatus(
            ends={partition: PartitionEnd(offset, now) for partition, offset in ends.items()},
            time=self._time(),
            has_ended=self._has_ended,
        )

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Stores nothing. Called by the feed."""
        self._opened().committed(offsets)

    def pause(self) -> None:
        """Hands over no records until `resume`. The time of the recording goes on. Called by the feed."""
        self._is_paused = True

    def resume(self) -> None:
        """Hands over records again. Called by the feed."""
        self._is_paused = False

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """Sets the records of these partitions aside, in memory. Called by the feed."""
        self._held = frozenset(partitions)

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:  # noqa: ARG002  # as in Source
        """Stores nothing. Called by the feed."""
        self._chunks = iter(())
        self._waiting = []
        self._due_at = []
        self._aside = {}

    def _due(self) -> Sequence[RecordedRecord]:
        if self._is_paused or self._has_ended:
            return ()
        if any(partition not in self._held for partition in self._aside):
            return self._no_longer_held()
        if not self._waiting and not self._fill():
            if not self._aside:
                self._end()
            return ()
        if self._speed == math.inf:
            due, self._waiting = self._waiting, []
            self._latest = max(chain((self._latest,), map(_time_of, due)))
            return self._not_held(due) if self._held else due
        if self._began is None:
            self._began = self._clock(), max(self._due_at[0], 0)
        count = bisect_right(self._due_at, self._now() or 0)
        if not count:
            return ()
        due, self._waiting = self._waiting[:count], self._waiting[count:]
        self._latest = self._due_at[count - 1]
        del self._due_at[:count]
        self._next.update({record.topic_partition: record.record_offset + 1 for record in due})
        return self._not_held(due) if self._held else due

    def _not_held(self, records: Sequence[RecordedRecord]) -> Sequence[RecordedRecord]:
        for record in records:
            if record.topic_partition in self._held:
                self._aside.setdefault(record.topic_partition, []).append(record)
        return [record for record in records if record.topic_partition not in self._held]

    def _no_longer_held(self) -> Sequence[RecordedRecord]:
        released = [partition for partition in self._aside if partition not in self._held]
        return [record for partition in released for record in self._aside.pop(partition)]

    def _fill(self) -> bool:
        """Reads the next records. Returns whether there are any."""
        for chunk in self._chunks:
            records = chunk
            if self._starts:
                records = [one for one in chunk if one.record_offset >= self._starts.get(one.topic_partition, 0)]
            if records:
                self._waiting = records
                if self._speed != math.inf:
                    times = (one.time if one.kind and one.time <= MAX_MILLISECONDS else -1 for one in records)
                    self._due_at = list(accumulate(times, max, initial=self._latest))[1:]
                return True
        return False

    def _end(self) -> None:
        """Ends the replay. The records before have been handed over, so the positions may move to the ends."""
        self._next.update(self._ends)
        for partition, offset in self._ends.items():
            self._opened().positioned(partition, offset)
        self._has_ended = True

    def _now(self) -> int | None:
        """Returns the time in the recording in milliseconds since 1970; `None` at full speed."""
        if self._speed == math.inf or self._began is None:
            return None
        clock, recorded = self._began
        return recorded + int((self._clock() - clock) * self._speed * 1000)

    def _time(self) -> datetime | None:
        now = self._now()
        return from_milliseconds(self._latest if now is None else now) or self._first_time

    def _opened(self) -> Owner:
        assert self._owner is not None, "open() comes first"
        return self._owner
