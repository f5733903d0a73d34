"""Which record a fact came from, and which of two records is the earlier one."""

from __future__ import annotations

from datetime import datetime
from typing import Union

from attrs import frozen

from rbhq_stream._slots import open_class
from rbhq_stream._timestamps import MAX_MILLISECONDS, from_micros, to_micros
from rbhq_stream.events import RaceEvent
from rbhq_stream.record import Record


@frozen
class RecordMark:
    """The record that a fact came from: its coordinates and its time, without the document itself."""

    topic: str
    partition: int
    offset: int
    part: int = 0
    """Which of the record's events stated it, counted from 0."""
    time: datetime | None = None
    """The record's timestamp (UTC); `None` if it has none."""

    @classmethod
    def of(cls, event: RaceEvent) -> RecordMark | None:
        """Returns the mark of an event's record; `None` for an event without one."""
        return mark_at(locate(event, {}))

    @property
    def coordinates(self) -> tuple[str, int, int]:
        """Topic, partition and offset, which together identify the record."""
        return self.topic, self.partition, self.offset


Partition = tuple[str, int]
"""Topic and partition number: equal to a `TopicPartition`, and faster to make."""

Location = tuple[Partition, int, int, Union[int, None], int]
"""The partition, the offset and the part of a record, as in its `RecordMark`; its timestamp in microseconds since 1970;
and the position in the partition once the event is processed. It is quick to make and to compare, and a `RecordMark` is
made of it only for a reader.
"""


def locate(event: RaceEvent, partitions: dict[Partition, Partition]) -> Location | None:
    """Returns the location of an event's record; `None` for an event without one. No `Record` is made.

    Args:
        event: The event.
        partitions: One object for each partition, which all locations share; a new partition is added.
    """
    raw = event.raw_record
    if raw is None:
        return None
    if isinstance(raw, Record):
        partition = raw.topic, raw.partition
        micros = None if raw.timestamp is None else to_micros(raw.timestamp)
        return partitions.setdefault(partition, partition), raw.offset, raw.part, micros, raw.next_offset
    partition = raw.topic() or "", raw.partition() or 0
    offset = raw.offset() or 0
    kind, milliseconds = raw.timestamp()
    micros = milliseconds * 1000 if kind and 0 <= milliseconds <= MAX_MILLISECONDS else None
    return partitions.setdefault(partition, partition), offset, 0, micros, offset + 1


def location_of(mark: RecordMark | None) -> Location | None:
    """Returns the location of a marked record, which is not known to be the last event of its record."""
    if mark is None:
        return None
    micros = None if mark.time is None else to_micros(mark.time)
    return (mark.topic, mark.partition), mark.offset, mark.part, micros, mark.offset


_OpenRecordMark = open_class(RecordMark)


def mark_at(location: Location | None) -> RecordMark | None:
    """Returns the mark of the record at a location; `None` for no location."""
    if location is None:
        return None
    mark = _OpenRecordMark()
    (mark.topic, mark.partition), mark.offset, mark.part, micros, _ = location
    mark.time = None if micros is None else from_micros(micros)
    mark.__class__ = RecordMark
    made: RecordMark = mark
    return made


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
