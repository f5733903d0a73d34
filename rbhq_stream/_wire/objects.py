"""One JSON object to one value of a class, and back: RBHQ's names for the fields, and the converters made from them.

The attrs classes say what there is, `WIRE_NAMES` what RBHQ calls it; all that reads or writes is made of these two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from rbhq_stream._wire import values
from rbhq_stream._wire.values import MISSING, Faults, Repeating, Unreadable, step
from rbhq_stream.errors import Fault
from rbhq_stream.events import (
    NO_EXTRA,
    Dividend,
    Extra,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceEvent,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Unscratching,
)

_T = TypeVar("_T")
Part = Union[PriceUpdate, Scratching, Unscratching]

# --- names ---


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


def _wire_names(cls: type[Any], **renamed: str) -> dict[str, str]:
    kept = (a.name for a in attrs.fields(cls) if a.name != "extra")
    return {name: renamed.get(name) or _camel(name) for name in kept}


WIRE_NAMES: dict[type[Any], dict[str, str]] = {
    PriceUpdate: _wire_names(PriceUpdate, price_type="property"),
    Scratching: _wire_names(Scratching),
    Unscratching: _wire_names(Unscratching),
    PriceEvent: _wire_names(PriceEvent),
    RaceStatusEvent: _wire_names(RaceStatusEvent),
    PayoutFactors: {name: f"{name}PayoutFactor" for name in ("win", "place2", "place3", "place4")},
    RunnerResult: _wire_names(RunnerResult),
    PoolDividend: _wire_names(PoolDividend),
    Dividend: _wire_names(Dividend),
    RaceResultEvent: _wire_names(RaceResultEvent),
}
"""For each class, its fields and what RBHQ calls them. Inner classes stand before those that hold them."""
PARTS: dict[str, type[Part]] = {
    "price_updates": PriceUpdate,
    "scratchings": Scratching,
    "unscratchings": Unscratching,
}
"""The lists of a price event, and what is in them."""
RACE = ("meetingId", "eventNumber")
EVENT_ID = "eventId"
"""Both of them in one text. It is on the wire only: the events have `race_id`."""
NATURALS = {"meeting_id", "event_number", "runner_number"}
"""The integers that name something and so can't be negative."""


def by_lower_case(*names: str) -> dict[str, str]:
    return {name.lower(): name for name in names}


IDS = by_lower_case(*RACE, EVENT_ID)
NAMES_OF = {
    cls: by_lower_case(*names.values()) | (IDS if issubclass(cls, (RaceEvent, *PARTS.values())) else {})
    for cls, names in WIRE_NAMES.items()
}
"""For each class RBHQ's names by their lower-case form. Events, and the parts of prices, may also have a race's ids."""


# --- reading ---


@attrs.define
class Fields:
    """A JSON object with its fields sorted: `known` by RBHQ's names, `extra` as they are; `spelled` as they were."""

    known: dict[str, Any]
    spelled: dict[str, str]
    extra: Mapping[str, Any]

    @classmethod
    def sort(cls, value: Any, names: Mapping[str, str]) -> Fields:
        """`names`: RBHQ's names by their lower-case form."""
        if not isinstance(value, dict):
            raise values.unreadable(value, "an object")
        if isinstance(value, Repeating):
            raise values.twice(value)
        known: dict[str, Any] = {}
        spelled: dict[str, str] = {}
        extra: dict[str, Any] = {}
        for name, item in value.items():
            plain = names.get(name.lower())
            if plain is None:
                extra[name] = item
            elif plain in known:
                raise Unreadable(Fault(step(name), f"{plain} in two spellings", "each field once"))
            else:
                known[plain] = item
                spelled[plain] = name
        return cls(known, spelled, extra)

    def step(self, name: str) -> str:
        """One step of a path, with the name as the document spells it."""
        return step(self.spelled.get(name, name))


def each(value: Any, read: Callable[[Any], _T]) -> tuple[_T, ...]:
    """Reads the items of an array."""
    if not isinstance(value, list):
        raise values.unreadable(value, "an array")
    faults, items = Faults(), []
    for index, item in enumerate(value):
        items.append(faults.read(f"[{index}]", read, item))
        if faults.enough:
            break
    faults.check()
    return cast("tuple[_T, ...]", tuple(items))


def extra_of(fields: Mapping[str, Any]) -> Extra:
    if not fields:
        return NO_EXTRA
    return fields if isinstance(fields, Extra) else Extra(values.kept(fields))


