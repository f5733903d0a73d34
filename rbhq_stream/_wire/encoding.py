"""`encode`: an event to the document that RBHQ would write.

Each value is checked with the functions that read it from JSON, so nothing is written that `decode` would refuse or
read as something else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, get_args

import msgspec

from rbhq_stream._wire import values
from rbhq_stream._wire.faults import Faults, Unreadable, step, unreadable
from rbhq_stream._wire.names import EVENT_ID, FIELDS, NAMES_OF, RACE, WireField
from rbhq_stream._wire.objects import each, extra_of, scalar_reader
from rbhq_stream.errors import Fault
from rbhq_stream.events import Event, PriceEvent, RaceResultEvent

Write = Callable[[Any], Any]

_NULLS = {"price", "outcomeName"}
"""What RBHQ writes as null when there is none. Other fields are left out."""

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(event: Event) -> bytes:
    """Encodes an event as RBHQ would write it: compact UTF-8; numbers and prices keep their digits, times are in UTC.

    For every event that it encodes, `decode(type(event), encode(event)) == (event,)`.

    Args:
        event: The event. Its Kafka record is not written.

    Returns:
        One JSON document.

    Raises:
        ValueError: the event has a value that cannot be written, or would be read as something else: a number that is
            not finite, is out of range or has more than 100 digits, a price below 1, a time without a zone, half a
            surrogate pair; in `extra`, a name that the class has a field for, a `float` (give a `Decimal`), or
            anything else that JSON does not have. The text lists all such values with their paths.
        TypeError: it is not an event.
    """
    for kind, write in _EVENT_WRITERS.items():
        if isinstance(event, kind):
            try:
                return _encoder.encode(write(event))
            except Unreadable as bad:
                found = "; ".join(map(str, bad.under("$")))
                raise ValueError(f"this {kind.__name__} can't be written: {found}") from None
    expected = ", ".join(kind.__name__ for kind in _EVENT_WRITERS)
    raise TypeError(f"encode({event!r}): expected one of {expected}")


def _object_writer(cls: type[Any]) -> Write:
    """Returns the function that converts a `cls` to a JSON object, which has the `extra` fields among the others."""
    writers = [(field, _writer(field)) for field in FIELDS[cls]]
    taken, has_event_id = NAMES_OF[cls], cls in (PriceEvent, RaceResultEvent)

    def write(value: Any) -> dict[str, Any]:
        faults, written = Faults(), dict[str, Any]()
        for field, write_one in writers:
            item = getattr(value, field.attribute)
            if item is not None:
                written[field.name] = faults.read(step(field.name), write_one, item)
            elif field.name in _NULLS:
                written[field.name] = None
            if has_event_id and field.name == RACE[-1]:
                written[EVENT_ID] = str(value.race_id)
        if written.get("payoutFactors") == {}:
            del written["payoutFactors"]
        for name in value.extra:
            if name.lower() in taken:
                faults.append(Fault(step(name), "a name in extra", f"none that {cls.__name__} has a field for"))
        written |= faults.read("", extra_of, dict(value.extra)) or {}
        faults.check()
        return written

    return write


def _writer(field: WireField) -> Write:
    write = _scalar_writer(field) or _object_writer(field.kind)
    return (lambda items: each(list(items), write)) if field.is_tuple else write


def _scalar_writer(field: WireField) -> Write | None:
    read = scalar_reader(field)
    if read is None:
        return None
    if field.kind is datetime:
        return _time
    if issubclass(field.kind, Enum):
        return lambda member: read(member.value).value
    if field.name == "price":
        return lambda odds: str(_price(odds))
    plain: Callable[[Any], Any] = _PLAIN[field.kind]
    return lambda value: read(plain(value))


_PLAIN: dict[type[Any], Callable[[Any], Any]] = {int: int, Decimal: Decimal, str: str.__str__}
"""Of an `IntEnum` and the like only the value is written."""


def _price(odds: Decimal) -> Decimal:
    if values.price(odds) is None:
        raise unreadable(odds, "a price of 1 or more; None for no price")
    return odds


def _time(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise unreadable(moment, "a time with its time zone")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise unreadable(moment, "a time from year 1 to year 9999 in UTC") from None


_EVENT_WRITERS: dict[type[Event], Write] = {kind: _object_writer(kind) for kind in get_args(Event)}
