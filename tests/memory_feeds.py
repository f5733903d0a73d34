"""Feeds on records from memory: the fixtures of the tests that run with both `Feed` and `AsyncFeed`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rbhq_stream import Event, FeedConfig, PriceEvent, PriceType, PriceUpdate, RaceStatus, RaceStatusEvent, Topics
from rbhq_stream.source import TopicPartition
from rbhq_stream.testing import MemorySource
from tests.facades import AsyncFacade, Facade, SyncFacade
from tests.waiting import wait_for

TOPICS = Topics(prices="prices", race_status="status", race_results="results")
PRICES = TopicPartition("prices", 0)
STATUS = TopicPartition("status", 0)
TWO_EVENTS = b'[{"meetingId":1,"eventNumber":1,"status":"OPEN"},{"meetingId":1,"eventNumber":2,"status":"CLOSED"}]'

TWO = b'[{"meetingId":1,"eventNumber":%d,"status":"OPEN"},{"meetingId":1,"eventNumber":%d,"status":"OPEN"}]'
BAD = b'{"meetingId": 1, "eventNumber":'

MakeFacade = Callable[..., Facade]


def memory_config(**fields: Any) -> FeedConfig:
    """A configuration that is never used to connect."""
    given = {"topics": TOPICS, "group_id": "g", "commit_interval": 0.01, "close_timeout": 5.0}
    return FeedConfig(bootstrap_servers="nowhere:1", security="PLAINTEXT", **{**given, **fields})


def price(number: int) -> PriceEvent:
    return PriceEvent(1, number, (PriceUpdate(1, PriceType.WIN, 12, None),))


def prices(count: int) -> list[Event]:
    return [price(number) for number in range(1, count + 1)]


def status(number: int) -> RaceStatusEvent:
    return RaceStatusEvent(1, number, RaceStatus.OPEN)


def poll_threads() -> list[threading.Thread]:
    """The feeds' own threads that are running."""
    return [thread for thread in threading.enumerate() if thread.name == "rbhq_stream poll"]


def wait_until_done(source: MemorySource) -> None:
    """Waits until the feed's poll has carried out what the source was told to do, such as `lose` and `assign`."""

    def is_done() -> bool:
        with source._changed:  # a poll holds it until all is done
            return not source._actions

    wait_for(is_done, "the source has done it")


@pytest.fixture
def memory_source() -> MemorySource:
    return MemorySource(TOPICS)


@pytest.fixture(params=[SyncFacade, AsyncFacade], ids=["Feed", "AsyncFeed"])
def make_facade(request: pytest.FixtureRequest, memory_source: MemorySource) -> Iterator[MakeFacade]:
    """Makes a `Feed` or an `AsyncFeed` on `memory_source`, or on the `source` given; closes it at the end."""
    facades: list[Facade] = []

    def make(*, config: FeedConfig | None = None, **options: Any) -> Facade:
        facade = request.param(config or memory_config(), **{"source": memory_source, **options})
        facades.append(facade)
        return facade  # type: ignore[no-any-return]

    yield make
    for facade in facades:
        facade.finish()
