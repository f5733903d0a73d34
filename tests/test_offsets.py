"""`SqlOffsets` on SQLite and PostgreSQL, with each driver: each event takes effect once, even with two processes."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import psycopg.rows
import psycopg2
import psycopg2.errors
import psycopg2.extras
import pytest

from rbhq_stream.offsets import SqlOffsets
from rbhq_stream.record import Record
from rbhq_stream.source import TopicPartition

PRICES = TopicPartition("prices", 3)
Connect = Callable[..., Any]


@pytest.fixture(params=["sqlite3", "psycopg", "psycopg2"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """Opens connections to one empty database, with each of the drivers."""
    if request.param == "sqlite3":
        return partial(sqlite3.connect, str(tmp_path / "app.db"), timeout=30)
    driver: Any = {"psycopg": psycopg, "psycopg2": psycopg2}[request.param]
    return partial(driver.connect, request.getfixturevalue("dsn"))


@pytest.fixture
def offsets(connect: Connect) -> SqlOffsets:
    offsets = SqlOffsets(connect)
    offsets.create()
    return offsets


@pytest.fixture
def db(connect: Connect, offsets: SqlOffsets) -> Iterator[Any]:
    with closing(connect()) as db:
        yield db


def at(offset: int, part: int = 0, parts: int = 1) -> Record:
    return Record("prices", 3, offset, part=part, parts=parts)


def execute(db: Any, sql: str, *values: object) -> Any:
    """Executes a statement with `?` for its parameters, and returns the cursor."""
    cursor = db.cursor()
    cursor.execute(sql if isinstance(db, sqlite3.Connection) else sql.replace("?", "%s"), values)
    return cursor


def test_positions_are_the_next_offsets(offsets: SqlOffsets, db: Any) -> None:
    assert offsets.positions([PRICES]) == {}
    assert offsets.advance(db, at(41))
    db.commit()
    assert offsets.positions([PRICES, TopicPartition("prices", 4), TopicPartition("other", 3)]) == {("prices", 3): 42}


def test_an_event_that_was_handled_is_not_handled_again(offsets: SqlOffsets, db: Any) -> None:
    handled = [offsets.advance(db, at(offset)) for offset in (5, 5, 4, 6, 9, 6, 10)]  # Kafka's offsets have gaps
    db.commit()
    assert handled == [True, False, False, True, True, False, True]
    assert offsets.positions([PRICES]) == {PRICES: 11}


def test_the_largest_offset_can_be_stored(offsets: SqlOffsets, db: Any) -> None:
    assert offsets.advance(db, at(2**63 - 2))
    db.commit()
    assert offsets.positions([PRICES]) == {PRICES: 2**63 - 1}


def test_the_events_of_a_record_advance_one_by_one(offsets: SqlOffsets, db: Any) -> None:
    offsets.advance(db, at(4))
    for part, position in ((0, 5), (1, 5), (2, 6)):
        assert offsets.advance(db, at(5, part, 3))
        assert not offsets.advance(db, at(5, part, 3))
        db.commit()
        assert offsets.positions([PRICES]) == {PRICES: position}
    assert [offsets.advance(db, at(5, part, 3)) for part in range(3)] == [False] * 3
    assert offsets.advance(db, at(6))


def test_it_resumes_in_the_middle_of_a_record(offsets: SqlOffsets, db: Any) -> None:
    assert offsets.advance(db, at(5, 0, 2))
    db.commit()
    assert offsets.positions([PRICES]) == {PRICES: 5}
    assert [offsets.advance(db, at(5, 0, 2)), offsets.advance(db, at(5, 1, 2))] == [False, True]


def test_a_rollback_undoes_it(offsets: SqlOffsets, db: Any) -> None:
    offsets.advance(db, at(1))
    db.commit()
    assert offsets.advance(db, at(2))
    db.rollback()
    assert offsets.positions([PRICES]) == {PRICES: 2}
    assert offsets.advance(db, at(2))


def test_a_cursor_serves_as_well_and_stays_open(offsets: SqlOffsets, db: Any) -> None:
    with closing(db.cursor()) as cursor:
        assert offsets.advance(cursor, at(1))
        assert not offsets.advance(cursor, at(1))
        db.commit()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_create_may_be_called_again(offsets: SqlOffsets, db: Any) -> None:
    offsets.advance(db, at(1))
    db.commit()
    offsets.create()
    assert offsets.positions([PRICES]) == {PRICES: 2}


def test_processes_may_create_the_table_at_once(connect: Connect) -> None:
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def create() -> None:
        barrier.wait()
        try:
            SqlOffsets(connect).create()
        except BaseException as error:  # noqa: BLE001  # the test judges it
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_create_raises_what_the_database_raises(connect: Connect) -> None:
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.InvalidSchemaName, psycopg2.errors.InvalidSchemaName)):
        SqlOffsets(connect, table="no_such_schema.offsets").create()


def test_two_processes_that_both_own_a_partition_store_each_event_once(connect: Connect, offsets: SqlOffsets) -> None:
    """Each handles its records in order; every record takes effect once, and in order."""
    id_column = "id INTEGER PRIMARY KEY" if "sqlite" in repr(connect) else "id SERIAL PRIMARY KEY"
    with closing(connect()) as db:
        execute(db, f"CREATE TABLE events ({id_column}, kafka_offset INT, part INT)")
        db.commit()
    records = [at(offset, part, 3) for offset in range(60) for part in range(3)]
    stored = [0, 0]
    start = threading.Barrier(2)

    def handle(member: int) -> None:
        chance = random.Random(member)
        with closing(connect()) as db:
            start.wait()
            for record in records:
                while not handled(db, member, record):
                    pass
                if chance.random() < 0.2:
                    threading.Event().wait(0.002)

    def handled(db: Any, member: int, record: Record) -> bool:
        try:
            is_new = offsets.advance(db, record)
        except (psycopg.errors.UniqueViolation, psycopg2.errors.UniqueViolation):
            db.rollback()  # the first record of all: the other member has inserted the row meanwhile
            return False
        if is_new:
            execute(db, "INSERT INTO events (kafka_offset, part) VALUES (?, ?)", record.offset, record.part)
            stored[member] += 1
        db.commit()
        return True

    threads = [threading.Thread(target=handle, args=(member,)) for member in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(connect()) as db:
        rows = execute(db, "SELECT kafka_offset, part FROM events ORDER BY id").fetchall()
    assert rows == [(record.offset, record.part) for record in records]
    assert sum(stored) == len(records)


def test_a_table_with_another_name(connect: Connect) -> None:
    offsets = SqlOffsets(connect, table="feed_offsets")
    offsets.create()
    with closing(connect()) as db:
        assert offsets.advance(db, at(1))
        db.commit()
        assert execute(db, "SELECT topic, next_offset FROM feed_offsets").fetchall() == [("prices", 2)]
    assert offsets.positions([PRICES]) == {PRICES: 2}


def test_a_table_in_a_schema(dsn: str) -> None:
    connect = partial(psycopg.connect, dsn)
    with connect() as db:
        db.execute("CREATE SCHEMA racing")
    offsets = SqlOffsets(connect, table="racing.feed_offsets")
    offsets.create()
    with connect() as db:
        assert offsets.advance(db, at(1))
    assert offsets.positions([PRICES]) == {PRICES: 2}


def test_a_user_who_may_not_create_tables_may_use_one(dsn: str) -> None:
    SqlOffsets(partial(psycopg.connect, dsn)).create()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS racing_app")
        db.execute("CREATE ROLE racing_app LOGIN")
        db.execute("GRANT SELECT, INSERT, UPDATE ON rbhq_offsets TO racing_app")
        schema = db.execute("SELECT current_schema").fetchone()
        assert schema is not None
        db.execute(f"GRANT USAGE ON SCHEMA {schema[0]} TO racing_app".encode())
    connect = partial(psycopg.connect, dsn, user="racing_app")
    offsets = SqlOffsets(connect)
    offsets.create()
    with connect() as db:
        assert offsets.advance(db, at(1))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        SqlOffsets(connect, table="another").create()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("DROP OWNED BY racing_app")
        db.execute("DROP ROLE racing_app")


def test_stricter_isolation_raises_a_serialization_error(dsn: str) -> None:
    offsets = SqlOffsets(partial(psycopg.connect, dsn))
    offsets.create()
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        offsets.advance(one, at(0))
        one.commit()
        two.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        two.execute("SELECT 1")  # its snapshot is taken here
        offsets.advance(one, at(1))
        one.commit()
        with pytest.raises(psycopg.errors.SerializationFailure):
            offsets.advance(two, at(1))
        two.rollback()
        assert not offsets.advance(two, at(1)), "handled again, it is recognised"


@pytest.mark.parametrize(
    "row_factory",
    [psycopg.rows.dict_row, psycopg.rows.namedtuple_row, psycopg.rows.tuple_row],
    ids=lambda f: f.__name__,
)
def test_any_row_factory_of_psycopg(dsn: str, row_factory: Any) -> None:
    offsets = SqlOffsets(lambda: psycopg.connect(dsn, row_factory=row_factory))
    offsets.create()
    with psycopg.connect(dsn, row_factory=row_factory) as db:
        assert offsets.advance(db, at(1))
    assert offsets.positions([PRICES]) == {PRICES: 2}


def test_any_row_factory_of_sqlite3_and_psycopg2(tmp_path: Path, dsn: str) -> None:
    def sqlite() -> sqlite3.Connection:
        connection = sqlite3.connect(tmp_path / "app.db")
        connection.row_factory = sqlite3.Row
        return connection

    for connect in (sqlite, partial(psycopg2.connect, dsn, cursor_factory=psycopg2.extras.RealDictCursor)):
        offsets = SqlOffsets(connect)
        offsets.create()
        with closing(connect()) as db:
            assert offsets.advance(db, at(1))
            db.commit()
        assert offsets.positions([PRICES]) == {PRICES: 2}


# --- autocommit


def in_autocommit_mode(connect: Connect) -> Any:
    connection = connect()
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
    else:
        connection.autocommit = True
    return connection


def test_autocommit_is_refused(connect: Connect, offsets: SqlOffsets) -> None:
    with closing(in_autocommit_mode(connect)) as db:
        for connection in (db, db.cursor()):
            with pytest.raises(ValueError, match=r"is in autocommit mode, and not in a transaction: begin one"):
                offsets.advance(connection, at(1))
    assert offsets.positions([PRICES]) == {}


def test_autocommit_is_accepted_inside_a_transaction(connect: Connect, offsets: SqlOffsets) -> None:
    with closing(in_autocommit_mode(connect)) as db:
        execute(db, "BEGIN")
        assert offsets.advance(db, at(1))
        assert offsets.advance(db.cursor(), at(2))
        execute(db, "ROLLBACK")
        assert offsets.positions([PRICES]) == {}
        execute(db, "BEGIN")
        assert offsets.advance(db, at(1))
        execute(db, "COMMIT")
    assert offsets.positions([PRICES]) == {PRICES: 2}


if sys.version_info >= (3, 12):  # where sqlite3 has the attribute `autocommit`

    @pytest.mark.parametrize("autocommit", [True, False])
    def test_the_autocommit_attribute_of_sqlite3(tmp_path: Path, autocommit: bool) -> None:
        connect = partial(sqlite3.connect, tmp_path / "app.db", autocommit=autocommit)
        offsets = SqlOffsets(connect)
        offsets.create()
        with closing(connect()) as db:
            if autocommit:
                with pytest.raises(ValueError, match="autocommit"):
                    offsets.advance(db, at(1))
                db.execute("BEGIN")
            assert offsets.advance(db, at(1))


def test_connect_may_open_connections_in_autocommit_mode(connect: Connect) -> None:
    offsets = SqlOffsets(partial(in_autocommit_mode, connect))
    offsets.create()
    with closing(connect()) as db:
        offsets.advance(db, at(1))
        db.commit()
    assert offsets.positions([PRICES]) == {PRICES: 2}


# --- how a module marks parameters


class MyConnection(sqlite3.Connection):
    """A wrapper that an application may have, in a module that is not a database module."""


def test_the_paramstyle_is_found_for_a_subclass(tmp_path: Path) -> None:
    offsets = SqlOffsets(partial(sqlite3.connect, tmp_path / "app.db", factory=MyConnection))
    offsets.create()
    assert offsets.positions([PRICES]) == {}


class Wrapper:
    """A connection inside an object of another class, as a pool may return it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_an_unknown_paramstyle_is_refused_and_can_be_given(connect: Connect, offsets: SqlOffsets) -> None:
    with closing(connect()) as db:
        wrapper = Wrapper(db)
        # the class of the cursor does not help here, because the wrapper is examined first
        with pytest.raises(
            ValueError, match=r"the paramstyle of tests\.test_offsets\.Wrapper is not known: give SqlOffsets"
        ):
            offsets.advance(wrapper, at(1))
        module: Any = sys.modules[type(db).__module__.partition(".")[0]]
        assert SqlOffsets(connect, paramstyle=module.paramstyle).advance(wrapper, at(1))


