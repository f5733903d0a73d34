"""Feeds on records from memory: the fixtures of the tests that drive `Feed` and `AsyncFeed` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rbhq_stream import Event, FeedConfig, PriceEvent, PriceType, PriceUpdate, RaceStatus, RaceStatusEvent, Topics
from rbhq_stream.source import TopicPartition
from rbhq_stream.testing import MemorySource
from tests.faces import AsyncFace, Face, SyncFace

TOPICS = Topics(prices="prices", race_status="status", race_results="results")
PRICES = TopicPartition("prices", 0)
STATUS = TopicPartition("status", 0)
TWO_EVENTS = b'[{"meetingId":1,"eventNumber":1,"status":"OPEN"},{"meetingId":1,"eventNumber":2,"status":"CLOSED"}]'

MakeFace = Callable[..., Face]


def config_of_memory(**fields: Any) -> FeedConfig:
    """A configuration that is never used to connect."""
    fields = {"commit_interval": 0.05, "close_timeout": 5.0, **fields}
    return FeedConfig(bootstrap_servers="nowhere:1", group_id="g", topics=TOPICS, security="PLAINTEXT", **fields)


def price(number: int) -> PriceEvent:
    return PriceEvent(1, number, (PriceUpdate(1, PriceType.WIN, 12, None),))


def prices(count: int) -> list[Event]:
    return [price(number) for number in range(1, count + 1)]


def status(number: int) -> RaceStatusEvent:
    return RaceStatusEvent(1, number, RaceStatus.OPEN)


@pytest.fixture
def memory_source() -> MemorySource:
    return MemorySource(TOPICS)


@pytest.fixture(params=[SyncFace, AsyncFace], ids=["Feed", "AsyncFeed"])
def make_face(request: pytest.FixtureRequest, memory_source: MemorySource) -> Iterator[MakeFace]:
    """Makes a `Feed` or an `AsyncFeed` on `memory_source`, or on the `source` given; closes it at the end."""
    faces: list[Face] = []

    def make(*, config: FeedConfig | None = None, **options: Any) -> Face:
        face = request.param(config or config_of_memory(), **{"source": memory_source, **options})
        faces.append(face)
        return face  # type: ignore[no-any-return]

    yield make
    for face in faces:
        face.finish()
