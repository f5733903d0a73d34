"""For an application's own tests: a Kafka broker inside the process, a source in memory, and simulated race days."""

from rbhq_stream.testing._application import Application, HandlesSignals, Resynchronises
from rbhq_stream.testing._broker import EmbeddedBroker
from rbhq_stream.testing._cluster import BrokerClosedError
from rbhq_stream.testing._conformance import (
    Day,
    assert_idempotent,
    assert_survives,
)
from rbhq_stream.testing._memory import MemorySource
from rbhq_stream.testing._memory_record import MemoryRecord
from rbhq_stream.testing._publisher import PublishError
from rbhq_stream.testing._racecard import Code, Meeting, Race, Runner
from rbhq_stream.testing._simulated_race import Happening, TimedEvent
from rbhq_stream.testing._simulator import Simulator
from rbhq_stream.testing._truth import RaceTruth

__all__ = [
    "Application",
    "BrokerClosedError",
    "Code",
    "Day",
    "EmbeddedBroker",
    "HandlesSignals",
    "Happening",
    "Meeting",
    "MemoryRecord",
    "MemorySource",
    "PublishError",
    "Race",
    "RaceTruth",
    "Resynchronises",
    "Runner",
    "Simulator",
    "TimedEvent",
    "assert_idempotent",
    "assert_survives",
]