def test_wrong_arguments_are_refused() -> None:
    for paramstyle in ("dollar", "named", ""):
        with pytest.raises(
            ValueError, match=f"paramstyle='{paramstyle}': expected one of 'qmark', 'format', 'pyformat'"
        ):
            SqlOffsets(psycopg.connect, paramstyle=paramstyle)
    for table in ("", "a b", "a;DROP TABLE b", "a.b.c", "größe", '"a"'):
        with pytest.raises(ValueError, match="expected a plain name"):
            SqlOffsets(psycopg.connect, table=table)


def test_an_event_made_by_hand_is_refused(offsets: SqlOffsets, db: Any) -> None:
    with pytest.raises(ValueError, match="constructed by the application"):
        offsets.advance(db, None)


def test_a_database_module_that_does_not_count_rows_is_refused(dsn: str) -> None:
    offsets = SqlOffsets(partial(psycopg.connect, dsn))
    offsets.create()
    with psycopg.connect(dsn) as db, db.pipeline(), pytest.raises(RuntimeError, match=r"rowcount=-1 .*pipeline mode"):
        offsets.advance(db, at(7))


# --- asyncio


@asynccontextmanager
async def opened(dsn: str, **options: Any) -> AsyncIterator[tuple[SqlOffsets, psycopg.AsyncConnection]]:
    offsets = SqlOffsets(partial(psycopg.connect, dsn))
    offsets.create()
    async with await psycopg.AsyncConnection.connect(dsn, **options) as db:
        yield offsets, db


