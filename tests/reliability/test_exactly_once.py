"""Exactly once into the application's own database: killed at random, evicted, and yet nothing twice or missing."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from typing_extensions import Self

from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.partner_configs import partner_toml
from tests.reliability import sql_app
from tests.reliability.forking import Starter
from tests.waiting import wait_for

SEED = 20261121
PARTITIONS = 2
SESSION_TIMEOUT = 1

Row = tuple[str, int, int, int, str]  # topic, partition, offset, part, race


class Publisher:
    """Publishes all the time, from a thread of its own, and knows what an application must have in the end."""

    def __init__(self, kafka: KafkaCluster, partner: Partner, seed: int) -> None:
        self.rows: list[Row] = []
        self.errors: list[BaseException] = []
        self._kafka = kafka
        self._topics = [partner.topics.prices, partner.topics.race_status]
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._lump = 0
        self._lump_begins = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def stop(self) -> None:
        self.__exit__()
        assert not self.errors

    def lump(self, count: int) -> int:
        """Publishes so many records at once in each topic, more than the application handles soon.

        Returns:
            The number of the first race in them. The newer ones have higher numbers.
        """
        self._lump = count
        wait_for(lambda: not self._lump, "it is published")
        return self._lump_begins

    def _run(self) -> None:
        try:
            while not self._done.is_set():
                if self._lump:
                    self._lump_begins = next(self._numbers)
                    for topic in self._topics:
                        self._burst(topic, self._lump)
                    self._lump = 0
                self._burst(self._random.choice(self._topics), self._random.randint(1, 8))
                time.sleep(0.03)
        except BaseException as error:  # noqa: BLE001  # the test raises it
            self.errors.append(error)

    def _burst(self, topic: str, count: int) -> None:
        made = [self._record(is_price=topic == self._topics[0]) for _ in range(count)]
        places = self._kafka.publish(topic, [(str(races[:1]).encode(), value) for value, races in made])
        for (partition, offset), (_, races) in zip(places, made, strict=True):
            self.rows += [(topic, partition, offset, part, f"1-{race}") for part, race in enumerate(races)]

    def _record(self, *, is_price: bool) -> tuple[bytes | None, list[int]]:
        """A record's value and the races of its events: mostly one, sometimes several, sometimes none."""
        kind = self._random.random()
        if kind < 0.03:
            return self._random.choice([None, b"[]"]), []
        if kind < 0.06:
            return b'{"meetingId":', []  # the application skips it
        races = [next(self._numbers) for _ in range(self._random.randint(2, 4) if kind < 0.2 else 1)]
        news = b'"priceUpdates":[{"runnerNumber":1,"property":"ep","price":2.5}]' if is_price else b'"status":"OPEN"'
        events = [b'{"meetingId":1,"eventNumber":%d,%s}' % (race, news) for race in races]
        return (events[0] if len(events) == 1 else b"[%s]" % b",".join(events)), races


