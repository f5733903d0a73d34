"""`Scheduler`: decides which events may be handled at the same time, and which count as processed. Pure.

The events in flight are those that were taken from the buffer and are not processed. Each is in one of these states:

| state      | meaning                                            | next state                                         |
|------------|----------------------------------------------------|----------------------------------------------------|
| `QUEUED`   | an earlier event of its race is in flight          | `READY` when that one is finished                  |
| `READY`    | it may be started as soon as there is room for it  | `RUNNING` by `start`                               |
| `RUNNING`  | its handlers are being called                      | `FINISHED` by `finish`, `WAITING` by `wait`        |
| `WAITING`  | a handler failed, and is called again later        | `READY` when that time has come                    |
| `FINISHED` | its handlers have returned                         | gone by `take_processed`, with all those before it |

At most one event of each race is `READY`, `RUNNING` or `WAITING`: the oldest one in flight. So the events of a race are
handled one after the other, in the order in which they arrived. Of all events that are `READY`, the oldest is started
first, so that as few events as possible have to wait for an earlier one to count as processed.

An event may finish before one that arrived earlier. It counts as processed only when all earlier ones do, because a
partition's committed offset means that all records before it are processed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

from attrs import define, field

_T = TypeVar("_T")


class State(Enum):
    """The state of an event in flight: see the docstring of the module."""

    QUEUED = "queued"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    FINISHED = "finished"


@define(eq=False)
class InFlight(Generic[_T]):
    """An event in flight. Only `Scheduler` writes its fields."""

    item: _T
    race: Hashable
    number: int
    """Its number in the order of arrival."""
    state: State = field(default=State.QUEUED, init=False)
    since: float = field(default=0.0, init=False)
    """When it was started last, in seconds of a monotonic clock."""


class Scheduler(Generic[_T]):
    """Decides for one thread what is handled next. Times are in seconds, monotonic.

    Args:
        at_once: how many events may be handled at the same time.
        max_in_flight: how many events may be in flight.
    """

    def __init__(self, *, at_once: int, max_in_flight: int) -> None:
        self._at_once = at_once
        self._max_in_flight = max_in_flight
        self._count = 0  # how many were ever taken
        self._unfinished = 0
        # in the order of arrival, from the first one that is not finished on
        self._window: deque[InFlight[_T]] = deque()
        self._races: dict[Hashable, deque[InFlight[_T]]] = {}  # what is not finished, the oldest first
        self._ready: list[tuple[int, InFlight[_T]]] = []  # a heap
        self._waiting: list[tuple[float, int, InFlight[_T]]] = []  # a heap, by the time when they are ready
        self._running: dict[int, InFlight[_T]] = {}  # in the order in which they were started
        self.oldest_start: float | None = None
        """When the event that has been `RUNNING` for the longest time was started. Any thread may read it."""

    @property
    def is_idle(self) -> bool:
        """Whether everything that was added is finished."""
        return not self._unfinished

    @property
    def has_room(self) -> bool:
        """Whether one more event should be added.

        No more are needed while as many are ready as can be handled at once. Until then they take less memory in the
        buffer.
        """
        return self._unfinished < self._max_in_flight and len(self._ready) < self._at_once

    @property
    def due(self) -> float | None:
        """When the first `WAITING` event becomes ready; `None` if there is none."""
        return self._waiting[0][0] if self._waiting else None

    def running(self) -> list[_T]:
        """Returns the events that are being handled, in the order in which they were started."""
        return [entry.item for entry in self._running.values()]

    def add(self, item: _T, race: Hashable) -> None:
        """Adds an event. Events are added in the order in which they arrived."""
        entry = InFlight(item, race, self._count)
        self._count += 1
        self._unfinished += 1
        self._window.append(entry)
        queue = self._races.get(race)
        if queue is None:
            self._races[race] = deque((entry,))
            self._make_ready(entry)
        else:
            queue.append(entry)

    def start(self, now: float) -> InFlight[_T] | None:
        """Starts the oldest event that is ready, if there is one and fewer than `at_once` are running."""
        while self._waiting and self._waiting[0][0] <= now:
            self._make_ready(heapq.heappop(self._waiting)[2])
        if not self._ready or len(self._running) >= self._at_once:
            return None
        _, entry = heapq.heappop(self._ready)
        entry.state = State.RUNNING
        entry.since = now
        self._running[entry.number] = entry
        self._note_oldest()
        return entry

    def wait(self, entry: InFlight[_T], until: float) -> None:
        """Makes a running event ready again at a later time. Other events may be started in the meantime."""
        if entry.state is State.RUNNING:
            self._end(entry, State.WAITING)
            heapq.heappush(self._waiting, (until, entry.number, entry))

    def finish(self, entry: InFlight[_T]) -> None:
        """Notes that the handlers of a running event have returned. Idempotent."""
        if entry.state is State.RUNNING:
            self._end(entry, State.FINISHED)
            self._unfinished -= 1
            queue = self._races[entry.race]
            queue.popleft()  # it was the first
            if queue:
                self._make_ready(queue[0])
            else:
                del self._races[entry.race]

    def take_processed(self) -> _T | None:
        """Returns the last event up to which everything is processed; `None` if that has not changed since the last
        call."""
        window = self._window
        last = None
        while window and window[0].state is State.FINISHED:
            last = window.popleft()
        return None if last is None else last.item

    def _make_ready(self, entry: InFlight[_T]) -> None:
        entry.state = State.READY
        heapq.heappush(self._ready, (entry.number, entry))

    def _end(self, entry: InFlight[_T], state: State) -> None:
        entry.state = state
        self._running.pop(entry.number, None)
        self._note_oldest()

    def _note_oldest(self) -> None:
        oldest = next(iter(self._running.values()), None)
        self.oldest_start = None if oldest is None else oldest.since
