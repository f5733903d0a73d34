"""From a configuration to a consumer that is known to work, or a typed error, within a bounded time.

The client itself retries silently for ever: a wrong password, a missing topic and a firewall all look like "no
records". So before it subscribes, each topic and the group are requested by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka.asking import Asker, ReplyTimeout
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.topics import TopicLookup
from rbhq_stream._kafka.translation import connect_error
from rbhq_stream.errors import FeedClosedError
from rbhq_stream.source import TopicPartition

UNKNOWN_TOPIC_TIMEOUT = 2.0
"""Seconds for which brokers may report that there is no such topic before the feed accepts it."""


def check(
    config: FeedConfig,
    consumer: Consumer,
    reports: Reports,
    reply_timeout: ReplyTimeout,
    is_wanted: Callable[[], bool],
) -> list[TopicPartition]:
    """Asks the brokers for each topic, and for the group if there is one. Returns the topics' partitions.

    Raises:
        ConnectError: what is missing, or that there was no reply within `connect_timeout`.
        FeedClosedError: the feed is not wanted any more.
    """
    deadline = time.monotonic() + config.connect_timeout
    asker = _ConnectingAsker(config, consumer, reports, reply_timeout, is_wanted)
    partitions: list[TopicPartition] = []
    for topic in config.topics.names:
        lookup = TopicLookup(topic, UNKNOWN_TOPIC_TIMEOUT)
        partitions += asker.ask(partial(lookup.ask, consumer), deadline, topic)
        reports.forget_troubles()
    if config.group_id is not None:
        # only who may read as this group can see its committed offsets
        question = partial(_can_read_group, consumer, config.group_id, partitions)
        asker.ask(question, deadline, config.group_id, is_group=True)
        reports.forget_troubles()
    return partitions


class _ConnectingAsker(Asker):
    """An `Asker` that stops when the feed is closed."""

    def __init__(
        self,
        config: FeedConfig,
        consumer: Consumer,
        reports: Reports,
        reply_timeout: ReplyTimeout,
        is_wanted: Callable[[], bool],
    ) -> None:
        super().__init__(consumer, reports, config.bootstrap_servers, reply_timeout)
        self._is_wanted = is_wanted

    def check(self, *, is_group: bool) -> None:
        super().check(is_group=is_group)
        if not self._is_wanted():
            raise FeedClosedError("the feed was closed while it connected")


def _can_read_group(consumer: Consumer, group_id: str, partitions: list[TopicPartition], timeout: float) -> bool | None:
    """Returns whether the group's committed offsets can be read, or `None` if the request must be repeated.

    Raises:
        AuthorizationError: this user has no right to the group.
        KafkaException: the coordinator doesn't reply now.
    """
    for reply in consumer.committed([KafkaPartition(*partition) for partition in partitions], timeout=timeout):
        if reply.error is not None:
            refused = connect_error(reply.error, resource=group_id)
            if refused is not None:
                raise refused
            return None
    return True
