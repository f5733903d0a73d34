"""Events and the health of the feed as lines of JSON, for programs. Pure."""

from __future__ import annotations

import json
from typing import Any

from rbhq_stream import Event, HealthChanged, RaceEvent, to_dict
from rbhq_stream._kinds import EVENT_KINDS

_KINDS: dict[type[Event], str] = {kind.event: kind.name.replace(" ", "_") for kind in EVENT_KINDS}


def event_line(event: RaceEvent) -> str:
    """Returns an event with the coordinates of its record.

    The keys are `kind` (`price`, `race_status` or `race_result`), `race`, `time`, `topic`, `partition`, `offset`, and
    `event`, which is what `to_dict` returns. An event without a record has no coordinates.
    """
    line: dict[str, Any] = {"kind": _KINDS[type(event)], "race": str(event.race_id)}  # type: ignore[index]
    if event.record is not None:
        record = event.record
        line["time"] = None if record.timestamp is None else record.timestamp.isoformat()
        line |= {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    return json.dumps({**line, "event": to_dict(event)})


def health_line(signal: HealthChanged) -> str:
    """Returns the health after a change: `kind` is `health`, and the rest what `Health.to_dict` returns."""
    return json.dumps({"kind": "health", **signal.health.to_dict()})