def test_an_async_connection(dsn: str) -> None:
    async def handle() -> None:
        async with opened(dsn) as (offsets, db):
            handled = [await offsets.advance_async(db, at(offset)) for offset in (5, 5, 4, 6, 9, 6, 10)]
            assert handled == [True, False, False, True, True, False, True]
            async with db.cursor() as cursor:
                assert await offsets.advance_async(cursor, at(11, 0, 2))
                assert not await offsets.advance_async(cursor, at(11, 0, 2))
                await cursor.execute("SELECT 1")
            await db.commit()
            assert offsets.positions([PRICES]) == {PRICES: 11}
            assert await offsets.advance_async(db, at(11, 1, 2))
            await db.rollback()
        assert offsets.positions([PRICES]) == {PRICES: 11}

    asyncio.run(handle())


def test_an_async_connection_in_autocommit_mode(dsn: str) -> None:
    async def handle() -> None:
        async with opened(dsn, autocommit=True) as (offsets, db):
            for connection in (db, db.cursor()):
                with pytest.raises(ValueError, match="autocommit"):
                    await offsets.advance_async(connection, at(1))
            async with db.transaction():
                assert await offsets.advance_async(db, at(1))
            assert offsets.positions([PRICES]) == {PRICES: 2}

    asyncio.run(handle())


