"""`TimeOrder`: merges the records of several partitions by their times while a feed catches up. Pure: no I/O, no clock.

Kafka keeps the order within a partition and none between partitions. So records wait here until it is certain that
nothing earlier can come, and then leave in the order of their times. The rules:

- The order within a partition is never changed. A record counts as at least as late as those before it in its
  partition, so one that is earlier than its predecessor leaves directly after it. A record without a time, or with one
  that a datetime can't represent, has the time of its predecessor; at the beginning of a partition it is the earliest
  of all.
- Records of the same time leave in the order of the topics in the configuration, prices first, and of the partitions'
  numbers. So a scratching comes before the result of the same millisecond.
- A partition is waited for until the time of its next record is known, or that it has none because it was read to its
  end. The end must be known as of a time since which the partition has been read without interruption. What is written
  after that time is later than what the others still have to catch up with, as far as the clocks agree.
- A partition that is behind its end and yet delivers nothing is waited for no longer than `max_wait` seconds. Then the
  others go on, and what it delivers later comes out of order.
- Memory is bounded. When half of it is full, the partitions that take more than their share of that half must be held
  back: they are ahead of the others.

| state | meaning | next |
|---|---|---|
| CATCHING_UP | records wait here for earlier ones | LIVE when none waits and all are read to their ends or given up |
| LIVE | records go on as they arrive | CATCHING_UP when partitions are assigned or unreachable, or without room |
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from operator import itemgetter

from attrs import Factory, define, frozen

from rbhq_stream._timestamps import MAX_MILLISECONDS
from rbhq_stream.record import RawRecord
from rbhq_stream.source import PartitionEnd, SourceStatus, TopicPartition

_Key = tuple[str, int]  # a TopicPartition, or the plain tuple that equals it: made a million times a minute
_Waiting = tuple[int, int, RawRecord]  # its effective time, the epoch in which it was read, the record

MAX_WAIT = 10.0
"""Seconds to wait, while catching up, for a partition that is behind its end and delivers nothing."""
RELEASE_BELOW = 0.5
"""A partition that was held back is read again when it, or all of them together, are below this fraction of the number
at which it was.
"""
_BEFORE_ALL = -(2**63)

_time, _epoch = itemgetter(0), itemgetter(1)


@frozen
class Window:
    """A time range: the records from `since` up to, not including, `until`, in milliseconds since 1970.

    A partition is read to the first record that is later than that by `margin`. Before it there may be records of the
    time range, because the clocks of producers differ.
    """

    since: int
    until: int
    margin: int


@define(eq=False)
class _Queue:
    """The records of one partition that wait here."""

    partition: TopicPartition
    rank: tuple[int, int]  # its place among partitions of the same time
    since: float  # an end counts only as of this time or later, as the partition was not read before
    delivered_at: float  # when it delivered something or began to be read
    waiting: list[_Waiting] = Factory(list)
    size: int = 0  # the bytes of their values
    last: int = _BEFORE_ALL  # the effective time of the newest record that it ever delivered
    is_finished: bool = False  # it was read to its end, or to the end of the window
    is_past: bool = False  # it was read to the end of the window
    is_given_up: bool = False
    is_held: bool = False

    def add(self, records: Sequence[RawRecord], epoch: int, window: Window | None) -> None:
        last = self.last
        waiting = self.waiting
        size = 0
        for record in records:
            kind, milliseconds = record.timestamp()
            has_time = kind and 0 <= milliseconds <= MAX_MILLISECONDS
            if has_time and milliseconds > last:
                last = milliseconds
            if window is not None:
                if last >= window.until + window.margin:
                    self.is_past = True
                    break
                if not window.since <= (milliseconds if has_time else last) < window.until:
                    continue
            waiting.append((last, epoch, record))
            size += len(record.value() or b"")
        self.last = last
        self.size += size

    def count_before(self, time: int, rank: tuple[int, int]) -> int:
        """Returns how many of the records precede all that a partition of this rank can deliver from this time on."""
        return (bisect_right if self.rank <= rank else bisect_left)(self.waiting, time, key=_time)

    def is_read_to(self, end: PartitionEnd | None, expected: int | None) -> bool:
        """Whether the partition was read to this end, and the end is known as of a time since when it is being read."""
        return end is not None and end.as_of >= self.since and expected is not None and expected >= end.offset


class TimeOrder:
    """Merges the records of the assigned partitions. Used by the poll thread only.

    Args:
        topics: the topics in the order in which their records of the same time leave.
        max_records: how many records may wait here, all partitions together. The records of one call of `add` may be
            too many.
        max_bytes: the same in bytes of their values.
        max_wait: how many seconds to wait for a partition that delivers nothing.
        window: only the records of this time range leave. They are merged to the end.
    """

    def __init__(
        self,
        topics: Collection[str],
        *,
        max_records: int,
        max_bytes: int,
        max_wait: float,
        window: Window | None = None,
    ) -> None:
        self._ranks = {topic: rank for rank, topic in enumerate(topics)}
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._max_wait = max_wait
        self._window = window
        self._queues: dict[_Key, _Queue] = {}
        self._in_rank: list[_Queue] = []  # the same, in the order of their ranks
        self.is_live = window is None
        """Whether records need not be merged, because all that there is was read."""

    @property
    def is_bounded(self) -> bool:
        """Whether only the records of a time range leave."""
        return self._window is not None

    @property
    def is_complete(self) -> bool:
        """Whether all records of that time range have left."""
        return self.is_bounded and bool(self._in_rank) and self._is_done

    @property
    def waiting_records(self) -> int:
        """How many records wait here."""
        return sum(len(queue.waiting) for queue in self._in_rank)

    @property
    def waiting_bytes(self) -> int:
        """The bytes of their values."""
        return sum(queue.size for queue in self._in_rank)

    def give_up(self) -> None:
        """Waits for no partition any longer, as no more records will come."""
        for queue in self._in_rank:
            queue.is_given_up = True

    def assign(self, partitions: Collection[TopicPartition], now: float) -> None:
        """These partitions are read from now on."""
        for partition in partitions:
            rank = self._ranks.get(partition.topic, len(self._ranks)), partition.partition
            self._queues[partition] = _Queue(partition, rank, since=now, delivered_at=now)
        self._sort()
        self.is_live = self.is_live and not partitions

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drops the records of these partitions, which are no longer assigned to this process."""
        for partition in partitions:
            self._queues.pop(partition, None)
        self._sort()

    def add(self, records: Sequence[RawRecord], epoch: int, now: float) -> None:
        """Takes in records, those of each partition in the order of their offsets.

        Args:
            records: all of them of assigned partitions.
            epoch: the ledger's epoch in which they were read.
            now: the time in seconds, monotonic.
        """
        by_partition: dict[_Key, list[RawRecord]] = {}
        for record in records:
            key: _Key = (record.topic(), record.partition())  # type: ignore[assignment]  # a record from Kafka has both
            found = by_partition.get(key)
            if found is None:
                by_partition[key] = [record]
            else:
                found.append(record)
        for key, found in by_partition.items():
            queue = self._queues[key]
            queue.add(found, epoch, self._window)
            queue.delivered_at = now
            queue.is_given_up = False

    def update(
        self,
        status: SourceStatus,
        expected: Callable[[TopicPartition], int | None],
        now: float,
        *,
        has_room: bool = True,
    ) -> list[TopicPartition]:
        """Decides which partitions have to be waited for, and whether the feed has caught up.

        Args:
            status: what the source knows of the partitions' ends.
            expected: returns the offset of the next record to come from a partition.
            now: the time in seconds, monotonic.
            has_room: whether there is room where the records go.

        Returns:
            The partitions that are not waited for any longer, although they are behind their ends.
        """
        if self.is_live:
            if status.unreachable or not has_room:
                self._interrupt(status.unreachable, now)
            return []
        given_up = []
        for queue in self._in_rank:
            if queue.is_past:
                queue.is_finished = True
            elif queue.is_held or queue.partition in status.unreachable:
                queue.is_finished = False
                queue.since = now  # it is not being read, so whatever is known of its end is from before
            else:
                queue.is_finished = queue.is_read_to(status.ends.get(queue.partition), expected(queue.partition))
            if queue.is_held or queue.is_finished:
                queue.delivered_at = now
            elif not queue.is_given_up and now - queue.delivered_at >= self._max_wait:
                queue.is_given_up = True
                given_up.append(queue.partition)
        self.is_live = has_room and not status.unreachable and not self.is_bounded and self._is_done
        return given_up

    def take(self, room: int) -> list[tuple[int, list[RawRecord]]]:
        """Returns the records that nothing earlier can precede, in their order, and forgets them.

        Args:
            room: how many, at most.

        Returns:
            Runs of records that were read in the same epoch, each with that epoch.
        """
        waited_for = [queue for queue in self._in_rank if not (queue.is_finished or queue.is_given_up)]
        limit = min(((queue.last, queue.rank) for queue in waited_for), default=None)
        certain: list[_Waiting] = []
        counts: list[int] = []
        for queue in self._in_rank:
            count = len(queue.waiting) if limit is None else queue.count_before(*limit)
            counts.append(count)
            certain += queue.waiting[:count]
        if not certain or room < 1:
            return []
        certain.sort(key=_time)  # stable, and the partitions are in the order of their ranks
        if len(certain) > room:
            del certain[room:]
            taken = Counter((record.topic(), record.partition()) for _, _, record in certain)
            counts = [taken[queue.partition] for queue in self._in_rank]
        for queue, count in zip(self._in_rank, counts, strict=True):
            queue.size -= sum([len(record.value() or b"") for _, _, record in queue.waiting[:count]])
            del queue.waiting[:count]
        return [(epoch, [record for _, _, record in run]) for epoch, run in groupby(certain, _epoch)]

    def held_back(self) -> list[TopicPartition]:
        """Returns the partitions that must not be read at present, as they are far enough ahead of the others.

        A partition that it releases counts as read since the last `update`, which therefore comes right before it.
        """
        fill = self._fill(self.waiting_records, self.waiting_bytes)
        for queue in self._in_rank:
            share = self._fill(len(queue.waiting), queue.size) * len(self._in_rank)
            if not queue.is_held:
                queue.is_held = fill >= 1 and share >= 1
            elif fill < RELEASE_BELOW or share < RELEASE_BELOW:
                queue.is_held = False
        return [queue.partition for queue in self._in_rank if queue.is_held or queue.is_past]

    @property
    def _is_done(self) -> bool:
        return all(not queue.waiting and (queue.is_finished or queue.is_given_up) for queue in self._in_rank)

    def _fill(self, records: int, size: int) -> float:
        """Returns how full these records make a half of the bounds: 1 if it is full."""
        return 2 * max(records / self._max_records, size / self._max_bytes)

    def _interrupt(self, unreachable: Collection[TopicPartition], now: float) -> None:
        """Has records merged again. Partitions that cannot be reached are not waited for until they deliver some."""
        self.is_live = False
        for queue in self._in_rank:
            queue.is_finished = False
            queue.is_given_up = queue.partition in unreachable
            queue.delivered_at = now

    def _sort(self) -> None:
        self._in_rank = sorted(self._queues.values(), key=lambda queue: queue.rank)
