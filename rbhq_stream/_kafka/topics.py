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
"""Seconds between two checks of which topics records have arrived from."""
WATCH_SHARE = 0.05
"""The share of the time that may be spent on requests about topics, because no record is read during them. Over a slow
network, and while the brokers don't reply, this makes the intervals longer."""
GONE_AFTER = 5.0
"""Seconds for which brokers must report a topic as unknown, while the feed runs, before it counts as deleted."""
ASK_AGAIN_AFTER = 1.0
"""Seconds until a request about a topic is repeated, if it got no reply or an uncertain one."""


class TopicLookup:
    """Looks up the partitions of one topic, which may take several requests.

    Args:
        topic: its name.
        missing_after: for how many seconds the brokers must have reported that there is no such topic.
    """

    def __init__(self, topic: str, missing_after: float) -> None:
        self.topic = topic
        self._missing_after = missing_after
        self._missing_since: float | None = None

    def ask(self, consumer: Consumer, timeout: float) -> list[TopicPartition] | None:
        """Returns the topic's partitions, or `None` if the request has to be repeated.

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
            if self._missing_since is None:
                self._missing_since = now
            if now >= self._missing_since + self._missing_after:
                raise UnknownTopicError(f"there is no topic {self.topic!r} that this user may see", topic=self.topic)
        return None


class TopicWatch:
    """Checks the topics from which no records arrive, one at a time.

    Args:
        topics: their names.
        ask_again_after: seconds until a topic is checked again although records arrive from it, to find partitions that
            were added.
    """

    def __init__(self, topics: Collection[str], ask_again_after: float = math.inf) -> None:
        self._topics = topics
        self._ask_again_after = ask_again_after
        self._next_round = time.monotonic() + ask_again_after
        self._next_look = time.monotonic() + WATCH_INTERVAL
        self._seen: set[tuple[TopicPartition, int | None]] = set()  # the positions at the last look
        self._to_check: dict[str, TopicLookup] = {}
        self._ask_again = 0.0
        self._spent = 0.0  # seconds since the last look

    def is_due(self) -> bool:
        """Returns whether it is time to call `look`."""
        return time.monotonic() >= self._next_look

    def look(self, positions: Mapping[TopicPartition, int | None]) -> None:
        """Requests a check of each topic from which no record has arrived since the last look.

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
                self.request_check(topic)

    def request_check(self, topic: str) -> None:
        """Makes `ask` check whether a topic still exists."""
        if topic not in self._to_check:
            self._to_check[topic] = TopicLookup(topic, GONE_AFTER)

    def ask(self, consumer: Consumer, reply_timeout: ReplyTimeout) -> list[TopicPartition]:
        """Checks one topic with the brokers, if a check was requested and it is time for it. Returns its partitions.

        Raises:
            UnknownTopicError: it was deleted.
            AuthorizationError: the right to it was taken away.
            KafkaException: the brokers don't reply now; the check is repeated later.
        """
        began = time.monotonic()
        if not self._to_check or began < self._ask_again:
            return []
        topic, lookup = next(iter(self._to_check.items()))
        del self._to_check[topic]
        self._ask_again = 0.0
        reply = None
        try:
            reply = reply_timeout.ask(lambda timeout: lookup.ask(consumer, timeout))
        finally:
            ended = time.monotonic()
            self._spent += ended - began
            rest = self._spent / WATCH_SHARE
            self._next_look = max(self._next_look, ended + rest)
            if reply is None:
                self._to_check[topic] = lookup  # behind the others
                self._ask_again = ended + max(ASK_AGAIN_AFTER, rest)
        return reply or []
