"""docs/exactly-once.md and docs/scaling.md: each block runs unchanged."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import psycopg
import pytest
from typing_extensions import Self

import rbhq_stream
from rbhq_stream import (
    AsyncFeed,
    Event,
    Feed,
    FeedConfig,
    RaceEvent,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    SqlOffsets,
)
from rbhq_stream.testing import EmbeddedBroker
from tests.memory_feeds import price, status
from tests.pages import run_example
from tests.waiting import wait_for

EVENTS = [RaceStatusEvent(1, race, RaceStatus.OPEN) for race in range(20)]


@pytest.fixture
def broker(docs_broker: EmbeddedBroker) -> EmbeddedBroker:
    """A broker with some events."""
    docs_broker.publish(*EVENTS)
    return docs_broker


def races(db: Any) -> set[int]:
    cursor = db.cursor()
    cursor.execute("SELECT race FROM events")
    return {race for (race,) in cursor.fetchall()}


class Store:
    """`store` and `store_async` of the page: they stop the feed after the last event, and crash twice before that."""

    def __init__(self, connect: Callable[[], Any], space: dict[str, Any]) -> None:
        self._connect = connect
        self._space = space
        self._crashes = {5, 15}
        with closing(connect()) as db:
            db.cursor().execute("CREATE TABLE events (race INT)")  # no unique key: what is stored twice is there twice
            db.commit()

    def __call__(self, db: Any, event: Event) -> None:
        db.cursor().execute(f"INSERT INTO events VALUES ({event.event_number})")
        self._finish(event, races(db))

    async def store_async(self, db: psycopg.AsyncConnection, event: Event) -> None:
        await db.execute(b"INSERT INTO events VALUES (%s)", (event.event_number,))
        rows = await (await db.execute("SELECT race FROM events")).fetchall()
        self._finish(event, {race for (race,) in rows})

    def _finish(self, event: Event, seen: set[int]) -> None:
        if event.event_number in self._crashes:
            self._crashes.remove(event.event_number)
            raise ZeroDivisionError("the application crashes in a transaction")
        if len(seen) == len(EVENTS):
            self._space["feed"].stop()

    def stored(self) -> list[int]:
        with closing(self._connect()) as db:
            cursor = db.cursor()
            cursor.execute("SELECT race FROM events")
            return sorted(race for (race,) in cursor.fetchall())


SQLITE, BATCHES, PSYCOPG, PSYCOPG_ASYNC, PSYCOPG2 = range(5)


def test_exactly_once_with_sqlite3(broker: EmbeddedBroker) -> None:
    space: dict[str, Any] = {}
    store = space["store"] = Store(partial(sqlite3.connect, "app.db"), space)
    with pytest.raises(ZeroDivisionError):
        run_example("exactly-once.md", SQLITE, space)
    with pytest.raises(ZeroDivisionError):
        run_example("exactly-once.md", BATCHES, space)
    assert not {5, 15} <= set(store.stored()), "it was undone"
    run_example("exactly-once.md", SQLITE, space)
    assert store.stored() == list(range(20)), "each once"


@pytest.mark.parametrize("block", [PSYCOPG, PSYCOPG_ASYNC, PSYCOPG2], ids=["psycopg", "psycopg async", "psycopg2"])
def test_exactly_once_with_postgresql(
    broker: EmbeddedBroker, dsn: str, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    connect = partial(psycopg.connect, dsn)
    space: dict[str, Any] = {"partial": partial, "closing": closing, "Feed": Feed, "FeedConfig": FeedConfig}
    space |= {"os": os, "psycopg": psycopg, "SqlOffsets": SqlOffsets, "offsets": SqlOffsets(connect)}
    space["offsets"].create()
    store = space["store"] = Store(connect, space)
    space["store_async"] = store.store_async

    class KnownAsyncFeed(AsyncFeed):
        async def __aenter__(self) -> Self:
            space["feed"] = self  # there it is a local name of main()
            return await super().__aenter__()

    monkeypatch.setattr(rbhq_stream, "AsyncFeed", KnownAsyncFeed)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run_example("exactly-once.md", block, space)
    assert not {5, 15} <= set(store.stored()), "it was undone"
    run_example("exactly-once.md", block, space)
    assert store.stored() == list(range(20)), "each once"


def test_batches(broker: EmbeddedBroker) -> None:
    got: list[Event] = []

    def store_all(batch: list[Event]) -> None:
        got.extend(batch)
        if len(got) == len(EVENTS):
            space["feed"].stop()

    space: dict[str, Any] = {"store_all": store_all}
    run_example("scaling.md", 0, space)
    assert sorted(event.event_number for event in got) == list(range(20))


def test_many_races_at_once_on_threads(broker: EmbeddedBroker) -> None:
    got: list[Event] = []

    def reprice(event: Event) -> None:
        got.append(event)
        if len(got) == len(EVENTS):
            space["feed"].stop()

    space: dict[str, Any] = {"reprice": reprice}
    run_example("scaling.md", 1, space)
    assert sorted(event.event_number for event in got) == list(range(20))
    assert sum(broker.committed("docs").values()) == 20


def test_many_races_at_once_in_tasks(broker: EmbeddedBroker) -> None:
    got: list[Event] = []

    async def store(event: Event) -> None:
        await asyncio.sleep(0.01)
        got.append(event)

    run_example("scaling.md", 2, {"store": store, "is_over": lambda event: len(got) == len(EVENTS)})
    assert sorted(event.event_number for event in got) == list(range(20))
    assert sum(broker.committed("docs").values()) == 20


def test_configurations(broker: EmbeddedBroker) -> None:
    space: dict[str, Any] = {}
    run_example("scaling.md", 4, space)
    assert (space["config"].group_instance_id, space["config"].session_timeout) == ("pricing-0", 60)
    run_example("scaling.md", 5, space)
    assert space["settlement"].group_id == "settlement"


def result(number: int) -> RaceResultEvent:
    return RaceResultEvent(1, number, RaceStatus.FINAL)


def test_each_race_in_one_process(docs_broker: EmbeddedBroker) -> None:
    space: dict[str, Any] = {}
    run_example("scaling.md", 3, space)
    seen: list[tuple[Feed, RaceEvent]] = []

    def run(feed: Feed) -> threading.Thread:
        feed.on(RaceEvent)(lambda event: seen.append((feed, event)))
        thread = threading.Thread(target=feed.run)
        thread.start()
        return thread

    feeds = [Feed(space["config"]) for _ in range(2)]
    threads = [run(feed) for feed in feeds]
    try:

        def shared() -> bool:
            seen.clear()
            docs_broker.publish(*(make(race) for race in range(1, 31) for make in (price, status, result)))
            docs_broker.wait_until_handled("docs", timeout=60)
            return {feed for feed, _ in seen} == set(feeds)

        wait_for(shared, "the partitions are shared")
        assert shared()
        assert len(seen) == 90
        for race in range(1, 31):
            assert len({feed for feed, event in seen if event.event_number == race}) == 1
    finally:
        for feed in feeds:
            feed.stop()
        for thread in threads:
            thread.join()


def test_every_process_reads_everything(broker: EmbeddedBroker) -> None:
    class Board:
        def __init__(self) -> None:
            self.races: list[int] = []

        def show(self, event: Event) -> None:
            self.races.append(event.event_number)
            if len(self.races) == len(EVENTS):
                space["feed"].stop()

    for _ in range(2):
        space: dict[str, Any] = {"board": Board()}
        run_example("scaling.md", 6, space)
        assert sorted(space["board"].races) == list(range(20))


def test_the_first_result_of_the_last_hour(broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]) -> None:
    run_example("reading.md", 0, {})
    assert capsys.readouterr().out == "None\n"
    broker.publish(result(7), result(8))
    run_example("reading.md", 0, {})
    assert capsys.readouterr().out == f"{result(7)}\n"
