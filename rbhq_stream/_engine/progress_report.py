"""`ProgressReport`: what the poll thread knows of the feed's progress, for its health."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from rbhq_stream._engine.ledger import Ledger
from rbhq_stream._health.observation import Arrival, Membership, PartitionProgress, Progress
from rbhq_stream.record import RawRecord, Record
from rbhq_stream.source import SourceStatus, TopicPartition


class ProgressReport:
    """Collects the feed's progress. Used by the poll thread only."""

    def __init__(self) -> None:
        self._membership = Membership.JOINING
        self._assigned_at: dict[TopicPartition, float] = {}
        self._arrivals: dict[str, Arrival] = {}
        self._evictions = 0

    def assigned(self, partitions: Collection[TopicPartition], now: float) -> None:
        """Notes that these partitions, perhaps none, are assigned."""
        self._membership = Membership.MEMBER
        self._assigned_at.update(dict.fromkeys(partitions, now))

    def removed(self, partitions: Collection[TopicPartition], *, is_evicted: bool) -> None:
        """Notes that these partitions are revoked, or lost by an eviction."""
        if is_evicted:
            self._membership = Membership.EVICTED
            self._evictions += 1
        for partition in partitions:
            self._assigned_at.pop(partition, None)

    def arrived(self, records: Sequence[RawRecord], topics: Collection[str], now: float, wall: datetime) -> None:
        """Notes that these records arrived.

        Args:
            records: all of them, in order.
            topics: the topics that they are from.
            now: when (monotonic).
            wall: the same by this host's clock.
        """
        missing = set(topics)
        for record in reversed(records):
            topic = record.topic()
            if topic in missing:
                missing.discard(topic)
                timestamp = Record.time_of(record)
                age = None if timestamp is None else (wall - timestamp).total_seconds()
                self._arrivals[topic] = Arrival(now, timestamp, age)
                if not missing:
                    return

    def progress(self, ledger: Ledger, status: SourceStatus, now: float) -> Progress:
        """Returns the progress as of now."""
        positions = ledger.positions()
        return Progress(
            now,
            self._membership,
            {
                p: PartitionProgress(self._assigned_at[p], *positions[p][:2], ledger.records_read(p))
                for p in self._assigned_at
                if p in positions
            },
            status,
            dict(self._arrivals),
            sum(
                processed - committed
                for _, processed, committed in positions.values()
                if processed is not None and committed is not None
            ),
            self._evictions,
        )
