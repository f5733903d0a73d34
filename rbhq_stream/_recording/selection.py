"""`Selection`: which records of a recording are wanted, by time and by race. Pure."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from rbhq_stream._recording.columns import RecordedRecord
from rbhq_stream._recording.race_finder import RaceFinder
from rbhq_stream._recording.segments import Block
from rbhq_stream._timestamps import MAX_MILLISECONDS, first_millisecond
from rbhq_stream.events import RaceId


@frozen
class Selection:
    """The records that are wanted: by default, all of them."""

    since: datetime | None = None
    """The earliest time that is wanted; `None` for the beginning."""
    until: datetime | None = None
    """The first time that is not wanted any more; `None` for the end."""
    races: tuple[frozenset[RaceId], ...] = ()
    """A record is wanted if it has an event of one race of each of these; empty for all records."""

    def may_include(self, block: Block) -> bool:
        """Returns whether a block may have a record that is wanted, by its index."""
        index = block.index
        if self.since is not None and (index.until is None or index.until < first_millisecond(self.since)):
            return False
        if self.until is not None and (index.since is None or index.since >= first_millisecond(self.until)):
            return False
        return not any(races.isdisjoint(index.races) for races in self.races)

    def of(self, records: list[RecordedRecord], finder: RaceFinder) -> list[RecordedRecord]:
        """Returns the records that are wanted: the same list if all of them are."""
        if self.since is not None or self.until is not None:
            since = 0 if self.since is None else max(0, first_millisecond(self.since))
            until = MAX_MILLISECONDS + 1 if self.until is None else first_millisecond(self.until)
            records = [record for record in records if record.kind and since <= record.time < until]
        for races in self.races:
            records = [one for one in records if finder.has_one_of(races, one.topic(), one.value())]
        return records

    def within(self, other: Selection) -> Selection:
        """Returns a selection of the records that both select."""
        since = max((time for time in (self.since, other.since) if time is not None), default=None)
        until = min((time for time in (self.until, other.until) if time is not None), default=None)
        return Selection(since, until, self.races + other.races)
