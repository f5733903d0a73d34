"""Fixtures that every test may use: the real broker and the embedded one, PostgreSQL, and feeds on records in memory.

Only tests that ask for a server start it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from rbhq_stream.testing import EmbeddedBroker

pytest_plugins = ["tests.broker.fixtures", "tests.memory_feeds", "tests.pages", "tests.postgres.fixtures"]

_KAFKA_FIXTURES = {"kafka", "kafka3", "faulty", "proxied", "make_partner"}

# hypothesis limits the time of an example, but how long one takes depends on what else the machine does
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-java", action="store_true", help="deselect the tests that start Apache Kafka")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what needs Java: tests with a fixture of the broker, and those marked `java`."""
    if not config.getoption("--without-java"):
        return
    needing = [
        item
        for item in items
        if _KAFKA_FIXTURES.intersection(getattr(item, "fixturenames", ())) or item.get_closest_marker("java")
    ]
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]
