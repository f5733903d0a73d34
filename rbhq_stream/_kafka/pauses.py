"""Which partitions the client does not fetch from at present: all of them while the feed is paused, and those held."""

from __future__ import annotations

from collections.abc import Collection

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream.source import TopicPartition


class Pauses:
    """Pauses partitions of a consumer and resumes them. Used by the polling thread only.

    To pause a partition discards what the client has fetched ahead of it.
    """

    def __init__(self) -> None:
        self.is_paused = False
        """Whether all partitions are paused."""
        self.held: frozenset[TopicPartition] = frozenset()
        """Those that are paused whether or not all are."""

    def pause(self, consumer: Consumer) -> None:
        """Pauses all partitions."""
        self.is_paused = True
        consumer.pause(consumer.assignment())

    def resume(self, consumer: Consumer) -> None:
        """Resumes all partitions that are not held."""
        self.is_paused = False
        consumer.resume([p for p in consumer.assignment() if TopicPartition(p.topic, p.partition) not in self.held])

    def hold(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> Collection[TopicPartition]:
        """Holds these partitions and no others. Returns those that are released."""
        released, self.held = self.held.difference(partitions), frozenset(partitions)
        if not self.is_paused:
            consumer.resume([KafkaPartition(*partition) for partition in released])
        self.apply(consumer)
        return released

    def apply(self, consumer: Consumer) -> None:
        """Pauses what has to be paused, after partitions were assigned: they are then read from."""
        consumer.pause(
            [p for p in consumer.assignment() if self.is_paused or TopicPartition(p.topic, p.partition) in self.held]
        )

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forgets partitions that are revoked or lost."""
        self.held = self.held.difference(partitions)
