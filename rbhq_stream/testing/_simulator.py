"""A race day made up from a number: everything that RBHQ's feed says in it, in order, and the same each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from heapq import merge
from random import Random

from rbhq_stream.events import RaceId
from rbhq_stream.testing._race_life import Happening, RaceLife, TimedEvent
from rbhq_stream.testing._racecard import Meeting, draw_card

# the first Tuesday of November 2026, eleven in the morning in Melbourne
_START = datetime(2026, 11, 3, tzinfo=timezone.utc)
_OFTEN = {
    Happening.REVISED_DEDUCTION: 0.1,
    Happening.UNSCRATCHING: 0.02,
    Happening.REOPENED: 0.06,
    Happening.PROTEST: 0.06,
    Happening.DEAD_HEAT: 0.02,
    Happening.AMENDED: 0.01,
}
_WASHOUT = 0.04


class Simulator:
    """A day at the races.

    >>> for at, event in ((timed.at, timed.event) for timed in Simulator(seed=7).events()):
    ...     ...

    The same arguments give the same day, byte for byte. A day of two races or more has at least one of every
    `Happening`: a revised deduction, an unscratching, a re-opened race, a protest, a dead heat, a result that is
    amended after FINAL, and a race that is abandoned.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        meetings: int = 9,
        races: int | None = None,
        price_records: int = 300,
        start: datetime = _START,
        opens_before: timedelta = timedelta(hours=4),
        interval: timedelta | None = None,
    ) -> None:
        """
        Args:
            seed: another one gives another day.
            meetings: how many: gallops, greyhounds and harness in turn.
            races: how many each meeting has; 7 to 12 when not given.
            price_records: about how many records with prices each race gets.
            start: when the first market opens. Aware.
            opens_before: how long before its jump a race's market opens.
            interval: the time between two races of a meeting; by default 21 to 36 minutes, after what races.
        """
        if meetings < 1 or (races is not None and races < 1):
            raise ValueError("a day needs one meeting and one race at least")
        if start.tzinfo is None:
            raise ValueError("start has no time zone: give an aware datetime, e.g. with tzinfo=timezone.utc")
        self._seed = seed
        self._price_records = price_records
        self._opens_before = opens_before
        rng = _random(f"{seed}")
        self._meetings = draw_card(
            rng,
            meetings=meetings,
            races=races,
            interval=interval,
            first_jump=start.astimezone(timezone.utc) + opens_before,
        )
        self._happenings = _draw_happenings(rng, self._meetings)

    @property
    def meetings(self) -> tuple[Meeting, ...]:
        """The card: venues, races, runners with their names, when each race is to jump."""
        return self._meetings

    @property
    def happenings(self) -> Mapping[RaceId, frozenset[Happening]]:
        """What is out of the ordinary in each race."""
        return self._happenings

    def events(self) -> Iterator[TimedEvent]:
        """The whole day in the order of time, from the start each time it is called."""
        lives = (
            RaceLife(
                _random(f"{self._seed} {race.race_id}"),
                meeting,
                race,
                self._happenings[race.race_id],
                opens=self._opens_before,
                price_records=self._price_records,
            )
            for meeting in self._meetings
            for race in meeting.races
        )
        # at the same moment the earlier race of the card comes first
        return merge(*lives, key=lambda timed: timed.at)


def _random(name: str) -> Random:
    # from a text, which Random hashes with SHA-512: the same on every machine, unlike Python's own hash()
    return Random(f"rbhq_stream {name}")  # noqa: S311 (a race day that can be foretold is the point)


def _draw_happenings(rng: Random, meetings: tuple[Meeting, ...]) -> dict[RaceId, frozenset[Happening]]:
    races = [race.race_id for meeting in meetings for race in meeting.races]
    happenings: dict[RaceId, set[Happening]] = {race_id: set() for race_id in races}
    for meeting in meetings:
        if len(meeting.races) > 3 and rng.random() < _WASHOUT:
            # the track is under water: the rest of the meeting is off
            for race in meeting.races[-rng.randint(1, 3) :]:
                happenings[race.race_id].add(Happening.ABANDONED)
    run = [race_id for race_id in races if not happenings[race_id]]
    rng.shuffle(run)
    if len(run) > 1:
        happenings[run.pop()].add(Happening.ABANDONED)
    for index, happening in enumerate(_OFTEN):
        # one of each for certain, as far as they can be in races of their own
        happenings[run[index % len(run)]].add(happening)
    for race_id in run:
        happenings[race_id] |= {happening for happening, often in _OFTEN.items() if rng.random() < often}
    return {race_id: frozenset(of_race) for race_id, of_race in happenings.items()}
