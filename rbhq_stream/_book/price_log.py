"""The price updates of one race in the order of arrival. What its prices are, and were at earlier times, follows from
them.

Prices change all day, and few of them are read. So applying an event only appends its updates here. They are folded
into prices when somebody reads them, and in any case after `FOLDED_EVENTS` events, so that no reader has to fold many
more. Most of them are never read, and `fold_many` folds many in much less time than one by one.

One thread appends, any thread may read. A reader goes by the numbers of events, which are appended last, in one call.
So it sees all updates of an event or none, and an event that an interrupt has left half appended does not count.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from struct import pack
from typing import Any, NamedTuple, Union

from attrs import Factory, evolve, frozen

from rbhq_stream._book.history import BEGINNING, END, TooEarlyError
from rbhq_stream._book.price_folding import fold_many
from rbhq_stream._book.prices import PriceKey, Prices, updated
from rbhq_stream._book.provenance import Location, Partition
from rbhq_stream.events import PriceUpdate

PACKED_EVENTS = 256
"""How many events are packed together: their numbers take a third of the memory then."""
FOLDED_EVENTS = 1_024
"""After how many events the prices are folded, if nobody has read them."""
MANY_EVENTS = 256
"""From how many events on it is faster to fold them at once."""
MAX_KEYS = 10_000
"""How many keys of prices are shared. Races have some 120 different ones."""

_WIDTH = 3
_ROW = 2
_MAX_RECENT = PACKED_EVENTS * _WIDTH

Move = tuple[PriceKey, Union[Decimal, None], Union[Decimal, None]]
"""A price whose value changed, with the values before and after."""


class Entry(NamedTuple):
    """The price updates of one record."""

    updates: Sequence[PriceUpdate]
    location: Location | None
    micros: int
    """The date from which they count, in microseconds since 1970."""


class SharedKeys(dict[PriceKey, PriceKey]):
    """One object for each key of a price, which all races of a book share."""

    def __missing__(self, key: PriceKey) -> PriceKey:
        if len(self) >= MAX_KEYS:
            self.clear()
        self[key] = key
        return key


@frozen(eq=False)
class PriceLog:
    """Price updates. `append` returns the log to go on with, which replaces this one if it is another."""

    _max_length: int
    """The length of `_rows` at which the older half is forgotten."""
    _shared: SharedKeys
    _before: int = 0
    """How many events were forgotten."""
    _since: int = BEGINNING
    """From when on the log is complete."""
    _base: Prices = Factory(dict)
    """The prices before the first event."""
    _packed: array[int] = Factory(lambda: array("q"))
    """Of each event its date, in microseconds since 1970; the offset of its record; and the number of entries of
    `_rows` up to its end. Only the first `_packed_length` numbers count, and the log that follows appends to them.
    """
    _packed_length: int = 0
    _recent: list[int] = Factory(lambda: [0])
    """The same of the newest events. The first number is the end of the event before them."""
    _rows: list[Any] = Factory(list)
    """For each update the key of the price, and its value. What is behind the end of the last event does not count."""
    _sources: list[tuple[int, Location | None]] = Factory(list)
    """From which event on the updates are from another partition, or another part of their records."""
    _folded: Prices = Factory(dict)
    """The prices after the first `_folded_events` events. Nobody writes to it."""
    _folded_events: int = 0

    # the thread that appends

    def append(
        self, updates: Sequence[PriceUpdate], location: Location | None, micros: int, known: Prices | None = None
    ) -> PriceLog:
        """Appends the fields of an `Entry`, which readers of this log see at once.

        Args:
            updates: The updates.
            location: Their record.
            micros: Their date.
            known: The prices after these updates, which saves work if they are known. They are copied.
        """
        if not self._sources or not _is_like(location, self._sources[-1][1]):
            self._sources.append((self._events(), location))
        return self.append_next(updates, -1 if location is None else location[1], micros, known)

    def append_next(
        self, updates: Sequence[PriceUpdate], offset: int, micros: int, known: Prices | None = None
    ) -> PriceLog:
        """Appends the updates of a record that is like the one before: of the same partition, the same part of its
        record, and with a time if that has one.

        Args:
            updates: The updates.
            offset: The record's offset.
            micros: Their date.
            known: As for `append`.
        """
        recent, rows, shared = self._recent, self._rows, self._shared
        end = recent[-1]
        if len(rows) != end:
            del rows[end:]
        for update in updates:
            rows.append(shared[update.runner_number, update.price_type])
            rows.append(update.price)
        end = len(rows)
        recent += (micros, offset, end)
        if len(recent) > _MAX_RECENT or end > self._max_length:
            return self._with_packed(known)
        return self

    def followed_by(self, entries: Iterable[Entry]) -> PriceLog:
        """Returns another log, with some more entries. Readers of this log do not see them."""
        log = evolve(self, recent=self._recent.copy(), sources=self._sources.copy())
        for entry in entries:
            log = log.append(*entry)
        return log

    @classmethod
    def empty(cls, limit: int, shared: SharedKeys) -> PriceLog:
        """Returns an empty log.

        Args:
            limit: How many updates are kept. Then the older half is forgotten.
            shared: The keys of prices.
        """
        return cls(_ROW * limit, shared)

    def begun_at(self, micros: int, prices: Prices) -> PriceLog:
        """Returns this log, which is empty, with the prices that it begins with: nothing before that time is known."""
        return evolve(self, since=micros, base=prices, folded=prices)

    def _with_packed(self, known: Prices | None) -> PriceLog:
        """Returns the log to go on with when there are many newest events: they are packed, and old ones forgotten."""
        numbers, packed = self._recent[1:], self._packed
        del packed[self._packed_length :]  # an interrupt may have ended an earlier call
        packed.frombytes(pack(f"{len(numbers)}q", *numbers))
        log = evolve(self, packed_length=len(packed), recent=self._recent[-1:])
        is_too_long, events = len(self._rows) > self._max_length, len(packed) // _WIDTH
        if known is not None or is_too_long or events - self._folded_events >= FOLDED_EVENTS:
            log = evolve(log, folded=self.prices() if known is None else known.copy(), folded_events=events)
        return log.halved() if is_too_long else log

    def halved(self) -> PriceLog:
        """Returns the log without the older half. All of it is packed, and folded."""
        ends = self._packed[_WIDTH - 1 : self._packed_length : _WIDTH]
        count = next(number for number, end in enumerate(ends, 1) if end >= ends[-1] - self._max_length // 2)
        row = ends[count - 1]
        kept = self._packed[count * _WIDTH : self._packed_length]
        for at in range(_WIDTH - 1, len(kept), _WIDTH):
            kept[at] -= row
        sources = [(max(event, count) - count, location) for event, location in self._sources]
        return evolve(
            self,
            before=self._before + count,
            since=max(self._since, *self._packed[: count * _WIDTH : _WIDTH]),
            base=self._fold(self._base, 0, count),
            packed=kept,
            packed_length=len(kept),
            folded_events=len(kept) // _WIDTH,
            recent=[ends[-1] - row],
            rows=self._rows[row : ends[-1]],
            sources=sources[max(sum(event == 0 for event, _ in sources) - 1, 0) :],
        )

    # any thread

    @property
    def position(self) -> int:
        """How many events were ever appended. It counts on in the logs that follow."""
        return self._before + self._events()

    def prices(self, position: int | None = None, earlier: tuple[int, Prices] | None = None) -> Prices:
        """Returns the prices, in a new dictionary.

        Args:
            position: How many events count; one that `position` has returned since the log was made.
            earlier: A smaller position and the prices there, which saves work if it is the newest that is known.
        """
        folded = self._folded_events
        end = self._events() if position is None else position - self._before
        if earlier is not None and earlier[0] - self._before > folded:
            return self._fold(earlier[1], earlier[0] - self._before, end)
        return self._fold(self._folded, folded, end)

    def at(self, micros: int) -> Prices:
        """Returns the prices at a time.

        Raises:
            TooEarlyError: they were forgotten.
        """
        if micros < self._since:
            raise TooEarlyError(self._since)
        return self._fold(self._base, 0, self._events(), micros)

    def _events(self) -> int:
        return self._packed_length // _WIDTH + len(self._recent) // _WIDTH

    def _numbers(self, begin: int, end: int) -> list[int]:
        """Returns the numbers of the events from `begin` to before `end`, in a row."""
        packed, recent = self._packed_length, self._recent
        first, last = begin * _WIDTH, end * _WIDTH
        if first >= packed:
            return recent[1 + first - packed : 1 + last - packed]
        numbers = self._packed[first : min(last, packed)].tolist()
        return numbers + recent[1 : 1 + last - packed] if last > packed else numbers

    def _end(self, events: int) -> int:
        """Returns the end of the rows of so many events."""
        last = events * _WIDTH - self._packed_length
        if last >= 0:
            return self._recent[last]
        return self._packed[events * _WIDTH - 1] if events else 0

    def _runs(self, begin: int, end: int) -> Iterator[tuple[int, int, Location | None]]:
        """Yields the stretches of events whose records are alike, with the first such record."""
        sources = list(self._sources)
        ends = [first for first, _ in sources[1:]] + [end]
        for (first, source), last in zip(sources, ends, strict=False):  # there may be no source yet
            if max(first, begin) < min(last, end):
                yield max(first, begin), min(last, end), source

    def _fold(self, prices: Prices, begin: int, end: int, until: int = END) -> Prices:
        """Returns the prices after the event before `end`, from those after the event before `begin`.

        Of these, only those events count that have a date of at most `until`, and come before any later one of their
        partition: the times of records may go back, and the events after a later one are dated like that one.
        """
        prices, rows = prices.copy(), self._rows
        get, ended = prices.get, set[Partition | None]()
        for first, last, source in self._runs(begin, end):
            partition = None if source is None else source[0]
            if partition in ended:
                continue
            part, has_time = (0, False) if source is None else (source[2], source[3] is not None)
            is_many = until == END and last - first >= MANY_EVENTS
            if is_many and source is not None and self._fold_many(prices, first, last, source):
                continue
            numbers = iter(self._numbers(first, last))
            row = self._end(first)
            for date, offset, row_end in zip(numbers, numbers, numbers, strict=True):
                if date > until:
                    ended.add(partition)
                    break
                location = partition and (partition, offset, part, date if has_time else None, offset)
                while row < row_end:
                    key = rows[row]
                    prices[key] = updated(get(key), rows[row + 1], location)
                    row += _ROW
        return prices

    def _fold_many(self, prices: Prices, begin: int, end: int, source: Location) -> bool:
        """Changes the prices as `fold_many` does, by events whose records are like one of them."""
        numbers, first_row, end_row = self._numbers(begin, end), self._end(begin), self._end(end)
        partition, _, part, time, _ = source
        row_ends = numbers[_WIDTH - 1 :: _WIDTH]

        def location_of(update: int) -> Location:
            event = bisect_right(row_ends, first_row + _ROW * update)
            date, offset = numbers[_WIDTH * event : _WIDTH * event + 2]
            return partition, offset, part, None if time is None else date, offset

        keys, values = self._rows[first_row:end_row:_ROW], self._rows[first_row + 1 : end_row : _ROW]
        return fold_many(prices, keys, values, location_of, partition)


def _is_like(location: Location | None, source: Location | None) -> bool:
    """Whether a record can be described by an earlier one, its own offset and its own time."""
    if location is None or source is None:
        return location is source
    return (
        (location[0] is source[0] or location[0] == source[0])
        and location[2] == source[2]
        and (location[3] is None) is (source[3] is None)
    )
