"""The pytest fixtures of the broker: ``pytest_plugins = ["tests.broker.fixtures"]``.

A broker is started by the first test that needs it. Tests share it, so each works with topics,
a user and groups of its own, whose names no other test has: that is what ``partner`` gives it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.broker.kafka import KafkaCluster


@dataclass(frozen=True)
class TopicNames:
    """The names of one test's three topics."""

    prices: str
    race_status: str
    race_results: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.prices, self.race_status, self.race_results))


@dataclass(frozen=True)
class Partner:
    """A user who may read three topics, with any consumer group named ``group_prefix...``."""

    username: str
    password: str
    topics: TopicNames
    group_prefix: str


class MakePartner(Protocol):
    """``make_partner(cluster=None, partitions=1)``: topics and a user; see the fixture."""

    def __call__(self, cluster: KafkaCluster | None = None, partitions: int = 1) -> Partner: ...


def new_partner(cluster: KafkaCluster, partitions: int = 1) -> Partner:
    """Create three topics and a user who may read them, all under a new name."""
    prefix = f"t{secrets.token_hex(4)}-"
    topics = TopicNames(f"{prefix}prices", f"{prefix}race-status", f"{prefix}race-results")
    for topic in topics:
        cluster.create_topic(topic, partitions)
    partner = Partner(f"{prefix}partner", secrets.token_hex(12), topics, prefix)
    cluster.create_user(partner.username, partner.password)
    for topic in topics:
        cluster.allow_read(partner.username, topic)
    cluster.allow_group(partner.username, prefix, prefixed=True)
    return partner


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """The one broker most tests share. A test must leave it running, and as it was."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kafka3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three brokers, for tests of what happens when one of them goes away."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka3"), brokers=3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker behind a proxy, for faults that must not happen to the shared one."""
    with KafkaCluster(tmp_path_factory.mktemp("faulty"), proxied=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def anyone(kafka: KafkaCluster) -> Partner:
    """A partner for tests that neither change its permissions nor depend on the content of its topics."""
    return new_partner(kafka)


@pytest.fixture
def make_partner(request: pytest.FixtureRequest) -> MakePartner:
    """Create a partner on a cluster (``kafka`` by default), as often as needed."""

    def make(cluster: KafkaCluster | None = None, partitions: int = 1) -> Partner:
        # Only now: a test with a cluster of its own must not start the shared one.
        return new_partner(cluster or request.getfixturevalue("kafka"), partitions)

    return make


@pytest.fixture
def partner(make_partner: MakePartner) -> Partner:
    """A partner of this test alone, with one partition per topic, on ``kafka``."""
    return make_partner()


@pytest.fixture
def topic_names(partner: Partner) -> TopicNames:
    """The names of that partner's topics."""
    return partner.topics
