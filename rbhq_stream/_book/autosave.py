"""When a book that follows a feed is saved, and what of it.

The process may end at any time. What it had not handled by then is delivered again, and applied to the book that was
saved. If that book held a change whose handlers had not returned, the event would change nothing any more, and nobody
would ever handle the change. So each race is saved as it was before the first event whose changes are not handled. The
positions that are saved with it are before that event too, because an event is processed when it is handled.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol, Union

from attrs import define, field

from rbhq_stream._book.snapshots import SavedRace
from rbhq_stream.events import RaceId
from rbhq_stream.health import Health
from rbhq_stream.source import TopicPartition

_log = logging.getLogger("rbhq_stream")

Before = Callable[[], Union[SavedRace, None]]
"""Returns a race, to be saved, as it was at an earlier time; `None` if the book did not have it then."""


class SaveWith(Protocol):
    """Saves a book with these positions, and with some of its races as they were before."""

    def __call__(
        self,
        path: str | os.PathLike[str],
        positions: Mapping[TopicPartition, int],
        instead: Mapping[RaceId, Before],
        /,
    ) -> None: ...


class BookSaving(NamedTuple):
    """How one book is saved."""

    remember: Callable[[RaceId], Before]
    """Returns what returns a race as it is now, at a later time."""
    save: SaveWith


@define
class Autosave:
    """Saves one book now and then. Its methods are called by one thread at a time, between two events."""

    _book: BookSaving
    _path: str | os.PathLike[str]
    _interval: float
    """Seconds."""
    _started_at: dict[TopicPartition, int]
    """Where the feed starts to read, as far as the book told it."""
    _before: dict[RaceId, Before] = field(factory=dict, init=False)
    """The races with changes that are not handled, each as it was before them."""
    _next: float = field(init=False)
    _has_failed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._next = time.monotonic() + self._interval

    def begin(self, race_id: RaceId) -> None:
        """Notes that an event is applied to a race now, and that its changes are not handled yet."""
        if race_id not in self._before:
            self._before[race_id] = self._book.remember(race_id)

    def removed(self, partitions: Collection[TopicPartition]) -> None:
        """Notes that these partitions are not read here any more."""
        for partition in partitions:
            self._started_at.pop(partition, None)

    def handled(self, race_id: RaceId | None, health: Callable[[], Health]) -> None:
        """Notes that all changes of a race, or those that no event made, are handled. Saves the book if it is due.

        That it can't be saved does not end the feed: the file is only a shorter way to what the topics hold.
        """
        if race_id is not None:
            self._before.pop(race_id, None)
        if time.monotonic() < self._next:
            return
        try:
            self._book.save(self._path, self._positions(health()), self._before)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                with suppress(Exception):  # from a logging handler of the application
                    _log.error("the race book can't be saved, so that a restart reads more: %s", error)
        self._next = time.monotonic() + self._interval

    def _positions(self, health: Health) -> dict[TopicPartition, int]:
        """Returns the positions up to which the feed has processed everything.

        Of a partition that nothing is processed of yet, it is where the feed starts.
        """
        partitions = health.figures.partitions
        processed = {p: figures.processed for p, figures in partitions.items() if figures.processed is not None}
        return {**self._started_at, **processed}
