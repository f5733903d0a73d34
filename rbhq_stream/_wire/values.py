"""Single JSON values: text to JSON without losing a digit, and JSON values to numbers, prices, times and names.

Each function here decides one question of meaning (is `3.0` an integer? is `""` a price?) for both readers, the fast
and the patient one, so that they can't disagree. What can't be read is `Unreadable`; nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import attrs
import msgspec

from rbhq_stream.errors import Fault
from rbhq_stream.events import PriceType, RaceStatus

_R = TypeVar("_R")
_T = TypeVar("_T", PriceType, RaceStatus)

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
MOST_DIGITS = 100
"""A longer number, written out in full, is refused: `1e999999999` is eleven bytes, but fills a machine's memory."""
MOST_FAULTS = 1_000
"""Reading stops after so many: megabytes of nonsense need no novel."""
DEEPEST = 64
"""Fields we don't know may be nested this deep: far beyond any sense, far below Python's recursion limit."""

MISSING = object()
"""Stands for a required field that the document doesn't have."""


class Unreadable(Exception):  # noqa: N818 - a verdict on a value, told to the user as DecodeError
    """What is wrong with a value. The faults' paths are relative to it: whoever holds the value adds the way there."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def under(self, step: str) -> list[Fault]:
        return [attrs.evolve(fault, path=step + fault.path) for fault in self.faults]


class Faults(list[Fault]):
    """Collects what is wrong, so that reading can go on: all faults of a document shall be told, not the first."""

    def read(self, place: str, read: Callable[..., _R], *args: Any) -> _R | None:
        """Reads a value that stands at `place`; `None` if it can't be read."""
        try:
            return read(*args)
        except Unreadable as bad:
            self.extend(bad.under(place))
            return None

    @property
    def enough(self) -> bool:
        return len(self) >= MOST_FAULTS

    def check(self) -> None:
        if self:
            raise Unreadable(*self)


def unreadable(value: Any, expected: str) -> Unreadable:
    return Unreadable(Fault("", found(value), expected))


class NotANumber(str):
    """`NaN`, `Infinity` or `-Infinity`, which Python's JSON parser takes although JSON has no such thing."""

    __slots__ = ()


class Repeating(dict[str, Any]):
    """A JSON object that has a field twice; `name` is that field. Which of the two is meant can't be known."""

    name: str


def parse(text: str) -> Any:
    """The JSON value; numbers with a fraction or an exponent, or too long for 64 bits, as exact `Decimal`s."""
    if not text or text.isspace():
        raise Unreadable(Fault("", "nothing", "a JSON document"))
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        around = text[max(0, error.pos - 20) : error.pos + 40]
        raise Unreadable(Fault("", found(around), f"JSON ({error.msg}, at character {error.pos})")) from None
    except RecursionError:
        raise Unreadable(Fault("", found(text[:60]), f"JSON nested at most {DEEPEST} levels deep")) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    repeating = Repeating()
    for name, value in pairs:
        if name in repeating:
            repeating.name = name
        repeating[name] = value
    return repeating


def _exact(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():  # the exponent is beyond even Decimal; or the caller's context doesn't trap that
        raise unreadable(text, "a number that can be represented")
    return number


def _whole(text: str) -> int | Decimal:
    return int(text) if len(text) <= 20 else _exact(text)  # 20: -9223372036854775808


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_float=_exact, parse_int=_whole, parse_constant=NotANumber)


