"""`joined`: the records of several recordings in time order, each of them once. Pure.

Recordings of one day may have the same records, and each in another order of arrival: a feed that catches up reads one
partition after the other. So the order of arrival is given up, and that within each partition is restored: the records
of a partition are sorted by their offsets, and then the partitions are merged as by `Feed(order="time")`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import attrgetter, itemgetter

from rbhq_stream._recording.columns import RecordedRecord
from rbhq_stream._recording.duplicates import ReadBlock, RecreatedError, check_same
from rbhq_stream._recording.segments import Block
from rbhq_stream._timestamps import MAX_MILLISECONDS
from rbhq_stream.source import TopicPartition

CLOCK_MARGIN = 60_000
"""Milliseconds by which the records of a block may be earlier than those with lower offsets in another recording,
because the clocks of producers differ. If they are earlier by more, the topic was recreated between the two."""

_offset = attrgetter("record_offset")


def joined(blocks: Sequence[Block], read: ReadBlock, topics: Sequence[str]) -> Iterator[RecordedRecord]:
    """Iterates over the records in time order.

    Args:
        blocks: the blocks; those of one folder in the order in which they were written.
        read: returns the records of the block with this position. It is called once for each of a block's partitions.
        topics: the topics in the order in which their records of the same time are returned.

    Raises:
        RecreatedError: a topic was recreated.
    """
    numbers: dict[TopicPartition, list[tuple[int, int]]] = {}  # the first offset and the position of each block
    for number, block in enumerate(blocks):
        for one in block.index.partitions:
            numbers.setdefault(one.partition, []).append((one.first, number))
    ranks = {topic: rank for rank, topic in enumerate(topics)}
    partitions = sorted(numbers, key=lambda partition: (ranks.get(partition.topic, len(ranks)), partition.partition))
    streams = (_timed(_by_offset(one, sorted(numbers[one]), blocks, read)) for one in partitions)
    return map(itemgetter(1), merge(*streams, key=itemgetter(0)))


def _timed(records: Iterable[RecordedRecord]) -> Iterator[tuple[int, RecordedRecord]]:
    """Adds the time by which each record is merged: none is earlier than its predecessor."""
    latest = -1
    for record in records:
        if record.kind and latest < record.time <= MAX_MILLISECONDS:
            latest = record.time
        yield latest, record


def _by_offset(
    partition: TopicPartition, found: Iterable[tuple[int, int]], blocks: Sequence[Block], read: ReadBlock
) -> Iterator[RecordedRecord]:
    """Iterates over the records of one partition by their offsets, each of them once.

    Args:
        partition: the partition.
        found: its blocks by their first offsets.
        blocks: all blocks.
        read: reads one of them.
    """
    waiting: list[RecordedRecord] = []
    previous: tuple[Block, int, Sequence[RecordedRecord]] | None = None
    for first, number in found:
        records = [record for record in read(number) if record.topic_partition == partition]
        if not records:
            continue
        split = bisect_left(waiting, first, key=_offset)
        yield from _once(waiting[:split])
        block = blocks[number]
        if previous is not None and split == len(waiting):
            before, before_number, earlier = previous
            if block.path.parent != before.path.parent or number < before_number:
                _check_times(earlier, records)
        waiting = sorted(waiting[split:] + records, key=_offset)
        previous = block, number, records
    yield from _once(waiting)


def _once(records: Iterable[RecordedRecord]) -> Iterator[RecordedRecord]:
    """Leaves out the second of two records with the same offset."""
    newest: RecordedRecord | None = None
    for record in records:
        if newest is None or record.record_offset != newest.record_offset:
            newest = record
            yield record
        else:
            check_same(newest, record)


def _check_times(lower: Sequence[RecordedRecord], higher: Sequence[RecordedRecord]) -> None:
    """Checks that records with higher offsets than others are not earlier than those.

    Raises:
        RecreatedError: they are.
    """
    began = min((record.time for record in lower if record.kind), default=None)
    ended = max((record.time for record in higher if record.kind), default=None)
    if began is not None and ended is not None and ended + CLOCK_MARGIN < began:
        raise RecreatedError(lower[0].topic_partition, began)
