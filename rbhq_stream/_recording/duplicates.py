"""`Duplicates`: leaves out records that a recording contains a second time. Pure.

A feed that is restarted reads again what was not committed, and records it again. A replay returns each record once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rbhq_stream._recording.blocks import BlockIndex, PartitionRange
from rbhq_stream._recording.columns import RecordedRecord
from rbhq_stream.source import TopicPartition

ReadBlock = Callable[[int], Sequence[RecordedRecord]]
"""Returns the records of the block with this number."""


class RecreatedError(Exception):
    """A topic was recreated: its offsets began anew."""

    def __init__(self, partition: TopicPartition, at: int) -> None:
        super().__init__(partition, at)
        self.partition = partition
        self.at = at
        """The time of the first record of the new topic that was found, in milliseconds since 1970."""


class Duplicates:
    """Leaves out what came before, of blocks for which `is_in_order` is true."""

    def __init__(self) -> None:
        self._newest: dict[TopicPartition, int] = {}

    def without_block(self, records: list[RecordedRecord], index: BlockIndex) -> list[RecordedRecord]:
        """Returns the records of a block that are new. Fast if all of them are.

        Args:
            records: some or all records of the block.
            index: the block's.
        """
        newest = dict(self._newest)
        for one in index.partitions:
            self._newest[one.partition] = max(newest.get(one.partition, -1), one.last)
        if all(one.first > newest.get(one.partition, -1) for one in index.partitions):
            return records
        return [record for record in records if record.record_offset > newest.get(record.topic_partition, -1)]


def is_in_order(indexes: Iterable[BlockIndex], read: ReadBlock) -> bool:
    """Returns whether each partition's records are in the order of their offsets, except for some that came before.

    They are not if a feed was started at offsets before those that the recording has. Only blocks that go back are
    read, and those that have the same offsets.

    Args:
        indexes: those of the blocks, in the order in which they were written.
        read: reads the block with this position in `indexes`.

    Raises:
        RecreatedError: a topic was recreated.
    """
    before: dict[TopicPartition, list[tuple[int, PartitionRange]]] = {}
    newest: dict[TopicPartition, int] = {}
    for number, index in enumerate(indexes):
        for one in index.partitions:
            partition = one.partition
            known = newest.get(partition, -1)
            earlier = before.setdefault(partition, [])
            if one.first <= known:
                again = {record.record_offset: record for record in _of(partition, read(number))}
                again = {offset: record for offset, record in again.items() if offset <= known}
                if not _is_there(again, partition, earlier, read):
                    return False
            newest[partition] = max(known, one.last)
            earlier.append((number, one))
    return True


def check_same(first: RecordedRecord, second: RecordedRecord) -> None:
    """Checks that two records with the same offset are one record that was recorded twice.

    Raises:
        RecreatedError: they are not.
    """
    if first.time != second.time or first.record_value != second.record_value:
        raise RecreatedError(first.topic_partition, max(first.time, second.time))


def _of(partition: TopicPartition, records: Iterable[RecordedRecord]) -> Iterable[RecordedRecord]:
    return (record for record in records if record.topic_partition == partition)


def _is_there(
    again: dict[int, RecordedRecord],
    partition: TopicPartition,
    earlier: Sequence[tuple[int, PartitionRange]],
    read: ReadBlock,
) -> bool:
    """Returns whether all of these records, by their offsets, are in the earlier blocks of their partition."""
    if not again:
        return True
    first, last = min(again), max(again)
    count = len(again)
    for number, one in reversed(earlier):
        if not again:
            return True
        if one.first <= last and first <= one.last:
            for record in _of(partition, read(number)):
                other = again.pop(record.record_offset, None)
                if other is not None:
                    check_same(record, other)
    if not again:
        return True
    if len(again) == count:  # none of them came before
        known = [record.time for number, _ in earlier for record in _of(partition, read(number)) if record.kind]
        times = [record.time for record in again.values() if record.kind]
        if known and times and min(times) > max(known):  # they have lower offsets, and are later
            raise RecreatedError(partition, min(times))
    return False
