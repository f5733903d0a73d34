"""The line that is logged when the health of a feed changes. Pure."""

from __future__ import annotations

import logging

from rbhq_stream.health import HealthReason, HealthState
from rbhq_stream.signals import HealthChanged

_ENDED = (HealthReason.CREDENTIALS_REFUSED, HealthReason.DATA_LOST, HealthReason.FAILED)
_EXPECTED = (HealthState.CONNECTING, HealthState.CATCHING_UP, HealthState.LIVE, HealthState.CLOSED)


def log_level(changed: HealthChanged) -> int:
    """Returns the level of the line.

    Returns:
        ERROR when the feed has ended with an error, because only a new feed can help; WARNING when the feed is no
        longer live, or something is wrong; INFO for a start, each step of a recovery, and a normal end.
    """
    health = changed.health
    if health.reason in _ENDED:
        return logging.ERROR
    is_orderly = health.state in _EXPECTED and (not changed.previous.ok or health.state is HealthState.CLOSED)
    return logging.INFO if is_orderly else logging.WARNING


def log_line(feed: str, changed: HealthChanged) -> str:
    """Returns the text of the line.

    Args:
        feed: the name of the feed, such as "feed of group 'pricing'".
        changed: what has changed.
    """
    health, previous = changed.health, changed.previous
    lasted = max(0.0, (health.since - previous.since).total_seconds())
    text = f"the {feed} is {health.state.value} ({health.reason.value}): {health.detail}"
    text += f"; it was {previous.state.value} ({previous.reason.value}) for {_duration(lasted)}"
    if changed.gap is not None:
        gap = changed.gap
        records = sum(gap.records.values())
        text += f", and not live for {_duration((gap.ended - gap.began).total_seconds())}: {records} records since"
    if not health.ok and health.state is not HealthState.CLOSED:
        text += f"; this ends when {health.clears_when}"
    return text


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
