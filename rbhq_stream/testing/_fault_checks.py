"""Checks the arguments of faults, because a fault that can't happen would make a test pass that shows nothing."""

from __future__ import annotations

import math
from datetime import timedelta

import attrs

from rbhq_stream._config import FeedConfig


def check_share(share: float) -> None:
    """Checks a share of the records.

    Raises:
        ValueError: it is not more than 0, or more than 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r}: expected a number above 0 and up to 1, where 1 is all records")


def check_counts(**counts: int) -> None:
    """Checks how often something happens.

    Raises:
        ValueError: a count is below 1.
    """
    for name, count in counts.items():
        if not count >= 1:
            raise ValueError(f"{name}={count!r}: expected an integer from 1")


def check_seconds(seconds: float, *, may_be_zero: bool = False) -> None:
    """Checks a duration.

    Raises:
        ValueError: it is not a positive, finite number, or 0 if that is allowed.
    """
    if not (0 < seconds < math.inf or (may_be_zero and seconds == 0)):
        raise ValueError(f"seconds={seconds!r}: expected a {'' if may_be_zero else 'positive '}number of seconds")


def check_delay(by: timedelta) -> None:
    """Checks how late something is.

    Raises:
        ValueError: it is not positive.
    """
    if by <= timedelta(0):
        raise ValueError(f"by={by!r}: expected a positive timedelta")


def check_size(size: int) -> None:
    """Checks the size of an oversized record.

    Raises:
        ValueError: a feed would accept it.
    """
    accepted = attrs.fields(FeedConfig).max_record_bytes.default or 0
    if not size > accepted:
        raise ValueError(
            f"size={size!r}: expected a number of bytes above {accepted:,}, up to which a feed reads a record"
        )
