"""The table of event kinds and signals: what there is to read, to decode, to publish and to register handlers for.

A new kind of event is a class in `events`, a row here, a field of `Topics` and a reader in `_wire`; a new signal is a
class in `signals` and an entry here. `tests/test_kinds.py` fails if one of these is forgotten.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from rbhq_stream.events import (
    Event,
    PriceEvent,
    PriceUpdate,
    RaceResultEvent,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Unscratching,
)
from rbhq_stream.signals import (
    HealthChanged,
    PartitionsAssigned,
    PartitionsLost,
    PartitionsRevoked,
    RecordingFailed,
    Signal,
)


@frozen
class EventKind:
    """One kind of event."""

    event: type[Event]
    topic: str
    """The field of `Topics` that names its topic."""
    name: str
    """What people call one of them."""
    parts: tuple[tuple[type[Any], str], ...] = ()
    """The parts that handlers can be registered for, and the attribute of each. Handlers are called in this order."""


EVENT_KINDS = (
    EventKind(
        PriceEvent,
        "prices",
        "price",
        # scratchings first: a handler that reprices the race must already know which runners are scratched
        ((Scratching, "scratchings"), (Unscratching, "unscratchings"), (PriceUpdate, "price_updates")),
    ),
    EventKind(RaceStatusEvent, "race_status", "race status"),
    EventKind(RaceResultEvent, "race_results", "race result", ((RunnerResult, "results"),)),
)

SIGNALS: tuple[type[Signal], ...] = (
    HealthChanged,
    PartitionsAssigned,
    PartitionsLost,
    PartitionsRevoked,
    RecordingFailed,
)
