"""`SqlOffsets` on SQLite: what is handled is handled once, whoever tries."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream.offsets import SqlOffsets
from rbhq_stream.record import Record
from rbhq_stream.source import TopicPartition

PRICES = TopicPartition("prices", 3)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "app.db")


@pytest.fixture
def offsets(file: str) -> SqlOffsets:
    offsets = SqlOffsets(partial(sqlite3.connect, file, timeout=30))
    offsets.create()
    return offsets


@pytest.fixture
def db(file: str, offsets: SqlOffsets) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as db:
        yield db


def at(offset: int, part: int = 0, parts: int = 1) -> Record:
    return Record("prices", 3, offset, part=part, parts=parts)


def test_it_says_where_to_go_on(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    assert offsets.positions([PRICES]) == {}
    with db:
        assert offsets.advance(db, at(41))
    assert offsets.positions([PRICES, TopicPartition("prices", 4), TopicPartition("other", 3)]) == {("prices", 3): 42}


def test_what_was_handled_is_not_handled_again(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    with db:
        answers = [offsets.advance(db, at(offset)) for offset in (5, 5, 4, 6, 9, 6, 10)]  # Kafka's offsets have gaps
    assert answers == [True, False, False, True, True, False, True]
    assert offsets.positions([PRICES]) == {PRICES: 11}


def test_the_parts_of_a_record_one_by_one(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    offsets.advance(db, at(4))
    for part, position in ((0, 5), (1, 5), (2, 6)):
        assert offsets.advance(db, at(5, part, 3))
        assert not offsets.advance(db, at(5, part, 3))
        db.commit()
        assert offsets.positions([PRICES]) == {PRICES: position}
    assert [offsets.advance(db, at(5, part, 3)) for part in range(3)] == [False] * 3
    assert offsets.advance(db, at(6))


def test_it_begins_in_the_middle_of_a_record(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    assert offsets.advance(db, at(5, 0, 2))
    db.commit()
    assert offsets.positions([PRICES]) == {PRICES: 5}
    assert [offsets.advance(db, at(5, 0, 2)), offsets.advance(db, at(5, 1, 2))] == [False, True]


def test_it_is_undone_with_the_transaction(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    with db:
        offsets.advance(db, at(1))
    assert offsets.advance(db, at(2))
    db.rollback()
    assert offsets.positions([PRICES]) == {PRICES: 2}
    assert offsets.advance(db, at(2))


def test_a_cursor_will_do(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    with closing(db.cursor()) as cursor:
        assert offsets.advance(cursor, at(1))
        assert not offsets.advance(cursor, at(1))
        db.commit()
        assert cursor.execute("SELECT 1").fetchone() == (1,), "it is still the caller's"


def test_create_again_is_harmless(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    with db:
        offsets.advance(db, at(1))
    offsets.create()
    assert offsets.positions([PRICES]) == {PRICES: 2}


def test_two_processes_that_both_think_it_is_theirs(file: str, offsets: SqlOffsets) -> None:
    """Each handles its records in order; every record takes effect once, and in order."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, kafka_offset INT, part INT)")
    records = [at(offset, part, 3) for offset in range(60) for part in range(3)]
    stored = [0, 0]

    def handle(member: int) -> None:
        chance = random.Random(member)
        with closing(sqlite3.connect(file, timeout=30)) as db:
            for record in records:
                with db:
                    if offsets.advance(db, record):
                        stored[member] += 1
                        db.execute("INSERT INTO events VALUES (NULL, ?, ?)", (record.offset, record.part))
                if chance.random() < 0.2:
                    threading.Event().wait(0.002)

    threads = [threading.Thread(target=handle, args=(member,)) for member in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(sqlite3.connect(file)) as db:
        rows = db.execute("SELECT kafka_offset, part FROM events ORDER BY id").fetchall()
    assert rows == [(record.offset, record.part) for record in records]
    assert sum(stored) == len(records)


def test_an_event_made_by_hand_has_no_place(offsets: SqlOffsets, db: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match="made by hand"):
        offsets.advance(db, None)


# --- other databases


class Cursor:
    """Notes what it is to execute; behaves as an empty table."""

    rowcount = 0

    def __init__(self) -> None:
        self.executed: list[tuple[str, tuple[object, ...]]] = []

    def execute(self, sql: str, values: tuple[object, ...]) -> None:
        self.executed.append((sql, values))

    def fetchone(self) -> Any:
        return None


@pytest.mark.parametrize(
    ("paramstyle", "marks"),
    [
        ("qmark", ["?"] * 4),
        ("format", ["%s"] * 4),
        ("pyformat", ["%s"] * 4),
        ("numeric", [":1", ":2", ":3", ":4"]),
        ("named", [":1", ":2", ":3", ":4"]),
    ],
)
def test_parameters_are_marked_as_the_module_wants(paramstyle: str, marks: list[str]) -> None:
    cursor = Cursor()
    offsets = SqlOffsets(Cursor, table="racing.feed_offsets", paramstyle=paramstyle)
    assert offsets.advance(cursor, at(7))
    sql, values = cursor.executed[-1]
    assert sql == (
        f"INSERT INTO racing.feed_offsets (next_offset, next_part, topic, kafka_partition) VALUES ({', '.join(marks)})"
    )
    assert values == (8, 0, "prices", 3)
    for sql, values in cursor.executed:
        assert sql.count(marks[0][0]) == len(values)


def test_a_module_that_does_not_count_rows_is_told() -> None:
    cursor = Cursor()
    cursor.rowcount = -1
    with pytest.raises(RuntimeError, match="how many rows"):
        SqlOffsets(Cursor).advance(cursor, at(7))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="paramstyle='dollar'"):
        SqlOffsets(Cursor, paramstyle="dollar")
    for table in ("", "a b", "a;DROP TABLE b", "a.b.c", "größe", '"a"'):
        with pytest.raises(ValueError, match="expected a plain name"):
            SqlOffsets(Cursor, table=table)
