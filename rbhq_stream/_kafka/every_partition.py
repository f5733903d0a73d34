"""`EveryPartitionSource`: the records of all partitions, without a consumer group.

A member of a group gets its partitions in rebalances. This source assigns itself all partitions that exist when it
connects, and those that are added later. No partition is ever revoked or lost. A client that is replaced continues at
the position of the last one, because no other process has read on in the meantime. Nothing is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from confluent_kafka import KafkaError, Message

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka.consumer import KafkaSource
from rbhq_stream._kafka.topics import TopicWatch
from rbhq_stream.source import TopicPartition

_log = logging.getLogger("rbhq_stream.kafka")

METADATA_REFRESH_MS = 300_000
"""librdkafka's default for `topic.metadata.refresh.interval.ms`, which is how soon the members of a group find a
partition that was added."""


class EveryPartitionSource(KafkaSource):
    """A `Source` that reads every partition of the topics and belongs to no consumer group."""

    def __init__(self, config: FeedConfig) -> None:
        super().__init__(config)
        refresh = config.kafka.get("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
        self._topics = TopicWatch(config.topics.names, int(str(refresh)) / 1000)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Does nothing: without a group there is nothing to commit to."""

    def _commit_finally(self, offsets: Mapping[TopicPartition, int], timeout: float, deadline: float) -> None:
        """Does nothing, so that closing takes no time."""

    def _connected(self, partitions: Collection[TopicPartition]) -> None:
        super()._connected(partitions)
        self._found(partitions)

    def _found(self, partitions: Collection[TopicPartition]) -> None:
        """Assigns the partitions that are new. Their positions are looked up by the next poll."""
        assigned = self._partitions.assigned
        new = sorted(partition for partition in partitions if partition not in assigned)
        if not new:
            return
        self._take_over(new)
        for partition in new:
            self._positioning.unplace(partition)

    def _take_in_error(self, message: Message) -> None:
        error = message.error()
        # the client looks up the coordinator of its configured group, which the user may have no right to
        if error is None or error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            super()._take_in_error(message)

    def _replace_client(self) -> None:
        """Continues with a new client, because this one knows no brokers. Each partition is read on from its
        position."""
        _log.warning("the Kafka client knows no brokers any more and is replaced by a new one")
        self._client.replace()
        for partition in self._partitions.assigned:
            self._positioning.unplace(partition)


def kafka_source(config: FeedConfig) -> KafkaSource:
    """Returns a source for a feed with this configuration: a member of its group, or one that belongs to none."""
    return KafkaSource(config) if config.group_id is not None else EveryPartitionSource(config)
