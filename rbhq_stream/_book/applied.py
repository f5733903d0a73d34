"""How far each partition was applied to a race, so that a record that is delivered again is not applied again.

The last record that was applied of a partition decides:

    the new record's offset and part    its time                           it is
    higher                              any                                new
    the same or lower                   not later than of all applied      a duplicate
    the same or lower                   later than of all applied          of a topic that was recreated

A topic that was recreated counts its offsets from 0 again. A record that is newer than all that were applied can't be
one of them.
"""

from __future__ import annotations

from enum import Enum

from attrs import define

from rbhq_stream._book.history import BEGINNING
from rbhq_stream._book.provenance import Location


class Admission(Enum):
    """How a record relates to those that were applied before."""

    NEW = "new"
    DUPLICATE = "duplicate"
    RESTARTED = "restarted"


@define
class Applied:
    """How far one partition was applied to a race."""

    offset: int = -1
    """The last record's offset."""
    part: int = 0
    """Which of the record's events was applied last."""
    newest: int = BEGINNING
    """The newest time of all the records that were applied, in microseconds since 1970."""
    is_restarted: bool = False
    """Whether the offsets restarted, because the topic was recreated."""

    def admission(self, location: Location) -> Admission:
        """Returns what a record of the partition is, by the table above."""
        _, offset, part, micros, _ = location
        if offset > self.offset or (offset == self.offset and part > self.part):
            return Admission.NEW
        if micros is None or micros <= self.newest:
            return Admission.DUPLICATE
        return Admission.RESTARTED

    def advance_to(self, offset: int, micros: int) -> None:
        """Notes that a record was applied that is newer than all before, in its offset and its time."""
        self.offset, self.part, self.newest = offset, 0, micros

    def advance(self, location: Location) -> None:
        """Notes that the record was applied."""
        _, offset, part, micros, _ = location
        if offset < self.offset:
            self.is_restarted = True
        self.offset, self.part = offset, part
        if micros is not None and micros > self.newest:
            self.newest = micros
