"""A saved book: what comes back, how files are replaced, and which files are refused."""

from __future__ import annotations

import json
import os
import pickle
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import (
    AnomalyKind,
    Extra,
    Finality,
    HistoryError,
    PriceEvent,
    PriceType,
    RaceBook,
    RaceId,
    RaceStatusEvent,
    Scratching,
    SnapshotError,
    TopicPartition,
)
from rbhq_stream._book.snapshots import sealed
from rbhq_stream.testing import Simulator
from tests.book_strategies import Day, days
from tests.race_books import IDS, RACE, Topics, after, anomalies, apply, scratching, win


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("book") / "book.json"


@given(days())
def test_a_loaded_book_is_the_saved_one_once_it_has_caught_up(path: Path, day: Day) -> None:
    half = len(day.mixed) // 2
    book = RaceBook()
    apply(book, *day.mixed[:half])
    book.save(path)
    loaded = RaceBook.load(path)
    assert not loaded.is_complete
    loaded.caught_up()
    assert loaded.races() == book.races()
    assert (loaded.positions, loaded.newest_at) == (book.positions, book.newest_at)
    # and it goes on as the saved one would have
    for event in (*day.mixed[:half], *day.mixed[half:]):
        assert loaded.apply(event) == book.apply(event)
    assert loaded.races() == book.races()


def test_a_day_comes_back_and_its_results_are_final_only_when_the_book_has_caught_up(path: Path) -> None:
    book = RaceBook()
    for timed in Simulator(3, meetings=3, price_records=20).events():
        book.apply(timed.event)
    book.save(path)
    loaded = RaceBook.load(path)
    assert not loaded.races(finality=Finality.FINAL)
    loaded.caught_up()
    assert loaded.races() == book.races()
    assert loaded.races(finality=Finality.FINAL)


def test_what_the_classes_do_not_know_comes_back(path: Path) -> None:
    book = RaceBook()
    extra = Extra({"scratchReason": "late", "weight": Decimal("57.50")})
    one = Scratching(3, Decimal("0.070"), extra=extra)
    apply(book, PriceEvent(*IDS, (win(1, "4.40"),), (one,)), Topics().result("FINAL", 1, at=1))
    book.save(path)
    loaded = RaceBook.load(path)
    assert loaded[RACE].scratched == {3: one}
    assert loaded[RACE].scratched[3].extra == extra
    assert str(loaded[RACE].price(1, PriceType.WIN)) == "4.40"


def test_the_history_of_a_loaded_book_begins_when_it_was_saved(path: Path) -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(win(3, "5"), at=5), topics.prices(win(3, "4"), at=10))
    book.save(path)
    loaded = RaceBook.load(path)
    loaded.caught_up()
    apply(loaded, topics.prices(win(3, "3"), at=20), topics.status("CLOSED", at=20))
    with pytest.raises(HistoryError):
        loaded.as_of(RACE, after(7))
    assert loaded.as_of(RACE, after(1)) is None, "before its first record"
    then, now = loaded.as_of(RACE, after(15)), loaded.as_of(RACE, after(20))
    assert then is not None
    assert then == book[RACE]
    assert now == loaded[RACE]


def test_races_that_left_before_it_was_saved_are_remembered(path: Path) -> None:
    book, topics = RaceBook(keep=timedelta(hours=1)), Topics()
    old = RaceId(1, 1)
    apply(book, topics.status("OPEN", at=0, race_id=old), *(topics.status("OPEN", at=at) for at in (9000, 9001)))
    book.save(path)
    loaded = RaceBook.load(path, keep=timedelta(hours=1))
    changes = apply(loaded, topics.result("FINAL", at=9002, race_id=old))
    assert anomalies(changes) == [(AnomalyKind.RACE_HAD_LEFT, None)]


def test_offsets_that_began_anew_are_remembered(path: Path) -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(scratchings=[scratching(3)], at=0, offset=900), topics.prices(at=9, offset=0))
    book.save(path)
    loaded = RaceBook.load(path)
    apply(loaded, topics.prices(reinstated=[3], at=10))
    assert not loaded[RACE].scratched
    assert loaded.positions == {TopicPartition("prices", 0): 2}


def test_a_file_that_can_not_be_written_leaves_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = RaceBook()
    book.save(path)
    before = path.read_bytes()
    apply(book, RaceStatusEvent(*IDS, Topics().status("OPEN").status))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        book.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path], "nothing is left beside it"


def test_what_can_not_be_written_is_refused(path: Path) -> None:
    book = RaceBook()
    book.apply(PriceEvent(*IDS, scratchings=(Scratching(3, extra={"weight": 0.1}),)))
    with pytest.raises(ValueError, match="can't be written"):
        book.save(path)


BOOK = {"positions": [], "races": [], "left": [], "newest": 0}
PRICE = {"runner_number": 1, "price_type": "ep", "price": {"value": "many", "opening": None, "moved": None}}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"version":1}',
        b'{"version":1,"book":{}}',
        b'{"version":1,"sha256":"","book":{}}',
        b'{"version":1,"book":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        sealed(b"{}"),
        sealed(b"[" * 900 + b"]" * 900),
        *(
            sealed(json.dumps({**BOOK, **changed}).encode())
            for changed in (
                {"positions": [["a"]]},
                {"races": [{"meeting_id": 1}]},
                {"races": [{"meeting_id": 1, "event_number": 1, "prices": [PRICE]}]},
                {"left": None},
            )
        ),
    ],
)
def test_a_file_that_is_no_snapshot_is_refused(path: Path, document: bytes) -> None:
    path.write_bytes(document)
    with pytest.raises(SnapshotError, match="is no snapshot") as raised:
        RaceBook.load(path)
    assert raised.value.path == str(path)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@given(st.data())
def test_a_damaged_file_is_refused_and_never_read_as_something_else(path: Path, data: st.DataObject) -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(win(3, "4.40"), at=1, scratchings=[scratching(4)]), topics.result("FINAL", at=2))
    book.save(path)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1), label="at")
    if data.draw(st.booleans(), label="is truncated"):
        path.write_bytes(whole[:at])
    else:
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]), label="byte")
        path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
    with pytest.raises(SnapshotError):
        RaceBook.load(path)


def test_a_snapshot_of_another_version_is_refused(path: Path) -> None:
    RaceBook().save(path)
    document: dict[str, Any] = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "version": 99}))
    with pytest.raises(SnapshotError, match="99"):
        RaceBook.load(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RaceBook.load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError):
        RaceBook().save(tmp_path / "no" / "folder.json")


def test_only_an_empty_book_is_restored(path: Path) -> None:
    book = RaceBook()
    book.apply(PriceEvent(*IDS))
    book.save(path)
    with pytest.raises(ValueError, match="not empty"):
        book.restore(path)
