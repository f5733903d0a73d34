"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.reliability.group import Group


@pytest.fixture(scope="package")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One broker behind a proxy."""
    with KafkaCluster(tmp_path_factory.mktemp("proxied"), proxied=True) as cluster:
        yield cluster


@pytest.fixture
def group(kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path) -> Iterator[Group]:
    """A group on a topic of two partitions."""
    group = Group(kafka, make_partner(partitions=2), tmp_path, 2)
    yield group
    for life in group.lives:
        life.kill()
