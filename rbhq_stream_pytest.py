"""The pytest plugin of rbhq_stream: fixtures for tests of an application. pytest finds it by itself.

`-p no:rbhq_stream` switches it off. It is outside of the package because pytest imports it at each start, also in
projects that do not use it: importing it is quick, and the package is imported only by a test that uses a fixture.
"""

# ruff: noqa: PLC0415  # each fixture imports what it needs when it is used
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rbhq_stream import Feed
    from rbhq_stream.testing import EmbeddedBroker, MemorySource, Simulator, TimedEvent


@pytest.fixture
def rbhq_broker() -> Iterator[EmbeddedBroker]:
    """A Kafka broker inside the process, of this test alone."""
    from rbhq_stream.testing import EmbeddedBroker

    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def rbhq_simulator() -> Simulator:
    """A small simulated day, the same each time: two meetings of five races, with every `Happening`."""
    from rbhq_stream.testing import Simulator

    return Simulator(seed=1, meetings=2, races=5, price_records=40)


@pytest.fixture(scope="session")
def rbhq_day(rbhq_simulator: Simulator) -> tuple[TimedEvent, ...]:
    """The events of the day of `rbhq_simulator`, in the order of their times."""
    return tuple(rbhq_simulator.events())


@pytest.fixture
def rbhq_source() -> MemorySource:
    """A source in memory with the topics "prices", "status" and "results", of this test alone."""
    from rbhq_stream import Topics
    from rbhq_stream.testing import MemorySource

    return MemorySource(Topics(prices="prices", race_status="status", race_results="results"))


@pytest.fixture
def rbhq_feed(rbhq_source: MemorySource) -> Iterator[Callable[..., Feed]]:
    """A function that makes a `Feed` on `rbhq_source`; its arguments are those of `Feed` but for the configuration.

    The feeds are closed at the end of the test.
    """
    from rbhq_stream import Feed, FeedConfig, Topics

    config = FeedConfig(
        bootstrap_servers="unused",
        security="PLAINTEXT",
        topics=Topics(prices="prices", race_status="status", race_results="results"),
        group_id="test",
        commit_interval=0.02,
    )
    feeds: list[Feed] = []

    def make(**options: Any) -> Feed:
        feeds.append(Feed(config, **{"source": rbhq_source, **options}))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()
