"""The protocol of a source of records: what the poll thread needs from Kafka, a recording or a list in memory.

All methods of a `Source` are called on one thread, the feed's poll thread, which is never the application's main
thread. The source calls its `Owner` on the same thread, from within its own methods.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
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
    """The end of a partition, as the source knows it."""

    offset: int
    """The offset of the next record that will be written to the partition and may be read."""
    as_of: float
    """A time (`time.monotonic`, in seconds) until which the end was certainly not beyond this offset."""


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
    member_until: float | None = None
    """Until when (`time.monotonic`, in seconds) the consumer group certainly counts this process as a member, by the
    last sign of life that it confirmed. `None`: there is no group that could evict it.
    """
    time: datetime | None = None
    """What time it is in the source, if that is not the time now: for a replay, that of the records (aware). The health
    then has this time, judges the schedule by it, and does not compare it with this host's clock.
    """
    has_ended: bool = False
    """Whether `poll` has returned the last record that there will ever be. The feed then ends by itself, as after
    `stop`, when the application has processed everything.
    """


class Owner(Protocol):
    """Keeps track of the assigned partitions. The feed implements it; a source calls it when they change."""

    def is_wanted(self) -> bool:
        """Returns `False` if the feed is being closed. A source checks this during slow operations."""
        ...

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        """Called when the source is connected, with all partitions of its topics.

        Raises:
            ConfigError: the application's `positions` name a partition that does not exist.
        """

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Called when these partitions have been assigned to this process.

        Returns:
            The offsets to read them from, for those that the application's `positions` name.

        Raises:
            Exception: what the application's `positions` callable raises.
        """
        ...

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        """Called when the next record of this partition is known to have this offset or a later one.

        This is the case when the partition had no committed offset, was read to its end, or has lost records. An offset
        lower than `expected` means that the topic was recreated.
        """

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Called when these partitions are being revoked from this process.

        Returns:
            The offsets to commit for them.
        """
        ...

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Called when these partitions may already be assigned to another member: nothing may be committed for them."""

    def expected(self, partition: TopicPartition) -> int | None:
        """Returns the offset of the next record of this partition, or `None` if it is not known."""
        ...

    def processed(self, partition: TopicPartition) -> int | None:
        """Returns the offset before which all records of this partition are processed, or `None` if it is not known."""
        ...

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Called when the committed offsets of the consumer group are at least these."""


class Source(Protocol):
    """Something that records can be polled from, and whose offsets can be committed."""

    def open(self, owner: Owner) -> None:
        """Connects and subscribes, within the configured time.

        Raises:
            ConnectError: it can't connect.
        """

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        """Returns the next records. Those of each partition are in the order of their offsets.

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
        """Starts to commit these offsets of the next records to read. Neither waits nor raises.

        `Owner.committed` is called when they are committed.
        """

    def pause(self) -> None:
        """Makes `poll` return no records until `resume`. It is still called, to stay in the consumer group."""

    def resume(self) -> None:
        """Makes `poll` return records again."""

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """Makes `poll` return no records of these partitions, and those of all others again.

        A feed with `order="time"` calls this for the partitions that are ahead of the others. `pause` and `resume`
        don't change which partitions are held, and a partition that is revoked or lost is no longer held.
        """

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        """Commits these last offsets and leaves the consumer group.

        Args:
            offsets: the offsets of the next records to read.
            timeout: about how many seconds closing may take, even if the brokers do not respond.
        """
