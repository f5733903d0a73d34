"""`Ledger`: which records are processed, and so which offsets may be committed. Pure: no I/O, no clock, no lock.

Kafka keeps one number for each partition of a consumer group: the offset of the next record to read. A committed offset
means that all records before it are processed. The ledger keeps track, for each assigned partition, of the highest
offset for which that is true, and never reports a higher one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import Factory, define

from rbhq_stream._engine.offset_runs import OffsetRuns
from rbhq_stream.source import TopicPartition

_Key = tuple[str, int]  # a TopicPartition or an equal plain tuple, which is faster to make for each record


@define
class _Progress:
    """How far one partition has been read, processed and committed."""

    since: int  # the epoch in which it was assigned
    counts_from: int  # records that were read in an earlier epoch are ignored when they are processed
    next: int | None = None  # all records before this offset are processed
    first: int | None = None  # the first record that was read, while `next` is not known
    committed: int | None = None  # the offset that the group is known to have committed
    expected: int | None = None  # the offset after the newest record that was read
    handed_over: int | None = None  # the offset after the newest record that the application has got
    ahead: OffsetRuns = Factory(OffsetRuns)  # offsets that need no processing, after one that does
    parts: dict[int, set[int]] = Factory(dict)  # of records with several events, which of them were acknowledged

    @property
    def oldest(self) -> int | None:
        """The offset of the oldest record that is not processed, or of the next one to come."""
        return self.first if self.next is None else self.next

    def process_up_to(self, offset: int) -> None:
        self.next = self.ahead.pass_to(offset)

    def skip_to(self, offset: int) -> None:
        """Notes that the offsets from the expected one up to, not including, `offset` hold no record."""
        if self.expected is None or offset <= self.expected:
            return
        if self.next == self.expected:
            self.next = offset
        else:
            self.ahead.add(self.expected, offset)
        self.expected = offset


class Ledger:
    """The progress of each partition that is assigned to this process.

    Each assignment and each revocation starts a new epoch. A record that was read in an epoch before its partition was
    assigned (again) no longer counts: another member of the group may have continued from there.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._partitions: dict[_Key, _Progress] = {}
        self._read: dict[_Key, int] = {}  # how many records, over all assignments

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """Starts a new epoch, in which these partitions are assigned."""
        self.epoch += 1
        for partition in partitions:
            self._partitions[partition] = _Progress(since=self.epoch, counts_from=self.epoch)

    def revoke(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Starts a new epoch, in which these partitions are no longer assigned.

        Returns:
            The offsets that were still to be committed for them.
        """
        last = self.committable()
        self.epoch += 1
        for partition in partitions:
            self._partitions.pop(partition, None)
        return {partition: offset for partition, offset in last.items() if partition not in self._partitions}

    def owned_since(self) -> dict[_Key, int]:
        """Returns the epoch in which each assigned partition was assigned."""
        return {partition: state.since for partition, state in self._partitions.items()}

    def position(self, partition: TopicPartition, offset: int) -> None:
        """Notes that the next record of the partition has this offset or a later state.

        The offsets that are skipped count as processed once everything before them is. An offset before the expected
        one means that the topic was recreated: then nothing that was read before counts.
        """
        state = self._partitions.get(partition)
        if state is None:
            return
        if state.expected is not None and state.expected <= offset:
            state.skip_to(offset)
            return
        self.epoch += 1
        state.counts_from = self.epoch
        state.next = state.expected = offset
        state.handed_over = None
        state.ahead.clear()
        state.committed = None  # the known offset may belong to the old topic, and be higher than this
        state.parts.clear()

    def expected(self, partition: _Key) -> int | None:
        """Returns the offset of the next record to come, or `None` before the first."""
        state = self._partitions.get(partition)
        return None if state is None else state.expected

    def positions(self) -> dict[TopicPartition, tuple[int | None, int | None, int | None]]:
        """Returns of each assigned partition the expected, the processed and the committed offset, as far as known."""
        return {
            TopicPartition(*partition): (state.expected, state.next, state.committed)
            for partition, state in self._partitions.items()
        }

    def processed(self, partition: _Key) -> int | None:
        """Returns the offset before which all records are processed, or `None` where that is not known."""
        state = self._partitions.get(partition)
        return None if state is None else state.next

    def has_gaps(self, newest: Mapping[_Key, int], count: int) -> bool:
        """Returns whether offsets were left out, or may have been, among records that were read together.

        Args:
            newest: the last offset of each partition among them.
            count: how many records they are.
        """
        span = 0
        for partition, offset in newest.items():
            expected = self._partitions[partition].expected
            if expected is None:
                return True
            span += offset + 1 - expected
        return span != count

    def read(self, partition: _Key, offset: int) -> None:
        """Notes that this record was read.

        The offsets between it and the record before it hold no record that will ever be delivered: they belong to
        control records of transactions, to aborted records, or to records that were compacted away. They count as
        processed as soon as everything before them is. If the committed offset stayed before them, their removal by
        the broker's retention would look like a loss of records.
        """
        state = self._partitions[partition]
        if state.expected is None:
            state.first = offset
        state.skip_to(offset)
        state.expected = offset + 1
        self._read[partition] = self._read.get(partition, 0) + 1

    def read_up_to(self, partition: _Key, offset: int) -> None:
        """Notes that all records up to this one were read, with no offset between them left out."""
        state = self._partitions[partition]
        assert state.expected is not None, "has_gaps returned False"
        self._read[partition] = self._read.get(partition, 0) + offset + 1 - state.expected
        state.expected = offset + 1

    def records_read(self, partition: _Key) -> int:
        """Returns how many records of the partition were read, over all of its assignments to this process."""
        return self._read.get(partition, 0)

    def handed_over(self, partition: _Key, offset: int, epoch: int) -> None:
        """Notes that the application, which acknowledges records one by one, has got all records read so far."""
        state = self._partitions.get(partition)
        if state is not None and state.counts_from <= epoch:
            state.handed_over = offset + 1

    def unacknowledged(self) -> dict[TopicPartition, tuple[int, int]]:
        """Returns the oldest record of each partition that was handed over and is not acknowledged.

        Returns:
            For each partition that has one, its offset and how many offsets after it are processed.
        """
        return {
            TopicPartition(*partition): (state.oldest, state.ahead.count())
            for partition, state in self._partitions.items()
            if state.oldest is not None and state.handed_over is not None and state.oldest < state.handed_over
        }

    def mark_processed(self, partition: _Key, offset: int, epoch: int) -> None:
        """Marks all records of the partition up to this one as processed."""
        state = self._partitions.get(partition)
        if state is not None and state.counts_from <= epoch and (state.next is None or offset >= state.next):
            state.process_up_to(offset + 1)

    def acknowledge(self, partition: _Key, offset: int, epoch: int, part: int = 0, parts: int = 1) -> None:
        """Marks one event as processed; those before it may not be. Safe to call more than once.

        Changes nothing when the partition was revoked, or its topic recreated, since the record was read.

        Args:
            partition: the record's.
            offset: the record's.
            epoch: the epoch in which the record was read.
            part: which of the record's events it is, from 0.
            parts: how many events the record has. The record is processed when all of them are.
        """
        state = self._partitions.get(partition)
        if state is None or epoch < state.counts_from or state.oldest is None or state.expected is None:
            return
        if not state.oldest <= offset < state.expected or offset in state.ahead:
            return
        if parts > 1:
            acknowledged = state.parts.setdefault(offset, set())
            acknowledged.add(part)
            if len(acknowledged) < parts:
                return
            del state.parts[offset]
        if offset == state.oldest:
            state.process_up_to(offset + 1)
        else:
            state.ahead.add(offset, offset + 1)

    def committable(self) -> dict[TopicPartition, int]:
        """Returns the offsets that are further than what is known to be committed."""
        return {
            TopicPartition(*partition): state.next
            for partition, state in self._partitions.items()
            if state.next is not None and (state.committed is None or state.next > state.committed)
        }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Notes that the group's committed offsets are at least these."""
        for partition, offset in offsets.items():
            state = self._partitions.get(partition)
            if state is None or (state.expected is not None and offset > state.expected):
                continue  # of the topic that was there before this one
            if state.committed is None or offset > state.committed:
                state.committed = offset
