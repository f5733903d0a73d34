"""`Merging`: between the source and the buffer, puts the records of all partitions in the order of their times.

`TimeOrder` decides. This carries it out: it gets the ends of the partitions, moves the records that may
leave to the buffer while that has room, and has the source hold back the partitions that are ahead of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from rbhq_stream._engine.buffer import Buffer
from rbhq_stream._engine.time_order import TimeOrder
from rbhq_stream._summaries import newest_offsets
from rbhq_stream.errors import UnreachableError
from rbhq_stream.record import RawRecord
from rbhq_stream.source import Source, SourceStatus, TopicPartition

_log = logging.getLogger("rbhq_stream")

STATUS_INTERVAL = 0.1
"""Seconds between two looks at the ends of the partitions."""
LIVE_STATUS_INTERVAL = 0.5
"""The same once the feed has caught up, when only partitions that become unreachable matter."""


class Merging:
    """Moves records from the source to the buffer in the order of their times. Used by the poll thread only.

    Args:
        source: states how far each partition goes, and holds partitions back.
        buffer: gets the records.
        order: decides.
        expected: returns the offset of the next record to come from a partition.
    """

    def __init__(
        self,
        source: Source,
        buffer: Buffer,
        order: TimeOrder,
        expected: Callable[[TopicPartition], int | None],
    ) -> None:
        self._source = source
        self._buffer = buffer
        self._order = order
        self._expected = expected
        self._status = SourceStatus()
        self._next_look = 0.0
        self._held: list[TopicPartition] = []

    def assign(self, partitions: Collection[TopicPartition], now: float) -> None:
        """These partitions are read from now on."""
        self._order.assign(partitions, now)
        self._next_look = now

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are no longer assigned to this process."""
        self._order.forget(partitions)
        self._held = [partition for partition in self._held if partition not in partitions]

    def add(self, records: Sequence[RawRecord], epoch: int, now: float) -> bool:
        """Takes in records that were read in `epoch`. Returns whether they need not be merged and were not taken in."""
        if self._order.is_live:
            return True
        self._order.add(records, epoch, now)
        return False

    def step(self, now: float) -> bool:
        """Moves what may leave. Returns whether more may leave once the buffer has room again.

        Raises:
            UnreachableError: a partition can't be read to the end of the time range that is to be read.
        """
        order = self._order
        if now >= self._next_look:
            self._status = self._source.status()
            self._next_look = now + (LIVE_STATUS_INTERVAL if order.is_live else STATUS_INTERVAL)
        was_live = order.is_live
        for partition in order.update(self._status, self._expected, now, has_room=self._buffer.fill < 1):
            if order.is_bounded:  # what is missing would not be noticed
                why = self._status.unreachable.get(partition, "although it is behind its end")
                raise UnreachableError(f"{partition} delivers no records: {why}")
            _log.warning(
                "%s delivers no records, although it is behind its end: the other partitions are no longer held up for"
                " it, so its records will come out of time order",
                partition,
            )
        if order.is_live:
            if not was_live:
                _log.info("the feed has caught up: records are no longer merged by time")
                self._hold([])
            return False
        is_full = self._release(self._buffer.room)
        self._hold(order.held_back())
        if order.is_complete:
            self._buffer.mark_exhausted()
        return is_full

    def finish(self) -> None:
        """Moves all records to the buffer, as no more will come."""
        self._order.give_up()
        self._release(self._order.waiting_records)

    def _release(self, room: int) -> bool:
        """Moves so many records at most to the buffer. Returns whether there may be more."""
        moved = 0
        for epoch, records in self._order.take(room):
            self._buffer.append(records, epoch, newest_offsets(records))
            moved += len(records)
        self._buffer.note_merging(self._order.waiting_records, self._order.waiting_bytes)
        return moved == room

    def _hold(self, partitions: list[TopicPartition]) -> None:
        if partitions != self._held:
            self._held = partitions
            self._source.hold(partitions)
