"""`SqlOffsets`: the next record of each partition, stored in the application's own SQL database."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Any

from rbhq_stream.record import Record
from rbhq_stream.source import TopicPartition

# written for sqlite3 and the default table; `_execute` rewrites them for others
_CREATE = """CREATE TABLE IF NOT EXISTS rbhq_offsets (
    topic VARCHAR(249) NOT NULL, kafka_partition INTEGER NOT NULL,
    next_offset BIGINT NOT NULL, next_part BIGINT NOT NULL, PRIMARY KEY (topic, kafka_partition))"""
_SELECT = "SELECT next_offset FROM rbhq_offsets WHERE topic = ? AND kafka_partition = ?"
_UPDATE = """UPDATE rbhq_offsets SET next_offset = ?, next_part = ? WHERE topic = ? AND kafka_partition = ?
    AND (next_offset < ? OR (next_offset = ? AND next_part <= ?))"""
_INSERT = """INSERT INTO rbhq_offsets (next_offset, next_part, topic, kafka_partition) SELECT ?, ?, ?, ?
    WHERE NOT EXISTS (SELECT 1 FROM rbhq_offsets WHERE topic = ? AND kafka_partition = ?)"""
_Statement = tuple[str, tuple[object, ...]]
_PLACEHOLDERS = {"qmark": "?", "format": "%s", "pyformat": "%s"}


class SqlOffsets:
    """A table with one row for each partition: the next record to handle.

    If `advance` is called in the transaction that stores an event, and the feed starts at `positions`, each event takes
    effect exactly once. The application has to use transactions (not autocommit), handle the events of each partition
    in order, and not continue after an event whose transaction failed. READ COMMITTED isolation is enough, because
    `advance` locks its row until the transaction ends. Under stricter isolation, a conflict raises the database's
    serialization error, and the event must be handled again.

    It is tested with SQLite (sqlite3) and PostgreSQL (psycopg 3, sync and async, and psycopg2); docs/exactly-once.md
    has an example for each of them.

    Args:
        connect: Opens a connection. `create` and `positions` call it and close the connection again; `positions` does
            so on the feed's poll thread. It must be a plain function, also for an application that uses asyncio.
        table: The name of the table, optionally with a schema: `schema.table`. Each application (each `group_id`) needs
            its own table.
        paramstyle: How the database module marks parameters: "qmark", "format" or "pyformat". By default the module of
            the connection defines it.

    Raises:
        ValueError: the table's name or the paramstyle can't be used.
    """

    def __init__(
        self, connect: Callable[[], Any], *, table: str = "rbhq_offsets", paramstyle: str | None = None
    ) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", table, re.ASCII):
            raise ValueError(f"table={table!r}: expected a plain name, optionally with a schema: 'schema.table'")
        self._connect = connect
        self._table = table
        self._placeholder = None if paramstyle is None else _placeholder(paramstyle)

    def create(self) -> None:
        """Creates the table if it does not exist. Safe to call more than once, and by several processes at once.

        Raises:
            TypeError: `connect` does not return a plain connection.
            Exception: what the database raises.
        """
        with closing(self._connection()) as connection, closing(connection.cursor()) as cursor:
            try:
                self._execute(cursor, _CREATE)
                connection.commit()
            except Exception:
                # PostgreSQL raises an error in one of two processes that create the table at the same time, and for a
                # user who may not create tables even if it exists.
                connection.rollback()
                if not self._exists(cursor):
                    raise

    def positions(self, partitions: Collection[TopicPartition]) -> dict[tuple[str, int], int]:
        """Returns the next offset of those partitions that have been handled before. For `Feed(positions=…)`.

        Args:
            partitions: The partitions that the feed was assigned.

        Raises:
            TypeError: `connect` does not return a plain connection.
            Exception: what the database raises. It ends the feed, which would otherwise start at a wrong position.
        """
        found = {}
        with closing(self._connection()) as connection, closing(connection.cursor()) as cursor:
            for partition in partitions:
                self._execute(cursor, _SELECT, *partition)
                row = cursor.fetchone()
                if row is not None:
                    found[partition.topic, partition.partition] = _offset_in(row)
        return found

    def advance(self, connection: Any, record: Record | None) -> bool:
        """Stores, in the connection's open transaction, that the record's event is handled.

        Call it once for each event, as the first statement of the transaction, so that other processes wait for it.

        Args:
            connection: The connection (or a cursor of it) that the application stores the event with.
            record: `event.record`.

        Returns:
            `True` if the event is to be handled. `False` if it was handled before, by this process or another one. In
            this case nothing is changed, and the event must be skipped.

        Raises:
            ValueError: the event has no record; the connection is in autocommit mode, outside a transaction; or
                its paramstyle is not known.
            TypeError: the connection is an async one: use `advance_async`.
            Exception: what the database raises.
        """
        statements = self._statements(connection, record, is_async=False)
        if not hasattr(connection, "cursor"):
            return _advance(connection, statements)
        with closing(connection.cursor()) as cursor:
            return _advance(cursor, statements)

    async def advance_async(self, connection: Any, record: Record | None) -> bool:
        """Stores, in the connection's open transaction, that the record's event is handled, like `advance`.

        Args:
            connection: A `psycopg.AsyncConnection`, or a cursor of it.
            record: `event.record`.

        Returns:
            Whether the event is to be handled.

        Raises:
            ValueError: as `advance`.
            TypeError: the connection is not an async one: use `advance`.
            Exception: what the database raises.
        """
        statements = self._statements(connection, record, is_async=True)
        if not hasattr(connection, "cursor"):
            return await _advance_async(connection, statements)
        async with connection.cursor() as cursor:
            return await _advance_async(cursor, statements)

    def _statements(self, connection: Any, record: Record | None, *, is_async: bool) -> list[_Statement]:
        """Returns what `advance` executes, one after the other, until a statement changes a row."""
        if record is None:
            raise ValueError(
                "this event was constructed by the application: only events that came from a feed have an offset"
            )
        if inspect.iscoroutinefunction(getattr(connection, "execute", None)) != is_async:
            raise TypeError(
                f"{_name(connection)} is not an async connection: call advance"
                if is_async
                else f"{_name(connection)} is an async connection: await advance_async"
            )
        _refuse_autocommit(getattr(connection, "connection", connection))
        topic, partition, offset = record.coordinates
        is_last = record.next_offset != offset
        stored = (offset + 1, 0) if is_last else (offset, record.part + 1)
        return [
            self._statement(connection, _UPDATE, *stored, topic, partition, offset, offset, record.part),
            self._statement(connection, _INSERT, *stored, topic, partition, topic, partition),
        ]

    def _statement(self, connection: Any, sql: str, *values: object) -> _Statement:
        placeholder = self._placeholder or _placeholder_of(connection)
        return sql.replace("?", placeholder).replace("rbhq_offsets", self._table), values

    def _execute(self, cursor: Any, sql: str, *values: object) -> None:
        cursor.execute(*self._statement(cursor, sql, *values))

    def _exists(self, cursor: Any) -> bool:
        try:
            self._execute(cursor, _SELECT, "", 0)
        except Exception:  # noqa: BLE001  # each database module has errors of its own
            return False
        return True

    def _connection(self) -> Any:
        connection = self._connect()
        if inspect.isawaitable(connection):
            if inspect.iscoroutine(connection):
                connection.close()
            raise TypeError(
                "connect returned an awaitable: give a plain function, such as psycopg.connect, also for an AsyncFeed."
                " It is called on the feed's poll thread, which has no event loop"
            )
        return connection


def _advance(cursor: Any, statements: list[_Statement]) -> bool:
    for statement in statements:
        cursor.execute(*statement)
        if _has_changed_a_row(cursor):
            return True
    return False


async def _advance_async(cursor: Any, statements: list[_Statement]) -> bool:
    for statement in statements:
        await cursor.execute(*statement)
        if _has_changed_a_row(cursor):
            return True
    return False


def _has_changed_a_row(cursor: Any) -> bool:
    if cursor.rowcount not in {0, 1}:
        raise RuntimeError(
            f"the database module reports rowcount={cursor.rowcount} for an UPDATE, so it can't be known whether the"
            " event was handled before. (psycopg does so in pipeline mode.)"
        )
    return bool(cursor.rowcount)


def _refuse_autocommit(connection: Any) -> None:
    """Raises ValueError if the next statement would be committed at once, where that can be known."""
    is_sqlite = hasattr(connection, "in_transaction")
    is_autocommit = getattr(connection, "autocommit", None) is True or (
        is_sqlite and connection.isolation_level is None
    )
    status = getattr(getattr(connection, "info", None), "transaction_status", 0)  # of psycopg: 0 is idle
    if is_autocommit and not (connection.in_transaction if is_sqlite else status):
        raise ValueError(
            f"{_name(connection)} is in autocommit mode, and not in a transaction: begin one (with psycopg 3,"
            " `with connection.transaction():`), so that the offset and the data are committed together"
        )


def _placeholder_of(connection: Any) -> str:
    """Returns how the module of the connection, or of the cursor, marks parameters."""
    for kind in type(connection).__mro__:
        name = kind.__module__
        while name:
            paramstyle = getattr(sys.modules.get(name), "paramstyle", None)
            if isinstance(paramstyle, str):
                return _placeholder(paramstyle)
            name = name.rpartition(".")[0]
    raise ValueError(
        f"the paramstyle of {_name(connection)} is not known: give SqlOffsets that of the database module, as in"
        " paramstyle=psycopg.paramstyle"
    )


def _placeholder(paramstyle: str) -> str:
    if paramstyle not in _PLACEHOLDERS:
        raise ValueError(f"paramstyle={paramstyle!r}: expected one of {', '.join(map(repr, _PLACEHOLDERS))}")
    return _PLACEHOLDERS[paramstyle]


def _name(connection: Any) -> str:
    return f"{type(connection).__module__}.{type(connection).__qualname__}"


def _offset_in(row: Any) -> int:
    return int(row["next_offset"] if isinstance(row, Mapping) else row[0])
