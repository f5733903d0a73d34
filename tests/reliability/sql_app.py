"""An application that stores the feed in SQL, exactly once; `test_exactly_once` runs it, kills it and runs it again.

`python -m tests.reliability.sql_app CONFIG DATABASE` loads all it needs and then, for each line on its standard input,
starts the application as a process of its own by a fork, as the member of the group that the line names, and prints its
process id: this is faster than to start a new Python. DATABASE is an SQLite file or PostgreSQL's connection string. A
line `NAME async` starts the application that uses AsyncFeed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import time
from contextlib import closing
from functools import partial
from typing import Any

import psycopg

from rbhq_stream import AsyncFeed, Event, Feed, FeedConfig
from rbhq_stream.offsets import SqlOffsets
from tests.reliability.forking import fork_for_each_line

# no unique key: an event that is handled twice is there twice
_CREATE_EVENTS = """CREATE TABLE events (id {serial} PRIMARY KEY,
    topic TEXT, kafka_partition INT, kafka_offset INT, part INT, race TEXT, process INT)"""
_CREATE_SKIPPED = "CREATE TABLE skipped (topic TEXT, kafka_partition INT, kafka_offset INT, process INT)"
_EVENT = """INSERT INTO events (topic, kafka_partition, kafka_offset, part, race, process)
    VALUES ({0}, {0}, {0}, {0}, {0}, {0})"""
_SKIPPED = "INSERT INTO skipped VALUES ({0}, {0}, {0}, {0})"


def is_postgres(database: str) -> bool:
    return database.startswith("host=")


def connect(database: str) -> Any:
    """Opens a connection whose transactions `transaction` begins and ends."""
    if is_postgres(database):
        return psycopg.connect(database, autocommit=True, application_name=str(os.getpid()))
    connection = sqlite3.connect(database, timeout=30)
    connection.execute("PRAGMA synchronous = OFF")  # a process that is killed needs no fsync, and it takes long
    return connection


def transaction(db: Any) -> Any:
    return db.transaction() if isinstance(db, psycopg.Connection) else db


def create(database: str) -> None:
    SqlOffsets(partial(connect, database)).create()
    serial = "SERIAL" if is_postgres(database) else "INTEGER"
    with closing(connect(database)) as db, transaction(db):
        db.execute(_CREATE_EVENTS.format(serial=serial))
        db.execute(_CREATE_SKIPPED)


def event_row(event: Event) -> tuple[str, tuple[object, ...]]:
    assert event.record is not None
    return _EVENT, (*event.record.coordinates, event.record.part, str(event.race_id), os.getpid())


def skipped_row(event: Event) -> tuple[str, tuple[object, ...]]:
    assert event.record is not None
    return _SKIPPED, (*event.record.coordinates, os.getpid())


def run(config: FeedConfig, database: str) -> None:
    """The application: each event and its offset in one transaction, with room for a kill everywhere."""
    offsets = SqlOffsets(partial(connect, database))
    placeholder = "%s" if is_postgres(database) else "?"
    with (
        closing(connect(database)) as db,
        Feed(config, positions=offsets.positions, on_bad_record="skip") as feed,
    ):
        for event in feed:
            time.sleep(random.random() * 0.002)
            with transaction(db):
                if offsets.advance(db, event.record):
                    time.sleep(random.random() * 0.002)
                    sql, row = event_row(event)
                else:
                    sql, row = skipped_row(event)
                db.execute(sql.format(placeholder), row)
                time.sleep(random.random() * 0.002)


async def run_async(config: FeedConfig, database: str) -> None:
    """The same with AsyncFeed and PostgreSQL."""
    offsets = SqlOffsets(partial(connect, database))
    options: dict[str, Any] = {"autocommit": True, "application_name": str(os.getpid())}
    async with (
        await psycopg.AsyncConnection.connect(database, **options) as db,
        AsyncFeed(config, positions=offsets.positions, on_bad_record="skip") as feed,
    ):
        async for event in feed:
            await asyncio.sleep(random.random() * 0.002)
            async with db.transaction():
                if await offsets.advance_async(db, event.record):
                    await asyncio.sleep(random.random() * 0.002)
                    sql, row = event_row(event)
                else:
                    sql, row = skipped_row(event)
                await db.execute(sql.format("%s").encode(), row)
                await asyncio.sleep(random.random() * 0.002)


def main(config_file: str, database: str) -> None:
    def start(line: str) -> None:
        name, *mode = line.split()
        config = FeedConfig.from_toml(config_file, group_instance_id=name)
        if mode == ["async"]:
            asyncio.run(run_async(config, database))
        else:
            run(config, database)

    fork_for_each_line(start)


if __name__ == "__main__":
    main(*sys.argv[1:])
