"""The ends of partitions: how far the group's offset may advance beyond the last record.

The last offsets of a partition may hold no record that is ever delivered to a consumer: control records of
transactions, aborted records, and gaps that compaction left. The group's offset has to pass them as well. If it stayed
before them, it would be out of range once retention has removed everything, as if unread records had been lost.

The client reports the end of a partition with a message in place of a record, about `fetch.wait.max.ms` after the last
record. None of the offsets from the next expected one up to that end holds a record.

An application that stores its own positions stores those of records, because it is not notified of the end. So the
commit of an end has, as its metadata, the first of the offsets without a record. No record is missed by starting at any
offset from there on.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._kafka import codes
from rbhq_stream.source import Owner, PartitionEnd, TopicPartition

_METADATA = re.compile(r"no records from (\d+)", re.ASCII)


class PartitionEnds:
    """The ends that the client has reported. Used by the poll thread only."""

    def __init__(self) -> None:
        self._reported: dict[TopicPartition, int] = {}  # not passed on to the owner yet
        self._gaps: dict[TopicPartition, tuple[int, int]] = {}  # the offsets without a record before the last end
        self._read_since: dict[TopicPartition, float] = {}
        self._newest: dict[TopicPartition, PartitionEnd] = {}  # as of the start of reading, which was earlier

    def begin(self, partitions: Collection[TopicPartition], now: float) -> None:
        """Notes that the client reads these partitions from a new position.

        Args:
            partitions: the partitions.
            now: the time at which it began (`time.monotonic`).
        """
        self._read_since.update(dict.fromkeys(partitions, now))

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """Notes that the client does not read these partitions until `begin`, so their ends are not confirmed."""
        self.begin(partitions, math.inf)

    def report(self, message: Message) -> None:
        """Takes in a message for which `is_end` is true."""
        partition, end = partition_of(message), int(message.offset() or 0)
        self._reported[partition] = end
        if partition in self._read_since:
            self._newest[partition] = PartitionEnd(end, self._read_since[partition])

    def newest(self, others: Mapping[TopicPartition, PartitionEnd]) -> dict[TopicPartition, PartitionEnd]:
        """Returns these ends, replaced by the reported ones where those are newer.

        The end of a partition is as of no time if it is from before the client began to read it: its broker may have
        responded since, but about the other partitions.
        """
        dated = {
            p: end if end.as_of >= self._read_since.get(p, -math.inf) else PartitionEnd(end.offset, -math.inf)
            for p, end in others.items()
        }
        newer = {p: end for p, end in self._newest.items() if p not in dated or dated[p].as_of < end.as_of}
        return {**dated, **newer}

    def pass_on(self, owner: Owner) -> None:
        """Passes the ends reported before to the owner. It must have been given the records that came before them."""
        while self._reported:
            partition, end = self._reported.popitem()
            expected = owner.expected(partition)
            if expected is None or expected <= end:  # otherwise, records have arrived since
                self.skipped(partition, end if expected is None else expected, end)
            # if none arrived since the assignment, there is no record from the committed offset on
            if expected is None or expected < end:
                owner.positioned(partition, end)

    def wait(
        self,
        consumer: Consumer,
        owner: Owner,
        partitions: Collection[TopicPartition],
        timeout: float,
        is_useful: Callable[[], bool],
    ) -> dict[TopicPartition, int]:
        """Waits for the ends of partitions whose records are all processed, when the feed is being closed.

        If the client knows of further offsets although everything that was read is processed, they may hold the end of
        a transaction. The client reports that only after its next fetch. If a record arrives instead, it is dropped,
        because the feed is closing and won't process it.

        Args:
            consumer: the client.
            owner: is notified of the ends.
            partitions: those from which records may still arrive.
            timeout: how many seconds to wait.
            is_useful: returns whether to go on waiting.

        Returns:
            The processed offsets that have advanced: those of the partitions that were read to their end.
        """
        before = {partition: owner.processed(partition) for partition in partitions}
        self.pass_on(owner)
        waiting = {partition for partition in partitions if self._is_behind_its_end(consumer, owner, partition)}
        deadline = time.monotonic() + timeout
        while waiting and is_useful() and (left := deadline - time.monotonic()) > 0:
            message = consumer.poll(left)
            if message is not None and (message.error() is None or is_end(message)):
                waiting.discard(partition_of(message))
                if is_end(message):
                    self.report(message)
        self.pass_on(owner)
        processed = {partition: owner.processed(partition) for partition in partitions}
        return {p: offset for p, offset in processed.items() if offset is not None and offset != before[p]}

    def _is_behind_its_end(self, consumer: Consumer, owner: Owner, partition: TopicPartition) -> bool:
        """Returns whether everything that was read of the partition is processed, although it has further offsets."""
        expected = owner.expected(partition)
        if expected is None or owner.processed(partition) != expected:
            return False
        if partition in self._gaps and self._gaps[partition][1] == expected:
            return False  # the client has reported this end; an open transaction follows it
        try:
            _, end = consumer.get_watermark_offsets(KafkaPartition(*partition), cached=True)
        except KafkaException:  # the partition no longer exists
            return False
        return end > expected

    def skipped(self, partition: TopicPartition, first: int, end: int) -> None:
        """Notes that the offsets from `first` up to, not including, `end` hold no record."""
        before = self._gaps.get(partition)
        self._gaps[partition] = (before[0] if before is not None and before[1] == first else first, end)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forgets partitions that were revoked, or are now read from another offset."""
        for partition in partitions:
            self._reported.pop(partition, None)
            self._gaps.pop(partition, None)
            self._read_since.pop(partition, None)
            self._newest.pop(partition, None)

    def metadata(self, partition: TopicPartition, offset: int) -> str | None:
        """Returns the metadata for a commit of this offset."""
        first, end = self._gaps.get(partition, (0, 0))
        return f"no records from {first}" if first < offset == end else None


def first_without_record(metadata: str | None) -> int | None:
    """Returns the offset from which on there are no records, up to the committed one that has this metadata."""
    match = _METADATA.fullmatch(metadata or "")
    return None if match is None else int(match[1])


def is_end(message: Message) -> bool:
    """Returns whether the message reports the end of its partition."""
    error = message.error()
    return error is not None and error.code() == codes.PARTITION_EOF


def partition_of(message: Message) -> TopicPartition:
    """Returns the partition of a record or an end."""
    return TopicPartition(str(message.topic()), int(message.partition() or 0))
