"""The state of a race at earlier times: the updates of its prices in compact columns, and versions of the rest.

Facts are dated by the times of their records. Within a partition, the facts of a race keep their order: if a record has
an earlier time than its predecessor, or none, it is dated like its predecessor.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from attrs import Factory, define

from rbhq_stream._book.prices import Price, PriceKey, updated
from rbhq_stream._book.provenance import Location, RecordMark, mark_at
from rbhq_stream.errors import RbhqStreamError

_T = TypeVar("_T")

BEGINNING = -(2**62)
"""The date of facts before the first one that has a time, in microseconds since 1970."""

END = 2**62
"""Later than any time."""


class HistoryError(RbhqStreamError, LookupError):
    """The book does not have the history that is needed to return the state of a race at a time."""

    def __init__(self, race: str, time: datetime, since: datetime | None) -> None:
        super().__init__(race, time, since)
        self.race = race
        """The race, as `str(race_id)` writes it."""
        self.time = time
        """The requested time."""
        self.since = since
        """When the history of the race begins; `None` if it is not known."""

    def __str__(self) -> str:
        begins = "at an unknown time" if self.since is None else f"at {self.since.isoformat()}"
        return f"race {self.race} at {self.time.isoformat()}: the history that the book keeps of it begins {begins}"


class TooEarlyError(Exception):
    """The time is before the beginning of the history."""

    def __init__(self, since: int) -> None:
        super().__init__(since)
        self.since = since


class Versions(Generic[_T]):
    """Values, each with the time from which it was in force.

    One thread adds, any thread may read.
    """

    MAX_VERSIONS = 2_000
    """Then the older half is forgotten. A race has a few dozen."""

    def __init__(self) -> None:
        self._kept: tuple[list[int], list[_T], int] = [], [], BEGINNING

    def add(self, micros: int, value: _T) -> None:
        """Adds the value that counts from a time on."""
        times, values, _ = self._kept
        values.append(value)
        # the time last, because readers use the number of times
        times.append(max(micros, times[-1]) if times else micros)
        if len(times) > self.MAX_VERSIONS:
            half = len(times) // 2
            self._kept = times[half:], values[half:], times[half]

    def begin_at(self, micros: int, value: _T | None) -> None:
        """Makes this value, which counts from a time on, the first one: nothing before that time is known.

        Args:
            micros: The time.
            value: The value; `None` if there was none.
        """
        self._kept = ([], [], micros) if value is None else ([micros], [value], micros)

    def at(self, micros: int) -> _T | None:
        """Returns the value at a time; `None` if there was none yet.

        Raises:
            TooEarlyError: it was forgotten.
        """
        times, values, since = self._kept
        if micros < since:
            raise TooEarlyError(since)
        found = bisect_right(times, micros)
        return values[found - 1] if found else None


@define
class _Columns:
    """One row for each update: 28 bytes. `values` is appended to last, so readers use its length."""

    times: array[int] = Factory(lambda: array("q"))
    """Of the records, in microseconds since 1970; of a record without a time that of the row before it."""
    offsets: array[int] = Factory(lambda: array("q"))
    keys: array[int] = Factory(lambda: array("I"))
    values: list[Decimal | None] = Factory(list)
    sources: list[tuple[int, Location | None]] = Factory(list)
    """From which row on the updates are from another partition, or another part of their records."""
    base: dict[PriceKey, Price] = Factory(dict)
    """The prices before the first row."""
    since: int = BEGINNING
    """From when on the history is complete."""


class PriceHistory:
    """The updates of all prices of one race.

    One thread adds, any thread may read.

    Args:
        limit: How many updates are kept. Then the older half is forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._index: dict[PriceKey, int] = {}
        self._keys: list[PriceKey] = []
        self._columns = _Columns()
        self._source: tuple[str, int, int, bool] | None = None

    def add(self, micros: int, location: Location | None, updates: list[tuple[PriceKey, Decimal | None]]) -> None:
        """Adds the updates of one event."""
        columns, index = self._columns, self._index
        if location is None:
            offset = -1
            source = None
        else:
            topic, partition, offset, part, time, _ = location
            source = topic, partition, part, time is None
        if source != self._source or not columns.sources:
            self._source = source
            columns.sources.append((len(columns.values), location))
        times, offsets, keys, values = columns.times, columns.offsets, columns.keys, columns.values
        for key, value in updates:
            number = index.get(key)
            if number is None:
                number = index[key] = len(self._keys)
                self._keys.append(key)
            times.append(micros)
            offsets.append(offset)
            keys.append(number)
            values.append(value)
        if len(values) > self._limit:
            self._forget(len(values) - self._limit // 2)

    def begin_at(self, micros: int, prices: dict[PriceKey, Price]) -> None:
        """Makes these prices, which were those at a time, the first ones: nothing before that time is known."""
        self._columns = _Columns(base=prices, since=micros)
        self._source = None

    def at(self, micros: int) -> dict[PriceKey, Price]:
        """Returns the prices at a time.

        Raises:
            TooEarlyError: they were forgotten.
        """
        columns = self._columns
        if micros < columns.since:
            raise TooEarlyError(columns.since)
        return self._replayed(columns, len(columns.values), micros)

    def _replayed(self, columns: _Columns, rows: int, until: int = END) -> dict[PriceKey, Price]:
        """Returns the prices after the first rows, or after those of them that count by a time."""
        prices = dict(columns.base)
        ended = set[object]()  # the partitions with a row that is later: those after it are dated like it
        ends = [row for row, _ in columns.sources[1:]] + [rows]
        for (begin, location), end in zip(list(columns.sources), ends, strict=False):
            partition = None if location is None else location[:2]
            if partition in ended:
                continue
            for row in range(begin, min(end, rows)):
                if columns.times[row] > until:
                    ended.add(partition)
                    break
                key = self._keys[columns.keys[row]]
                prices[key] = updated(prices.get(key), columns.values[row], _mark(columns, row, location))
        return prices

    def _forget(self, rows: int) -> None:
        """Forgets the first rows. Readers go on with the columns that they have."""
        old = self._columns
        base = self._replayed(old, rows)
        before = [location for row, location in old.sources if row <= rows]
        self._columns = _Columns(
            old.times[rows:],
            old.offsets[rows:],
            old.keys[rows:],
            old.values[rows:],
            [(0, before[-1]), *((row - rows, location) for row, location in old.sources if row > rows)],
            base,
            max(old.times[:rows]),
        )


def _mark(columns: _Columns, row: int, location: Location | None) -> RecordMark | None:
    if location is None:
        return None
    topic, partition, _, part, time, _ = location
    return mark_at((topic, partition, columns.offsets[row], part, None if time is None else columns.times[row], 0))
