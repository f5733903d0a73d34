"""Looks up the positions that the client doesn't determine itself, and makes the client read from there.

A look-up takes several requests to the brokers. A request without a reply is repeated later, and records of other
partitions are read in the meantime.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka import codes
from rbhq_stream._kafka.asking import ReplyTimeout
from rbhq_stream._kafka.ends import PartitionEnds, is_end, partition_of
from rbhq_stream._kafka.partitions import Partitions, PartitionState
from rbhq_stream._kafka.starting import Offsets, Question, starting_offsets
from rbhq_stream.source import Owner, TopicPartition

ASK_INTERVAL = 1.0
"""Seconds between two attempts to look up positions, if the brokers did not reply."""
MIN_PAUSE = 0.1
"""Minimum seconds between an attempt that took longer than that and the next one, so that other partitions are read."""


class Positioning:
    """Looks up the positions of the unplaced partitions. Used by the polling thread only.

    Args:
        config: where a new group starts, what to do after a loss, and how partitions are assigned.
        partitions: the states of the partitions.
        ends: what is known of the ends of the partitions.
        reply_timeout: the limit for one question.
    """

    def __init__(
        self, config: FeedConfig, partitions: Partitions, ends: PartitionEnds, reply_timeout: ReplyTimeout
    ) -> None:
        properties = config.kafka_properties()
        self._is_incremental = (
            config.group_id is None  # a partition that is added does not interrupt those that are being read
            or properties.get("group.protocol") == "consumer"
            or "cooperative" in str(properties.get("partition.assignment.strategy"))
        )
        self._config = config
        self._partitions = partitions
        self._ends = ends
        self._reply_timeout = reply_timeout
        self._old: set[TopicPartition] = set()  # those that existed when the feed connected
        self._replies: Offsets | None = None  # to the requests so far
        self._ask_again = 0.0  # when to continue with them

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        """Notes which partitions exist when the feed connects. Others are read from their beginning."""
        self._old.update(partitions)

    def flowing(self, messages: Sequence[Message]) -> list[Message]:
        """Returns the messages, without the records and ends of partitions that must not be handed over now."""
        kept = []
        for message in messages:
            if message.error() is not None and not is_end(message):
                kept.append(message)
                continue
            partition = partition_of(message)
            state = self._partitions.state(partition)
            if state is PartitionState.FRESH:
                self.unplace(partition)
            elif state is PartitionState.FLOWING:
                kept.append(message)
        return kept

    def unplace(self, partition: TopicPartition) -> None:
        """Has the position of a partition looked up. Until then none of its records is handed over."""
        if self._partitions.unplace(partition):
            self._ends.forget([partition])
            self.forget_replies()
            self._ask_again = 0.0

    def forget_replies(self) -> None:
        """Discards the replies so far, because they are about another set of partitions."""
        self._replies = None

    def look_up(self, consumer: Consumer, owner: Owner) -> bool:
        """Looks up the positions of all unplaced partitions, if it is time to, and makes the client read them.

        Returns:
            Whether the client was given positions. Those partitions are not paused.

        Raises:
            DataLossError: records may be lost, and `on_data_loss` is "raise".
            AuthorizationError: this user has no right to the group.
            KafkaException: the brokers don't reply now. The next call tries again.
        """
        began = time.monotonic()
        if began < self._ask_again:
            return False
        try:
            self._place(consumer, owner)
        except KafkaException:
            self._ask_again = max(began + ASK_INTERVAL, time.monotonic() + MIN_PAUSE)
            raise
        return True

    def assign(self, consumer: Consumer, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Has the client read these partitions from these offsets, or from those that the group has committed."""
        positions = [
            KafkaPartition(*partition, OFFSET_STORED if offset is None else offset)
            for partition, offset in offsets.items()
        ]
        (consumer.incremental_assign if self._is_incremental else consumer.assign)(positions)

    def _place(self, consumer: Consumer, owner: Owner) -> None:
        expected = {partition: owner.expected(partition) for partition in self._partitions.unplaced}

        def reply(question: Question) -> list[KafkaPartition]:
            if not owner.is_wanted():  # the feed is being closed: there is no time for requests
                raise KafkaException(KafkaError(codes.DESTROY))
            return self._reply_timeout.ask(question)

        self._replies = self._replies or Offsets(consumer, self._config.group_id, reply)
        positions = starting_offsets(self._replies, self._config, expected, self._old, self._ends)
        self._replies = None
        for partition, offset in positions.items():
            if offset != expected[partition]:
                owner.positioned(partition, offset)
        ours = [TopicPartition(p.topic, p.partition) for p in consumer.assignment()]
        if self._is_incremental:
            consumer.incremental_unassign([KafkaPartition(*partition) for partition in positions if partition in ours])
            self.assign(consumer, positions)
        else:
            self.assign(consumer, {partition: owner.expected(partition) for partition in ours})
        self._partitions.place(positions)
        self._ends.begin(positions, time.monotonic())
