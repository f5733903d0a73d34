"""Owners of sources, for tests that have no feed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rbhq_stream import TopicPartition


class AnyOwner:
    """An `Owner` that leaves everything to the source."""

    def is_wanted(self) -> bool:
        return True

    def connected(self, partitions: Collection[TopicPartition]) -> None: ...

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {}

    def positioned(self, partition: TopicPartition, offset: int) -> None: ...

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {}

    def lost(self, partitions: Collection[TopicPartition]) -> None: ...

    def expected(self, partition: TopicPartition) -> int | None:
        return None

    def processed(self, partition: TopicPartition) -> int | None:
        return None

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None: ...
