"""Converts Kafka's timestamps, milliseconds since 1970, to and from aware datetimes, exactly and without floats."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_milliseconds(time: datetime) -> int:
    """Returns the milliseconds since 1970 of an aware time, rounded down."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime | None:
    """Returns the time in UTC, or `None` if a datetime can't represent it: a producer may write any number."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds >= 0 else None
    except OverflowError:
        return None
