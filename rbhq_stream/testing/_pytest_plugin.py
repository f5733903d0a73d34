"""The pytest plugin of the package: fixtures for tests of an application. pytest finds it by itself.

`-p no:rbhq_stream` switches it off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._engine.feed import Feed
from rbhq_stream.testing._broker import EmbeddedBroker
from rbhq_stream.testing._memory import MemorySource
from rbhq_stream.testing._simulated_race import TimedEvent
from rbhq_stream.testing._simulator import Simulator

TOPICS = Topics(prices="prices", race_status="status", race_results="results")


@pytest.fixture
def rbhq_broker() -> Iterator[EmbeddedBroker]:
    """A Kafka broker inside the process, of this test alone."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def rbhq_simulator() -> Simulator:
    """A small simulated day, the same each time: two meetings of five races, with every `Happening`."""
    return Simulator(seed=1, meetings=2, races=5, price_records=40)


@pytest.fixture(scope="session")
def rbhq_day(rbhq_simulator: Simulator) -> tuple[TimedEvent, ...]:
    """The events of the day of `rbhq_simulator`, in the order of their times."""
    return tuple(rbhq_simulator.events())


@pytest.fixture
def rbhq_source() -> MemorySource:
    """A source in memory with the topics "prices", "status" and "results", of this test alone."""
    return MemorySource(TOPICS)


@pytest.fixture
def rbhq_feed(rbhq_source: MemorySource) -> Iterator[Callable[..., Feed]]:
    """A function that makes a `Feed` on `rbhq_source`; its arguments are those of `Feed` but for the configuration.

    The feeds are closed at the end of the test.
    """
    config = FeedConfig(
        bootstrap_servers="unused", security="PLAINTEXT", topics=TOPICS, group_id="test", commit_interval=0.02
    )
    feeds: list[Feed] = []

    def make(**options: Any) -> Feed:
        feeds.append(Feed(config, **{"source": rbhq_source, **options}))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()
