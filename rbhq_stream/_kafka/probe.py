"""`Probe`: the requests of a diagnosis to a cluster, without side effects.

It has the user's `group_id`, as permissions depend on it, but it never joins the group and never commits: it assigns
partitions to itself. It stops at the first log-in that is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from attrs import frozen
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._config.properties import KafkaProperties
from rbhq_stream._kafka import codes
from rbhq_stream._kafka.asking import Asker, ReplyTimeout
from rbhq_stream._kafka.limited_log import LimitedLog
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.translation import config_error, connect_error
from rbhq_stream._timestamps import from_milliseconds
from rbhq_stream.errors import (
    AuthenticationError,
    AuthorizationError,
    ConnectError,
    UnknownTopicError,
    UnreachableError,
)

REPLY_TIMEOUT = 0.2
"""Seconds to wait for a reply at first. Short, because a step of the diagnosis may have little time, in which a
request whose reply got lost must be repeated."""
POLL_TIMEOUT = 0.2
"""Seconds that a poll waits for a record, before the deadline is checked."""
RECONNECT_MS, MAX_RECONNECT_MS = 1_000, 5_000
"""The pause between two attempts to log in, at first and at most. Long, because each failed attempt may
count towards locking the account."""
FETCH_WAIT_MS = 50
"""How long a broker may wait for new records before it responds that there are none."""
LOOK_BACK = (1, 100, 10_000)
"""How many offsets before its end a partition is read from to find its newest record, in each round. The last offsets
may be control records of transactions, which are not handed over."""


@frozen
class Cluster:
    """The brokers of the cluster."""

    cluster_id: str
    brokers: Mapping[int, str]
    """The `host:port` at which clients are to connect to each broker, by its number."""


@frozen
class Topic:
    """The partitions of a topic."""

    leaders: Mapping[int, int]
    """The number of the broker that leads each partition; -1 for none."""

    @property
    def leaderless(self) -> tuple[int, ...]:
        """The partitions that can't be read at present, because no broker leads them."""
        return tuple(partition for partition, leader in self.leaders.items() if leader < 0)


@frozen
class Newest:
    """The newest record of a topic, if one was found."""

    ends: Mapping[int, tuple[int, int]]
    """The offset of each partition's first record, and the one after its last record."""
    partition: int | None = None
    """The partition that the record is in."""
    offset: int | None = None
    """Its offset."""
    at: datetime | None = None
    """When it was written (aware, UTC)."""


def check_properties(config: FeedConfig) -> None:
    """Has the client check the configuration. It is given no brokers, so nothing touches the network.

    Raises:
        ConfigError: the client refuses a property.
    """
    properties = config.kafka_properties()
    del properties["bootstrap.servers"]
    _consumer(properties, _silent_reports(config.group_id)).close()


def _silent_reports(group_id: str | None) -> Reports:
    """Returns reports that are logged for debugging only: a diagnosis reports them itself."""
    return Reports(group_id, LimitedLog(logging.DEBUG))


def _consumer(properties: KafkaProperties, reports: Reports) -> Consumer:
    try:
        return Consumer(properties | {"error_cb": reports.error, "logger": reports})
    except KafkaException as error:
        raise config_error(error.args[0]) from None


