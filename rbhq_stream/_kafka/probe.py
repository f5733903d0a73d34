"""`Probe`: asks a cluster what a diagnosis wants to know, and disturbs nobody.

It bears the user's `group_id`, as permissions hang on it, but it never joins the group and never commits: it assigns
partitions to itself by hand. It stops at the first log-in that is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from attrs import frozen
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._config.properties import KafkaProperties
from rbhq_stream._kafka.asking import Asker, ReplyTimeout
from rbhq_stream._kafka.faults import Reports, config_error, connect_error
from rbhq_stream._timestamps import from_milliseconds
from rbhq_stream.errors import (
    AuthenticationError,
    AuthorizationError,
    ConnectError,
    UnknownTopicError,
    UnreachableError,
)

POLL_TIMEOUT = 0.2
"""Seconds that a poll waits for a record, before the deadline is looked at."""
RECONNECT_MS, RECONNECT_MOST_MS = 1_000, 5_000
"""The pause between two attempts to log in. Long, as each counts."""
FETCH_WAIT_MS = 50
"""How long a broker may wait for new records before it says that there are none."""
BACK = (1, 100, 10_000)
"""How far from its end a partition is read to find its newest record. The last offsets may be the marks of
transactions, which are no records."""


@frozen
class Cluster:
    """What the brokers say of themselves."""

    cluster_id: str
    brokers: Mapping[int, str]
    """The `host:port` that each broker tells clients to use, by its number."""


@frozen
class Topic:
    """What the brokers say of a topic."""

    leaders: Mapping[int, int]
    """The number of the broker that has each partition to be read from; -1 for none."""

    @property
    def leaderless(self) -> tuple[int, ...]:
        """The partitions that nobody can read just now."""
        return tuple(partition for partition, leader in self.leaders.items() if leader < 0)


@frozen
class Newest:
    """The newest record of a topic, as far as it was found."""

    ends: Mapping[int, tuple[int, int]]
    """The offsets of each partition's first record, and after its last one."""
    partition: int | None = None
    offset: int | None = None
    at: datetime | None = None
    """When it was written (UTC, aware)."""


class _Heard(Reports):
    """The client's reports. A diagnosis tells what is wrong by itself, so they are only for a debug log."""

    def line(self, level: int, key: str, name: str, text: str) -> None:
        super().line(min(level, logging.DEBUG), key, name, text)


def check_properties(config: FeedConfig) -> None:
    """Whether the client takes the configuration. It has no brokers then, so nothing touches the network.

    Raises:
        ConfigError: it doesn't.
    """
    properties = config.kafka_properties()
    del properties["bootstrap.servers"]
    _consumer(properties, _Heard(config.group_id)).close()


def _consumer(properties: KafkaProperties, heard: Reports) -> Consumer:
    try:
        return Consumer(properties | {"error_cb": heard.error, "logger": heard})
    except KafkaException as error:
        raise config_error(error.args[0]) from None


