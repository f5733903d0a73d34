"""The patient reader: a document in any of the forms that RBHQ shows or plausibly uses, to its events.

RBHQ's reference shows the same data in several casings and envelopes, and leaves gaps. This reader takes all of them,
and tells everything that is wrong with a document it can't read. It is the authority on what a document means; the fast
path in `wire` only gives the same answers sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any, cast

from rbhq_stream._wire import values
from rbhq_stream._wire.objects import (
    EVENT_ID,
    IDS,
    NAMES_OF,
    PARTS,
    RACE,
    WIRE_NAMES,
    Fields,
    Part,
    builder,
    by_lower_case,
    each,
    extra_of,
)
from rbhq_stream._wire.values import MISSING, Faults, Unreadable, found, step
from rbhq_stream.errors import Fault
from rbhq_stream.events import (
    NO_EXTRA,
    Extra,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceId,
    RaceResultEvent,
    RaceStatusEvent,
)

_Ids = Mapping[str, int]
"""What is known of a race: `meetingId`, `eventNumber`, both or neither."""
_Read = Callable[[Any, _Ids, Extra], "tuple[Any, ...]"]
"""Reads one document, given the ids and the unknown fields of the envelope around it."""

PROPERTY_IDS = {
    12: PriceType.WIN,
    13: PriceType.PLACE,
    147: PriceType.PLACE_2,
    148: PriceType.PLACE_3,
    149: PriceType.PLACE_4,
}
_ENVELOPE = IDS | by_lower_case("payload")
_LISTS = {WIRE_NAMES[PriceEvent][attribute]: attribute for attribute in PARTS}
_LIST_NAMES = by_lower_case(*_LISTS).keys()


def read(kind: type[Any], raw: bytes) -> tuple[Any, ...]:
    """All events in a document of any form.

    Raises:
        Unreadable: with all that is wrong; the faults' paths begin at the document.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        around = repr(raw[max(0, error.start - 10) : error.start + 10])
        raise Unreadable(Fault("", values.shortened(around), f"UTF-8 (byte {error.start} is not)")) from None
    document = values.parse(text.removeprefix("\ufeff"))
    if isinstance(document, list):
        return tuple(chain.from_iterable(each(document, partial(_unwrapped, kind))))
    return _unwrapped(kind, document)


def _unwrapped(kind: type[Any], value: Any) -> tuple[Any, ...]:
    """Reads a document that may be in an envelope: then the payload, with what else is in the envelope."""
    read_one, content = _READERS[kind]
    names = _lower(value)
    if "payload" not in names or names & content:
        return read_one(value, {}, NO_EXTRA)
    envelope, faults = Fields.sort(value, _ENVELOPE), Faults()
    payload, place = envelope.known["payload"], envelope.step("payload")
    ids = faults.read("", _race, envelope, {}) or {}
    extra = faults.read("", extra_of, envelope.extra) or NO_EXTRA
    events: tuple[Any, ...] = ()
    if isinstance(payload, list):
        inside = faults.read(place, each, payload, lambda one: read_one(one, ids, extra))
        events = tuple(chain.from_iterable(inside or ()))
    elif payload is not None and payload != {}:
        events = faults.read(place, read_one, payload, ids, extra) or ()
    faults.check()
    return events


def _lower(value: Any) -> set[str]:
    return {name.lower() for name in value} if isinstance(value, dict) else set()


def _merged(outer: Extra, inner: Extra) -> Extra:
    return Extra({**outer, **inner}) if outer and inner else outer or inner


# --- which race ---


def _race(fields: Fields, outer: _Ids) -> _Ids:
    """The ids of the race that an object is about: its own, or else those around it."""
    own = [name for name in (*RACE, EVENT_ID) if fields.known.get(name) not in (None, "")]
    if not own:
        return outer
    faults, ids = Faults(), dict[str, int]()
    for name in own:
        if name != EVENT_ID:
            ids[name] = faults.read(fields.step(name), values.natural, fields.known[name]) or 0
    if EVENT_ID in own:
        joined = faults.read(fields.step(EVENT_ID), _event_id, fields.known[EVENT_ID]) or {}
        if not faults and any(ids.get(name, number) != number for name, number in joined.items()):
            value = found(fields.known[EVENT_ID])
            faults.append(Fault(fields.step(EVENT_ID), value, "the race that meetingId and eventNumber name"))
        ids = {**joined, **ids}
    if not faults:
        for name, number in ids.items():
            if outer.get(name, number) != number:
                faults.append(Fault(fields.step(name), str(number), f"{outer[name]}, as in the object around it"))
    faults.check()
    return {**outer, **ids}


def _event_id(value: Any) -> _Ids:
    try:
        race = RaceId.parse(values.text(value))
        return dict(zip(RACE, (values.natural(race.meeting_id), values.natural(race.event_number)), strict=True))
    except (ValueError, Unreadable):
        raise values.unreadable(value, 'a race such as "1397808-7"') from None


