"""A simulated race day: every event that RBHQ's feed would have, in order, the same each time for one seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from heapq import merge
from random import Random

from rbhq_stream._race_card import RaceCard
from rbhq_stream.events import RaceId
from rbhq_stream.testing._racecard import Meeting, as_card_meeting, draw_card
from rbhq_stream.testing._simulated_race import Happening, SimulatedRace, TimedEvent
from rbhq_stream.testing._truth import RaceTruth

# the first Tuesday of November 2026, 11 a.m. in Melbourne
_START = datetime(2026, 11, 3, tzinfo=timezone.utc)
_FREQUENCY = {
    Happening.REVISED_DEDUCTION: 0.1,
    Happening.UNSCRATCHING: 0.02,
    Happening.REOPENED: 0.06,
    Happening.PROTEST: 0.06,
    Happening.DEAD_HEAT: 0.02,
    Happening.AMENDED: 0.01,
}
_WASHOUT_FREQUENCY = 0.04


class Simulator:
    """A simulated race day.

    >>> for timed in Simulator(seed=7).events():
    ...     print(timed.at, timed.event)

    The same arguments give the same day, byte for byte. A day of two races or more has at least one of every
    `Happening`: a revised deduction, an unscratching, a race that is opened again, a protest, a dead heat, a result
    that is amended after FINAL, and an abandoned race.

    Args:
        seed: chooses the day.
        meetings: the number of meetings: gallops, greyhounds and harness in turn.
        races: the number of races of each meeting; 7 to 12 by default.
        price_records: about how many records with prices each race has.
        start: when the first market opens; an aware time.
        opens_before: how long before its advertised start the market of a race opens.
        interval: the time between two races of a meeting; 21 to 36 minutes by default, depending on the kind of racing.

    Raises:
        ValueError: `meetings` or `races` is below 1, or `start` has no time zone.
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
        if meetings < 1 or (races is not None and races < 1):
            raise ValueError(f"meetings={meetings}, races={races}: a day has at least one meeting with one race")
        if start.tzinfo is None:
            raise ValueError(
                f"start={start!r} has no time zone: pass an aware datetime, for example with tzinfo=timezone.utc"
            )
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
        """The card: venues, races, their advertised starts, and runners with their names."""
        return self._meetings

    @property
    def card(self) -> RaceCard:
        """The same as a `RaceCard`, as an application would have it."""
        return RaceCard(tuple(as_card_meeting(meeting) for meeting in self._meetings))

    @property
    def happenings(self) -> Mapping[RaceId, frozenset[Happening]]:
        """What each race has that most races don't have."""
        return self._happenings

    def events(self) -> Iterator[TimedEvent]:
        """Iterates over the events of the whole day in time order. Each call starts from the beginning."""
        # of events at the same moment, that of the race that is earlier on the card comes first
        return merge(*self._races(), key=lambda timed: timed.at)

    def truth(self) -> Mapping[RaceId, RaceTruth]:
        """Returns what happened in each race, by the simulation itself: what the events of the day must add up to."""
        races = tuple(self._races())
        for race in races:
            for _ in race:
                pass  # a race changes as its events come
        return {truth.race_id: truth for truth in (race.truth() for race in races)}

    def _races(self) -> Iterator[SimulatedRace]:
        for meeting in self._meetings:
            for race in meeting.races:
                yield SimulatedRace(
                    _random(f"{self._seed} {race.race_id}"),
                    meeting,
                    race,
                    self._happenings[race.race_id],
                    opens=self._opens_before,
                    price_records=self._price_records,
                )


def _random(name: str) -> Random:
    # Random hashes a string with SHA-512, so it is the same on every machine
    return Random(f"rbhq_stream {name}")  # noqa: S311  # a day that can be repeated is the point


def _draw_happenings(rng: Random, meetings: tuple[Meeting, ...]) -> dict[RaceId, frozenset[Happening]]:
    races = [race.race_id for meeting in meetings for race in meeting.races]
    happenings: dict[RaceId, set[Happening]] = {race_id: set() for race_id in races}
    for meeting in meetings:
        if len(meeting.races) > 3 and rng.random() < _WASHOUT_FREQUENCY:
            # bad weather: the rest of the meeting is abandoned
            for race in meeting.races[-rng.randint(1, 3) :]:
                happenings[race.race_id].add(Happening.ABANDONED)
    run = [race_id for race_id in races if not happenings[race_id]]
    rng.shuffle(run)
    if len(run) > 1:
        happenings[run.pop()].add(Happening.ABANDONED)
    for index, happening in enumerate(_FREQUENCY):
        # one of each for certain, in different races as far as there are enough
        happenings[run[index % len(run)]].add(happening)
    for race_id in run:
        happenings[race_id] |= {happening for happening, frequency in _FREQUENCY.items() if rng.random() < frequency}
    return {race_id: frozenset(of_race) for race_id, of_race in happenings.items()}
