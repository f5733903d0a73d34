"""Which races a board shows, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone

from attrs import frozen

from rbhq_stream import RaceId
from rbhq_stream._board.names import Names

_FAR = datetime.max.replace(tzinfo=timezone.utc)
_OVERDUE = timedelta(hours=2)
"""A race that is still open this long after its scheduled start no longer counts as the next one."""


@frozen
class Selection:
    """The races that the user asked for."""

    meeting_id: int | None = None
    """Only this meeting's; `None`: all races."""
    event_number: int | None = None
    """Only this race of the meeting; `None`: all of its races."""

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Returns what `1397808-7` (a race) or `1397808` (a meeting) selects.

        Raises:
            ValueError: it is neither.
        """
        if text.isdecimal():
            return cls(int(text))
        return cls(*RaceId.parse(text))

    def __str__(self) -> str:
        if self.meeting_id is None:
            return "any race"
        if self.event_number is None:
            return f"meeting {self.meeting_id}"
        return f"race {RaceId(self.meeting_id, self.event_number)}"

    def __contains__(self, race_id: RaceId) -> bool:
        return self.meeting_id in (None, race_id.meeting_id) and self.event_number in (None, race_id.event_number)


ALL_RACES = Selection()


def in_order(races: Iterable[RaceId], names: Names) -> list[RaceId]:
    """Returns races in the order of their scheduled starts. Those that are not on the card come last, by their ids."""
    return sorted(set(races), key=lambda race_id: (names.start(race_id) or _FAR, race_id))


def is_over(start: datetime | None, shut_at: datetime | None, now: datetime, lingers: timedelta) -> bool:
    """Returns whether the market of a race is no longer shown.

    Args:
        start: Its scheduled start, if it is known.
        shut_at: When betting on it ended; `None`: it has not ended.
        now: The present time.
        lingers: How long a market is shown after betting has ended.
    """
    if shut_at is not None:
        return now - shut_at > lingers
    return start is not None and now - start > _OVERDUE


def next_to_jump(races: Sequence[RaceId], over: Callable[[RaceId], bool], known: Callable[[RaceId], bool]) -> int:
    """Returns the index of the race to show: the first that is not over, and of which something is known.

    Args:
        races: The races in their order; at least one.
        over: Whether a race is over.
        known: Whether something was published about a race. If nothing was about any, the first that is not over is
            shown; if all are over, the last one.
    """
    to_come = [index for index, race_id in enumerate(races) if not over(race_id)]
    if not to_come:
        return len(races) - 1
    return next((index for index in to_come if known(races[index])), to_come[0])


def around(races: Sequence[RaceId], index: int, count: int) -> Sequence[RaceId]:
    """Returns at most `count` races that follow each other, with the one at `index` among them."""
    first = min(max(0, index - count // 2), max(0, len(races) - count))
    return races[first : first + count]
