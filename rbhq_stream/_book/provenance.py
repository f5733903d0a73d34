"""Which record a fact came from, and which of two records is the earlier one."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from rbhq_stream.events import RaceEvent


@frozen
class RecordMark:
    """The record that a fact came from: where it stands and when it was written, without the document itself."""

    topic: str
    partition: int
    offset: int
    part: int = 0
    """Which of the record's events stated it, counted from 0."""
    time: datetime | None = None
    """The record's timestamp (UTC); `None` if it has none."""

    @classmethod
    def of(cls, event: RaceEvent) -> RecordMark | None:
        """Returns the mark of an event's record; `None` for an event made by hand."""
        record = event.record
        if record is None:
            return None
        return cls(*record.coordinates, record.part, record.timestamp)

    @property
    def coordinates(self) -> tuple[str, int, int]:
        """Topic, partition and offset, which together identify the record."""
        return self.topic, self.partition, self.offset


def precedes(one: RecordMark | None, other: RecordMark | None) -> bool:
    """Whether a record is known to be earlier than another one.

    In one partition the offsets decide. Between partitions only the times can; where one is missing, neither record is
    known to be the earlier one.
    """
    if one is None or other is None:
        return False
    if (one.topic, one.partition) == (other.topic, other.partition):
        return (one.offset, one.part) < (other.offset, other.part)
    return one.time is not None and other.time is not None and one.time < other.time