class Probe:
    """A client for the requests of a diagnosis. Each request takes a deadline, a time of the monotonic clock.

    Args:
        config: what to connect to.
        brokers: the `host:port` of the brokers to connect to first.
    """

    def __init__(self, config: FeedConfig, brokers: Sequence[str]) -> None:
        self._brokers = tuple(brokers)
        self._reports = _silent_reports(config.group_id)
        properties = config.kafka_properties()
        self._group_id = str(properties["group.id"])
        # only a feed needs these: it waits for more records, reports statistics, and may be a static member
        for name in ("fetch.min.bytes", "statistics.interval.ms", "group.instance.id"):
            properties.pop(name, None)
        properties |= {
            "bootstrap.servers": ",".join(brokers),
            "reconnect.backoff.ms": RECONNECT_MS,
            "reconnect.backoff.max.ms": MAX_RECONNECT_MS,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        }
        self._client = _consumer(properties, self._reports)
        self._asker = _ProbingAsker(self._client, self._reports, self._brokers, ReplyTimeout(REPLY_TIMEOUT))

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The brokers to which the cluster has directed this client and that it has trouble with. They are known only
        after a log-in.
        """
        return tuple(broker for broker in self._reports.troubles if broker and broker not in self._brokers)

    def close(self) -> None:
        """Disconnects. Nothing is committed."""
        self._client.close()

    def cluster(self, topic: str, deadline: float) -> Cluster:
        """Returns the brokers that clients are directed to.

        Args:
            topic: any topic. Without one, the brokers would list all topics.
            deadline: when to give up.

        Raises:
            AuthenticationError: the user or the password is refused.
            ConnectError: no broker replies.
        """
        metadata = self._asker.ask(lambda timeout: self._client.list_topics(topic, timeout=timeout), deadline, topic)
        # an IPv6 address comes without its brackets
        brokers = {
            broker.id: f"[{broker.host}]:{broker.port}" if ":" in broker.host else f"{broker.host}:{broker.port}"
            for broker in sorted(metadata.brokers.values(), key=lambda broker: broker.id)
        }
        return Cluster(metadata.cluster_id or "", brokers)

    def topic(self, name: str, deadline: float) -> Topic:
        """Returns a topic's partitions.

        Raises:
            UnknownTopicError: there is no such topic.
            AuthorizationError: this user has no right to it.
            UnreachableError: no broker replies.
        """
        return self._asker.ask(lambda timeout: self._topic(name, timeout), deadline, name)

    def _topic(self, name: str, timeout: float) -> Topic | None:
        metadata = self._client.list_topics(name, timeout=timeout).topics.get(name)
        if metadata is None:
            return None
        if metadata.error is not None:
            error = connect_error(metadata.error, resource=name)
            if error is None or isinstance(error, UnreachableError):
                return None
            if isinstance(error, UnknownTopicError):
                raise UnknownTopicError(f"there is no topic {name!r}", topic=name)
            raise error
        leaders = {number: one.leader for number, one in sorted(metadata.partitions.items())}
        return Topic(leaders) if leaders else None

    def newest(self, topic: str, leaders: Mapping[int, int], deadline: float) -> Newest:
        """Reads the newest record of each partition, and returns the newest of all.

        Args:
            topic: the topic.
            leaders: the broker that leads each partition, as `topic` returns them.
            deadline: when to give up.

        Raises:
            AuthorizationError: this user has no right to read the topic.
            UnreachableError: the leader of a partition doesn't reply.
        """
        ends: dict[int, tuple[int, int]] = {}
        for partition, leader in leaders.items():
            question = partial(self._client.get_watermark_offsets, KafkaPartition(topic, partition))
            try:
                ends[partition] = self._asker.ask(question, deadline, topic)
            except UnreachableError as error:
                reason = f"no reply about partition {partition} from broker {leader}, which leads it: {error.reason}"
                raise UnreachableError(reason, broker=error.broker, hint=_SILENT) from None
        found: dict[int, Message] = {}
        try:
            for number, back in enumerate(LOOK_BACK):
                starts = {
                    partition: max(low, high - back)
                    for partition, (low, high) in ends.items()
                    # the first round reads all, to check the right to; later rounds those without a record so far
                    if number == 0 or (partition not in found and high - LOOK_BACK[number - 1] > low)
                }
                if not starts:
                    break
                self._read(topic, starts, {partition: high for partition, (_, high) in ends.items()}, found, deadline)
        finally:
            self._client.unassign()
        if not found:
            return Newest(ends)
        newest = max(found.values(), key=lambda message: message.timestamp()[1])
        kind, milliseconds = newest.timestamp()
        at = from_milliseconds(milliseconds) if kind else None
        return Newest(ends, newest.partition(), newest.offset(), at)

    def _read(
        self,
        topic: str,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        found: dict[int, Message],
        deadline: float,
    ) -> None:
        """Reads each partition from its start to its end, and puts its last record into `found`."""
        self._client.assign([KafkaPartition(topic, partition, offset) for partition, offset in starts.items()])
        waiting = set(starts)
        while waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                numbers = ", ".join(map(str, sorted(waiting)))
                raise UnreachableError(f"no records and no end came from partition {numbers}", hint=_SILENT)
            message = self._client.poll(min(left, POLL_TIMEOUT))
            self._check_errors(message)
            if message is None or message.partition() not in waiting:
                continue
            partition, error = int(message.partition() or 0), message.error()
            if error is None:
                found[partition] = message
                if int(message.offset() or 0) + 1 >= ends[partition]:
                    waiting.discard(partition)
            # the end, or the records were removed in the meantime
            elif error.code() in (codes.PARTITION_EOF, codes.AUTO_OFFSET_RESET):
                waiting.discard(partition)
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # reading needs no right to the group
                translated = connect_error(error, resource=topic)
                if isinstance(translated, (AuthorizationError, UnknownTopicError)):
                    raise translated

    def committed(self, partitions: Mapping[str, Sequence[int]], deadline: float) -> dict[str, dict[int, int]]:
        """Returns the group's committed offset for each partition that has one.

        Raises:
            AuthorizationError: this user has no right to the group.
            UnreachableError: the group's coordinator doesn't reply.
        """
        wanted = [KafkaPartition(topic, number) for topic, numbers in partitions.items() for number in numbers]
        replies = self._asker.ask(
            lambda timeout: self._committed(wanted, timeout), deadline, self._group_id, is_group=True
        )
        offsets: dict[str, dict[int, int]] = {}
        for reply in replies:
            if reply.error is None and reply.offset >= 0:
                offsets.setdefault(reply.topic, {})[reply.partition] = reply.offset
        return offsets

    def _committed(self, wanted: list[KafkaPartition], timeout: float) -> list[KafkaPartition]:
        replies = self._client.committed(wanted, timeout=timeout)
        for reply in replies:
            if reply.error is not None and reply.error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise KafkaException(reply.error)
        return replies

    def _check_errors(self, message: Message | None) -> None:
        """Handles the result of a poll: errors about the group arrive in place of a record."""
        error = message.error() if message is not None else None
        if error is not None:
            self._asker.handle_error(error)
        if isinstance(self._reports.permanent, AuthenticationError):
            raise self._reports.permanent


class _ProbingAsker(Asker):
    """An `Asker` that continues with topics when the user has no right to the group."""

    def check(self, *, is_group: bool) -> None:
        permanent = self._reports.permanent
        if isinstance(permanent, AuthenticationError) or (is_group and isinstance(permanent, AuthorizationError)):
            raise permanent

    def handle_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            super().handle_error(error)

    def no_reply(self, transient: KafkaError | None) -> ConnectError:
        trouble = next(iter(self._reports.troubles.values()), None)
        if trouble is not None:
            return trouble
        text = f": {transient.str()}" if transient is not None else ""
        return UnreachableError(f"no reply in time{text}", hint=_SILENT)


_SILENT = (
    "Check whether the steps of each broker succeeded: clients have to reach all of them. If they did, the cluster may"
    " have a problem: try again in a minute. If that does not help, report it to RBHQ."
)
