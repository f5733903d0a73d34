"""A book as a file: versioned JSON with the offsets at which a feed continues, and a checksum of the book.

The checksum detects a damaged digit, which would cost money.

Scratchings, reinstatements and results are written by `encode`, in RBHQ's format, so that every field is restored
exactly, even those that the library does not know. A change of the format needs a new `VERSION`, and a reader for the
old one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Union

import cattrs
import msgspec
from attrs import asdict, frozen

from rbhq_stream._book.applied import Applied
from rbhq_stream._book.facts import Facts
from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.lifecycle import PostedResult, StatedStatus
from rbhq_stream._book.prices import Price, PriceFact, PriceKey, fact_of, price_of
from rbhq_stream._book.provenance import Partition, RecordMark, mark_at
from rbhq_stream._timestamps import to_micros
from rbhq_stream._wire import decode, encode
from rbhq_stream.errors import RbhqStreamError
from rbhq_stream.events import PriceEvent, PriceType, RaceResultEvent, RaceStatus, Scratching, Unscratching

VERSION = 1


class SnapshotError(RbhqStreamError):
    """A file is no snapshot of a race book, or one that this version of the library does not read."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        """The file."""
        self.problem = problem
        """What is wrong with it."""

    def __str__(self) -> str:
        return f"{self.path} is no snapshot of a race book: {self.problem}"


@frozen
class SavedPrice:
    """One price of a race."""

    runner_number: int
    price_type: PriceType
    price: Price


@frozen
class SavedApplied:
    """How far one partition was applied to a race."""

    topic: str
    partition: int
    offset: int
    part: int
    newest: int
    is_restarted: bool


@frozen
class SavedRace:
    """One race."""

    meeting_id: int
    event_number: int
    prices: tuple[SavedPrice, ...]
    ledger: DeductionLedger
    stated: StatedStatus | None
    stated_arrival: int
    posted: tuple[PostedResult, ...]
    posted_arrival: int
    applied: tuple[SavedApplied, ...]
    oldest: int
    newest: int

    @classmethod
    def of(
        cls,
        race: tuple[int, int],
        prices: dict[PriceKey, PriceFact],
        facts: Facts,
        applied: dict[Partition, Applied],
        times: tuple[int, int],
    ) -> SavedRace:
        """Returns a race to be saved, with the times of its oldest and newest records."""
        return cls(
            *race,
            tuple(SavedPrice(*key, price_of(fact)) for key, fact in prices.items()),
            facts.ledger,
            facts.stated,
            facts.stated_arrival,
            facts.posted,
            facts.posted_arrival,
            tuple(SavedApplied(*partition, **asdict(one)) for partition, one in applied.items()),
            *times,
        )

    def facts(self) -> tuple[dict[PriceKey, PriceFact], Facts]:
        """Returns the prices and what else was stated about the race."""
        prices = {(saved.runner_number, saved.price_type): fact_of(saved.price) for saved in self.prices}
        return prices, Facts(self.ledger, self.stated, self.stated_arrival, self.posted, self.posted_arrival)

    def partitions(self) -> dict[Partition, Applied]:
        """Returns how far each partition was applied."""
        return {
            (one.topic, one.partition): Applied(one.offset, one.part, one.newest, one.is_restarted)
            for one in self.applied
        }


@frozen
class SavedBook:
    """A whole book."""

    positions: tuple[tuple[str, int, int], ...]
    """Topic, partition and the offset of the next record."""
    races: tuple[SavedRace, ...]
    left: tuple[tuple[int, int], ...]
    """The races that left, by meeting and number, oldest first."""
    newest: int


def to_bytes(book: SavedBook) -> bytes:
    """Returns a book as JSON.

    Raises:
        ValueError: a scratching or a result that the application constructed has a value that cannot be written.
    """
    return sealed(msgspec.json.encode(_converter.unstructure(book)))


def sealed(book: bytes) -> bytes:
    """Returns the JSON of a book with its version and its checksum."""
    checksum = sha256(book).hexdigest()
    return msgspec.json.encode({"version": VERSION, "sha256": checksum, "book": msgspec.Raw(book)})


def read(path: Path) -> SavedBook:
    """Returns the book in a file.

    Raises:
        OSError: the file can't be read.
        SnapshotError: it is no snapshot, or one of another version.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        version: object = msgspec.json.decode(document["version"])
        if version != VERSION:
            raise SnapshotError(str(path), f"its version is {version!r}, and only {VERSION} can be read")
        if msgspec.json.decode(document["sha256"]) != sha256(document["book"]).hexdigest():
            raise SnapshotError(str(path), "its checksum is wrong: it was damaged")
        return _converter.structure(msgspec.json.decode(document["book"]), SavedBook)
    except SnapshotError:
        raise
    except (
        msgspec.MsgspecError,
        ArithmeticError,
        AttributeError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
        cattrs.BaseValidationError,
        RbhqStreamError,
    ) as error:
        raise SnapshotError(str(path), str(error) or type(error).__name__) from error


# how values are written

_Fact = Union[Scratching, Unscratching]


def _write_mark(mark: RecordMark) -> list[Any]:
    micros = None if mark.time is None else to_micros(mark.time)
    return [mark.topic, mark.partition, mark.offset, mark.part, micros]


def _read_mark(values: list[Any], _: object) -> RecordMark:
    topic, partition, offset, part, micros = values
    mark = mark_at(((topic, partition), offset, part, micros, offset))
    assert mark is not None, "there is a location"
    return mark


def _write_fact(fact: _Fact) -> str:
    if isinstance(fact, Scratching):
        return encode(PriceEvent(0, 0, scratchings=(fact,))).decode()
    return encode(PriceEvent(0, 0, unscratchings=(fact,))).decode()


def _read_fact(text: str, _: object) -> _Fact:
    [event] = decode(PriceEvent, text.encode())
    facts: tuple[_Fact, ...] = (*event.scratchings, *event.unscratchings)
    [fact] = facts
    return fact


def _write_result(result: RaceResultEvent) -> str:
    return encode(result).decode()


def _read_result(text: str, _: object) -> RaceResultEvent:
    [result] = decode(RaceResultEvent, text.encode())
    return result


def _read_by(kind: Callable[[Any], Any]) -> Callable[[Any, object], Any]:
    return lambda value, _: kind(value)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind in (PriceType, RaceStatus, Decimal):
        converter.register_unstructure_hook(kind, str)
        converter.register_structure_hook(kind, _read_by(kind))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, _read_by(datetime.fromisoformat))
    converter.register_unstructure_hook(RecordMark, _write_mark)
    converter.register_structure_hook(RecordMark, _read_mark)
    for fact in (Scratching, Unscratching):
        converter.register_unstructure_hook(fact, _write_fact)
    converter.register_structure_hook(_Fact, _read_fact)
    converter.register_unstructure_hook(RaceResultEvent, _write_result)
    converter.register_structure_hook(RaceResultEvent, _read_result)
    return converter


_converter = _make_converter()