class Probe:
    """A client to ask with. Each question takes the time (of the monotonic clock) by which there must be an answer."""

    def __init__(self, config: FeedConfig, brokers: Sequence[str]) -> None:
        self._group_id = config.group_id
        self._brokers = tuple(brokers)
        self._heard = _Heard(config.group_id)
        properties = config.kafka_properties()
        # a feed's: to wait for more records at once, to report, to be the one member of that name
        for name in ("fetch.min.bytes", "statistics.interval.ms", "group.instance.id"):
            properties.pop(name, None)
        properties |= {
            "bootstrap.servers": ",".join(brokers),
            "reconnect.backoff.ms": RECONNECT_MS,
            "reconnect.backoff.max.ms": RECONNECT_MOST_MS,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        }
        self._client = _consumer(properties, self._heard)
        self._asker = _ProbingAsker(self._client, self._heard, self._brokers, ReplyTimeout())

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The brokers that the cluster has sent this client to, and that gave it trouble. To know of them it must have
        logged in."""
        return tuple(broker for broker in self._heard.trouble if broker and broker not in self._brokers)

    def close(self) -> None:
        """Leaves the brokers. Nothing is committed."""
        self._client.close()

    def cluster(self, topic: str, deadline: float) -> Cluster:
        """The brokers that clients are sent to. It takes any topic, only so that not all of them are asked for.

        Raises:
            AuthenticationError: the user or the password is refused.
            ConnectError: nobody answers.
        """
        metadata = self._asker.ask(lambda timeout: self._client.list_topics(topic, timeout=timeout), deadline, topic)
        # an IPv6 address comes without its brackets
        brokers = {
            broker.id: f"[{broker.host}]:{broker.port}" if ":" in broker.host else f"{broker.host}:{broker.port}"
            for broker in sorted(metadata.brokers.values(), key=lambda broker: broker.id)
        }
        return Cluster(metadata.cluster_id or "", brokers)

    def topic(self, name: str, deadline: float) -> Topic:
        """A topic's partitions.

        Raises:
            UnknownTopicError, AuthorizationError: it isn't there, or not for this user.
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
        """Reads the newest record of each partition, and tells about the newest of all.

        Raises:
            AuthorizationError: this user may not read the topic.
            UnreachableError: the leader of a partition doesn't answer.
        """
        ends: dict[int, tuple[int, int]] = {}
        for partition, leader in leaders.items():
            question = partial(self._client.get_watermark_offsets, TopicPartition(topic, partition))
            try:
                ends[partition] = self._asker.ask(question, deadline, topic)
            except UnreachableError as error:
                reason = f"no answer about partition {partition} from broker {leader}, which leads it: {error.reason}"
                raise UnreachableError(reason, broker=error.broker, hint=_SILENT) from None
        found: dict[int, Message] = {}
        try:
            for number, back in enumerate(BACK):
                starts = {
                    partition: max(low, high - back)
                    for partition, (low, high) in ends.items()
                    # the first round asks all, for the permission; the others those with records not found yet
                    if number == 0 or (partition not in found and high - BACK[number - 1] > low)
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
        """Reads each partition from its start to its end, and keeps its last record."""
        self._client.assign([TopicPartition(topic, partition, offset) for partition, offset in starts.items()])
        waiting = set(starts)
        while waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                numbers = ", ".join(map(str, sorted(waiting)))
                raise UnreachableError(f"no records and no end came from partition {numbers}", hint=_SILENT)
            message = self._client.poll(min(left, POLL_TIMEOUT))
            self._listen(message)
            if message is None or message.partition() not in waiting:
                continue
            partition, error = int(message.partition() or 0), message.error()
            if error is None:
                found[partition] = message
                if int(message.offset() or 0) + 1 >= ends[partition]:
                    waiting.discard(partition)
            # at the end; or what was to be read has been removed just now
            elif error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):  # noqa: SLF001  # the client's public codes
                waiting.discard(partition)
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # that is no matter here
                ours = connect_error(error, resource=topic)
                if isinstance(ours, (AuthorizationError, UnknownTopicError)):
                    raise ours

    def committed(self, partitions: Mapping[str, Sequence[int]], deadline: float) -> dict[str, dict[int, int]]:
        """How far the group has come in each partition that it has committed anything of.

        Raises:
            AuthorizationError: this user may not use the group.
            UnreachableError: the group's coordinator doesn't answer.
        """
        wanted = [TopicPartition(topic, number) for topic, numbers in partitions.items() for number in numbers]
        answer = self._asker.ask(
            lambda timeout: self._committed(wanted, timeout), deadline, self._group_id, is_group=True
        )
        offsets: dict[str, dict[int, int]] = {}
        for one in answer:
            if one.error is None and one.offset >= 0:
                offsets.setdefault(one.topic, {})[one.partition] = one.offset
        return offsets

    def _committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        answer = self._client.committed(wanted, timeout=timeout)
        for one in answer:
            if one.error is not None and one.error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise KafkaException(one.error)
        return answer

    def _listen(self, message: Message | None) -> None:
        """Takes in what the client said when it was polled; of the group it does so in place of a record."""
        error = message.error() if message is not None else None
        if error is not None:
            self._asker.hear(error)
        if isinstance(self._heard.fatal, AuthenticationError):
            raise self._heard.fatal


class _ProbingAsker(Asker):
    """An `Asker` that goes on asking about topics when there is no right to the group."""

    def check(self, *, is_group: bool) -> None:
        fatal = self._reports.fatal
        if isinstance(fatal, AuthenticationError) or (is_group and isinstance(fatal, AuthorizationError)):
            raise fatal

    def hear(self, error: KafkaError) -> None:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            super().hear(error)

    def no_reply(self, transient: KafkaError | None) -> ConnectError:
        trouble = next(iter(self._reports.trouble.values()), None)
        if trouble is not None:
            return trouble
        text = f": {transient.str()}" if transient is not None else ""
        return UnreachableError(f"no answer in time{text}", hint=_SILENT)


_SILENT = (
    "See whether the steps of each broker are ok: clients have to reach all of them. If they are, the cluster may be in"
    " trouble: try again in a minute, then tell RBHQ."
)