def found(value: Any) -> str:
    """A value as an error tells it: short, on one line, printable ASCII."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, dict):
        return f"an object with {len(value)} field{'' if len(value) == 1 else 's'}"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, (Decimal, NotANumber)):
        return shortened(str(value))
    if isinstance(value, str) and len(value) > 60:
        return shortened(json.dumps(value[:60])[:-1] + "...")
    return shortened(json.dumps(value))


def shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def integer(value: Any, lowest: int = INT64_MIN, expected: str = "an integer of at most 64 bits") -> int:
    """A number without a fraction (`3`, `3.0`), or its digits as a string (`"3"`)."""
    if type(value) is int:
        number = value
    elif (type(value) is str and _DIGITS.fullmatch(value)) or (
        type(value) is Decimal and value.adjusted() < 19 and value == value.to_integral_value()
    ):
        number = int(value)
    else:
        raise unreadable(value, expected)
    if not lowest <= number <= INT64_MAX:
        raise unreadable(value, expected)
    return number


_DIGITS = re.compile(r"-?[0-9]{1,19}")


def natural(value: Any) -> int:
    """An integer that names something: a meeting, a race, a runner."""
    return integer(value, 0, f"an integer from 0 to {INT64_MAX}")


def decimal(value: Any, expected: str = "a decimal number") -> Decimal:
    """A number, or a string that holds one; exactly."""
    if type(value) is str and len(value) <= MOST_DIGITS and _PLAIN_NUMBER.fullmatch(value):
        return _exact(value)  # as nearly always
    if type(value) is Decimal:
        number = value
    elif type(value) is int or (type(value) is str and len(value) <= 2 * MOST_DIGITS and _NUMBER.fullmatch(value)):
        number = _exact(str(value))
    else:
        raise unreadable(value, expected)
    _, digits, exponent = number.as_tuple()
    if max(len(digits), number.adjusted() + 1, -int(exponent)) > MOST_DIGITS:
        raise unreadable(value, f"{expected} of at most {MOST_DIGITS} digits")
    return number


_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def price(value: Any) -> Decimal | None:
    """Decimal odds; `None`, "no price is offered", for null, an empty string and any number below 1."""
    if value is None or value == "" or value is MISSING:
        return None
    odds = decimal(value, 'a price such as "4.40"')
    return odds if odds >= 1 else None


def text(value: Any) -> str:
    if type(value) is not str:
        raise unreadable(value, "a text")
    _encodable(value)
    return value


def _encodable(value: str) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise unreadable(value, "a text without half a surrogate pair") from None


def time(value: Any) -> datetime:
    """An RFC 3339 time, in UTC. Without a zone it is taken as UTC; beyond microseconds it is rounded (half up)."""
    if type(value) is str:
        try:
            return utc(msgspec.convert(value, datetime))
        except (msgspec.MsgspecError, ValueError, OverflowError):
            pass
    raise unreadable(value, 'a time such as "2022-11-27T20:25:30.44Z"')


def utc(moment: datetime) -> datetime:
    if moment.tzinfo is timezone.utc:
        return moment
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc)


def price_type(value: Any) -> PriceType:
    return _member(PriceType, _PRICE_TYPES, value, 'a property such as "ep"')


def race_status(value: Any) -> RaceStatus:
    return _member(RaceStatus, _STATUSES, value, 'a status such as "OPEN"')


def _member(kind: type[_T], known: Mapping[str, _T], value: Any, expected: str) -> _T:
    if type(value) is not str or not value or value.isspace():
        raise unreadable(value, expected)
    _encodable(value)
    return known.get(value.lower()) or kind(value)


_PRICE_TYPES = {member.value.lower(): member for member in PriceType}
_STATUSES = {member.value.lower(): member for member in RaceStatus}


def kept(value: Any, depth: int = 0) -> Any:
    """Looks through a value that no class knows, and returns it: only what `encode` can write again may be kept."""
    if depth > DEEPEST:
        raise unreadable(value, f"JSON nested at most {DEEPEST} levels deep")
    if isinstance(value, Repeating):
        raise twice(value)
    if isinstance(value, NotANumber):
        raise unreadable(value, "a number")
    if isinstance(value, str):
        _encodable(value)
    elif isinstance(value, (dict, list)):
        faults = Faults()
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str) and not name.isascii():
                faults.read(step(name), _encodable, name)
            if isinstance(item, (str, dict, list)):
                faults.read(step(name) if isinstance(name, str) else f"[{name}]", kept, item, depth + 1)
            if faults.enough:
                break
        faults.check()
    return value


def twice(value: Repeating) -> Unreadable:
    return Unreadable(Fault(step(value.name), "the field twice", "each field once"))


def step(name: str) -> str:
    """One step of a path into an object: `.scratchTime`, or `["odd name"]`."""
    return f".{name}" if _PLAIN_NAME.fullmatch(name) else f"[{found(name)}]"


_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
