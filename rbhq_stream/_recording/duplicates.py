"""`Duplicates`: leaves out records that a recording contains a second time. Pure.

A feed that is restarted reads again what was not committed, and records it again. A replay returns each record once.
"""

from __future__ import annotations

from collections.abc import Sequence

from rbhq_stream._recording.blocks import BlockIndex
from rbhq_stream._recording.columns import RecordedRecord
from rbhq_stream.source import TopicPartition


class RecreatedError(Exception):
    """A topic was recreated: its offsets began anew."""

    def __init__(self, partition: TopicPartition, at: int) -> None:
        super().__init__(partition, at)
        self.partition = partition
        self.at = at
        """The time of the first record of the new topic, in milliseconds since 1970."""


class Duplicates:
    """The newest record of each partition so far."""

    def __init__(self) -> None:
        self._newest: dict[TopicPartition, int] = {}
        self._latest: dict[TopicPartition, int] = {}  # the latest time of its records so far

    def without_block(self, records: list[RecordedRecord], index: BlockIndex) -> list[RecordedRecord]:
        """Returns the records of a block that are new. Fast if all of them are, and none is missing between them.

        Args:
            records: some or all records of the block.
            index: the block's.

        Raises:
            RecreatedError: a topic was recreated.
        """
        newest = self._newest
        if any(
            one.first <= newest.get(one.partition, -1) or one.last - one.first + 1 != one.count
            for one in index.partitions
        ):
            return self.without(records)
        for one in index.partitions:
            newest[one.partition] = one.last
            self._latest[one.partition] = max(self._latest.get(one.partition, -1), index.until or -1)
        return records

    def without(self, records: Sequence[RecordedRecord]) -> list[RecordedRecord]:
        """Returns the records that are new.

        Raises:
            RecreatedError: a topic was recreated.
        """
        newest, latest = self._newest, self._latest
        found: list[RecordedRecord] = []
        for record in records:
            partition, offset, time = record.topic_partition, record.record_offset, record.time
            known = newest.get(partition)
            if known is None or offset > known:
                newest[partition] = offset
                found.append(record)
            elif time > latest[partition]:
                # A record that was recorded again has the same time as before, so this is another one with its offset.
                raise RecreatedError(partition, time)
            latest[partition] = max(latest.get(partition, -1), time)
        return found
