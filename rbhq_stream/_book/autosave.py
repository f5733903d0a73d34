"""When a book that follows a feed is saved, and which state of each race.

The process may end at any time. Events that it has not handled by then are delivered again, and applied to the saved
book. If that book already contained a change whose handlers had not returned, the event would change nothing when it is
delivered again, and the change would never be handled. So each race is saved as it was before the first event whose
changes are not handled. The saved positions are before that event as well, because an event is processed only when it
is handled.
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
    """Returns a function that returns the race as it is now, even when it is called later."""
    save: SaveWith


@define
class Autosave:
    """Saves one book at intervals. Its methods are called by one thread at a time, between two events."""

    _book: BookSaving
    _path: str | os.PathLike[str]
    _interval: float
    """Seconds."""
    _started_at: dict[TopicPartition, int]
    """The positions of the book at which the feed starts to read."""
    _health: Callable[[], Health]
    """Returns the health of the feed."""
    _removed: set[TopicPartition] = field(factory=set, init=False)
    """The partitions whose races have left the book. The health may still list them for a moment."""
    _before: dict[RaceId, Before] = field(factory=dict, init=False)
    """The races with changes that are not handled, each as it was before them."""
    _next: float = field(init=False)
    _has_failed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._next = time.monotonic() + self._interval

    def begin(self, race_id: RaceId) -> None:
        """Notes that an event is about to be applied to a race, and that its changes are not handled yet."""
        if race_id not in self._before:
            self._before[race_id] = self._book.remember(race_id)

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Notes that these partitions are assigned to this process."""
        self._removed.difference_update(partitions)

    def removed(self, partitions: Collection[TopicPartition]) -> None:
        """Notes that these partitions are no longer assigned to this process."""
        self._removed.update(partitions)
        for partition in partitions:
            self._started_at.pop(partition, None)

    def handled(self, race_id: RaceId | None) -> None:
        """Notes that all changes of a race, or those without an event, are handled. Saves the book if it is due.

        A failure to save does not end the feed, because the book can be rebuilt from the topics.
        """
        if race_id is not None:
            self._before.pop(race_id, None)
        if time.monotonic() < self._next:
            return
        try:
            self._book.save(self._path, self._positions(self._health()), self._before)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                with suppress(Exception):  # from a logging handler of the application
                    _log.error("the race book can't be saved, so a restart has to read more records: %s", error)
        self._next = time.monotonic() + self._interval

    def _positions(self, health: Health) -> dict[TopicPartition, int]:
        """Returns the positions up to which the feed has processed everything.

        For a partition of which nothing is processed yet, it is where the feed starts.
        """
        partitions = health.figures.partitions
        processed = {p: figures.processed for p, figures in partitions.items() if figures.processed is not None}
        return {p: at for p, at in {**self._started_at, **processed}.items() if p not in self._removed}
