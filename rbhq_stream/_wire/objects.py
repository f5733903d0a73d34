"""Converts one JSON object to one value of a class, and collects everything that is wrong in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from attrs import define

from rbhq_stream._wire import values
from rbhq_stream._wire.faults import MISSING, Faults, Unreadable, step, unreadable
from rbhq_stream._wire.names import FIELDS, NAMES_OF, WireField
from rbhq_stream.errors import Fault
from rbhq_stream.events import NO_EXTRA, Extra, PriceType, RaceStatus

_T = TypeVar("_T")
Read = Callable[[Any], Any]

_READERS: dict[type[Any], Read] = {
    int: values.integer,
    Decimal: values.decimal,
    str: values.text,
    datetime: values.time,
    PriceType: values.price_type,
    RaceStatus: values.race_status,
}


def scalar_reader(field: WireField) -> Read | None:
    """Returns the function of `values` that reads the field; `None` if the field holds objects."""
    if field.names_something:
        return values.natural
    return values.price if field.name == "price" else _READERS.get(field.kind)


@define
class Fields:
    """The fields of a JSON object: `known` by RBHQ's names, `extra` unchanged, and the original names in `spelled`."""

    known: dict[str, Any]
    spelled: dict[str, str]
    extra: Mapping[str, Any]

    @classmethod
    def sort(cls, value: object, names: Mapping[str, str]) -> Fields:
        """Sorts the fields of an object by `names`: RBHQ's names by their lower-case form."""
        if not isinstance(value, dict):
            raise unreadable(value, "an object")
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
        """Returns one step of a path, with the name as the document spells it."""
        return step(self.spelled.get(name, name))


def each(value: object, read: Callable[[Any], _T]) -> tuple[_T, ...]:
    """Reads the items of an array."""
    if not isinstance(value, list):
        raise unreadable(value, "an array")
    faults, items = Faults(), list[_T]()
    for index, item in enumerate(value):
        try:
            items.append(read(item))
        except Unreadable as bad:
            faults.add(f"[{index}]", bad)
    faults.check()
    return tuple(items)


def extra_of(fields: Mapping[str, Any]) -> Extra:
    """Checks the unknown fields, and returns them."""
    if not fields:
        return NO_EXTRA
    return fields if isinstance(fields, Extra) else Extra(values.kept(fields))


def builder(cls: type[Any]) -> Callable[[Fields], Any]:
    """Returns the function that builds a `cls` from the fields of an object. It raises one error with all faults."""
    readers = [(field, _reader(field)) for field in FIELDS[cls]]

    def build(fields: Fields) -> Any:
        faults, arguments = Faults(), dict[str, Any]()
        for field, read in readers:
            value = fields.known.get(field.name, MISSING)
            if field.is_required or not (value is None or value is MISSING):
                try:
                    arguments[field.attribute] = read(value)
                except Unreadable as bad:
                    faults.add(fields.step(field.name), bad)
        extra = faults.read("", extra_of, fields.extra)
        faults.check()
        return cls(**arguments, extra=extra)

    return build


def _reader(field: WireField) -> Read:
    read = scalar_reader(field) or _object_reader(field.kind)
    return (lambda value: each(value, read)) if field.is_tuple else read


def _object_reader(cls: type[Any]) -> Read:
    build, names = builder(cls), NAMES_OF[cls]
    return lambda value: build(Fields.sort(value, names))
