"""Converters and validators for the fields of public values. They check types, and convert what can be converted
exactly.

They run in the constructors only. The fast path of `_wire` sets the slots of the events itself and so avoids their
cost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Context, Decimal, InvalidOperation
from enum import Enum
from typing import Any, cast

import attrs

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def shown(value: object) -> str:
    """Returns a value as an error shows it: shortened."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python is willing to write
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


# the thread's own context may not trap a string that is not a number
_STRICT = Context(traps=[InvalidOperation])

# converters
# They don't raise: a value that they can't convert exactly is returned unchanged, and the validator refuses it. The
# validator knows the field's name, and runs when all fields are set, so that a debugger can show the failing instance.


def to_decimal(value: Decimal | int | str) -> Decimal:
    """Converts an integer or a string such as `"4.40"`, without losing a digit."""
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return Decimal(value, _STRICT)
        except InvalidOperation:
            pass
    return cast("Decimal", value)


def to_optional_decimal(value: Decimal | int | str | None) -> Decimal | None:
    """Converts like `to_decimal`, for a field that may be `None`."""
    return None if value is None else to_decimal(value)


def to_utc(value: datetime | None) -> datetime | None:
    """Converts an aware time to UTC."""
    if isinstance(value, datetime) and value.tzinfo is not timezone.utc and value.utcoffset() is not None:
        try:
            return value.astimezone(timezone.utc)
        except OverflowError:  # before the year 1 or after 9999 in UTC
            pass
    return value


# arguments of functions


def aware(name: str, value: datetime) -> datetime:
    """Returns an aware time in UTC.

    Raises:
        TypeError: the value is no `datetime`.
        ValueError: it has no time zone.
    """
    if not isinstance(value, datetime):
        raise TypeError(f"{name}={shown(value)}: expected a datetime, got {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{name}={value!r} has no time zone: pass an aware datetime, such as datetime.now(timezone.utc)"
        )
    return cast("datetime", to_utc(value))


# validators


def optional(check: Check) -> Check:
    """Returns the same check for a field that may be `None`."""

    def checked(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None:
            check(instance, attribute, value)

    return checked


def instance_of(kind: type[Any], expected: str | None = None) -> Check:
    """Returns the check for values of a class. `expected` describes what the class's converter takes."""
    what = expected or f"{'an' if kind.__name__[0] in 'AEIOUaeiou' else 'a'} {kind.__name__}"

    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            raise _wrong_type(attribute, what, value)

    return check


def member_of(kind: type[Enum]) -> Check:
    """Returns the check for members of an enumeration of strings."""
    check_type = instance_of(kind)

    def check(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, str) and not isinstance(value, kind):
            raise ValueError(f"{attribute.alias}={shown(value)}: a {kind.__name__} is not blank")  # noqa: TRY004  # any other is one
        check_type(instance, attribute, value)

    return check


text = instance_of(str)
time = instance_of(datetime)


def integer(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """An integer, which a `bool` is not."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(attribute, "an int", value)


def positive(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An integer of at least 1."""
    integer(_, attribute, value)
    if value < 1:
        raise ValueError(f"{attribute.alias}={shown(value)}: expected 1 or more")


def number(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """A price, a deduction, a factor or an amount of money: exact."""
    if isinstance(value, float):
        raise TypeError(
            f"{attribute.alias}={value!r}: a float can't represent most decimal numbers exactly;"
            f" give Decimal({str(value)!r}) or {str(value)!r}"
        )
    if isinstance(value, str):
        raise ValueError(f'{attribute.alias}={shown(value)}: expected a decimal number, such as "4.40"')  # noqa: TRY004  # a string may hold one
    if not isinstance(value, Decimal):
        raise _wrong_type(attribute, "a Decimal, an int or a string of digits", value)


optional_integer = optional(integer)
optional_number = optional(number)
optional_text = optional(text)
optional_time = optional(time)


def from_to(lowest: float, highest: float) -> Check:
    """Returns the check for a quantity in a range, for which a float is exact enough."""
    expected = f"a number from {lowest:g} to {highest:g}"

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _wrong_type(attribute, expected, value)
        if not lowest <= value <= highest:  # written so that NaN is refused too
            raise ValueError(f"{attribute.alias}={shown(value)}: expected {expected}")

    return check


def each(check: Check) -> Check:
    """Returns the check for a tuple whose items all pass `check`. A list is refused, because it is mutable."""

    def checked(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, tuple):
            raise _wrong_type(attribute, "a tuple", value)
        for item in value:
            check(instance, attribute, item)

    return checked


def _wrong_type(attribute: attrs.Attribute[Any], expected: str, value: object) -> TypeError:
    return TypeError(f"{attribute.alias}={shown(value)}: expected {expected}, got {type(value).__name__}")
