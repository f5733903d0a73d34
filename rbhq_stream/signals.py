"""Signals: what the feed reports about itself, delivered to handlers in order with the events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from rbhq_stream.health import Gap, Health
from rbhq_stream.source import TopicPartition


@frozen(kw_only=True)
class Signal:
    """What the feed reports about itself. Handlers registered with `on` are called however the feed is read."""

    at: datetime
    """When the feed detected it (UTC)."""


@frozen(kw_only=True)
class PartitionsLost(Signal):
    """This process was evicted from the consumer group, and its partitions may already be assigned to another member.

    The group received no heartbeat from the process for `session_timeout`, or the feed's poll thread could not poll for
    `max_poll_interval`, because the process was suspended or swapped out, or the network or all brokers were down.
    Nothing is committed for the lost partitions, and none of their buffered events is handed over. The feed rejoins the
    group by itself, and partitions that are then assigned to it start at the group's committed offsets.
    """

    partitions: tuple[TopicPartition, ...]
    uncommitted: Mapping[TopicPartition, int] = field(hash=False)
    """For each partition of which this process had processed more than was committed, the offset of the next record.
    Events before it are delivered again, here or at another member, although they were already processed here.
    """


@frozen(kw_only=True)
class PartitionsAssigned(Signal):
    """These partitions are assigned to this process from now on. Their events follow."""

    partitions: tuple[TopicPartition, ...]


@frozen(kw_only=True)
class PartitionsRevoked(Signal):
    """These partitions are no longer assigned to this process: another member of the consumer group continues there.

    What was processed of them is committed. None of their buffered events is handed over. From now on the application
    no longer receives the events of their races.
    """

    partitions: tuple[TopicPartition, ...]


@frozen(kw_only=True)
class HealthChanged(Signal):
    """The feed's health has changed: its reason, and perhaps its state.

    It is delivered in order with the events, so `LIVE` is delivered after the events that the feed had to catch up
    with. To be notified even while the application is busy, register the handler with
    `on(HealthChanged, immediately=True)`.
    """

    health: Health
    """The new health."""
    previous: Health
    """The health before it."""
    gap: Gap | None = None
    """For the change back to `LIVE`: the time since the feed stopped being live. `None` for every other change."""


@frozen(kw_only=True)
class RecordingFailed(Signal):
    """The recording of this feed (`record_to`) has ended, for example because the disk is full. The feed continues.

    It is logged as an ERROR as well. A handler that calls `stop` makes the feed end with its recording.
    """

    path: str
    """The folder of the recording."""
    problem: str
    """What failed."""
    missing: int
    """How many records had been read by then and are not in the recording. Those that are read later are not either."""
