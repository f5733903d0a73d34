"""What is observed of a feed. The poll thread makes a `Progress`, and the health thread adds the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

from attrs import Factory, frozen

from rbhq_stream._health.standstill import Clocks
from rbhq_stream.source import SourceStatus, TopicPartition


class Membership(Enum):
    """What the consumer group has assigned to this process."""

    JOINING = auto()
    """It has assigned nothing yet."""
    MEMBER = auto()
    """It has assigned the listed partitions, perhaps none."""
    EVICTED = auto()
    """It has evicted this process, so nothing is assigned."""


class PartitionProgress(NamedTuple):
    """How far a partition is read and processed."""

    assigned_at: float
    """When it was assigned (monotonic)."""
    read: int | None
    """The offset after the newest record that was read."""
    processed: int | None
    """The offset before which all records are processed."""
    records: int = 0
    """How many records were read, over all assignments to this process."""


class Arrival(NamedTuple):
    """The newest record of a topic."""

    at: float
    """When it arrived (monotonic)."""
    timestamp: datetime | None
    """The record's own time."""
    age: float | None
    """How many seconds before its arrival that was, by this host's clock."""


@frozen
class Progress:
    """What the poll thread knows of the feed at one time."""

    at: float
    """When (monotonic)."""
    membership: Membership = Membership.JOINING
    partitions: Mapping[TopicPartition, PartitionProgress] = Factory(dict)
    source: SourceStatus = SourceStatus()
    arrivals: Mapping[str, Arrival] = Factory(dict)
    uncommitted: int = 0
    evictions: int = 0
    """How often the consumer group has evicted this process."""


@frozen(kw_only=True)
class ScheduleReply:
    """What the application's schedule returned."""

    jumps: tuple[datetime, ...] = ()
    """The scheduled jumps, earliest first."""
    failure: str | None = None
    """Why they are not known."""
    called_at: float | None = None
    """When the call began that has not returned yet (monotonic), if there is one."""


@frozen(kw_only=True)
class Observation:
    """Everything that the health is determined from, at one time."""

    clocks: Clocks
    """When, by this host's clocks."""
    wall: datetime
    """The same by this host's clock or, for a replay, the time in the source."""
    is_open: bool = True
    """Whether the feed has connected."""
    is_closed: bool = False
    failure: BaseException | None = None
    """What ended the feed."""
    progress: Progress | None = None
    schedule: ScheduleReply | None = None
    """`None`: there is no schedule."""
    handler_running: float = 0.0
    waiting_records: int = 0
    waiting_bytes: int = 0
    buffer_fill: float = 0.0
    events: int = 0
    bad_records: int = 0

    @property
    def now(self) -> float:
        """When (monotonic)."""
        return self.clocks.monotonic
