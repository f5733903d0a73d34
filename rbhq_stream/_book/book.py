"""`RaceBook`: the current state of every race, folded from the feed's events."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from typing_extensions import Self

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.autosave import BookSaving
from rbhq_stream._book.changes import Anomaly, Change, RaceLeft
from rbhq_stream._book.departures import Departures
from rbhq_stream._book.finality import Finality
from rbhq_stream._book.following import Followable, Follower, OnChange
from rbhq_stream._book.frozen_mapping import FrozenMapping
from rbhq_stream._book.gate import DEFAULT_GATE_RULES, BettingDecision, GateRules, accepting_bets
from rbhq_stream._book.history import BEGINNING, HistoryError, TooEarlyError
from rbhq_stream._book.provenance import Location, from_micros, locate, mark_at, to_micros
from rbhq_stream._book.race import BookedRace
from rbhq_stream._book.snapshots import SavedBook, SavedRace, read, to_bytes
from rbhq_stream._book.state import RaceState
from rbhq_stream._durable_files import write_atomically
from rbhq_stream._race_card import RaceCard
from rbhq_stream.events import Event, PriceEvent, PriceType, RaceId, RaceResultEvent, RaceStatusEvent
from rbhq_stream.health import Health
from rbhq_stream.source import TopicPartition

_C = TypeVar("_C", bound=Change)
_RaceKey = tuple[int, int]
KEEP = timedelta(days=2)
HISTORY = 50_000


class RaceBook:
    """The state of every race, folded from events.

    >>> book = RaceBook()
    >>> for change in book.apply(event): ...
    >>> book[race_id].price(3, PriceType.WIN)

    One thread at a time applies events, and any thread may read at the same time. A reader gets an immutable state,
    never one in which an event is only partly applied. The book does no I/O except in `save` and `load`, and reads no
    clock: all times are those of the events. After a crash of the process, it is as it was at its last `save`.

    An event that was applied before changes nothing, so records may be delivered again. An event that the application
    constructed has no record: it changes nothing if it repeats the latest statement of its topic. The state after the
    events of all topics does not depend on how the topics were interleaved, as long as each topic's own order was kept
    for each race.

    Args:
        keep: How long a race is kept after the newest record about it, judged by the newest records of the whole book.
            `None` keeps every race. A race whose records have no times is kept.
        history: How many updates of prices are kept of each race for `as_of`, at 28 bytes each.

    Raises:
        TypeError: `keep` is not a `timedelta`, or `history` is not an `int`.
        ValueError: `keep` is not positive, or `history` is below 2.
    """

    def __init__(self, *, keep: timedelta | None = KEEP, history: int = HISTORY) -> None:
        if keep is not None and not isinstance(keep, timedelta):
            raise TypeError(f"keep={checks.shown(keep)}: expected a timedelta or None")
        if keep is not None and keep <= timedelta(0):
            raise ValueError(f"keep={keep!r}: expected a positive timedelta")
        if not isinstance(history, int) or isinstance(history, bool):
            raise TypeError(f"history={checks.shown(history)}: expected an int")
        if history < 2:
            raise ValueError(f"history={history}: expected 2 or more")
        self._history = history
        self._is_complete = True
        self._races: dict[_RaceKey, BookedRace] = {}
        self._departures = Departures(keep)
        self._positions: dict[tuple[str, int], int] = {}
        self._newest = BEGINNING
        self._follower = Follower(self, BookSaving(self._remember, self._save_with))

    # reading

    def __getitem__(self, race_id: RaceId) -> RaceState:
        """Returns the state of a race.

        Raises:
            KeyError: the book has no such race.
        """
        state = self.get(race_id)
        if state is None:
            raise KeyError(race_id)
        return state

    def get(self, race_id: RaceId) -> RaceState | None:
        """Returns the state of a race; `None` if the book has no such race."""
        race = self._races.get((race_id.meeting_id, race_id.event_number))
        return None if race is None else race.state()

    def __contains__(self, race_id: object) -> bool:
        return isinstance(race_id, RaceId) and (race_id.meeting_id, race_id.event_number) in self._races

    def __iter__(self) -> Iterator[RaceId]:
        """Iterates the races that were in the book when it was called, in the order of their ids."""
        return iter(sorted(race.race_id for race in list(self._races.values())))

    def __len__(self) -> int:
        return len(self._races)

    def races(
        self, *, meeting_id: int | None = None, is_open: bool | None = None, finality: Finality | None = None
    ) -> tuple[RaceState, ...]:
        """Returns the states of races, in the order of their ids. Each condition that is given must hold.

        Args:
            meeting_id: Only the races of this meeting.
            is_open: Only those that are open, or those that aren't.
            finality: Only those whose results are as final as this.
        """
        states = (race.state() for race in list(self._races.values()))
        found = [
            state
            for state in states
            if (meeting_id is None or state.race_id.meeting_id == meeting_id)
            and (is_open is None or state.is_open is is_open)
            and (finality is None or state.finality is finality)
        ]
        return tuple(sorted(found, key=lambda state: state.race_id))

    def as_of(self, race_id: RaceId, time: datetime) -> RaceState | None:
        """Returns what had been published about a race at a time.

        Facts count from the time of their records, so a record that arrived late counts from when it was written. The
        state is what RBHQ had stated by then, and what followed from that.

        Args:
            race_id: The race.
            time: An aware time.

        Returns:
            The state; `None` if nothing had been published about the race yet.

        Raises:
            HistoryError: the book has no such race, or its history of the race does not go back that far.
            TypeError: `time` is not a `datetime`.
            ValueError: `time` has no time zone.
        """
        time = checks.aware("time", time)
        race = self._races.get((race_id.meeting_id, race_id.event_number))
        if race is None:
            raise HistoryError(str(race_id), time, None)
        try:
            return race.state_at(to_micros(time))
        except TooEarlyError as early:
            raise HistoryError(str(race_id), time, from_micros(early.since)) from None

    def accepting_bets(
        self,
        race_id: RaceId,
        *,
        runner: int | None = None,
        price_type: PriceType | None = None,
        health: Health | None,
        now: datetime,
        card: RaceCard | None = None,
        rules: GateRules = DEFAULT_GATE_RULES,
    ) -> BettingDecision:
        """Returns whether to take a bet, with every reason against it. What is not known counts against it.

        Args:
            race_id: The race.
            runner: The runner to bet on; `None`: any runner.
            price_type: The type of the price; `None`: any type.
            health: The feed's health at this moment: `feed.health`. `None` refuses the bet.
            now: The present time, an aware time.
            card: The card with the race's scheduled start. Without one, the status alone decides when betting ends.
            rules: The limits.

        Raises:
            TypeError: `now` is not a `datetime`.
            ValueError: `now` has no time zone.
        """
        race = self.get(race_id)
        return accepting_bets(
            race_id, race, runner=runner, price_type=price_type, health=health, now=now, card=card, rules=rules
        )

    @property
    def newest_at(self) -> datetime | None:
        """The time of the newest record that was applied (UTC); `None` if no record had a time."""
        return None if self._newest == BEGINNING else from_micros(self._newest)

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The offset of the next record to apply, by partition: where to go on reading after `load`.

        They are right for a book that is given each partition's records in order.
        """
        return FrozenMapping({TopicPartition(*partition): at for partition, at in self._positions.copy().items()})

    # applying

    def apply(self, event: Event) -> tuple[Change, ...]:
        """Applies an event.

        Returns:
            What it changed, in order, with the anomalies that it revealed; nothing if it was applied before.

        Raises:
            TypeError: it is not an event.
        """
        if not isinstance(event, (PriceEvent, RaceStatusEvent, RaceResultEvent)):
            raise TypeError(f"apply({checks.shown(event)}): expected an event")
        location = locate(event)
        key = event.meeting_id, event.event_number
        changes: list[Change] = []
        race = self._races.get(key)
        if race is None:
            if self._departures.has_left(key) and self._was_applied(location):
                return ()
            race = self._entered(key, event.race_id, location, changes)
        applied = race.apply(event, location)
        if applied is None:
            return ()
        changes += applied
        if location is not None:
            self._advance(location, changes)
        return tuple(changes)

    def begin_catching_up(self) -> tuple[Change, ...]:
        """Marks the book as incomplete: events that were published already are still to be applied.

        Until `caught_up` no result is final, because a scratching or a newer result may be among what is missing.

        Returns:
            A `FinalityChanged` for each race whose result was final.
        """
        return self._set_complete(is_complete=False)

    def caught_up(self) -> tuple[Change, ...]:
        """Marks the book as complete: everything that was published has been applied.

        Returns:
            A `FinalityChanged` for each race whose result is final now.
        """
        return self._set_complete(is_complete=True)

    @property
    def is_complete(self) -> bool:
        """Whether everything that was published has been applied, as far as whoever feeds the book knows."""
        return self._is_complete

    def drop(self, partitions: Collection[TopicPartition]) -> tuple[Change, ...]:
        """Removes every race with records from these partitions, as they are not read here any more.

        A race that comes back is never complete again, because what was published meanwhile is not known.

        Returns:
            A `RaceLeft` for each of the races.
        """
        dropped = set(partitions)
        for partition in dropped:
            self._positions.pop(partition, None)
        left = sorted(key for key, race in self._races.items() if not dropped.isdisjoint(race.partitions))
        self._departures.leave(*left)
        return tuple(RaceLeft(self._races.pop(key).race_id, None) for key in left)

    # following a feed

    def on(self, kind: type[_C]) -> OnChange[_C]:
        """Returns a decorator that registers a handler for changes: `@book.on(StatusChanged)`.

        The handlers are called for what the feed changes that the book follows, in the order of their registration. If
        the feed is an `AsyncFeed`, they may be coroutine functions. A handler that raises ends `run` like a handler of
        an event; the change is handled again when the event is delivered again.

        Args:
            kind: The class of the changes. Those of derived classes are handled as well, so `Change` means all.

        Raises:
            TypeError: it is not the class of a change, or the handler can't be called.
        """
        return self._follower.on(kind)

    def follow(
        self,
        feed: Followable,
        *,
        save_to: str | os.PathLike[str] | None = None,
        save_every: float = 60.0,
        is_whole: bool | None = None,
    ) -> None:
        """Applies every event that the feed's `run` handles, and calls the handlers of the changes.

        The book is complete while the feed has caught up with all of its partitions, also if nothing new comes
        (`STALE`) or the application is late (`DELAYED`), and reads every race from its first record on. So the feed
        has no consumer group: `group_id=None`. A member of a group starts where the group was, and meets races in the
        middle, with earlier scratchings that it does not know of. Then the book is never complete. When partitions are
        revoked or lost, the races with records from them leave the book.

        Follow the feed before it is entered. If you iterate over the feed instead of calling `run`, call `apply` for
        each event yourself.

        Args:
            feed: A `Feed` or an `AsyncFeed`.
            save_to: Where to save the book, with the positions up to which the feed has processed everything. Give the
                positions of a loaded book to the feed: `Feed(config, positions=book.positions)`. If it can't be saved,
                an ERROR is logged and it is tried again the next time.
            save_every: How often, in seconds. It is saved after an event, so not while nothing comes.
            is_whole: Whether the feed hands over all records about each of its races. `None`: if it has no group, and
                `start` is not `"latest"`. Pass `True` for a group only if all records of a race are in partitions that
                are assigned together, and `positions` starts each at its beginning.

        Raises:
            ValueError: the book follows a feed already, or `save_every` is not positive.
            TypeError: a handler is a coroutine function, and the feed is a `Feed`.
        """
        self._follower.follow(feed, save_to, save_every, is_whole=is_whole)

    # saving

    def save(self, path: str | os.PathLike[str], *, positions: Mapping[TopicPartition, int] | None = None) -> None:
        """Saves the states of all races, and the positions to go on from, in a file.

        It is called by the thread that applies events, between two of them. The file is replaced as a whole: a crash
        leaves the old one or the new one. The history for `as_of` is not saved, and begins anew after `load`.

        Args:
            path: The file; its folder must exist.
            positions: The positions to go on from, if they are not those of the last records that were applied. With
                concurrent handlers they are not, as records are applied out of order.

        Raises:
            OSError: it can't be written; the old file is as it was.
            ValueError: a scratching or a result that the application constructed has a value that cannot be written.
        """
        self._save_with(path, self._positions if positions is None else positions, {})

    def _save_with(
        self,
        path: str | os.PathLike[str],
        resume_at: Mapping[TopicPartition, int] | Mapping[tuple[str, int], int],
        instead: Mapping[RaceId, Callable[[], SavedRace | None]],
    ) -> None:
        """Saves the book, with some races as they were before."""
        saved = (instead.get(race.race_id, race.saved)() for race in self._races.values())
        races = tuple(race for race in saved if race is not None)
        written = tuple((topic, partition, at) for (topic, partition), at in resume_at.items())
        book = SavedBook(written, races, tuple(self._departures.left), self._newest)
        write_atomically(Path(path), to_bytes(book))

    def _remember(self, race_id: RaceId) -> Callable[[], SavedRace | None]:
        """Returns a function that returns a race to be saved as it is now, whatever is applied until it is called."""
        race = self._races.get((race_id.meeting_id, race_id.event_number))
        return _not_there if race is None else race.remembered()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, keep: timedelta | None = KEEP, history: int = HISTORY) -> Self:
        """Returns the book that was saved in a file. It is not complete until `caught_up`.

        Args:
            path: The file.
            keep: As for a new book.
            history: As for a new book.

        Raises:
            OSError: the file can't be read.
            SnapshotError: it is no snapshot of a book, or one of a version that can't be read.
        """
        book = cls(keep=keep, history=history)
        book.restore(path)
        return book

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Fills an empty book with what was saved in a file: what `load` does with a new one.

        Args:
            path: The file.

        Raises:
            OSError: the file can't be read.
            SnapshotError: it is no snapshot of a book, or one of a version that can't be read.
            ValueError: the book is not empty.
        """
        if self._races or self._positions:
            raise ValueError("the book is not empty: restore a new one")
        saved = read(Path(path))
        self._is_complete = False
        self._positions = {(topic, partition): at for topic, partition, at in saved.positions}
        self._departures.leave(*saved.left)
        self._newest = saved.newest
        for one in saved.races:
            race_id = RaceId(one.meeting_id, one.event_number)
            race = BookedRace(race_id, history=self._history, is_complete=False)
            race.restore(one)
            self._races[one.meeting_id, one.event_number] = race

    # the parts of it

    def _set_complete(self, *, is_complete: bool) -> tuple[Change, ...]:
        self._is_complete = is_complete
        changes: list[Change] = []
        for key, race in sorted(self._races.items()):
            changes += race.set_complete(is_complete=is_complete and not self._departures.has_left(key))
        return tuple(changes)

    def _entered(self, key: _RaceKey, race_id: RaceId, location: Location | None, changes: list[Change]) -> BookedRace:
        """Adds a race. One that had left before is never complete again."""
        had_left = self._departures.has_left(key)
        if had_left:
            changes.append(Anomaly(race_id, mark_at(location), AnomalyKind.RACE_HAD_LEFT))
        race = BookedRace(race_id, history=self._history, is_complete=self._is_complete and not had_left)
        self._races[key] = race
        return race

    def _was_applied(self, location: Location | None) -> bool:
        """Whether a record comes again, by the partition's position: for races whose own was forgotten."""
        if location is None:
            return False
        topic, partition, _, _, _, position = location
        return position <= self._positions.get((topic, partition), 0)

    def _advance(self, location: Location, changes: list[Change]) -> None:
        """Notes how far the partition was applied and how late it is, and lets old races leave."""
        topic, partition, _, _, micros, position = location
        self._positions[topic, partition] = position
        if micros is None:
            return
        if micros > self._newest:  # noqa: PLR1730  # max() takes three times as long
            self._newest = micros
        if micros >= self._departures.look_at:
            oldest = self._departures.oldest_to_keep(micros)
            if oldest is not None:
                changes += self._let_leave(oldest)

    def _let_leave(self, oldest: int) -> list[Change]:
        old = sorted(key for key, race in self._races.items() if BEGINNING < race.newest < oldest)
        self._departures.leave(*old)
        return [RaceLeft(self._races.pop(key).race_id, None) for key in old]


def _not_there() -> None:
    """Saves no race."""
