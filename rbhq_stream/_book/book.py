"""`RaceBook`: the current state of every race, folded from the feed's events."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from typing_extensions import Self

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.autosave import BookSaving
from rbhq_stream._book.changes import Change
from rbhq_stream._book.following import Followable, Follower, OnChange
from rbhq_stream._book.races import Races
from rbhq_stream._book.reading import ReadableBook
from rbhq_stream._book.snapshots import SavedRace, read, to_bytes
from rbhq_stream._durable_files import write_atomically
from rbhq_stream.events import Event, RaceId
from rbhq_stream.source import TopicPartition

_C = TypeVar("_C", bound=Change)
KEEP = timedelta(days=2)
HISTORY = 50_000


class RaceBook(ReadableBook):
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
        history: How many updates of prices are kept of each race for `as_of`, at most 40 bytes each.

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
        self._races = Races(keep, history)
        self._follower = Follower(self._races, BookSaving(self._races.remember, self._save_with))

    # applying

    def apply(self, event: Event) -> tuple[Change, ...]:
        """Applies an event.

        Returns:
            What it changed, in order, with the anomalies that it revealed; nothing if it was applied before.

        Raises:
            TypeError: it is not an event.
        """
        return tuple(self._races.apply(event, lists_prices=True) or ())

    def begin_catching_up(self) -> tuple[Change, ...]:
        """Marks the book as incomplete: events that were published already are still to be applied.

        Until `caught_up` no result is final, because a scratching or a newer result may be among what is missing.

        Returns:
            A `FinalityChanged` for each race whose result was final.
        """
        return self._races.set_complete(is_complete=False)

    def caught_up(self) -> tuple[Change, ...]:
        """Marks the book as complete: everything that was published has been applied.

        Returns:
            A `FinalityChanged` for each race whose result is final now.
        """
        return self._races.set_complete(is_complete=True)

    def drop(self, partitions: Collection[TopicPartition]) -> tuple[Change, ...]:
        """Removes every race with records from these partitions, as they are not read here any more.

        A race that comes back is never complete again, because what was published meanwhile is not known.

        Returns:
            A `RaceLeft` for each of the races.
        """
        return self._races.drop(partitions)

    # following a feed

    def on(self, kind: type[_C]) -> OnChange[_C]:
        """Returns a decorator that registers a handler for changes: `@book.on(StatusChanged)`.

        While the book follows a feed, they are called for each change, in the order of their registration. If the feed
        is an `AsyncFeed`, they may be coroutine functions. A handler that raises ends `run` like a handler of
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

        The book is complete while the feed has caught up with all of its partitions (also if it is `STALE` or
        `DELAYED`), provided that it reads every race from its first record on. So give the feed no consumer group:
        `group_id=None`. A member of a group starts at the group's committed offsets, in the middle of races, and does
        not know of earlier scratchings. Then the book is never complete. When partitions are revoked or lost, the races
        with records from them leave the book.

        Follow the feed before it is entered. If you iterate over the feed instead of calling `run`, call `apply` for
        each event yourself.

        Args:
            feed: A `Feed` or an `AsyncFeed`.
            save_to: Where to save the book, with the positions up to which the feed has processed everything. Give the
                positions of a loaded book to the feed: `Feed(config, positions=book.positions)`. If that
                fails, an ERROR is logged, and the book is saved the next time.
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
        """Saves the states of all races, and the positions to continue at, in a file.

        Call it on the thread that applies events, between two of them. The file is replaced as a whole: a crash leaves
        the old one or the new one. The history for `as_of` is not saved, and begins anew after `load`.

        Args:
            path: The file; its folder must exist.
            positions: The positions to continue at, if they are not those of the last records that were applied. With
                concurrent handlers they are not, as records are applied out of order.

        Raises:
            OSError: it can't be written; the old file is as it was.
            ValueError: a scratching or a result that the application constructed has a value that cannot be written.
        """
        self._save_with(path, self.positions if positions is None else positions, {})

    def _save_with(
        self,
        path: str | os.PathLike[str],
        positions: Mapping[TopicPartition, int],
        instead: Mapping[RaceId, Callable[[], SavedRace | None]],
    ) -> None:
        """Saves the book, with some races as they were before."""
        write_atomically(Path(path), to_bytes(self._races.saved(positions, instead)))

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
        self._races.restore(read(Path(path)))