def test_a_cancelled_transaction_is_undone(dsn: str) -> None:
    async def handle() -> None:
        async with opened(dsn, autocommit=True) as (offsets, db):
            stored = asyncio.Event()

            async def store() -> None:
                async with db.transaction():
                    assert await offsets.advance_async(db, at(1))
                    stored.set()
                    await asyncio.sleep(60)

            storing = asyncio.create_task(store())
            await asyncio.wait_for(stored.wait(), 60)
            storing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await storing
            assert offsets.positions([PRICES]) == {}
            async with db.transaction():
                assert await offsets.advance_async(db, at(1))

    asyncio.run(handle())


def test_a_sync_and_an_async_connection_are_not_mistaken_for_each_other(dsn: str) -> None:
    async def handle() -> None:
        async with opened(dsn) as (offsets, db):
            for connection in (db, db.cursor()):
                with pytest.raises(TypeError, match="is an async connection: await advance_async"):
                    offsets.advance(connection, at(1))
            for connect in (partial(psycopg.connect, dsn), partial(psycopg2.connect, dsn)):
                with (
                    closing(connect()) as sync,
                    pytest.raises(TypeError, match="is not an async connection: call advance"),
                ):
                    await offsets.advance_async(sync, at(1))

    asyncio.run(handle())


def test_connect_must_be_a_plain_function(dsn: str) -> None:
    offsets = SqlOffsets(partial(psycopg.AsyncConnection.connect, dsn))
    for call in (offsets.create, partial(offsets.positions, [PRICES])):
        with pytest.raises(TypeError, match="connect returned an awaitable: give a plain function"):
            call()
