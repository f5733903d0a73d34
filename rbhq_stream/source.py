"""Where records come from: what the poll thread needs of Kafka, a recording or a list in memory.

All methods of a `Source` are called from one thread, the poll thread, which is never the application's main thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from rbhq_stream.record import RawRecord


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Owner(Protocol):
    """Who keeps the books on the partitions: told by the source, from within its own calls, when they change hands."""

    def is_wanted(self) -> bool:
        """Whether the feed is not being closed. For what takes long."""
        ...

    def owns(self, partition: TopicPartition) -> bool:
        """Whether the partition is ours."""
        ...

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        """The source is connected, and these are all the partitions of its topics.

        Raises:
            ConfigError: the application's `positions` name a partition that does not exist.
        """

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These are ours from now on; answers the offsets to read them from, as far as the application says.

        Raises: what the application raises when asked.
        """
        ...

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        """Tells that the next record of this partition has this offset or a later one: the partition had no committed
        offset, it was read to its end, or records are gone. A lower offset than `expected` means that the topic was
        recreated.
        """

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These are no longer ours; answers the offsets to commit for them."""
        ...

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """These are another member's already: nothing may be committed for them."""

    def expected(self, partition: TopicPartition) -> int | None:
        """The offset of the next record to come from this partition, where known."""
        ...

    def processed(self, partition: TopicPartition) -> int | None:
        """Returns the offset before which all records of this partition are processed, where known."""
        ...

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The group's committed offsets are now at least these."""


class Source(Protocol):
    """Something that records can be polled from, and whose offsets can be committed."""

    def open(self, owner: Owner) -> None:
        """Connects and subscribes, within the configured time.

        Raises:
            ConnectError: why it can't be had.
        """

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        """The records there are, oldest first in each partition; waits up to `timeout` seconds for the first.

        Raises:
            RbhqStreamError: the feed can't go on.
        """
        ...

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Starts to commit: `offset` is the next record to read. Doesn't wait, doesn't raise;
        `Owner.committed` hears of it.
        """

    def pause(self) -> None:
        """No more records for now; `poll` goes on being called, to stay in the consumer group."""

    def resume(self) -> None:
        """Records again."""

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        """Commits these last offsets and leaves the group, within about `timeout` seconds whatever the brokers do."""
