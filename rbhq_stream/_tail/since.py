"""Converts the `--since` that a user writes to the `start` of a feed. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Literal

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
EXPECTED = "a time such as 14:03 or 2026-11-03T14:03+11:00, how long ago such as 90s, 30m, 2h or 1d, earliest, or now"


def parse_since(text: str, now: datetime, zone: tzinfo | None = None) -> datetime | Literal["earliest", "latest"]:
    """Returns where to start.

    Args:
        text: A time of day, which means the most recent one; a date and time; how long ago; `earliest` or `now`.
        now: The present time, an aware one.
        zone: The user's time zone, in which a time without one is. `None`: that of this machine.

    Raises:
        ValueError: it is none of these, or later than now.
    """
    start = _parsed(text, now, zone)
    if isinstance(start, datetime) and start > now:
        latest = now.astimezone(zone).isoformat(timespec="seconds")
        raise ValueError(f"expected a time up to {latest}, got {text!r}, which is later")
    return start


def _parsed(text: str, now: datetime, zone: tzinfo | None) -> datetime | Literal["earliest", "latest"]:
    if text in ("earliest", "now"):
        return "earliest" if text == "earliest" else "latest"
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    clock = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if clock is not None:
            today = now.astimezone(zone).replace(tzinfo=None, microsecond=0)
            time = today.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0))
            start = _localised(time, zone)
            return start if start <= now else _localised(time - timedelta(days=1), zone)
        time = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))  # 3.10 does not know the Z
        return _localised(time, zone) if time.tzinfo is None else time
    except (OverflowError, ValueError):
        raise ValueError(f"expected {EXPECTED}, got {text!r}") from None


def _localised(time: datetime, zone: tzinfo | None) -> datetime:
    """Returns a time without a time zone as an aware one. Its offset is that of its own date, not of today."""
    return time.astimezone() if zone is None else time.replace(tzinfo=zone)
