"""`Selection`: which records of a recording are wanted, by time and by race. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from attrs import frozen

from rbhq_stream._recording.columns import RecordedRecord
from rbhq_stream._recording.race_finder import RaceFinder
from rbhq_stream._recording.segments import Block
from rbhq_stream._timestamps import to_milliseconds
from rbhq_stream.events import RaceId


@frozen
class Selection:
    """The records that are wanted: by default, all of them."""

    since: datetime | None = None
    """The earliest time that is wanted; `None` for the beginning."""
    until: datetime | None = None
    """The first time that is not wanted any more; `None` for the end."""
    races: frozenset[RaceId] | None = None
    """The races that are wanted; `None` for all records, including those without a race."""

    def may_include(self, block: Block) -> bool:
        """Returns whether a block may have a record that is wanted, by its index."""
        index = block.index
        if self.since is not None and (index.until is None or index.until < _at_or_after(self.since)):
            return False
        if self.until is not None and (index.since is None or index.since >= _at_or_after(self.until)):
            return False
        return self.races is None or not self.races.isdisjoint(index.races)

    def of(self, records: list[RecordedRecord], finder: RaceFinder) -> list[RecordedRecord]:
        """Returns the records that are wanted: the same list if all of them are."""
        if self.since is not None or self.until is not None:
            since = -1 if self.since is None else _at_or_after(self.since)
            until = math.inf if self.until is None else _at_or_after(self.until)
            records = [record for record in records if record.kind and since <= record.time < until]
        if self.races is not None:
            races = self.races
            records = [one for one in records if not races.isdisjoint(finder.of(one.topic(), one.value()))]
        return records


def _at_or_after(time: datetime) -> int:
    """Returns the first millisecond since 1970 that is not before the time."""
    return to_milliseconds(time + timedelta(microseconds=999))
