"""Converts the `--since` that a user writes to the `start` of a feed. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
EXPECTED = "a time such as 14:03 or 2026-11-03T14:03+11:00, how long ago such as 90s, 30m, 2h or 1d, earliest, or now"


def parse_since(text: str, now: datetime) -> datetime | Literal["earliest", "latest"]:
    """Returns where to start.

    Args:
        text: A time of day, which means the most recent one; a date and time; how long ago; `earliest` or `now`. A time
            without a time zone is in that of `now`.
        now: The present time, an aware one in the user's time zone.

    Raises:
        ValueError: it is none of these, or later than now.
    """
    start = _parsed(text, now)
    if isinstance(start, datetime) and start > now:
        raise ValueError(f"expected a time up to {now.isoformat(timespec='seconds')}, got {text!r}, which is later")
    return start


def _parsed(text: str, now: datetime) -> datetime | Literal["earliest", "latest"]:
    if text in ("earliest", "now"):
        return "earliest" if text == "earliest" else "latest"
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    clock = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if clock is not None:
            time = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)
            return time if time <= now else time - timedelta(days=1)
        time = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))  # 3.10 does not know the Z
    except (OverflowError, ValueError):
        raise ValueError(f"expected {EXPECTED}, got {text!r}") from None
    return time.replace(tzinfo=now.tzinfo) if time.tzinfo is None else time
