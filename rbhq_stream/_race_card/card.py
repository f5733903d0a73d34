"""The race card of a day, with its look-ups."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property

from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream._race_card import reading
from rbhq_stream._race_card.entries import CardMeeting, CardRace
from rbhq_stream._wire.faults import Unreadable
from rbhq_stream.errors import DecodeError, Fault
from rbhq_stream.events import RaceId

MAX_BYTES = 64 * 1024 * 1024
"""Longer documents are refused before they are parsed. A day's card is a few megabytes."""


@frozen
class RaceCard:
    """The meetings and races of a day: names and scheduled starts, which the feed does not contain.

    `RaceCard.decode` reads RBHQ's documents; an application can also build a card from data of its own. The library
    does not download cards.

    Raises:
        ValueError: a meeting or a race is listed twice.
    """

    meetings: tuple[CardMeeting, ...] = field(default=(), validator=checks.each(checks.instance_of(CardMeeting)))

    def __attrs_post_init__(self) -> None:
        ids = [meeting.meeting_id for meeting in self.meetings]
        if len(set(ids)) < len(ids):
            raise ValueError("meetings: a meeting is listed twice")
        if len(self._by_id) < len(self.races):
            raise ValueError("meetings: a race is listed twice")

    @classmethod
    def decode(cls, raw: bytes, *, max_bytes: int = MAX_BYTES) -> RaceCard:
        """Reads one of RBHQ's documents: the events of a day, the racing form of a race, or a list of them.

        All spellings of each field are read, in any casing. Unknown fields, and optional ones that cannot be read, are
        kept in `extra`.

        Args:
            raw: The document, as UTF-8.
            max_bytes: A longer document is refused before it is parsed.

        Raises:
            DecodeError: the document is not JSON, or a meeting has no id, or a race has no number or no start time, or
                a race is listed twice. The error lists all faults, each with its path.
        """
        if len(raw) > max_bytes:
            raise DecodeError(cls.__name__, [Fault("$", f"{len(raw)} bytes", f"at most {max_bytes} bytes")])
        try:
            meetings = reading.read(raw)
        except Unreadable as bad:
            faults = bad.under("$")
        else:
            return cls(meetings)
        raise DecodeError(cls.__name__, faults)

    @cached_property
    def races(self) -> tuple[CardRace, ...]:
        """All races, by their scheduled start; of those at the same time, by their id."""
        every = (race for meeting in self.meetings for race in meeting.races)
        return tuple(sorted(every, key=lambda race: (race.start_time, race.race_id)))

    @cached_property
    def _by_id(self) -> Mapping[RaceId, CardRace]:
        return {race.race_id: race for race in self.races}

    def race(self, race_id: RaceId) -> CardRace | None:
        """Returns a race; `None` if the card does not have it."""
        return self._by_id.get(race_id)

    def meeting(self, meeting_id: int) -> CardMeeting | None:
        """Returns a meeting; `None` if the card does not have it."""
        return next((meeting for meeting in self.meetings if meeting.meeting_id == meeting_id), None)

    def start_time(self, race_id: RaceId) -> datetime | None:
        """Returns the scheduled start of a race (UTC); `None` if the card does not have the race."""
        race = self.race(race_id)
        return None if race is None else race.start_time

    def runner_name(self, race_id: RaceId, runner_number: int) -> str | None:
        """Returns the name of a runner; `None` if the card has none."""
        race = self.race(race_id)
        return None if race is None else race.runner_name(runner_number)

    def jumps_between(self, begin: datetime, end: datetime) -> tuple[datetime, ...]:
        """Returns the scheduled starts in a period, earliest first. The method can be a feed's `schedule`.

        Args:
            begin: The earliest start, an aware time.
            end: The time before which they are, an aware time.

        Raises:
            ValueError: one of them has no time zone.
        """
        return tuple(race.start_time for race in self.races_between(begin, end))

    def races_between(self, begin: datetime, end: datetime) -> tuple[CardRace, ...]:
        """Returns the races that are scheduled to start in a period, in the order of their starts.

        Args:
            begin: The earliest start, an aware time.
            end: The time before which they start, an aware time.

        Raises:
            ValueError: one of them has no time zone.
        """
        starts = [race.start_time for race in self.races]
        first = bisect_left(starts, checks.aware("begin", begin))
        return self.races[first : bisect_left(starts, checks.aware("end", end))]
