"""The lenient reader: decodes a document in any format that RBHQ documents or plausibly uses.

RBHQ's reference shows the same data in several casings and envelopes, and leaves gaps. This reader accepts all of these
formats, and reports everything that is wrong with a document that it cannot read. It is the authority on what a
document means; the fast path only returns the same events faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any, cast, get_args

from rbhq_stream._wire import values
from rbhq_stream._wire.faults import MISSING, Faults, Unreadable, found, step
from rbhq_stream._wire.names import EVENT_ID, FIELDS, IDS, NAMES_OF, RACE, Part, by_lower_case
from rbhq_stream._wire.objects import Fields, builder, each, extra_of
from rbhq_stream.errors import Fault
from rbhq_stream.events import (
    NO_EXTRA,
    Extra,
    PriceEvent,
    PriceType,
    PriceUpdate,
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
_LISTS = {field.attribute: field for field in FIELDS[PriceEvent] if field.is_tuple}
_LIST_NAMES = by_lower_case(*(field.name for field in _LISTS.values())).keys()


def read(kind: type[Any], raw: bytes) -> tuple[Any, ...]:
    """Returns all events in a document of any format.

    Raises:
        Unreadable: the document is bad. The error has all faults, with paths that begin at the document.
    """
    document = values.parse(values.text_of(raw))
    if isinstance(document, list):
        return tuple(chain.from_iterable(each(document, partial(_unwrapped, kind))))
    return _unwrapped(kind, document)


def _unwrapped(kind: type[Any], value: Any) -> tuple[Any, ...]:
    """Reads a document that may be in an envelope: if it is, reads the payload and the envelope's other fields."""
    read_one, content = _READERS[kind]
    names = _lower(value)
    if "payload" not in names or names & content:
        return read_one(value, {}, NO_EXTRA)
    envelope, faults = Fields.sort(value, _ENVELOPE), Faults()
    payload, way = envelope.known["payload"], envelope.step("payload")
    for name, item in envelope.extra.items():
        if name.lower() in NAMES_OF[kind]:
            faults.append(Fault(step(name), found(item), "this field in the payload, not around it"))
    ids = faults.read("", _race, envelope, {}) or {}
    extra = faults.read("", extra_of, envelope.extra) or NO_EXTRA
    events: tuple[Any, ...] = ()
    if isinstance(payload, list):
        inside = faults.read(way, each, payload, lambda one: read_one(one, ids, extra))
        events = tuple(chain.from_iterable(inside or ()))
    elif payload is not None and payload != {}:
        events = faults.read(way, read_one, payload, ids, extra) or ()
    faults.check()
    return events


def _lower(value: Any) -> set[str]:
    return {name.lower() for name in value} if isinstance(value, dict) else set()


def _merged(outer: Extra, inner: Extra) -> Extra:
    return Extra({**outer, **inner}) if outer and inner else outer or inner


# which race


def _race(fields: Fields, outer: _Ids) -> _Ids:
    """Returns the ids of the race that an object is about: its own, or else those of the object around it."""
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
    return dict(zip(RACE, values.race_id(value), strict=True))


# statuses and results


def _flat(cls: type[Any]) -> _Read:
    """Returns the reader of an event that is one object: a status or a result."""
    build = builder(cls)

    def read_one(value: Any, outer: _Ids, extra: Extra) -> tuple[Any, ...]:
        fields, faults = Fields.sort(value, NAMES_OF[cls]), Faults()
        ids = faults.read("", _race, fields, outer)
        # a bad id is among the faults by now, so something readable takes its place; `build` finds a missing one
        fields.known |= dict.fromkeys(RACE, 0) if ids is None else {name: ids.get(name, MISSING) for name in RACE}
        fields.extra = _merged(extra, faults.read("", extra_of, fields.extra) or NO_EXTRA)
        event = faults.read("", build, fields)
        faults.check()
        return (event,)

    return read_one


# prices


def _prices(value: Any, outer: _Ids, extra: Extra) -> tuple[Any, ...]:
    """Reads prices: one event for each race, in the order in which the races first appear."""
    alone = _alone(_lower(value))
    if alone:
        return _by_race([(alone, *_part(_LISTS[alone].kind, value, outer))], extra)
    faults, parts = Faults(), list[tuple[str, _Ids, Any]]()
    fields = Fields.sort(value, NAMES_OF[PriceEvent])
    ids = faults.read("", _race, fields, outer) or {}
    extra = _merged(extra, faults.read("", extra_of, fields.extra) or NO_EXTRA)
    for attribute, listed in _LISTS.items():
        items = fields.known.get(listed.name)
        if items is not None:
            read_one = partial(_part, listed.kind, outer=ids)
            parts += [(attribute, *one) for one in faults.read(fields.step(listed.name), each, items, read_one) or ()]
    faults.check()
    return _by_race(parts or [("", ids, None)], extra)


def _by_race(parts: list[tuple[str, _Ids, Any]], extra: Extra) -> tuple[Any, ...]:
    missing = [name for name in RACE if any(name not in ids for _, ids, _ in parts)]
    if missing:
        raise Unreadable(*(Fault(step(name), "nothing", "an integer, here or in each part") for name in missing))
    races: dict[tuple[int, int], dict[str, list[Any]]] = {}
    for attribute, ids, part in parts:
        lists = races.setdefault((ids[RACE[0]], ids[RACE[1]]), {attribute: [] for attribute in _LISTS})
        if part is not None:
            lists[attribute].append(part)
    events = []
    for (meeting_id, event_number), lists in races.items():
        items: Any = {name: tuple(listed) for name, listed in lists.items()}
        events.append(PriceEvent(meeting_id, event_number, extra=extra, **items))
    return tuple(events)


def _alone(names: set[str]) -> str | None:
    """Returns the name of the list for a single part in place of a price event, by the part's lower-case names."""
    if "runnernumber" not in names or names & _LIST_NAMES:
        return None
    for attribute in ("unscratchings", "scratchings"):
        if names & NAMES_OF[_LISTS[attribute].kind].keys() - IDS.keys() - {"runnernumber"}:
            return attribute
    return "price_updates"


def _part(cls: type[Part], value: Any, outer: _Ids) -> tuple[_Ids, Part]:
    """Reads one item of a price event's lists, and the ids of its race if it has them."""
    fields, faults = Fields.sort(value, NAMES_OF[cls]), Faults()
    ids = faults.read("", _race, fields, outer) or {}
    if cls is PriceUpdate and fields.known.get("property") in (None, ""):
        number = Faults().read("", values.integer, fields.known.get("propertyId"))
        if number in PROPERTY_IDS:
            fields.known["property"] = PROPERTY_IDS[number].value
    part = faults.read("", _part_builders[cls], fields)
    faults.check()
    return ids, cast("Part", part)


_part_builders = {cls: builder(cls) for cls in get_args(Part)}


_READERS: dict[type[Any], tuple[_Read, set[str]]] = {
    PriceEvent: (_prices, {*_LIST_NAMES, "runnernumber"}),
    RaceStatusEvent: (_flat(RaceStatusEvent), {"status"}),
    RaceResultEvent: (_flat(RaceResultEvent), {"status", "results"}),
}
"""The reader of each kind of event, and the fields by which an object is one and not an envelope around one."""
