"""`Recording`: what a feed recorded, to iterate, cut, filter, join, copy and replay."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Literal

import attrs

from rbhq_stream import _field_checks as checks
from rbhq_stream._config import Topics
from rbhq_stream._recording.columns import Columns, RecordedRecord
from rbhq_stream._recording.duplicates import Duplicates, RecreatedError, is_in_order
from rbhq_stream._recording.folder import FolderLock, to_folder
from rbhq_stream._recording.joining import joined
from rbhq_stream._recording.parts import Part, united_topics
from rbhq_stream._recording.race_finder import RaceFinder
from rbhq_stream._recording.replay import Replay
from rbhq_stream._recording.segment_writer import SegmentWriter
from rbhq_stream._recording.segments import Block, BlockReader, RecordingCut, segment_paths
from rbhq_stream._recording.selection import Selection
from rbhq_stream._timestamps import from_milliseconds
from rbhq_stream._wire import decode
from rbhq_stream.errors import DecodeError, RecordingError
from rbhq_stream.events import Event, RaceId
from rbhq_stream.events._race_id import race_ids as checked_races
from rbhq_stream.record import Record
from rbhq_stream.source import Source, TopicPartition

_CHUNK = 4_000
"""How many records of joined recordings are handled at once."""


class Recording:
    """What a feed recorded with `record_to`, as it was when this object was made. Only the index is kept in memory.

    `between` and `races` return recordings of a part of it. Each record is returned once, in the order of arrival, even
    if the feed was restarted and recorded some of them twice. If it was restarted at offsets before those that the
    recording has, the records are returned in time order instead, as those of `join` are.

    Args:
        path: the folder that was given as `record_to`, or one of the files in it.

    Raises:
        ConfigError: the path is not valid.
        RecordingError: there is no recording, or it is damaged other than at its end.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._parts: tuple[Part, ...] = (Part.at(to_folder(path)),)
        self._selection = Selection()

    def __repr__(self) -> str:
        return f"<Recording {self._name}>"

    @property
    def _name(self) -> str:
        return ", ".join(str(part.path) for part in self._parts)

    @classmethod
    def join(cls, paths: Iterable[str | os.PathLike[str]]) -> Recording:
        """Returns several recordings as one, in time order. A record that several of them have is returned once.

        The order is that of `Feed(order="time")`: the records of each partition are in the order of their offsets.

        Args:
            paths: the folders, or files.

        Raises:
            ConfigError: a path is not valid.
            RecordingError: one of them can't be read, or they have different kinds of events in one topic.
            TypeError: `paths` is a single path.
            ValueError: no path is given.
        """
        if isinstance(paths, (str, os.PathLike)):
            raise TypeError(f"paths={paths!r}: expected several paths, such as ['monday', 'tuesday']")
        parts = tuple(Part.at(to_folder(path)) for path in paths)
        if not parts:
            raise ValueError("there is no recording to join")
        joined = _PartialRecording(parts, Selection())
        _ = joined.topics  # checks them
        return joined

    # what it contains

    @property
    def topics(self) -> Topics:
        """The topics of its records, for the configuration of a feed that replays it."""
        return united_topics(self._name, [attrs.asdict(part.topics) for part in self._parts], "read one at a time")

    @property
    def cuts(self) -> tuple[RecordingCut, ...]:
        """Where its files were cut off in the middle of a write, as by kill -9. Everything before can be read."""
        return tuple(cut for part in self._parts for cut in part.cuts)

    @property
    def partitions(self) -> dict[TopicPartition, range]:
        """The offsets of each partition, from the first one to the last one. Some of them may not be there."""
        found: dict[TopicPartition, range] = {}
        for block in self._selected():
            for one in block.index.partitions:
                known = found.get(one.partition, range(one.first, one.last + 1))
                first, last = min(one.first, one.last), max(one.first, one.last)
                found[one.partition] = range(min(known.start, first), max(known.stop, last + 1))
        return found

    @property
    def began(self) -> datetime | None:
        """The time of its earliest record (UTC). For a part of a recording, it may be an earlier time."""
        times = [block.index.since for block in self._selected() if block.index.since is not None]
        since = from_milliseconds(min(times)) if times else None
        return max(filter(None, (since, self._selection.since)), default=None)

    @property
    def ended(self) -> datetime | None:
        """The time of its latest record (UTC). For a part of a recording, it may be a later time."""
        times = [block.index.until for block in self._selected() if block.index.until is not None]
        until = from_milliseconds(max(times)) if times else None
        return min(filter(None, (until, self._selection.until)), default=None)

    # selecting a part

    def between(self, since: datetime | None = None, until: datetime | None = None) -> Recording:
        """Returns the records from `since` up to, not including, `until`, by timestamp. Those without one are left out.

        Of a part of a recording, it returns what is in both.

        Args:
            since: an aware time; `None` for the beginning.
            until: an aware time; `None` for the end.

        Raises:
            TypeError: one of them is not a time.
            ValueError: one of them has no time zone, or `since` is after `until`.
        """
        since = None if since is None else checks.aware("since", since)
        until = None if until is None else checks.aware("until", until)
        if since is not None and until is not None and since > until:
            raise ValueError(f"since={since!r}: is after until={until!r}")
        return _PartialRecording(self._parts, self._selection.within(Selection(since, until)))

    def races(self, *race_ids: RaceId) -> Recording:
        """Returns the records that have an event of these races. Records that can't be decoded are left out.

        A record with a list of events is kept if one of them is of these races, with all of its events.
        Of a part of a recording, it returns what is in both.

        Raises:
            TypeError: a race is not a `RaceId`.
        """
        return _PartialRecording(self._parts, self._selection.within(Selection(races=(checked_races(race_ids),))))

    # reading

    def __iter__(self) -> Iterator[Record]:
        """Iterates over the records.

        Raises:
            RecordingError: it is damaged, or a topic was recreated in the middle of it.
        """
        return (Record.of(raw) for raws in self._chunks() for raw in raws)

    def events(
        self, *, on_bad_record: Literal["raise", "skip"] | Callable[[DecodeError], object] = "raise"
    ) -> Iterator[Event]:
        """Iterates over the events, without a feed.

        Args:
            on_bad_record: whether a record that can't be decoded raises its error, which ends the iteration, or is
                skipped, or a function that is called with the error.

        Raises:
            DecodeError: a record can't be decoded.
            RecordingError: as for the records.
        """
        kinds = self.topics.kinds
        for raws in self._chunks():
            for raw in raws:
                value = raw.value()
                if not value:
                    continue
                try:
                    events = decode(kinds[raw.topic()], value, record=raw)
                except DecodeError as error:
                    if callable(on_bad_record):
                        on_bad_record(error)
                    elif on_bad_record == "raise":
                        raise
                    continue
                yield from events

    def at(self, speed: float = math.inf) -> Source:
        """Returns a source that replays the records: `Feed(config, source=recording.at(60))`.

        Args:
            speed: how fast the time of the records passes: 1 as it did, 60 for a minute in a second, and by default as
                fast as the application takes them.

        Raises:
            TypeError: the speed is not a number.
            ValueError: it is not positive.
        """
        if isinstance(speed, bool) or not isinstance(speed, (int, float)):
            raise TypeError(f"speed={speed!r}: expected a number, such as 1, 60 or math.inf")
        return Replay(self._chunks, self.partitions, self.began, speed)

    def write_to(self, path: str | os.PathLike[str]) -> Recording:
        """Writes the records to a recording of their own, and returns it.

        Args:
            path: a folder that has no recording yet. Its parent has to exist.

        Raises:
            ConfigError: the path is not valid.
            RecordingError: the folder can't be written or has a recording, or this recording can't be read.
        """
        folder = to_folder(path)
        with FolderLock(folder):
            if segment_paths(folder):
                raise RecordingError(str(folder), "there is a recording already: give another folder")
            topics = self.topics
            races = RaceFinder(topics.kinds)
            try:
                writer = SegmentWriter(folder, attrs.asdict(topics), max_bytes=2**60, keep=None, fsync=True)
                try:
                    for raws in self._chunks():
                        writer.add(Columns.of(raws, races))
                except BaseException:
                    writer.abandon()
                    for incomplete in segment_paths(folder):
                        incomplete.unlink()
                    raise
                writer.close()
            except OSError as error:
                raise RecordingError(str(folder), f"can't be written: {error.strerror or repr(error)}") from error
        return Recording(folder)

    def _chunks(self) -> Iterator[list[RecordedRecord]]:
        """Iterates over lists of raw records.

        Raises:
            RecordingError: as for the records.
        """
        blocks = list(self._selected())
        topics = self.topics
        finder = RaceFinder(topics.kinds)
        try:
            with closing(BlockReader()) as reader:

                def read(number: int) -> list[RecordedRecord]:
                    return self._selection.of(reader.read(blocks[number]), finder)

                kept = lru_cache(maxsize=2 * len(self._parts) + 1)(read)  # the same block is read for each partition
                if len(self._parts) == 1 and is_in_order((block.index for block in blocks), kept):
                    kept.cache_clear()
                    duplicates = Duplicates()
                    for number, block in enumerate(blocks):
                        found = duplicates.without_block(read(number), block.index)
                        if found:
                            yield found
                    return
                merged = joined(blocks, kept, topics.names)
                while raws := list(islice(merged, _CHUNK)):
                    yield raws
        except RecreatedError as error:
            at = from_milliseconds(error.at)
            problem = f"{error.partition} was recreated at {at}: use between() to read what was before or after it"
            raise RecordingError(self._name, problem) from error
        except FileNotFoundError as error:
            problem = f"{error.filename} was deleted after the recording was opened: open it again"
            raise RecordingError(self._name, problem) from error
        except OSError as error:
            raise RecordingError(self._name, f"can't be read: {error.strerror or error!r}") from error

    def _selected(self) -> Iterator[Block]:
        return (block for part in self._parts for block in filter(self._selection.may_include, part.blocks))


class _PartialRecording(Recording):
    """Several recordings, or a selection of the records."""

    def __init__(self, parts: tuple[Part, ...], selection: Selection) -> None:
        self._parts = parts
        self._selection = selection
