"""Where records come from: what the poll thread needs of Kafka, a recording or a list in memory.

All methods of a `Source` are called on one thread, the feed's poll thread, which is never the application's main
thread. The source calls its `Owner` back on the same thread, from within its own methods.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from attrs import Factory, field, frozen

from rbhq_stream.record import RawRecord


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    """The topic's name."""
    partition: int
    """The number of the partition, from 0."""

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class PartitionEnd(NamedTuple):
    """The end of a partition, as the source last heard of it."""

    offset: int
    """The offset of the next record that will be written to the partition and may be read."""
    as_of: float
    """A time (`time.monotonic`, in seconds) at which the end was certainly not beyond this offset yet, or later."""


@frozen(kw_only=True)
class SourceStatus:
    """What a source knows about its connection and about the partitions that are assigned to this process."""

    brokers_known: int = 0
    """How many brokers the cluster has."""
    brokers_up: int = 0
    """How many of them the source is connected to. It connects only to those that it needs."""
    ends: Mapping[TopicPartition, PartitionEnd] = field(default=Factory(dict), hash=False)
    """The ends of the assigned partitions, as far as they are known."""
    unreachable: Mapping[TopicPartition, str] = field(default=Factory(dict), hash=False)
    """The assigned partitions that cannot be read at present, each with the reason."""


class Owner(Protocol):
    """Keeps track of the assigned partitions. The feed implements it; a source calls it when they change."""

    def is_wanted(self) -> bool:
        """Returns whether the feed is not being closed. A source asks this while it does something slow."""
        ...

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        """The source is connected, and these are all the partitions of its topics.

        Raises:
            ConfigError: the application's `positions` name a partition that does not exist.
        """

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These partitions are assigned to this process from now on.

        Returns:
            The offsets to read them from, for those that the application's `positions` name.

        Raises:
            Exception: what the application's `positions` callable raises.
        """
        ...

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        """The next record to come from this partition has this offset or a later one.

        Called where the partition had no committed offset, was read to its end, or has lost records. A lower offset
        than `expected` means that the topic was recreated.
        """

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These partitions are no longer assigned to this process.

        Returns:
            The offsets to commit for them.
        """
        ...

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions may already be assigned to another member, so nothing may be committed for them."""

    def expected(self, partition: TopicPartition) -> int | None:
        """Returns the offset of the next record to come from this partition, where it is known."""
        ...

    def processed(self, partition: TopicPartition) -> int | None:
        """Returns the offset before which all records of this partition are processed, where it is known."""
        ...

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The committed offsets of the consumer group are now at least these."""


class Source(Protocol):
    """Something that records can be polled from, and whose offsets can be committed."""

    def open(self, owner: Owner) -> None:
        """Connects and subscribes, within the configured time.

        Raises:
            ConnectError: why it can't.
        """

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        """Returns the next records, those of each partition in the order of their offsets.

        Args:
            timeout: seconds to wait for the first record.

        Raises:
            RbhqStreamError: the feed can't continue.
        """
        ...

    def status(self) -> SourceStatus:
        """Returns what the source knows about its connection and its partitions. Does not wait, and is called often."""
        ...

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Starts to commit these offsets, each that of the next record to read. Neither waits nor raises.

        `Owner.committed` is called when they are committed.
        """

    def pause(self) -> None:
        """Returns no more records from `poll` for now. `poll` is still called, to stay in the consumer group."""

    def resume(self) -> None:
        """Returns records again."""

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        """Commits these last offsets and leaves the consumer group.

        Args:
            offsets: each that of the next record to read.
            timeout: about how many seconds it may take, whatever the brokers do.
        """
