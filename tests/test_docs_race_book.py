"""The page about the race book lists every change and kind of anomaly, and its table of finality is the code's."""

from __future__ import annotations

import re

from rbhq_stream import AnomalyKind, Change, Finality, RaceBook, RaceStatus
from tests.pages import PAGES
from tests.race_books import RACE, Topics, apply

TEXT = PAGES["race-book.md"].read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The rows of the table with this heading, as cells."""
    table = TEXT[TEXT.index(heading) :].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_every_change_is_listed() -> None:
    listed = {name for row in rows("| change |") for name in re.findall(r"`(\w+)`", row[0])}
    # what the betting gate reports is on its own page
    assert listed == {cls.__name__ for cls in Change.__subclasses__()} - {"BettingChanged"}


def test_every_kind_of_anomaly_is_listed_once() -> None:
    listed = [name for row in rows("| kind |") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(kind.name for kind in AnomalyKind)


def test_the_table_of_finality_is_what_the_book_does() -> None:
    for statuses, *expected in rows("| the newest statement |"):
        for status in statuses.split(", "):
            for result, finality in zip((None, "INTERIM", "FINAL"), expected, strict=True):
                book, topics = RaceBook(), Topics()
                if result is not None:
                    apply(book, topics.result(result, at=1))
                apply(book, topics.status(RaceStatus(status), at=2))
                assert f"`{book[RACE].finality.name}`" == finality, (status, result)
    assert {cell for row in rows("| the newest statement |") for cell in row[1:]} == {
        f"`{one.name}`" for one in Finality
    }