# --- statuses and results ---


def _flat(cls: type[Any]) -> _Read:
    """Makes the reader of an event that is one object: a status, a result."""
    build = builder(cls)

    def read_one(value: Any, outer: _Ids, extra: Extra) -> tuple[Any, ...]:
        fields, faults = Fields.sort(value, NAMES_OF[cls]), Faults()
        ids = faults.read("", _race, fields, outer)
        # a bad id was told just now, so something readable takes its place; a missing one is told by `build`
        fields.known |= dict.fromkeys(RACE, 0) if ids is None else {name: ids.get(name, MISSING) for name in RACE}
        fields.extra = _merged(extra, faults.read("", extra_of, fields.extra) or NO_EXTRA)
        event = faults.read("", build, fields)
        faults.check()
        return (event,)

    return read_one


# --- prices ---


def _prices(value: Any, outer: _Ids, extra: Extra) -> tuple[Any, ...]:
    """Reads prices: one event for each race, in the order in which they are first named."""
    alone = _alone(_lower(value))
    if alone:
        return _by_race([(alone, *_part(PARTS[alone], value, outer))], extra)
    faults, parts = Faults(), list[tuple[str, _Ids, Any]]()
    fields = Fields.sort(value, NAMES_OF[PriceEvent])
    ids = faults.read("", _race, fields, outer) or {}
    extra = _merged(extra, faults.read("", extra_of, fields.extra) or NO_EXTRA)
    for name, attribute in _LISTS.items():
        items = fields.known.get(name)
        if items is not None:
            read_one = partial(_part, PARTS[attribute], outer=ids)
            parts += [(attribute, *one) for one in faults.read(fields.step(name), each, items, read_one) or ()]
    faults.check()
    return _by_race(parts or [("", ids, None)], extra)


def _by_race(parts: list[tuple[str, _Ids, Any]], extra: Extra) -> tuple[Any, ...]:
    missing = [name for name in RACE if any(name not in ids for _, ids, _ in parts)]
    if missing:
        raise Unreadable(*(Fault(step(name), "nothing", "an integer, here or in each part") for name in missing))
    races: dict[tuple[int, int], dict[str, list[Any]]] = {}
    for attribute, ids, part in parts:
        lists = races.setdefault((ids[RACE[0]], ids[RACE[1]]), {name: [] for name in PARTS})
        if part is not None:
            lists[attribute].append(part)
    events = []
    for (meeting_id, event_number), lists in races.items():
        items: Any = {name: tuple(listed) for name, listed in lists.items()}
        events.append(PriceEvent(meeting_id, event_number, extra=extra, **items))
    return tuple(events)


def _alone(names: set[str]) -> str | None:
    """The list for a part that stands by itself where a price event is expected. `names` are its own, in lower case."""
    if "runnernumber" not in names or names & _LIST_NAMES:
        return None
    for attribute in ("unscratchings", "scratchings"):
        if names & NAMES_OF[PARTS[attribute]].keys() - IDS.keys() - {"runnernumber"}:
            return attribute
    return "price_updates"


def _part(cls: type[Part], value: Any, outer: _Ids) -> tuple[_Ids, Part]:
    """Reads one item of a price event's lists, and the race it is about, as far as that is told."""
    fields, faults = Fields.sort(value, NAMES_OF[cls]), Faults()
    ids = faults.read("", _race, fields, outer) or {}
    if cls is PriceUpdate and fields.known.get("property") in (None, ""):
        number = Faults().read("", values.integer, fields.known.get("propertyId"))
        if number in PROPERTY_IDS:
            fields.known["property"] = PROPERTY_IDS[number].value
    part = faults.read("", _part_builders[cls], fields)
    faults.check()
    return ids, cast("Part", part)


_part_builders = {cls: builder(cls) for cls in PARTS.values()}


def read_part(cls: type[Part], text: str) -> Part:
    """Reads a part by itself, so that it can be remembered.

    Raises:
        Unreadable: also where that is not enough: the part names a race, which is the whole document's business; or it
            has unknown arrays or objects, which whoever gets the part could change.
    """
    ids, part = _part(cls, values.parse(text), {})
    if ids or any(isinstance(value, (dict, list)) for value in part.extra.values()):
        raise values.unreadable(text, "a part that stands for itself")
    return part


_READERS: dict[type[Any], tuple[_Read, set[str]]] = {
    PriceEvent: (_prices, {*_LIST_NAMES, "runnernumber"}),
    RaceStatusEvent: (_flat(RaceStatusEvent), {"status"}),
    RaceResultEvent: (_flat(RaceResultEvent), {"status", "results"}),
}
"""How to read each kind of event; and the fields by which an object is one, and not an envelope around one."""
