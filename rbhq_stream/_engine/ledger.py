"""Which records are done, and so which offsets may be committed. Pure: no I/O, no clock, no lock.

Kafka remembers one number for each partition of a consumer group: the next record to read. To commit it says
that all before it are done. The `Ledger` knows for each partition we own how far that holds, and never says
more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import Factory, define

from rbhq_stream._engine.offset_runs import OffsetRuns
from rbhq_stream.source import TopicPartition

_Key = tuple[str, int]  # a TopicPartition, or the plain tuple that equals it: made a million times a minute


@define
class _Page:
    """What the ledger knows of one partition."""

    since: int  # the epoch in which it became ours
    counts_from: int  # what was read in an epoch before this one says nothing of what is done
    next: int | None = None  # all records before this offset are done
    first: int | None = None  # the first record taken in, while `next` is not known
    committed: int | None = None  # what the group is known to have committed
    expected: int | None = None  # the offset after the newest record taken in
    handed_over: int | None = None  # the offset after the newest record that the application has got
    done_ahead: OffsetRuns = Factory(OffsetRuns)  # done, or without a record, while one before them is not done
    parts: dict[int, set[int]] = Factory(dict)  # of records with several events, which of them were acknowledged

    @property
    def oldest(self) -> int | None:
        """The oldest record taken in that is not done; the next one to come when all are done."""
        return self.first if self.next is None else self.next

    def done_up_to(self, offset: int) -> None:
        self.next = self.done_ahead.pass_to(offset)

    def skip_to(self, offset: int) -> None:
        """Notes that the offsets from the expected one up to, not including, `offset` hold no record."""
        if self.expected is None or offset <= self.expected:
            return
        if self.next == self.expected:
            self.next = offset
        else:
            self.done_ahead.add(self.expected, offset)
        self.expected = offset


class Ledger:
    """The books of one consumer: done and committed offsets of the partitions it owns.

    Each change of hands starts a new epoch. What was read in an epoch before a partition became ours (again)
    counts no more: another member of the group may have gone on from there.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._pages: dict[_Key, _Page] = {}

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are ours, from a new epoch on."""
        self.epoch += 1
        for partition in partitions:
            self._pages[partition] = _Page(since=self.epoch, counts_from=self.epoch)

    def revoke(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """These partitions are ours no more; answers what was still to be committed for them."""
        last = self.committable()
        self.epoch += 1
        for partition in partitions:
            self._pages.pop(partition, None)
        return {partition: offset for partition, offset in last.items() if partition not in self._pages}

    def owns(self, partition: _Key, epoch: int) -> bool:
        """Whether a record of the partition that was read in `epoch` is still ours to handle."""
        page = self._pages.get(partition)
        return page is not None and page.since <= epoch

    def owned_since(self) -> dict[_Key, int]:
        """Returns the epoch in which each partition that we own became ours."""
        return {partition: page.since for partition, page in self._pages.items()}

    def position(self, partition: TopicPartition, offset: int) -> None:
        """The partition is read from `offset` on; to commit that holds the place before the first record is done.

        That is so only once what was taken in before is done. But when the partition went back, its topic was made
        anew, and what was taken in before counts no more.
        """
        page = self._pages.get(partition)
        if page is None:
            return
        if page.expected is not None and page.expected <= offset:
            page.skip_to(offset)
            return
        self.epoch += 1
        page.counts_from = self.epoch
        page.next = page.expected = offset
        page.handed_over = None
        page.done_ahead.clear()
        page.committed = None  # it may be further than this
        page.parts.clear()

    def expected(self, partition: _Key) -> int | None:
        """The offset of the next record to come, or `None` before the first."""
        page = self._pages.get(partition)
        return None if page is None else page.expected

    def processed(self, partition: _Key) -> int | None:
        """Returns the offset before which all records are processed, or `None` where that is not known."""
        page = self._pages.get(partition)
        return None if page is None else page.next

    def has_gaps(self, newest: Mapping[_Key, int], count: int) -> bool:
        """Returns whether offsets were left out, or may have been, among records that were read together.

        Args:
            newest: the last offset of each partition among them.
            count: how many records they are.
        """
        span = 0
        for partition, offset in newest.items():
            expected = self._pages[partition].expected
            if expected is None:
                return True
            span += offset + 1 - expected
        return span != count

    def taken_in_one(self, partition: _Key, offset: int) -> None:
        """The record was read. The offsets between it and the one before it hold no record: they are those of control
        records of transactions, of aborted records, or of records that were compacted away.

        They are processed as soon as all before them is. If the group's offset stayed before them, their removal by
        the broker's retention would look like a loss of records.
        """
        page = self._pages[partition]
        if page.expected is None:
            page.first = offset
        page.skip_to(offset)
        page.expected = offset + 1

    def taken_in(self, partition: _Key, offset: int) -> None:
        """The records up to this one were read, none of them left out."""
        page = self._pages[partition]
        page.expected = offset + 1

    def handed_over(self, partition: _Key, offset: int, epoch: int) -> None:
        """The application has got this record and all before it, and acknowledges them one by one."""
        page = self._pages.get(partition)
        if page is not None and page.counts_from <= epoch:
            page.handed_over = offset + 1

    def unacknowledged(self) -> dict[TopicPartition, tuple[int, int]]:
        """Returns the oldest record of each partition that was handed over and is not acknowledged.

        Returns:
            For each partition that has one, its offset and how many offsets after it are done.
        """
        return {
            TopicPartition(*partition): (page.oldest, page.done_ahead.count())
            for partition, page in self._pages.items()
            if page.oldest is not None and page.handed_over is not None and page.oldest < page.handed_over
        }

    def done(self, partition: _Key, offset: int, epoch: int) -> None:
        """The record and all before it in the partition are done."""
        page = self._pages.get(partition)
        if page is not None and page.counts_from <= epoch and (page.next is None or offset >= page.next):
            page.done_up_to(offset + 1)

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
        page = self._pages.get(partition)
        if page is None or epoch < page.counts_from or page.oldest is None or page.expected is None:
            return
        if not page.oldest <= offset < page.expected or offset in page.done_ahead:
            return
        if parts > 1:
            acknowledged = page.parts.setdefault(offset, set())
            acknowledged.add(part)
            if len(acknowledged) < parts:
                return
            del page.parts[offset]
        if offset == page.oldest:
            page.done_up_to(offset + 1)
        else:
            page.done_ahead.add(offset, offset + 1)

    def committable(self) -> dict[TopicPartition, int]:
        """The offsets that are further than what is known to be committed."""
        return {
            TopicPartition(*partition): page.next
            for partition, page in self._pages.items()
            if page.next is not None and (page.committed is None or page.next > page.committed)
        }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The group's committed offsets are at least these."""
        for partition, offset in offsets.items():
            page = self._pages.get(partition)
            if page is None or (page.expected is not None and offset > page.expected):
                continue  # of the topic that was there before this one
            if page.committed is None or offset > page.committed:
                page.committed = offset