class Application:
    """`sql_app` in processes of its own, and its database: an SQLite file or PostgreSQL's connection string."""

    def __init__(self, kafka: KafkaCluster, partner: Partner, folder: Path, database: str | None = None) -> None:
        self.kafka = kafka
        self.partner = partner
        self.database = database or str(folder / "app.db")
        sql_app.create(self.database)
        config = folder / "rbhq.toml"
        group = f'group_id = "{partner.group_prefix}sql"\nsession_timeout = {SESSION_TIMEOUT}'
        config.write_text(partner_toml(kafka, partner) + group)
        self._starter = Starter(sql_app.__name__, str(config), self.database, log=folder / "app.log")
        self.start = self._starter.start
        self.kill = self._starter.kill
        self.end = self._starter.end

    def is_in_a_transaction(self, pid: int) -> bool:
        """Whether the process, which was just suspended or killed, has begun a transaction."""
        if sql_app.is_postgres(self.database):
            return bool(
                self.ask(f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{pid}' AND xact_start < now()")
            )
        with suppress(FileNotFoundError):  # the journal: what SQLite writes before it changes its file
            return Path(f"{self.database}-journal").stat().st_size > 0
        return False

    def ask(self, sql: str) -> list[tuple[int, ...]]:
        with closing(sql_app.connect(self.database)) as db:
            rows: list[tuple[int, ...]] = db.execute(sql).fetchall()
            return rows

    def is_written_by(self, processes: set[int]) -> bool:
        """Whether these, each of them and no other, wrote the newest rows of the partitions."""
        newest = self.ask("SELECT process, max(id) FROM events GROUP BY topic, kafka_partition")
        return {process for process, _ in newest} == processes

    def has_reached(self, race: int, process: int) -> bool:
        """Whether the process has written an event of this race or a newer one."""
        newest = self.ask(f"SELECT max(CAST(substr(race, 3) AS INT)) FROM events WHERE process = {process}")[0][0]
        return newest >= race

    def count(self) -> int:
        return self.ask("SELECT count(*) FROM events")[0][0]

    def has_more_than(self, rows: int) -> bool:
        return self.count() > rows

    def suspend(self, process: int) -> None:
        """Stops the process between two statements and transactions, so that it holds no lock of SQLite."""
        while True:
            os.kill(process, signal.SIGSTOP)
            with closing(sqlite3.connect(self.database, timeout=0.5)) as db:
                try:
                    db.execute("BEGIN EXCLUSIVE")  # neither a write nor a read is under way
                except sqlite3.OperationalError:
                    os.kill(process, signal.SIGCONT)
                    time.sleep(0.003)
                else:
                    return

    def rows(self) -> list[Row]:
        rows: Any = self.ask("SELECT topic, kafka_partition, kafka_offset, part, race FROM events ORDER BY id")
        return cast("list[Row]", rows)


@pytest.fixture
def application(kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path) -> Iterator[Application]:
    application = Application(kafka, make_partner(partitions=PARTITIONS), tmp_path)
    yield application
    application.end()


def by_partition(rows: list[Row]) -> dict[tuple[str, int], list[Row]]:
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault(row[:2], []).append(row)
    return found


def check(application: Application, publisher: Publisher) -> None:
    """Everything that was published is in the table, once, in order."""
    while (stored := application.count()) < len(publisher.rows):
        # a busy machine takes long for all of them
        wait_for(partial(application.has_more_than, stored), "another row is stored")
    time.sleep(0.3)  # for one too many
    assert by_partition(application.rows()) == by_partition(publisher.rows)


def check_kills(application: Application, kills: int, *members: str) -> None:
    """So many lives of one process, each ended by SIGKILL: while it starts, connects, handles, and in transactions."""
    chance = random.Random(SEED)
    in_a_transaction, starting = 0, 0.0
    lives = itertools.cycle(members)
    with Publisher(application.kafka, application.partner, SEED) as publisher:
        for kill in range(kills):
            before = application.count()
            began = time.monotonic()
            process = application.start(next(lives))
            if kill % 4 < 2:
                wait_for(partial(application.has_more_than, before), "more is stored")
                starting = time.monotonic() - began  # on this machine
                time.sleep(chance.uniform(0, 0.02))
            else:
                time.sleep(chance.uniform(0.05, starting + 0.2))
            os.kill(process, signal.SIGSTOP)
            in_a_transaction += application.is_in_a_transaction(process)
            application.kill(process)
        publisher.stop()
        application.start(next(lives))
        check(application, publisher)
    wrote = application.ask("SELECT count(DISTINCT process) FROM events")[0][0]
    print(f"seed {SEED}: {len(publisher.rows)} events, {kills} kills, {in_a_transaction} of them in a transaction,"
          f" {wrote} lives that wrote")  # fmt: skip
    assert wrote > kills / 4, "most kills came before there was anything to break"
    assert in_a_transaction > kills / 10


@pytest.mark.timeout(300)
def test_a_process_that_is_killed_fifty_times_stores_each_event_once_in_sqlite(
    kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path
) -> None:
    """As two applications, each with half of the kills, because most of the time passes with waiting."""
    applications = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        applications.append(Application(kafka, make_partner(partitions=PARTITIONS), tmp_path / name))
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda application: check_kills(application, 25, "one"), applications))
    finally:
        for application in applications:
            application.end()


def test_a_process_that_is_killed_stores_each_event_once_in_postgresql_with_either_facade(
    kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path, dsn: str
) -> None:
    application = Application(kafka, make_partner(partitions=PARTITIONS), tmp_path, dsn)
    try:
        check_kills(application, 12, "one", "one async")
    finally:
        application.end()


@pytest.mark.timeout(300)
def test_a_process_that_was_evicted_and_returned_stores_each_event_once(application: Application) -> None:
    """A process that hangs is evicted; its partitions go to another; then it wakes and writes on, too late."""
    with Publisher(application.kafka, application.partner, SEED) as publisher:
        members = [application.start(name) for name in ("one", "two")]
        for process in members:
            wait_for(partial(application.is_written_by, {*members}), "those processes store")
            first = publisher.lump(200)
            wait_for(partial(application.has_reached, first, process), "it has begun with those, and holds more")
            application.suspend(process)
            wait_for(partial(application.is_written_by, {*members} - {process}), "those processes store")
            os.kill(process, signal.SIGCONT)
        publisher.stop()
        check(application, publisher)
    skipped = application.ask("SELECT count(*) FROM skipped")[0][0]
    print(f"seed {SEED}: {len(publisher.rows)} events, {skipped} of them offered again and skipped")
    assert skipped > 0, "nobody was too late: the test tests nothing"
