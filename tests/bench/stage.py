"""The broker, its topics and the one user who reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, cycle, islice
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, ResourceType  # type: ignore[attr-defined]  # not marked as exported

from tests.bench.work import Job
from tests.broker.kafka import KafkaCluster

_USER, _PASSWORD = "partner", "bench-secret"
_PREFIX = "bench-"


class Stage:
    """Where the contenders meet."""

    def __init__(self, cluster: KafkaCluster, *, partitions: int, plaintext: bool) -> None:
        self._cluster = cluster
        self._partitions = partitions
        self._plaintext = plaintext
        self._numbers = count(1)
        cluster.create_user(_USER, _PASSWORD)
        cluster.allow_group(_USER, _PREFIX, prefixed=True)
        # Quix Streams asks for the topic's configuration before it reads
        for operation in (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS):
            cluster.allow(_USER, operation, ResourceType.TOPIC, _PREFIX, prefixed=True)

    @property
    def internal_bootstrap(self) -> str:
        """The address for those who are no clients under test."""
        return self._cluster.internal_bootstrap

    def kill_broker(self) -> None:
        self._cluster.nodes[0].kill()

    def start_broker(self) -> None:
        self._cluster.nodes[0].start()

    def topic(self, name: str, records: Sequence[tuple[bytes, bytes]] = (), total: int | None = None) -> str:
        """A new topic with these records, over and over up to `total`; the key, the race, decides on the partition."""
        topic = f"{_PREFIX}{name}"
        self._cluster.create_topic(topic, self._partitions)
        producer = Producer({"bootstrap.servers": self._cluster.internal_bootstrap, "linger.ms": 20, "acks": 1})
        for key, value in islice(cycle(records), len(records) if total is None else total):
            while True:
                try:
                    producer.produce(topic, value, key)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.flush(60)
        return topic

    def job(self, topic: str, count: int, *, check: bool = False, mode: str = "") -> Job:
        """Each job has a consumer group of its own, so that it reads from the beginning."""
        group = f"{_PREFIX}{next(self._numbers)}"
        if self._plaintext:
            return Job(self._cluster.internal_bootstrap, topic, group, count, check=check, mode=mode)
        cluster = self._cluster
        return Job(cluster.bootstrap, topic, group, count, _USER, _PASSWORD, str(cluster.ca_file), check, mode)


_AS_IN_PRODUCTION = "-XX:TieredStopAtLevel=4 -Xmx1g"
"""For Java: the brokers of the tests do without its optimizing compiler to start sooner, and are slow at TLS for it."""


@contextmanager
def open_stage(directory: Path, *, partitions: int, plaintext: bool) -> Iterator[Stage]:
    with _environment("_JAVA_OPTIONS", _AS_IN_PRODUCTION), KafkaCluster(directory) as cluster:
        yield Stage(cluster, partitions=partitions, plaintext=plaintext)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
