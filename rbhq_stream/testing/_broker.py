"""A Kafka broker inside the process, for tests and demos: no server, no Java, nothing beyond the loopback interface."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any

from typing_extensions import Self

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._kinds import EVENT_KINDS
from rbhq_stream._wire import encode
from rbhq_stream.events import Event
from rbhq_stream.record import Record
from rbhq_stream.testing._cluster import BrokerClosedError, Cluster
from rbhq_stream.testing._publisher import Outgoing, Publisher, checked_milliseconds
from rbhq_stream.testing._unhandled import unhandled

_log = logging.getLogger("rbhq_stream.testing")
_COMMIT_INTERVAL = 0.1
_SESSION_TIMEOUT = 6.0
_HEARTBEAT_MS = 200
_FETCH_WAIT_MS = 20
_numbers = itertools.count(1)


class EmbeddedBroker:
    """A small Kafka cluster in this process: filled by `publish`, and read by a `Feed` like the real one.

    >>> with EmbeddedBroker() as broker:
    ...     broker.publish(RaceStatusEvent(1397808, 7, RaceStatus.OPEN))
    ...     with Feed(broker.config(group_id="my-app")) as feed:
    ...         event = next(feed)

    Clients reach it by TCP on the loopback interface. It has topics with partitions, consumer groups, commits and
    look-up by time. It has no TLS, no passwords and no transactions, and keeps everything in memory. Any thread may use
    it. Closing takes milliseconds, also while clients are connected.

    Args:
        partitions: the number of partitions of each topic.
        brokers: the number of brokers. Each can serve every partition.
        topics: the names of the topics. By default each `EmbeddedBroker` has new ones.
        timeout: seconds after which `publish` gives up, for example during an `outage`.
    """

    def __init__(
        self, partitions: int = 3, brokers: int = 1, *, topics: Topics | None = None, timeout: float = 10
    ) -> None:
        number = next(_numbers)
        names = {kind.topic: f"embedded-{number}.{kind.topic.replace('_', '-')}" for kind in EVENT_KINDS}
        self.topics = topics or Topics(**names)
        self.partitions = partitions
        self._brokers = brokers
        self._timeout = timeout
        self._cluster: Cluster | None = None
        self._publisher: Publisher | None = None

    def __enter__(self) -> Self:
        self._cluster = cluster = Cluster(self._brokers)
        try:
            for topic in self.topics.names:
                cluster.create_topic(topic, self.partitions)
            self._publisher = Publisher(self.bootstrap_servers, timeout=self._timeout, logger=_log)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the brokers immediately; clients that are connected see their connections break. Idempotent."""
        publisher, self._publisher = self._publisher, None
        cluster, self._cluster = self._cluster, None
        if publisher is not None:
            publisher.close()
        if cluster is not None:
            cluster.close()

    @property
    def bootstrap_servers(self) -> str:
        """What other Kafka clients than a feed need as their `bootstrap.servers`.

        Raises:
            BrokerClosedError: used outside the `with` block.
        """
        return self._running().bootstrap_servers

    def config(self, group_id: str | None = "embedded", **fields: Any) -> FeedConfig:
        """Returns a configuration that reads this broker's topics from their beginning.

        Commits and heartbeats are more frequent than by default, so that tests don't have to wait for them.

        Args:
            group_id: the consumer group; `None` for a feed without one.
            fields: any other fields of `FeedConfig`.

        Raises:
            BrokerClosedError: used outside the `with` block.
            ConfigError: a field has a value that can't work.
        """
        defaults: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "topics": self.topics,
            "group_id": group_id,
            "security": "PLAINTEXT",
            "commit_interval": _COMMIT_INTERVAL,
            "session_timeout": _SESSION_TIMEOUT,
        }
        # a broker responds to one request after the other, so a request after a fetch waits until the fetch has ended
        kafka: dict[str, Any] = {"fetch.wait.max.ms": _FETCH_WAIT_MS}
        if "session_timeout" not in fields:
            # a member learns with its next heartbeat that another one has joined
            kafka["heartbeat.interval.ms"] = _HEARTBEAT_MS
        kafka.update(fields.pop("kafka", {}))
        return FeedConfig(**{**defaults, "kafka": kafka, **fields})

    def publish(
        self, *events: Event, headers: Mapping[str, bytes] | None = None, timestamp: datetime | None = None
    ) -> list[Record]:
        """Writes events, each to the topic of its class, and waits until the broker has them.

        The key is the race's id, so a race stays in one partition and in order.

        Args:
            events: what to write, in this order.
            headers: the headers of each record.
            timestamp: when the records were written, an aware time; now by default.

        Returns:
            The records as they were written, in the order given.

        Raises:
            PublishError: a record was not written. Those before and after it may have been.
            ValueError: the broker was given no topic for an event, or the time has no time zone.
            BrokerClosedError: used outside the `with` block.
        """
        milliseconds = checked_milliseconds(timestamp)
        return self._write(
            [
                Outgoing(self.topics.of(type(event)), encode(event), str(event.race_id).encode(), headers, milliseconds)
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
        timestamp: datetime | None = None,
    ) -> Record:
        """Writes any bytes: a bad record, an empty value, or a tombstone (`None`).

        Args:
            topic: the topic's name.
            value: the record's value.
            key: the record's key.
            headers: the record's headers.
            partition: the partition; by default the key decides, or chance when there is no key.
            timestamp: when the record was written, an aware time; now by default.

        Returns:
            The record as it was written.

        Raises:
            PublishError: the record was not written.
            ValueError: the time has no time zone.
            BrokerClosedError: used outside the `with` block.
        """
        return self._write([Outgoing(topic, value, key, headers, checked_milliseconds(timestamp), partition)])[0]

    def committed(self, group_id: str) -> dict[tuple[str, int], int]:
        """Returns what a consumer group has committed: the offset that it reads next, by topic and partition.

        A partition that the group has never committed is missing.

        Raises:
            BrokerClosedError: used outside the `with` block.
        """
        return self._running().committed(group_id)

    def end_offsets(self) -> dict[tuple[str, int], int]:
        """Returns the offset that the next record of each partition will have, by topic and partition.

        Raises:
            BrokerClosedError: used outside the `with` block.
        """
        return self._running().end_offsets()

    def wait_until_handled(self, group_id: str = "embedded", *, timeout: float = 10) -> None:
        """Waits until a consumer group has handled everything that is on the broker.

        A record counts as handled when the group has committed an offset beyond it. A feed commits when the application
        has acknowledged the event: by requesting the next one, by returning from its handlers, or with `ack`.

        Args:
            group_id: the consumer group.
            timeout: the longest wait, in seconds.

        Raises:
            TimeoutError: the group has not handled everything in time. The text lists what is left.
            BrokerClosedError: used outside the `with` block, or closed meanwhile.
        """
        cluster = self._running()
        if not cluster.wait_until_handled(group_id, timeout):
            committed = cluster.committed(group_id)
            left = {
                partition: end - committed.get(partition, 0)
                for partition, end in cluster.end_offsets().items()
                if end > committed.get(partition, 0)
            }
            raise TimeoutError(unhandled(f"group {group_id!r}", timeout, left))

    def expire(self, before: datetime | None = None) -> None:
        """Deletes the oldest records, as retention does, from every partition of every topic.

        Args:
            before: deletes the records that were written before this aware time; all records by default. Records that
                were published together by one call go together, when the newest of them is old enough.

        Raises:
            ValueError: the time has no time zone.
            BrokerClosedError: used outside the `with` block.
        """
        self._running().expire(checked_milliseconds(before))

    @contextmanager
    def outage(self, *brokers: int) -> Iterator[None]:
        """Makes brokers unreachable within a `with` block: they drop every connection and refuse new ones.

        Clients may take a second or two to come back afterwards.

        Args:
            brokers: which ones, counted from 1; all of them by default.

        Raises:
            BrokerClosedError: used outside the broker's own `with` block.
        """
        cluster, chosen = self._chosen(brokers)
        try:
            for broker in chosen:
                cluster.set_down(broker)
            yield
        finally:
            for broker in chosen:
                cluster.set_up(broker)

    @contextmanager
    def slow(self, seconds: float, *brokers: int) -> Iterator[None]:
        """Makes brokers slow within a `with` block: each response takes this long, heartbeats and commits included.

        A client whose heartbeats take longer than its `session_timeout` is evicted from its group.

        Args:
            seconds: how long a response takes.
            brokers: which ones, counted from 1; all of them by default.

        Raises:
            ValueError: the time is not positive.
            BrokerClosedError: used outside the broker's own `with` block.
        """
        if not seconds > 0:
            raise ValueError(f"seconds={seconds!r}: expected a positive number")
        cluster, chosen = self._chosen(brokers)
        try:
            for broker in chosen:
                cluster.slow_down(broker, seconds)
            yield
        finally:
            for broker in chosen:
                cluster.slow_down(broker, 0)

    def evict(self, group_id: str = "embedded") -> None:
        """Evicts all members from a consumer group, as if the broker had received no heartbeat for a whole session.

        A feed reports `PartitionsLost`, rejoins the group, and starts at the committed offsets.

        Args:
            group_id: the group. One that does not exist has no members.

        Raises:
            BrokerClosedError: used outside the `with` block.
        """
        self._running().evict(group_id)

    def _chosen(self, brokers: tuple[int, ...]) -> tuple[Cluster, tuple[int, ...]]:
        return self._running(), brokers or tuple(range(1, self._brokers + 1))

    def _write(self, outgoing: list[Outgoing]) -> list[Record]:
        self._running()
        assert self._publisher is not None
        return self._publisher.write(outgoing)

    def _running(self) -> Cluster:
        if self._cluster is None:
            raise BrokerClosedError
        return self._cluster