def builder(cls: type[_T]) -> Callable[[Fields], _T]:
    """Makes the function that builds a `cls` from the fields of an object, and tells all that is wrong with them."""
    names = WIRE_NAMES[cls]
    required = [names[a.name] for a in attrs.fields(cast("Any", cls)) if a.name in names and a.default is attrs.NOTHING]
    hooks = {name: override(rename=wire_name) for name, wire_name in names.items()}
    for name in NATURALS & names.keys():
        hooks[name] = override(rename=names[name], struct_hook=_hook(values.natural))
    if cls is PriceUpdate:
        hooks["price"] = override(struct_hook=_hook(values.price))
    if cls is PoolDividend:
        hooks["selections"] = override(struct_hook=_hook(lambda value: each(value, values.natural)))
    structure = make_dict_structure_fn(cls, _reading, _cattrs_detailed_validation=True, **cast("Any", hooks))

    def build(fields: Fields) -> _T:
        known: dict[str, Any] = dict.fromkeys(required, MISSING)
        for name, value in fields.known.items():
            if value is not None or name in known:
                known[name] = value
        known["extra"] = fields.extra
        try:
            return structure(known, cls)
        except ClassValidationError as group:
            faults = Faults()
            for error, note in group.group_exceptions()[0]:
                if not isinstance(error, Unreadable):
                    raise error from None
                faults += error.under("" if note.name == "extra" else fields.step(names[note.name]))
            raise Unreadable(*faults) from None

    return build


def _hook(read: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _: read(value)


def _array_hook(kind: Any) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[0]
    return _hook(lambda value: each(value, lambda one: _reading.structure(one, item)))


def _object_hook(cls: type[Any]) -> Callable[[Any, Any], Any]:
    build = builder(cls)
    return _hook(lambda value: build(Fields.sort(value, NAMES_OF[cls])))


_reading = Converter(detailed_validation=True)
_reading.register_structure_hook(int, _hook(values.integer))
_reading.register_structure_hook(Decimal, _hook(values.decimal))
_reading.register_structure_hook(str, _hook(values.text))
_reading.register_structure_hook(datetime, _hook(values.time))
_reading.register_structure_hook(PriceType, _hook(values.price_type))
_reading.register_structure_hook(RaceStatus, _hook(values.race_status))
_reading.register_structure_hook(Extra, _hook(extra_of))
_reading.register_structure_hook_factory(lambda kind: get_origin(cast("Any", kind)) is tuple, _array_hook)
for _cls in (PayoutFactors, RunnerResult, PoolDividend, Dividend):
    _reading.register_structure_hook(_cls, _object_hook(_cls))


# --- writing ---

_WITH_EVENT_ID = (PriceEvent, RaceResultEvent)
_NULLS = {"price", "outcomeName"}
"""What RBHQ writes as null when there is none. Other fields are left out."""


def write(value: Any) -> dict[str, Any]:
    """The JSON object for an event.

    Raises:
        ValueError: it can't be written.
    """
    return cast("dict[str, Any]", _writing.unstructure(value))


def _writer(cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    """Makes the function that turns a `cls` into a JSON object, its `extra` fields among the others again."""
    hooks = {name: override(rename=wire_name) for name, wire_name in WIRE_NAMES[cls].items()}
    hooks["extra"] = override(omit=True)
    if cls is PriceUpdate:
        hooks["price"] = override(unstruct_hook=lambda price: None if price is None else str(_finite(price)))
    fields_of = make_dict_unstructure_fn(cls, _writing, **cast("Any", hooks))

    def to_object(value: Any) -> dict[str, Any]:
        fields = {name: item for name, item in fields_of(value).items() if item not in (None, {}) or name in _NULLS}
        if cls in _WITH_EVENT_ID:
            fields = {**dict.fromkeys(RACE), EVENT_ID: str(value.race_id), **fields}
        for name in value.extra:
            if name.lower() in NAMES_OF[cls]:
                raise ValueError(f"extra has {name!r}, but {cls.__name__} has a field for that")
        return {**fields, **value.extra}

    return to_object


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise ValueError(f"{value} can't be written in JSON")
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; RBHQ's times are in UTC")
    return value.astimezone(timezone.utc)


_writing = Converter()
_writing.register_unstructure_hook(Decimal, _finite)
_writing.register_unstructure_hook(datetime, _in_utc)
for _cls in WIRE_NAMES:
    _writing.register_unstructure_hook(_cls, _writer(_cls))
