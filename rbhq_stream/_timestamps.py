"""Converts times since 1970, in milliseconds or microseconds, to and from aware datetimes, exactly."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND, _MICROSECOND = timedelta(milliseconds=1), timedelta(microseconds=1)
_EXACT_AS_FLOAT = 2**52
"""Below this, in the year 2112, a float of seconds is nearest to the right microsecond; it makes a time much faster."""
MAX_MILLISECONDS = 253_402_300_799_999
"""The last millisecond of the year 9999, where the calendar ends. A producer may write any number."""


def to_milliseconds(time: datetime) -> int:
    """Returns the milliseconds since 1970 of an aware time, rounded down."""
    return (time - _EPOCH) // _MILLISECOND


def first_millisecond(time: datetime) -> int:
    """Returns the first millisecond since 1970 that is not before an aware time: it is rounded up."""
    return -((_EPOCH - time) // _MILLISECOND)


def from_milliseconds(milliseconds: int) -> datetime | None:
    """Returns the time in UTC, or `None` if it is before 1970 or a datetime can't represent it."""
    return _EPOCH + milliseconds * _MILLISECOND if 0 <= milliseconds <= MAX_MILLISECONDS else None


def to_micros(time: datetime) -> int:
    """Returns the microseconds since 1970 of an aware time."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Returns the time in UTC."""
    if 0 <= micros < _EXACT_AS_FLOAT:
        return datetime.fromtimestamp(micros / 1e6, timezone.utc)
    return _EPOCH + timedelta(0, 0, micros)


def with_zone(time: datetime | None) -> datetime | None:
    """Returns a time of an event as an aware one: without a zone it is UTC, as on the wire. Only an application can
    construct an event with such a time.
    """
    return time.replace(tzinfo=timezone.utc) if time is not None and time.tzinfo is None else time
