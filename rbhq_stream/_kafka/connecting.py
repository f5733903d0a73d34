"""From a configuration to a consumer that is known to work, or a typed error, within a bounded time.

The client by itself retries for ever and in silence: a wrong password, a missing topic and a firewall all
look like "no records". So before it subscribes, each thing that it needs is asked for by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka.faults import Reports, config_error, connect_error
from rbhq_stream.errors import AuthorizationError, ConnectError, FeedClosedError, UnknownTopicError, UnreachableError

CommitCallback = Callable[[KafkaError | None, list[TopicPartition]], None]

FIRST_SLICE, MOST_SLICE = 0.2, 1.0
"""Seconds that one question to the brokers may take before the client's reports are looked at: short, as the client
goes on logging in with a password that was refused; longer each time for those who are far away."""
STATISTICS_EVERY = 2.0
"""Seconds between two looks of the client at itself."""
SETTLE = 2.0
"""Seconds that the other brokers get when one could not be talked to."""


def make_consumer(config: FeedConfig, reports: Reports, on_commit: CommitCallback) -> Consumer:
    """A consumer that doesn't know any topic yet.

    Raises:
        ConfigError: the client refuses a property.
    """
    try:
        return Consumer(
            config.kafka_properties()
            | {
                "error_cb": reports.error,
                "on_commit": on_commit,
                "logger": reports,
                "stats_cb": reports.statistics,
                "statistics.interval.ms": round(STATISTICS_EVERY * 1000),
                # tells the offset after control records and aborted records, which are never handed over
                "enable.partition.eof": True,
            }
        )
    except KafkaException as error:
        raise config_error(error.args[0]) from None


def check(
    config: FeedConfig, consumer: Consumer, reports: Reports, is_wanted: Callable[[], bool]
) -> list[TopicPartition]:
    """Asks the brokers for each topic and the group; answers the topics' partitions.

    Raises:
        ConnectError: what is missing.
        FeedClosedError: it is not wanted any more.
    """
    deadline = time.monotonic() + config.connect_timeout
    ask = partial(_ask, config, deadline, consumer, reports, is_wanted)
    partitions: list[TopicPartition] = []
    for topic in config.topics.names:
        sure_at = time.monotonic() + SETTLE
        partitions += ask(partial(_find_topic, sure_at, consumer, topic))
    ask(partial(_group, consumer, config.group_id, partitions))
    return partitions


_IN_TROUBLE = "The brokers answer, but not yet with what the feed needs: try again in a minute, then tell RBHQ."


def _find_topic(sure_at: float, consumer: Consumer, topic: str, timeout: float) -> list[TopicPartition] | None:
    return find_topic(consumer, topic, timeout, is_sure=time.monotonic() >= sure_at)


def _ask(  # noqa: PLR0917  # all but the last are bound at once
    config: FeedConfig,
    deadline: float,
    consumer: Consumer,
    reports: Reports,
    is_wanted: Callable[[], bool],
    question: Callable[[float], list[TopicPartition] | None],
) -> list[TopicPartition]:
    """The answer to the question, asked until there is one."""
    troubled_since: float | None = None
    time_slice = FIRST_SLICE
    passing: KafkaError | None = None
    while True:
        left = deadline - time.monotonic()
        try:
            answer = question(max(0.01, min(left, time_slice)))
        except KafkaException as error:
            answer, passing = None, error.args[0]
        report = consumer.poll(0)  # lets the client report; without a subscription there are no records
        trouble = report.error() if report is not None else None
        if trouble is not None:
            reports.error(trouble)
        if reports.fatal is not None:
            raise reports.fatal
        if answer is not None:
            reports.trouble.clear()
            return answer
        if not is_wanted():
            raise FeedClosedError("the feed was closed while it connected")
        now = time.monotonic()
        if reports.trouble:
            troubled_since = troubled_since or now
            troubles = reports.trouble.values()
            certain = [trouble for trouble in troubles if type(trouble) is not UnreachableError]
            if reports.nameless.issuperset(config.bootstrap_servers):
                certain += troubles
            if certain and now - troubled_since > SETTLE:
                raise certain[0]
        else:
            time_slice = min(time_slice * 1.5, MOST_SLICE)
        if now >= deadline:
            raise _timed_out(reports, passing)


def _timed_out(reports: Reports, passing: KafkaError | None) -> ConnectError:
    troubles = list(reports.trouble.values())
    if len(troubles) > 1 and all(type(trouble) is UnreachableError for trouble in troubles):
        return UnreachableError("; ".join(f"{t.reason} (broker {t.broker or '?'})" for t in troubles))
    if troubles:
        return troubles[0]
    if passing is not None and passing.code() not in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT):  # noqa: SLF001
        return UnreachableError(passing.str(), hint=_IN_TROUBLE)
    return UnreachableError("no broker answered in time: connections hang, and nothing says why")


def find_topic(consumer: Consumer, topic: str, timeout: float, *, is_sure: bool = True) -> list[TopicPartition] | None:
    """The topic's partitions; `None`: ask again.

    Raises:
        UnknownTopicError: there is none, which is believed when `is_sure`: brokers hear of a new one late.
        AuthorizationError: it is not for this user.
        KafkaException: the brokers don't answer now.
    """
    metadata = consumer.list_topics(topic, timeout=timeout).topics.get(topic)
    if metadata is None:
        return None
    if metadata.error is not None:
        error = connect_error(metadata.error, resource=topic)
        if isinstance(error, UnknownTopicError) and is_sure:
            raise UnknownTopicError(f"there is no topic {topic!r} that this user may see", topic=topic)
        if isinstance(error, AuthorizationError):
            raise error
        return None
    return [TopicPartition(topic, partition) for partition in metadata.partitions] or None


def _group(
    consumer: Consumer, group_id: str, partitions: list[TopicPartition], timeout: float
) -> list[TopicPartition] | None:
    """The group's committed offsets, which only who may read as this group can see."""
    try:
        committed = consumer.committed(partitions, timeout=timeout)
    except KafkaException as error:
        refused = connect_error(error.args[0], resource=group_id)
        if refused is None or isinstance(refused, UnreachableError):
            raise
        raise refused from None
    for partition in committed:
        if partition.error is not None:
            refused = connect_error(partition.error, resource=group_id)
            if refused is not None:
                raise refused
            return None
    return committed
