"""`SqlOffsets`: how far the application is, in its own SQL database, in the transaction that stores its data."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import closing
from itertools import count
from typing import Any

from rbhq_stream.record import Record
from rbhq_stream.source import TopicPartition

# for sqlite3 and the default table; `_execute` rewrites them for others
_CREATE = """CREATE TABLE IF NOT EXISTS rbhq_offsets (
    topic VARCHAR(249) NOT NULL, kafka_partition INTEGER NOT NULL,
    next_offset BIGINT NOT NULL, next_part BIGINT NOT NULL, PRIMARY KEY (topic, kafka_partition))"""
_SELECT = "SELECT next_offset FROM rbhq_offsets WHERE topic = ? AND kafka_partition = ?"
_INSERT = "INSERT INTO rbhq_offsets (next_offset, next_part, topic, kafka_partition) VALUES (?, ?, ?, ?)"
_UPDATE = """UPDATE rbhq_offsets SET next_offset = ?, next_part = ? WHERE topic = ? AND kafka_partition = ?
    AND (next_offset < ? OR (next_offset = ? AND next_part <= ?))"""
_MARKS = {"qmark": "?", "format": "%s", "pyformat": "%s", "numeric": ":{}", "named": ":{}"}


class SqlOffsets:
    """A table with a row for each partition: the next record to handle. For any DB-API 2.0 module, sqlite3 among them.

    `advance` in the transaction that stores an event, and `Feed(config, positions=offsets.positions)`, make each event
    take effect there once. For that the connection must not be in autocommit mode, one partition's events must be
    handled in their order, and an event whose transaction failed must not be passed over. READ COMMITTED isolation is
    enough: `advance` holds its row until the transaction ends. Under stricter isolation a conflict is the database's
    serialization error; the event is then to be handled again.

    Args:
        connect: makes a connection; called by `create` and `positions`, on the feed's poll thread, and closed again.
        table: its name, perhaps with a schema's in front. One for each application, that is for each `group_id`.
        paramstyle: how the module marks parameters, its `paramstyle`: "qmark" for sqlite3, "pyformat" for psycopg.
    """

    def __init__(self, connect: Callable[[], Any], *, table: str = "rbhq_offsets", paramstyle: str = "qmark") -> None:
        if paramstyle not in _MARKS:
            raise ValueError(f"paramstyle={paramstyle!r}: expected one of {', '.join(map(repr, _MARKS))}")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", table, re.ASCII):
            raise ValueError(f"table={table!r}: expected a plain name, perhaps with a schema's and a dot before it")
        self._connect = connect
        self._table = table
        self._mark = _MARKS[paramstyle]

    def create(self) -> None:
        """Makes the table if it isn't there."""
        with closing(self._connect()) as connection, closing(connection.cursor()) as cursor:
            self._execute(cursor, _CREATE)
            connection.commit()

    def positions(self, partitions: Collection[TopicPartition]) -> dict[tuple[str, int], int]:
        """The offsets to go on from, of those partitions that have been handled before. For `Feed(positions=…)`."""
        found = {}
        with closing(self._connect()) as connection, closing(connection.cursor()) as cursor:
            for partition in partitions:
                row = self._execute(cursor, _SELECT, *partition).fetchone()
                if row is not None:
                    found[partition.topic, partition.partition] = int(row[0])
        return found

    def advance(self, connection: Any, record: Record | None) -> bool:
        """Says, as part of the open transaction of the connection (or cursor), that `event.record` is handled.

        `False`: it was handled before, here or by another process; then nothing changes, and the event is to be
        skipped. Call it first in the transaction, so that processes take turns, and once for each event.

        Raises: what the database raises. ValueError: there is no record, as the event was made by hand.
        """
        if record is None:
            raise ValueError("this event was made by hand: only one that came from a feed has a place")
        if not hasattr(connection, "cursor"):
            return self._advance(connection, record)
        with closing(connection.cursor()) as cursor:
            return self._advance(cursor, record)

    def _advance(self, cursor: Any, record: Record) -> bool:
        offset, place = record.offset, (record.topic, record.partition)
        after = (offset, record.part + 1) if record.next_offset == offset else (record.next_offset, 0)
        moved = self._execute(cursor, _UPDATE, *after, *place, offset, offset, record.part).rowcount
        if moved == 1:
            return True
        if moved != 0:
            raise RuntimeError(f"the database module doesn't tell how many rows an UPDATE changed: {moved}")
        if self._execute(cursor, _SELECT, *place).fetchone() is not None:
            return False
        self._execute(cursor, _INSERT, *after, *place)  # of two at once the primary key refuses one: it comes again
        return True

    def _execute(self, cursor: Any, sql: str, *values: object) -> Any:
        numbers = count(1)
        marked = re.sub(r"\?", lambda _: self._mark.format(next(numbers)), sql)
        cursor.execute(marked.replace("rbhq_offsets", self._table), values)
        return cursor
