"""All races of a book: which race an event belongs to, which races enter and leave, and how far partitions are applied.

One thread at a time writes, any thread may read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.changes import Anomaly, Change, RaceLeft
from rbhq_stream._book.departures import Departures
from rbhq_stream._book.history import BEGINNING
from rbhq_stream._book.price_log import PriceLog, SharedKeys
from rbhq_stream._book.provenance import Location, Partition, locate, mark_at
from rbhq_stream._book.race import BookedRace
from rbhq_stream._book.snapshots import SavedBook, SavedRace
from rbhq_stream._timestamps import MAX_MILLISECONDS
from rbhq_stream.events import Event, PriceEvent, RaceId, RaceResultEvent, RaceStatusEvent
from rbhq_stream.record import Record
from rbhq_stream.source import TopicPartition

_RaceKey = tuple[int, int]


class Races:
    """The races of one book.

    Args:
        keep: How long a race is kept after the newest record about it; `None` keeps every race.
        history: How many price updates are kept of each race.
    """

    def __init__(self, keep: timedelta | None, history: int) -> None:
        self._history = history
        self._keys = SharedKeys()
        self._is_complete = True
        self._races: dict[_RaceKey, BookedRace] = {}
        self._departures = Departures(keep)
        self._positions: dict[Partition, int] = {}
        self._partitions: dict[Partition, Partition] = {}
        self._newest = BEGINNING

    # reading

    def get(self, race_id: RaceId) -> BookedRace | None:
        """Returns a race; `None` if the book does not have it."""
        return self._races.get((race_id.meeting_id, race_id.event_number))

    def all(self) -> list[BookedRace]:
        """Returns the races that are in the book now, in no particular order."""
        return list(self._races.values())

    def __len__(self) -> int:
        return len(self._races)

    @property
    def newest(self) -> int:
        """The time of the newest record that was applied, in microseconds since 1970."""
        return self._newest

    @property
    def is_complete(self) -> bool:
        """Whether everything that was published has been applied."""
        return self._is_complete

    def positions(self) -> dict[Partition, int]:
        """Returns the offset of the next record to apply, by partition."""
        return self._positions.copy()

    # applying

    def apply(self, event: Event, *, lists_prices: bool) -> list[Change] | None:
        """Applies an event.

        Args:
            event: The event.
            lists_prices: Whether to return the changes of prices too. There are many, and it takes time to make them.

        Returns:
            What it changed; `None` if it was applied before.

        Raises:
            TypeError: it is not an event.
        """
        if type(event) is PriceEvent:
            changes = self._apply_next(event, lists_prices=lists_prices)
            if changes is not None:
                return changes
        if not isinstance(event, (PriceEvent, RaceStatusEvent, RaceResultEvent)):
            raise TypeError(f"apply({checks.shown(event)}): expected an event")
        location = locate(event, self._partitions)
        key = event.meeting_id, event.event_number
        race = self._races.get(key)
        if race is not None:
            changes = race.apply(event, location, lists_prices=lists_prices)
        elif self._departures.has_left(key) and self._was_applied(location):
            return None
        else:
            entered: list[Change] = []
            race = self._entered(key, event.race_id, location, entered)
            changes = [*entered, *(race.apply(event, location, lists_prices=lists_prices) or ())]
        if changes is None or location is None:
            return changes
        partition, _, _, micros, position = location
        self._positions[partition] = position
        if micros is not None:
            if micros > self._newest:  # noqa: PLR1730  # max() takes three times as long
                self._newest = micros
            if micros >= self._departures.look_at:
                changes += self._let_leave(micros)
        return changes

    def set_complete(self, *, is_complete: bool) -> tuple[Change, ...]:
        """Sets whether everything that was published has been applied, and returns what that changes."""
        self._is_complete = is_complete
        changes: list[Change] = []
        for key, race in sorted(self._races.items()):
            changes += race.set_complete(is_complete=is_complete and not self._departures.has_left(key))
        return tuple(changes)

    def drop(self, partitions: Collection[TopicPartition]) -> tuple[Change, ...]:
        """Removes every race with records from these partitions, and returns a `RaceLeft` for each."""
        dropped = set(partitions)
        for partition in dropped:
            self._positions.pop(partition, None)
        return tuple(self._remove(key for key, race in self._races.items() if not dropped.isdisjoint(race.partitions)))

    # saving

    def saved(
        self, positions: Mapping[TopicPartition, int], instead: Mapping[RaceId, Callable[[], SavedRace | None]]
    ) -> SavedBook:
        """Returns the book to be saved.

        Args:
            positions: The positions to save with it.
            instead: Returns a race, to be saved, as it was before.
        """
        saved = (instead.get(race.race_id, race.saved)() for race in self._races.values())
        races = tuple(race for race in saved if race is not None)
        written = tuple((topic, partition, at) for (topic, partition), at in positions.items())
        return SavedBook(written, races, self._departures.left, self._newest)

    def remember(self, race_id: RaceId) -> Callable[[], SavedRace | None]:
        """Returns a function that returns a race to be saved as it is now, whatever is applied until it is called."""
        race = self.get(race_id)
        return _not_there if race is None else race.remembered()

    def restore(self, saved: SavedBook) -> None:
        """Fills an empty book with a saved one.

        Raises:
            ValueError: the book is not empty.
        """
        if self._races or self._positions:
            raise ValueError("the book is not empty: restore a new one")
        self._is_complete = False
        self._positions = {(topic, partition): at for topic, partition, at in saved.positions}
        self._departures.leave(*saved.left)
        self._newest = saved.newest
        for one in saved.races:
            race = self._new(RaceId(one.meeting_id, one.event_number), is_complete=False)
            race.restore(one)
            self._races[one.meeting_id, one.event_number] = race

    # the parts of it

    def _apply_next(self, event: PriceEvent, *, lists_prices: bool) -> list[Change] | None:
        """Applies an event in the quickest way, if it is one of those for which that will do: nearly all are.

        Returns:
            What it changed; `None` if it was not applied by this.
        """
        race = self._races.get((event.meeting_id, event.event_number))
        raw: Any = event.raw_record
        if race is None or event.scratchings or event.unscratchings or raw is None or isinstance(raw, Record):
            return None
        kind, milliseconds = raw.timestamp()
        micros = milliseconds * 1000
        if not kind or not 0 <= micros < self._departures.look_at or milliseconds > MAX_MILLISECONDS:
            return None
        topic, number, offset = raw.topic(), raw.partition(), raw.offset()
        changes = race.apply_next(event.price_updates, topic, number, offset, micros, lists_prices=lists_prices)
        if changes is None:
            return None
        self._positions[topic, number] = offset + 1
        if micros > self._newest:  # noqa: PLR1730  # max() takes three times as long
            self._newest = micros
        return changes

    def _entered(self, key: _RaceKey, race_id: RaceId, location: Location | None, changes: list[Change]) -> BookedRace:
        """Adds a race. One that had left before is never complete again."""
        had_left = self._departures.has_left(key)
        if had_left:
            changes.append(Anomaly(race_id, mark_at(location), AnomalyKind.RACE_HAD_LEFT))
        race = self._new(race_id, is_complete=self._is_complete and not had_left)
        self._races[key] = race
        return race

    def _new(self, race_id: RaceId, *, is_complete: bool) -> BookedRace:
        return BookedRace(race_id, PriceLog.empty(self._history, self._keys), is_complete=is_complete)

    def _was_applied(self, location: Location | None) -> bool:
        """Whether a record comes again, by the partition's position: for races whose own was forgotten."""
        return location is not None and location[4] <= self._positions.get(location[0], 0)

    def _let_leave(self, micros: int) -> list[Change]:
        """Lets the races leave that are old at a time."""
        oldest = self._departures.oldest_to_keep(micros)
        if oldest is None:
            return []
        return self._remove(key for key, race in self._races.items() if BEGINNING < race.newest < oldest)

    def _remove(self, keys: Iterable[_RaceKey]) -> list[Change]:
        left = sorted(keys)
        self._departures.leave(*left)
        return [RaceLeft(self._races.pop(key).race_id, None) for key in left]


def _not_there() -> None:
    """Saves no race."""
