"""Topics: whether they exist, when the feed connects and while it runs.

The client doesn't report that a topic was deleted, so topics from which no records arrive are checked with the brokers.
A new topic isn't known to all brokers at once, so it counts as missing only after a while.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping

from confluent_kafka import Consumer

from rbhq_stream._kafka.asking import ReplyTimeout
from rbhq_stream._kafka.translation import connect_error
from rbhq_stream.errors import AuthorizationError, UnknownTopicError
from rbhq_stream.source import TopicPartition

WATCH_INTERVAL = 5.0
"""Seconds between two looks at what came from the topics."""
WATCH_SHARE = 0.05
"""The share of the time that may be spent on asking about topics, as no record comes meanwhile. Over a slow network,
and while the brokers don't reply, that makes the intervals longer."""
GONE_AFTER = 5.0
"""Seconds for which brokers must report a topic as unknown, while the feed runs, before it counts as deleted."""
ASK_AGAIN_AFTER = 1.0
"""Seconds until a question about a topic that the brokers didn't answer, or not for certain, is asked again."""


class TopicLookup:
    """Asks for the partitions of one topic, as often as it takes.

    Args:
        topic: its name.
        believe_after: for how many seconds the brokers must have said that there is no such topic.
    """

    def __init__(self, topic: str, believe_after: float) -> None:
        self.topic = topic
        self._believe_after = believe_after
        self._denied_since: float | None = None

    def ask(self, consumer: Consumer, timeout: float) -> list[TopicPartition] | None:
        """Returns the topic's partitions, or `None` if the brokers are to be asked again.

        Raises:
            UnknownTopicError: there is no such topic.
            AuthorizationError: this user has no right to it.
            KafkaException: the brokers don't reply now.
        """
        metadata = consumer.list_topics(self.topic, timeout=timeout).topics.get(self.topic)
        if metadata is None:
            return None
        if metadata.error is None:
            return [TopicPartition(self.topic, partition) for partition in metadata.partitions] or None
        error = connect_error(metadata.error, resource=self.topic)
        if isinstance(error, AuthorizationError):
            raise error
        if isinstance(error, UnknownTopicError):
            now = time.monotonic()
            if self._denied_since is None:
                self._denied_since = now
            if now >= self._denied_since + self._believe_after:
                raise UnknownTopicError(f"there is no topic {self.topic!r} that this user may see", topic=self.topic)
        return None


class TopicWatch:
    """Asks about the topics that nothing comes from, one at a time.

    Args:
        topics: their names.
        ask_again_after: seconds until a topic is asked about again, even though records come from it: for those who
            have to find partitions that are added.
    """

    def __init__(self, topics: Collection[str], ask_again_after: float = math.inf) -> None:
        self._topics = topics
        self._ask_again_after = ask_again_after
        self._next_round = time.monotonic() + ask_again_after
        self._next_look = time.monotonic() + WATCH_INTERVAL
        self._seen: set[tuple[TopicPartition, int | None]] = set()  # how far the partitions were at the last look
        self._doubted: dict[str, TopicLookup] = {}
        self._ask_again = 0.0
        self._spent = 0.0  # seconds since the last look

    def is_due(self) -> bool:
        """Returns whether it is time for a look."""
        return time.monotonic() >= self._next_look

    def look(self, positions: Mapping[TopicPartition, int | None]) -> None:
        """Doubts the topics that nothing came from since the last look.

        Args:
            positions: the next offset, where known, of each partition that is assigned.
        """
        self._next_look = time.monotonic() + WATCH_INTERVAL
        self._spent = 0.0
        before, self._seen = self._seen, set(positions.items())
        moved = {partition.topic for partition, _ in self._seen - before}
        if time.monotonic() >= self._next_round:
            self._next_round = time.monotonic() + self._ask_again_after
            moved.clear()
        for topic in self._topics:
            if topic not in moved:
                self.doubt(topic)

    def doubt(self, topic: str) -> None:
        """Has the brokers asked about a topic."""
        if topic not in self._doubted:
            self._doubted[topic] = TopicLookup(topic, GONE_AFTER)

    def ask(self, consumer: Consumer, reply_timeout: ReplyTimeout) -> list[TopicPartition]:
        """Asks the brokers about one of the doubted topics, if there is one and it is time. Returns its partitions.

        Raises:
            UnknownTopicError: it was deleted.
            AuthorizationError: the right to it was taken away.
            KafkaException: the brokers don't reply now; it will be asked again.
        """
        began = time.monotonic()
        if not self._doubted or began < self._ask_again:
            return []
        topic, lookup = next(iter(self._doubted.items()))
        del self._doubted[topic]
        self._ask_again = 0.0
        answer = None
        try:
            answer = reply_timeout.ask(lambda timeout: lookup.ask(consumer, timeout))
        finally:
            ended = time.monotonic()
            self._spent += ended - began
            rest = self._spent / WATCH_SHARE
            self._next_look = max(self._next_look, ended + rest)
            if answer is None:
                self._doubted[topic] = lookup  # behind the others
                self._ask_again = ended + max(ASK_AGAIN_AFTER, rest)
        return answer or []
