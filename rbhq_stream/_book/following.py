"""How a book follows a feed: which handlers it registers there, and how the changes reach the application's handlers.

A handler of a change that raises makes `run` end, or call the event's handlers again. Applying the event once more
changes nothing then, so the changes that were not handled are kept, and handled first.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from typing_extensions import TypeIs

from rbhq_stream._book.autosave import Autosave, BookSaving
from rbhq_stream._book.changes import Change, PriceChanged
from rbhq_stream._book.races import Races
from rbhq_stream._config import FeedConfig
from rbhq_stream.events import Event, RaceEvent, RaceId
from rbhq_stream.health import Health, HealthState
from rbhq_stream.signals import HealthChanged, PartitionsAssigned, PartitionsLost, PartitionsRevoked
from rbhq_stream.source import TopicPartition

_C = TypeVar("_C", bound=Change)
_R = TypeVar("_R")

Handler = Callable[[Any], object]

_CAUGHT_UP = (HealthState.LIVE, HealthState.DELAYED, HealthState.STALE)
"""The states in which the feed may have caught up. What the publisher or the application is late with does not matter.
"""

_log = logging.getLogger("rbhq_stream")


class OnChange(Protocol[_C]):
    """The decorator for a handler of changes."""

    def __call__(self, handler: Callable[[_C], _R], /) -> Callable[[_C], _R]: ...


class Followable(Protocol):
    """What a book needs of a feed: `Feed` and `AsyncFeed` have it."""

    def on(self, kind: type[Any]) -> Callable[[Any], Any]:
        """Returns a decorator that registers a handler for events or signals."""
        ...

    @property
    def config(self) -> FeedConfig:
        """The configuration that the feed was made with."""
        ...

    @property
    def health(self) -> Health:
        """Whether the feed can be trusted at present, and why."""
        ...

    @property
    def may_await(self) -> bool:
        """Whether handlers may be coroutine functions."""
        ...


class Follower:
    """The handlers of a book's changes, and the feed that the book follows.

    Args:
        races: the races of the book.
        saving: how it is saved.
    """

    def __init__(self, races: Races, saving: BookSaving) -> None:
        self._races = races
        self._saving = saving
        self._handlers: list[tuple[type[Change], Handler]] = []
        self._wants_prices = False
        self._waiting: dict[RaceId | None, deque[Change]] = {}
        self._lock = threading.Lock()  # guards the book and its saving: with workers, several threads apply events
        self._feed: Followable | None = None
        self._is_whole = False
        self._assigned: set[TopicPartition] = set()
        self._caught_up: set[TopicPartition] = set()
        """Those that are read and processed to their ends, if the feed has caught up with all that it knows of."""
        self._autosave: Autosave | None = None

    def on(self, kind: type[_C]) -> OnChange[_C]:
        """Returns a decorator that registers a handler for changes of this class and of those derived from it."""
        if not (isinstance(kind, type) and issubclass(kind, Change)):
            raise TypeError(f"on({kind!r}): expected the class of a change, such as StatusChanged, or Change for all")

        def register(handler: Callable[[_C], _R]) -> Callable[[_C], _R]:
            if not callable(handler):
                raise TypeError(f"on({kind.__name__}): {handler!r} can't be called")
            self._handlers.append((kind, handler))
            self._wants_prices = self._wants_prices or issubclass(PriceChanged, kind)
            self._check_handlers()
            return handler

        return register

    def follow(
        self, feed: Followable, save_to: str | os.PathLike[str] | None, save_every: float, *, is_whole: bool | None
    ) -> None:
        """Registers the book's handlers with the feed."""
        if self._feed is not None:
            raise ValueError("the book follows a feed already: make a book for each feed")
        if not save_every > 0:
            raise ValueError(f"save_every={save_every}: expected a positive number of seconds")
        self._feed = feed
        self._check_handlers()
        self._is_whole = _is_whole(feed.config) if is_whole is None else is_whole
        if save_to is not None:
            started_at = {TopicPartition(*partition): at for partition, at in self._races.positions().items()}
            self._autosave = Autosave(self._saving, save_to, save_every, started_at, lambda: feed.health)
        self._handle(None, self._races.set_complete(is_complete=False))
        feed.on(HealthChanged)(self._health_changed)
        feed.on(PartitionsAssigned)(self._partitions_assigned)
        feed.on(PartitionsRevoked)(self._partitions_removed)
        feed.on(PartitionsLost)(self._partitions_removed)
        feed.on(RaceEvent)(self._apply)

    def _check_handlers(self) -> None:
        if self._feed is None or self._feed.may_await:
            return
        for kind, handler in self._handlers:
            if inspect.iscoroutinefunction(handler):
                raise TypeError(
                    f"on({kind.__name__}): {handler!r} is a coroutine function: only an AsyncFeed can call it"
                )

    def _apply(self, event: Event) -> Awaitable[None] | None:
        if self._handlers:
            return self._apply_and_handle(event)
        with self._lock:
            self._races.apply(event, lists_prices=False)
            if self._autosave is not None:
                self._autosave.handled(None)
        return None

    def _apply_and_handle(self, event: Event) -> Awaitable[None] | None:
        race_id = event.race_id
        with self._lock:
            if self._autosave is not None:
                self._autosave.begin(race_id)
            changes = self._races.apply(event, lists_prices=self._wants_prices) or ()
        pending = self._handle(race_id, changes)
        if pending is None:
            self._handled(race_id)
        return pending

    def _health_changed(self, signal: HealthChanged) -> Awaitable[None] | None:
        health = signal.health
        if health.state is HealthState.CLOSED:
            return None
        partitions = health.figures.partitions
        has_caught_up = health.state in _CAUGHT_UP and all(known.is_caught_up for known in partitions.values())
        self._caught_up = set(partitions) if has_caught_up else set()
        return self._set_complete()

    def _partitions_assigned(self, signal: PartitionsAssigned) -> Awaitable[None] | None:
        """The signal comes before any record of the partitions, and before any health that knows of them."""
        self._assigned.update(signal.partitions)
        self._caught_up.difference_update(signal.partitions)
        if self._autosave is not None:
            with self._lock:
                self._autosave.assigned(signal.partitions)
        return self._set_complete()

    def _set_complete(self) -> Awaitable[None] | None:
        """Marks the book as complete if all partitions are caught up with, and as incomplete otherwise."""
        with self._lock:
            if not self._caught_up or not self._assigned <= self._caught_up:
                changes = self._races.set_complete(is_complete=False)
            elif self._is_whole:
                changes = self._races.set_complete(is_complete=True)
            else:
                return None
        pending = self._handle(None, changes)
        if pending is None:
            self._handled(None)
        return pending

    def _partitions_removed(self, signal: PartitionsRevoked | PartitionsLost) -> Awaitable[None] | None:
        self._assigned.difference_update(signal.partitions)
        self._caught_up.difference_update(signal.partitions)
        with self._lock:
            changes = self._races.drop(signal.partitions)
            if self._autosave is not None:
                self._autosave.removed(signal.partitions)
        return self._handle(None, changes)

    def _handle(self, race_id: RaceId | None, changes: Sequence[Change]) -> Awaitable[None] | None:
        """Calls the handlers for the changes; those of the race that are still waiting come first.

        Returns:
            What is to be awaited, as soon as a handler is a coroutine function; `None` if everything is done.
        """
        if not self._handlers or not (changes or race_id in self._waiting):
            return None
        waiting = self._waiting.setdefault(race_id, deque())
        waiting += changes
        calls = self._call_handlers(race_id, waiting)
        first = next(calls, None)
        return None if first is None else self._finish(race_id, first, calls)

    def _call_handlers(self, race_id: RaceId | None, waiting: deque[Change]) -> Iterator[Awaitable[object]]:
        """Calls the handlers for the changes, and yields what has to be awaited."""
        while waiting:
            for kind, handler in self._handlers:
                if isinstance(waiting[0], kind) and _is_awaitable(result := handler(waiting[0])):
                    yield result
            waiting.popleft()  # not before: the change is handled again if a handler has raised
        del self._waiting[race_id]

    async def _finish(
        self, race_id: RaceId | None, first: Awaitable[object], calls: Iterator[Awaitable[object]]
    ) -> None:
        await first
        for result in calls:
            await result
        self._handled(race_id)

    def _handled(self, race_id: RaceId | None) -> None:
        """Notes that all changes of a race, or those that no event made, are handled."""
        if self._autosave is not None:
            with self._lock:
                self._autosave.handled(race_id)


def _is_whole(config: FeedConfig) -> bool:
    """Returns whether a feed hands over each race from its first record on. Logs why, if it does not."""
    if config.group_id is not None:
        why = f"the feed is a member of the group {config.group_id!r}, and starts where the group was"
    elif config.start == "latest":
        why = 'the feed starts at the end of the topics (start="latest")'
    else:
        return True
    _log.warning("the race book is never complete, and no result in it final: %s, so it meets races in the middle", why)
    return False


def _is_awaitable(result: object) -> TypeIs[Awaitable[object]]:
    return hasattr(result, "__await__")
