"""The card of a simulated race day: its meetings, their races, and the runners of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum
from random import Random

from attrs import frozen

from rbhq_stream._race_card import CardMeeting, CardRace, CardRunner
from rbhq_stream.events import RaceId


class Code(str, Enum):
    """The kind of racing: thoroughbreds, greyhounds, or standardbreds in harness."""

    GALLOPS = "gallops"
    GREYHOUNDS = "greyhounds"
    HARNESS = "harness"


@frozen
class Runner:
    """A horse or a greyhound in a race."""

    number: int
    name: str
    is_reserve: bool = False
    """Whether this is a reserve (greyhounds only): it starts, and has a price, only if another runner is scratched."""


@frozen
class Race:
    """A race as advertised."""

    race_id: RaceId
    jump: datetime
    """The advertised start. The actual one may be a few minutes later."""
    runners: tuple[Runner, ...]

    @property
    def starters(self) -> tuple[int, ...]:
        """The numbers of the runners that start if none is scratched."""
        return tuple(runner.number for runner in self.runners if not runner.is_reserve)

    def name_of(self, runner_number: int) -> str:
        """Returns the name of a runner.

        Raises:
            KeyError: the race has no such runner.
        """
        return {runner.number: runner.name for runner in self.runners}[runner_number]


@frozen
class Meeting:
    """The races of one venue on one day."""

    meeting_id: int
    venue: str
    code: Code
    races: tuple[Race, ...]


def as_card_meeting(meeting: Meeting) -> CardMeeting:
    """Returns a meeting as an application would read it from RBHQ's card."""
    races = []
    for race in meeting.races:
        runners = tuple(CardRunner(runner.number, runner.name) for runner in race.runners)
        races.append(CardRace(race.race_id, race.jump, runners=runners))
    return CardMeeting(meeting.meeting_id, meeting.venue, tuple(races), meeting_type=_TYPES[meeting.code])


_TYPES = {Code.GALLOPS: "R", Code.GREYHOUNDS: "G", Code.HARNESS: "H"}
_VENUES = {
    Code.GALLOPS: (
        "Flemington", "Randwick", "Caulfield", "Eagle Farm", "Morphettville", "Ascot", "Rosehill Gardens",
        "Moonee Valley", "Doomben", "Newcastle", "Ballarat", "Gold Coast", "Hawkesbury", "Sale", "Scone", "Wagga",
    ),
    Code.GREYHOUNDS: (
        "The Meadows", "Wentworth Park", "Sandown Park", "Angle Park", "Cannington", "Albion Park", "Richmond",
        "Geelong", "Warragul", "Dapto", "Horsham", "Gawler",
    ),
    Code.HARNESS: (
        "Menangle", "Melton", "Gloucester Park", "Albion Park", "Globe Derby", "Bathurst", "Bendigo", "Penrith",
        "Redcliffe", "Shepparton",
    ),
}  # fmt: skip
_FIRST_WORDS = (
    "Amber", "Autumn", "Bold", "Copper", "Coral", "Crimson", "Daring", "Desert", "Distant", "Eastern", "Electric",
    "Emerald", "Fleet", "Gallant", "Gentle", "Golden", "Hidden", "Iron", "Ivory", "Jolly", "Lucky", "Magic",
    "Midnight", "Misty", "Noble", "Northern", "Outback", "Proud", "Quiet", "Rapid", "Red", "River", "Royal", "Rustic",
    "Sapphire", "Savvy", "Secret", "Silver", "Southern", "Star", "Stormy", "Summer", "Sunday", "Swift", "Velvet",
    "Wandering", "Western", "Wild", "Winter", "Zesty",
)  # fmt: skip
_SECOND_WORDS = (
    "Anthem", "Arrow", "Avenue", "Banjo", "Bandit", "Bay", "Bounty", "Breeze", "Castle", "Charm", "Comet", "Creek",
    "Dancer", "Dasher", "Dream", "Duchess", "Echo", "Falcon", "Fire", "Fortune", "Galaxy", "Glory", "Harbour", "Jewel",
    "Knight", "Lane", "Legend", "Major", "Melody", "Mirage", "Monarch", "Opal", "Patrol", "Penny", "Pilot", "Prince",
    "Promise", "Rebel", "Ridge", "Rocket", "Ruler", "Shadow", "Song", "Spirit", "Tempo", "Tide", "Verse", "Voyage",
    "Whisper", "Zephyr",
)  # fmt: skip

_RACES = (7, 12)
_GREYHOUND_BOXES = 8
_MINUTES_BETWEEN = {Code.GALLOPS: 36, Code.GREYHOUNDS: 21, Code.HARNESS: 31}


def draw_card(
    rng: Random, *, meetings: int, races: int | None, interval: timedelta | None, first_jump: datetime
) -> tuple[Meeting, ...]:
    """Draws a day's meetings: gallops, greyhounds and harness in turn.

    Args:
        rng: the source of chance.
        meetings: the number of meetings.
        races: the number of races of each meeting; 7 to 12 when `None`.
        interval: the time between two races of a meeting; by default what is usual for the kind of racing.
        first_jump: the advertised start of the day's first race.
    """
    codes = list(Code)
    used: set[str] = set()
    card = []
    meeting_id = 1_390_000 + rng.randrange(9000)
    for index in range(meetings):
        code = codes[index % len(codes)]
        meeting_id += rng.randrange(1, 9)
        count = races or rng.randint(*_RACES)
        gap = interval or timedelta(minutes=_MINUTES_BETWEEN[code])
        # the meetings begin one after the other, so no two races of the day start at the same time
        first = first_jump + gap * index / meetings
        card.append(
            Meeting(
                meeting_id,
                _pick_venue(rng, _VENUES[code], used),
                code,
                tuple(
                    Race(RaceId(meeting_id, number), first + gap * (number - 1), _draw_field(rng, code, number))
                    for number in range(1, count + 1)
                ),
            )
        )
    return tuple(card)


def _pick_venue(rng: Random, venues: Sequence[str], used: set[str]) -> str:
    free = [venue for venue in venues if venue not in used]
    # a day of very many meetings: a venue has a second, the night meeting
    venue = rng.choice(free) if free else f"{rng.choice(venues)} Night"
    used.add(venue)
    return venue


def _draw_field(rng: Random, code: Code, race_number: int) -> tuple[Runner, ...]:
    reserves = 0
    if code is Code.GREYHOUNDS:
        size, reserves = _GREYHOUND_BOXES, 2
    elif code is Code.HARNESS:
        size = rng.randint(8, 12)
    else:
        # the first race is large enough for a market of four places
        size = rng.randint(8 if race_number == 1 else 6, 18)
    names: dict[str, None] = {}
    while len(names) < size + reserves:
        names[f"{rng.choice(_FIRST_WORDS)} {rng.choice(_SECOND_WORDS)}"] = None
    return tuple(Runner(number, name, is_reserve=number > size) for number, name in enumerate(names, 1))
