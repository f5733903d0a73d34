"""Parses JSON without losing a digit, and converts single JSON values to numbers, prices, times and names.

Each function here decides one question of meaning (is `3.0` an integer? is `""` a price?) for the lenient reader, the
fast path and `encode`, so that they cannot disagree. A value that cannot be read raises `Unreadable`; nothing is
guessed.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from rbhq_stream._wire.faults import Faults, NotANumber, Unreadable, found, shortened, step, unreadable
from rbhq_stream.errors import Fault
from rbhq_stream.events import PriceType, RaceId, RaceStatus

_M = TypeVar("_M", PriceType, RaceStatus)

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
MAX_DIGITS = 100
"""The maximum number of digits of a number written in full. `1e999999999` is short, but would fill the memory."""
MAX_DEPTH = 64
"""How deep unknown fields may be nested: far deeper than any use, and far below Python's recursion limit."""

# text to JSON


def text_of(raw: bytes) -> str:
    """Decodes UTF-8, with or without a byte-order mark."""
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        around = repr(raw[max(0, error.start - 10) : error.start + 10])
        raise Unreadable(Fault("", shortened(around), f"UTF-8 (byte {error.start} is not)")) from None


def parse(text: str) -> Any:
    """Parses JSON. Numbers with a fraction or an exponent, or too long for 64 bits, become exact `Decimal`s.

    If an object has a field twice, the last one counts, as in every common JSON parser.
    """
    if not text or text.isspace():
        raise Unreadable(Fault("", "nothing", "a JSON document"))
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        around = text[max(0, error.pos - 20) : error.pos + 40]
        raise Unreadable(Fault("", found(around), f"JSON ({error.msg}, at character {error.pos})")) from None
    except RecursionError:
        raise Unreadable(Fault("", found(text[:60]), f"JSON nested at most {MAX_DEPTH} levels deep")) from None


def _exact(text: str) -> Decimal | NotANumber:
    try:
        number = Decimal(text)
    except InvalidOperation:  # the exponent is too large even for Decimal
        return NotANumber(text)
    return number if number.is_finite() else NotANumber(text)  # the same, if the thread's context does not trap it


def _integer(text: str) -> int | Decimal | NotANumber:
    return int(text) if len(text) <= 20 else _exact(text)  # 20: -9223372036854775808


_JSON = json.JSONDecoder(parse_float=_exact, parse_int=_integer, parse_constant=NotANumber)

# numbers


def integer(value: object, lowest: int = INT64_MIN, expected: str = "an integer of at most 64 bits") -> int:
    """Reads a number without a fraction (`3`, `3.0`), or its digits as a string (`"3"`)."""
    if type(value) is int:
        number = value
    elif (type(value) is str and _DIGITS.fullmatch(value)) or (
        # the exponent first: int() of 1e999999999 would fill the memory
        type(value) is Decimal and value.is_finite() and value.adjusted() < 19 and value == value.to_integral_value()
    ):
        number = int(value)
    else:
        raise unreadable(value, expected)
    if not lowest <= number <= INT64_MAX:
        raise unreadable(value, expected)
    return number


_DIGITS = re.compile(r"-?[0-9]{1,19}")


def natural(value: object) -> int:
    """Reads an integer that names something: a meeting, a race, a runner."""
    return integer(value, 0, f"an integer from 0 to {INT64_MAX}")


def decimal(value: object, expected: str = "a decimal number") -> Decimal:
    """Reads a number, or a string that holds one; exactly."""
    if type(value) is str and len(value) <= MAX_DIGITS and _PLAIN_NUMBER.fullmatch(value):
        return Decimal(value)  # as nearly always
    if type(value) is Decimal:
        number: Decimal | NotANumber = value
    elif type(value) is int or (type(value) is str and len(value) <= 2 * MAX_DIGITS and _NUMBER.fullmatch(value)):
        number = _exact(str(value))
    else:
        raise unreadable(value, expected)
    if isinstance(number, NotANumber) or not number.is_finite():
        raise unreadable(value, expected)
    _, digits, exponent = number.as_tuple()
    if max(len(digits), number.adjusted() + 1, -int(exponent)) > MAX_DIGITS:
        raise unreadable(value, f"{expected} of at most {MAX_DIGITS} digits")
    return number


_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def price(value: object) -> Decimal | None:
    """Reads decimal odds; `None`, "no price is offered", for null, an empty string and any number below 1."""
    if value is None or value == "":
        return None
    odds = decimal(value, 'a price such as "4.40"')
    return odds if odds >= 1 else None


# strings


def text(value: object) -> str:
    """Reads a string that UTF-8 can write again."""
    if type(value) is not str:
        raise unreadable(value, "a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise unreadable(value, "a string without half a surrogate pair") from None
    return value


def time(value: object) -> datetime:
    """Reads an RFC 3339 time as UTC, which is also assumed if it has no zone. It is rounded half up to microseconds."""
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


def price_type(value: object) -> PriceType:
    return _member(PriceType, value, 'a property such as "ep"')


def race_status(value: object) -> RaceStatus:
    return _member(RaceStatus, value, 'a status such as "OPEN"')


def _member(kind: type[_M], value: object, expected: str) -> _M:
    if type(value) is not str:
        raise unreadable(value, expected)
    try:
        return kind(text(value))
    except ValueError:  # blank
        raise unreadable(value, expected) from None


def race_id(value: object) -> RaceId:
    """Reads both numbers of a race in one string."""
    try:
        race = RaceId.parse(text(value))
        for number in race:
            natural(number)
    except (ValueError, Unreadable):
        raise unreadable(value, 'a race such as "1397808-7"') from None
    return race


# unknown fields


def kept(value: object, depth: int = 0) -> Any:
    """Checks a value of an unknown field, and returns it. It may be kept only if it can be written again."""
    if depth > MAX_DEPTH:
        raise unreadable(value, f"JSON nested at most {MAX_DEPTH} levels deep")
    if isinstance(value, (dict, list)):
        faults = Faults()
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            try:
                if isinstance(value, dict):
                    text(name)
                kept(item, depth + 1)
            except Unreadable as bad:
                faults.add(step(str(name)) if isinstance(value, dict) else f"[{name}]", bad)
        faults.check()
    elif isinstance(value, NotANumber) or (isinstance(value, Decimal) and not value.is_finite()):
        raise unreadable(value, "a number")
    elif isinstance(value, str):
        text(str(value))
    elif not (value is None or isinstance(value, (bool, int, Decimal))):
        raise unreadable(value, "a JSON value, with a Decimal for a number that is not an integer")
    return value
