"""What was in force at earlier times: versions of facts, each with its time.

Facts are dated by the times of their records. Within a partition, the facts of a race keep their order: if a record has
an earlier time than its predecessor, or none, it is dated like its predecessor.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from typing import Generic, TypeVar

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
