"""When old races leave the book: by the times of the records, because the book reads no clock."""

from __future__ import annotations

from datetime import timedelta

from rbhq_stream._book.history import BEGINNING, END

_RaceKey = tuple[int, int]
_MICROSECOND = timedelta(microseconds=1)
LOOKS = 64
"""How often the book looks for old races in the time for which it keeps them."""
MAX_REMEMBERED = 100_000
"""How many races that left are remembered, so that one that comes back is recognised."""


class Departures:
    """Determines which races are old, and remembers which have left.

    Args:
        keep: How long a race is kept after the newest record about it; `None` keeps every race.
    """

    def __init__(self, keep: timedelta | None) -> None:
        self._keep = None if keep is None else keep // _MICROSECOND
        self.look_at = BEGINNING if self._keep is not None else END
        """The time of a record from which on it is worth calling `oldest_to_keep`."""
        self._suspected = BEGINNING
        self._left: dict[_RaceKey, None] = {}

    def oldest_to_keep(self, micros: int) -> int | None:
        """Returns the time before which races are old; `None` while it is too soon to look for them again.

        A single record with a time far in the future must not empty the book, so the earlier time of the last two
        records counts.

        Args:
            micros: The time of a record.
        """
        now, self._suspected = min(micros, self._suspected), micros
        if self._keep is None or now < self.look_at:
            return None
        self.look_at = now + self._keep // LOOKS
        return now - self._keep

    def has_left(self, race: _RaceKey) -> bool:
        """Returns whether a race left the book once."""
        return race in self._left

    def leave(self, *races: _RaceKey) -> None:
        """Remembers races that left."""
        self._left |= dict.fromkeys(races)
        while len(self._left) > MAX_REMEMBERED:
            del self._left[next(iter(self._left))]

    @property
    def left(self) -> tuple[_RaceKey, ...]:
        """The races that left, oldest first."""
        return tuple(self._left)
