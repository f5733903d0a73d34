"""The table of RBHQ's names: for each class its fields, their names in RBHQ's JSON, and what each of them holds.

All readers and writers of JSON are made from the attrs classes and this table.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from rbhq_stream.events import (
    Dividend,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceUpdate,
    RaceEvent,
    RaceResultEvent,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Unscratching,
)

Part = Union[PriceUpdate, Scratching, Unscratching]
"""The classes of the items in the lists of a price event."""


@frozen
class WireField:
    """A field of a class, as it is on the wire."""

    attribute: str
    name: str
    """RBHQ's name for it."""
    kind: type[Any]
    """The kind of its value or, if it is a tuple, of each item."""
    is_tuple: bool
    is_required: bool

    @property
    def names_something(self) -> bool:
        """Whether it is the number of a meeting, a race or a runner: an integer that cannot be negative."""
        return self.attribute in {"meeting_id", "event_number", "runner_number", "selections"}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


def _fields(cls: type[Any], **renamed: str) -> tuple[WireField, ...]:
    hints = get_type_hints(cls)
    return tuple(
        WireField(a.name, renamed.get(a.name) or _camel(a.name), *_kind(hints[a.name]), a.default is attrs.NOTHING)
        for a in attrs.fields(cls)
        if a.name != "extra"
    )


def _kind(hint: Any) -> tuple[type[Any], bool]:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    is_tuple = get_origin(hint) is tuple
    return (get_args(hint)[0] if is_tuple else hint), is_tuple


FIELDS: dict[type[Any], tuple[WireField, ...]] = {
    PriceUpdate: _fields(PriceUpdate, price_type="property"),
    Scratching: _fields(Scratching),
    Unscratching: _fields(Unscratching),
    PriceEvent: _fields(PriceEvent),
    RaceStatusEvent: _fields(RaceStatusEvent),
    PayoutFactors: _fields(PayoutFactors, **{a.name: f"{a.name}PayoutFactor" for a in attrs.fields(PayoutFactors)}),
    RunnerResult: _fields(RunnerResult),
    PoolDividend: _fields(PoolDividend),
    Dividend: _fields(Dividend),
    RaceResultEvent: _fields(RaceResultEvent),
}
"""The fields of each class. A class comes after the classes of its fields."""

RACE = ("meetingId", "eventNumber")
EVENT_ID = "eventId"
"""Both ids in one string. This field exists on the wire only: the events have `race_id`."""


def by_lower_case(*names: str) -> dict[str, str]:
    return {name.lower(): name for name in names}


IDS = by_lower_case(*RACE, EVENT_ID)
NAMES_OF = {
    cls: by_lower_case(*(field.name for field in fields))
    | (IDS if issubclass(cls, (RaceEvent, *get_args(Part))) else {})
    for cls, fields in FIELDS.items()
}
"""For each class RBHQ's names by their lower-case form. Events, and the parts of prices, may also have a race's ids."""
