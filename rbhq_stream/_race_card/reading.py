"""Reads a race card from RBHQ's documents, in any of their spellings.

RBHQ spells the same facts differently in the day's events, in the racing form of a race and in the day's results. Only
the meeting's id, the race's number and its start are required. Any other field that cannot be read is kept in `extra`,
like unknown fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from attrs import define

from rbhq_stream._race_card.entries import CardMeeting, CardRace, CardRunner
from rbhq_stream._wire import values
from rbhq_stream._wire.faults import Faults, Unreadable, step, unreadable
from rbhq_stream._wire.objects import each
from rbhq_stream.errors import Fault
from rbhq_stream.events import Extra, RaceId

_T = TypeVar("_T")

_ENVELOPES = ("payload", "meetings", "data")
_RACES = ("events", "races")
_MEETING_ID = ("meetingId",)
_RACE_NUMBER = ("eventNumber", "eventNo")
_EVENT_ID = ("eventId",)
# the one that is certainly UTC comes first, in case another one is local time
_START = ("utcTime", "startTime", "raceStartTime")
_START_PREFIX = "starttim"
_VENUE = ("venue", "meetingVenue")
_MEETING_TYPE = ("type", "meetingType")
_RUNNER_NUMBER = ("runnerNumber", "runnerNo")
_RUNNER_NAME = ("runnerName", "outcomeName")
_MAX_DEPTH = 8
"""How deeply lists and envelopes may be nested."""


def read(raw: bytes) -> tuple[CardMeeting, ...]:
    """Returns the meetings of a document, in its order.

    Raises:
        Unreadable: with all faults; their paths begin at the document.
    """
    facts: dict[int, dict[str, Any]] = {}
    races: dict[int, dict[RaceId, CardRace]] = {}
    faults = Faults()
    for meeting in _meetings(values.parse(values.text_of(raw))):
        known = facts.setdefault(meeting.meeting_id, {})
        known.update((name, fact) for name, fact in meeting.facts.items() if known.get(name) is None)
        listed = races.setdefault(meeting.meeting_id, {})
        for race in meeting.races:
            if race.race_id in listed:
                faults.append(Fault("", f"race {race.race_id} twice", "each race once"))
            listed[race.race_id] = race
    faults.check()
    return tuple(
        CardMeeting(meeting_id, races=tuple(races[meeting_id].values()), **known) for meeting_id, known in facts.items()
    )


@define
class _Fields:
    """The fields of a JSON object, taken by name in any casing. Those that are not taken are `extra`."""

    left: dict[str, Any]

    @classmethod
    def of(cls, value: object) -> _Fields:
        if not isinstance(value, dict):
            raise unreadable(value, "an object")
        return cls(dict(value))

    def names(self, spellings: tuple[str, ...]) -> Iterator[str]:
        """Iterates over those of the spellings that the object has a value for, as the object writes them."""
        written = {name.lower(): name for name, value in self.left.items() if value not in (None, "")}
        return (written[spelling.lower()] for spelling in spellings if spelling.lower() in written)

    def has(self, spellings: tuple[str, ...]) -> bool:
        """Whether the object has a value for one of the spellings."""
        return any(True for _ in self.names(spellings))

    def take(self, read: Callable[[Any], _T], *spellings: str) -> _T | None:
        """Takes the first of the spellings that can be read."""
        for name in self.names(spellings):
            try:
                value = read(self.left[name])
            except Unreadable:
                continue
            del self.left[name]
            return value
        return None

    def need(self, read: Callable[[Any], _T], *spellings: str) -> _T:
        """Takes the first of the spellings that can be read, and raises if there is none."""
        value = self.take(read, *spellings)
        if value is None:
            for name in self.names(spellings):
                read_here = Faults()
                read_here.read(step(name), read, self.left[name])
                read_here.check()
            raise Unreadable(Fault(step(spellings[0]), "nothing", "a value"))
        return value

    def extra(self) -> Extra:
        """Returns what is left, without the fields that are null."""
        return Extra(values.kept({name: value for name, value in self.left.items() if value is not None}))


@define
class _Meeting:
    """What one part of a document states about a meeting."""

    meeting_id: int
    facts: dict[str, Any]
    races: tuple[CardRace, ...]


def _meetings(value: object, depth: int = 0) -> tuple[_Meeting, ...]:
    """Reads meetings, races, or lists or envelopes of them."""
    if depth > _MAX_DEPTH:
        raise unreadable(value, f"meetings or races, at most {_MAX_DEPTH} levels deep")
    read_inside = partial(_meetings, depth=depth + 1)
    if isinstance(value, list):
        return tuple(chain.from_iterable(each(value, read_inside)))
    fields = _Fields.of(value)
    if fields.has(_RACE_NUMBER + _EVENT_ID) and not fields.has(_RACES):
        return (_meeting_of_race(fields),)
    envelope = next(fields.names(_ENVELOPES), None)
    if envelope is not None and not fields.has(_RACES + _MEETING_ID):
        return _in_step(step(envelope), read_inside, fields.left[envelope])
    return (_meeting(fields),)


def _meeting(fields: _Fields) -> _Meeting:
    """Reads a meeting with its races."""
    meeting_id = fields.need(values.natural, *_MEETING_ID)
    listed = next(fields.names(_RACES), None)
    races: tuple[CardRace, ...] = ()
    if listed is not None:
        races = _in_step(step(listed), each, fields.left.pop(listed), partial(_race, meeting_id))
    return _Meeting(meeting_id, {**_meeting_facts(fields), "extra": fields.extra()}, races)


def _meeting_of_race(fields: _Fields) -> _Meeting:
    """Reads a race outside a meeting, with what it states about its meeting."""
    facts = _race_facts(fields, None)
    meeting_facts = _meeting_facts(fields)
    race = CardRace(**facts, extra=fields.extra())
    return _Meeting(race.race_id.meeting_id, meeting_facts, (race,))


def _meeting_facts(fields: _Fields) -> dict[str, Any]:
    return {
        "venue": fields.take(values.text, *_VENUE),
        "meeting_type": fields.take(values.text, *_MEETING_TYPE),
        "meeting_date": fields.take(values.time, "meetingDate"),
        **{name: fields.take(values.text, name) for name in ("country", "state", "region", "rail")},
    }


def _race(meeting_id: int, value: object) -> CardRace:
    """Reads a race in its meeting."""
    fields = _Fields.of(value)
    facts = _race_facts(fields, meeting_id)
    return CardRace(**facts, extra=fields.extra())


def _race_facts(fields: _Fields, meeting_id: int | None) -> dict[str, Any]:
    faults = Faults()
    race_id = faults.read("", _race_id, fields, meeting_id)
    others = (name for name in fields.left if name.lower().startswith(_START_PREFIX))
    start_time = faults.read("", fields.need, values.time, *dict.fromkeys((*_START, *others)))
    faults.check()
    return {
        "race_id": race_id,
        "start_time": start_time,
        "name": fields.take(values.text, "eventName"),
        "distance": fields.take(values.natural, "distance"),
        "runners": _runners(fields),
    }


def _race_id(fields: _Fields, around: int | None) -> RaceId:
    """Reads the race's id: from its own fields, from both in one, and from the meeting around it."""
    joined = fields.need(values.race_id, *_EVENT_ID) if fields.has(_EVENT_ID) else None
    own = fields.need(values.natural, *_MEETING_ID) if fields.has(_MEETING_ID) else None
    number = fields.need(values.natural, *_RACE_NUMBER) if fields.has(_RACE_NUMBER) or joined is None else None
    meetings = {known for known in (own, around) if known is not None}
    numbers = set() if number is None else {number}
    if joined is not None:
        meetings.add(joined.meeting_id)
        numbers.add(joined.event_number)
    if not meetings:
        raise Unreadable(Fault(step(*_MEETING_ID), "nothing", "an integer, here or in the meeting"))
    if len(meetings) > 1 or len(numbers) > 1:
        stated = ", ".join(map(str, sorted(meetings) if len(meetings) > 1 else sorted(numbers)))
        where = _MEETING_ID[0] if len(meetings) > 1 else _RACE_NUMBER[0]
        raise Unreadable(Fault(step(where), stated, "the same race in all of its ids"))
    return RaceId(meetings.pop(), numbers.pop())


def _runners(fields: _Fields) -> tuple[CardRunner, ...]:
    """Takes the runners that can be read, and leaves the others."""
    name = next(fields.names(("runners",)), None)
    if name is None or not isinstance(fields.left[name], list):
        return ()
    runners, left = [], []
    for value in fields.left.pop(name):
        try:
            runners.append(_runner(_Fields.of(value)))
        except Unreadable:
            left.append(value)
    if left:
        fields.left[name] = left
    return tuple(runners)


def _runner(fields: _Fields) -> CardRunner:
    return CardRunner(
        fields.need(values.natural, *_RUNNER_NUMBER),
        fields.take(values.text, *_RUNNER_NAME),
        jockey=fields.take(values.text, "jockey"),
        trainer=fields.take(values.text, "trainer"),
        weight=fields.take(values.decimal, "weight"),
        barrier_position=fields.take(values.natural, "barrierPosition"),
        extra=fields.extra(),
    )


def _in_step(way: str, read: Callable[..., _T], *args: Any) -> _T:
    """Reads a value that is one step into the document."""
    try:
        return read(*args)
    except Unreadable as bad:
        raise Unreadable(*bad.under(way)) from None
