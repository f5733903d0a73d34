"""A Kafka broker inside the process, for tests and demos: no server, no Java, nothing beyond the loopback interface."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from typing_extensions import Self

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._wire import encode
from rbhq_stream.errors import RbhqStreamError
from rbhq_stream.events import Event
from rbhq_stream.record import Record
from rbhq_stream.testing._mock_cluster import MockCluster
from rbhq_stream.testing._publisher import Outgoing, Publisher

_log = logging.getLogger("rbhq_stream.testing")
_SESSION_TIMEOUT = 2.0
_FETCH_WAIT_MS = 2
_numbers = itertools.count(1)


class BrokerClosedError(RbhqStreamError):
    """The embedded broker was asked for something outside its `with` block."""


class EmbeddedBroker:
    """A small Kafka of your own, filled by `publish`, read by a `Feed` like the real one.

    >>> with EmbeddedBroker() as broker:
    ...     broker.publish(RaceStatusEvent(1397808, 7, RaceStatus.OPEN))
    ...     with Feed(broker.config(group_id="my-app")) as feed:
    ...         event = next(iter(feed))

    It is librdkafka's mock cluster: real TCP, consumer groups, commits and several partitions, but no TLS, no
    passwords, no look-up by time, nothing on disk. Each partition keeps its newest 5 MiB only.

    Any thread may publish. Closing is prompt, also while clients are connected.
    """

    def __init__(
        self, partitions: int = 3, brokers: int = 1, *, topics: Topics | None = None, timeout: float = 10
    ) -> None:
        """
        Args:
            partitions: of each topic.
            brokers: how many brokers the cluster has.
            topics: the topics' names; by default they are new ones for each `EmbeddedBroker`.
            timeout: seconds that the broker may take to answer before `publish` and the look-ups raise.
        """
        number = next(_numbers)
        self.topics = topics or Topics(
            prices=f"embedded-{number}.prices",
            race_status=f"embedded-{number}.race-status",
            race_results=f"embedded-{number}.race-results",
        )
        self.partitions = partitions
        self._brokers = brokers
        self._timeout = timeout
        self._cluster: MockCluster | None = None
        self._publisher: Publisher | None = None

    def __enter__(self) -> Self:
        self._cluster = cluster = MockCluster(self._brokers)
        try:
            for topic in self.topics.names:
                cluster.create_topic(topic, self.partitions)
            self._publisher = Publisher(self._client_properties(), timeout=self._timeout, logger=_log)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the brokers, at once; whoever is still connected sees the connection break. Again is harmless."""
        publisher, self._publisher = self._publisher, None
        cluster, self._cluster = self._cluster, None
        if publisher is not None:
            publisher.close()
        if cluster is not None:
            cluster.close()

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` of each broker, for clients other than ours."""
        return self._running().bootstrap_servers

    def config(self, group_id: str = "embedded", **overrides: Any) -> FeedConfig:
        """A configuration that reads this broker's topics from their beginning.

        `overrides` are fields of `FeedConfig`.
        """
        # the mock answers a fetch that finds nothing only when its time is up, whatever is written meanwhile
        kafka = {"fetch.wait.max.ms": _FETCH_WAIT_MS, **overrides.pop("kafka", {})}
        fields: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "topics": self.topics,
            "group_id": group_id,
            "security": "PLAINTEXT",
            # the mock makes whoever joins after a member left wait for the session timeout less a second
            "session_timeout": _SESSION_TIMEOUT,
            "kafka": kafka,
        }
        return FeedConfig(**{**fields, **overrides})

    def publish(self, *events: Event, headers: Mapping[str, bytes] | None = None) -> list[Record]:
        """Writes events, each to the topic of its class, and waits until the broker has them.

        The key is the race's id, so that a race stays in one partition and in order.

        Returns:
            Where each event stands now, in the order given.

        Raises:
            PublishError: an event was not taken. Those before and after it may have been.
            ValueError: the broker was given no topic for an event.
        """
        return self._write(
            [
                Outgoing(self.topics.of(type(event)), encode(event), str(event.race_id).encode(), headers)
                for event in events
            ]
        )

    def publish_raw(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        *,
        partition: int | None = None,
    ) -> Record:
        """Writes any bytes: what doesn't decode, an empty value, or a tombstone (`None`).

        `partition` is chosen by `key` when not given, at random when neither is.

        Raises:
            PublishError: the record was not taken.
        """
        return self._write([Outgoing(topic, value, key, headers, partition)])[0]

    def committed(self, group_id: str) -> dict[tuple[str, int], int]:
        """What a consumer group has committed: the offset it reads next, by topic and partition.

        A partition that the group never committed is missing.
        """
        with self._look_up(group_id) as client:
            positions = client.committed(self._topic_partitions(), timeout=self._timeout)
        return {(position.topic, position.partition): position.offset for position in positions if position.offset >= 0}

    def end_offsets(self) -> dict[tuple[str, int], int]:
        """The offset that the next record of each partition will have, by topic and partition."""
        ends = {}
        with self._look_up("embedded-broker") as client:
            for position in self._topic_partitions():
                _, end = client.get_watermark_offsets(position, timeout=self._timeout)
                ends[position.topic, position.partition] = end
        return ends

    @contextmanager
    def outage(self, *brokers: int) -> Iterator[None]:
        """Inside the `with` block brokers drop every connection and refuse new ones.

        `brokers` are counted from 1; all of them by default. Clients may take a second or two to come back afterwards.
        """
        cluster = self._running()
        chosen = brokers or tuple(range(1, self._brokers + 1))
        try:
            for broker in chosen:
                cluster.set_down(broker)
            yield
        finally:
            for broker in chosen:
                cluster.set_up(broker)

    def _write(self, outgoing: list[Outgoing]) -> list[Record]:
        self._running()
        assert self._publisher is not None
        return self._publisher.write(outgoing)

    @contextmanager
    def _look_up(self, group_id: str) -> Iterator[Consumer]:
        # subscribes to nothing, so it doesn't become a member of the group
        properties = {**self._client_properties(), "group.id": group_id, "enable.auto.commit": False}
        client = Consumer(properties, logger=_log)
        try:
            yield client
        finally:
            client.close()

    def _client_properties(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": "PLAINTEXT",
            "socket.nagle.disable": True,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
        }

    def _running(self) -> MockCluster:
        if self._cluster is None:
            raise BrokerClosedError("the embedded broker is not running: use it inside its `with` block")
        return self._cluster

    def _topic_partitions(self) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in self.topics.names for number in range(self.partitions)]
