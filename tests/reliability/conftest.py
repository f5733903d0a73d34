"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker.kafka import KafkaCluster


@pytest.fixture(scope="package")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One broker behind a proxy."""
    with KafkaCluster(tmp_path_factory.mktemp("proxied"), proxied=True) as cluster:
        yield cluster
