"""Recordings built block by block: what the tests of several modules about recordings need."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import frozen

from rbhq_stream import RaceStatus, RaceStatusEvent, RawRecord, Recording, RecordingError, encode
from rbhq_stream._recording import segment_writer
from rbhq_stream._recording.blocks import BLOCK_MAGIC
from rbhq_stream._recording.columns import Columns
from rbhq_stream._recording.folder import FolderLock
from rbhq_stream._recording.race_finder import RaceFinder
from rbhq_stream._recording.segment_writer import SegmentWriter
from tests.memory_feeds import TOPICS


@frozen
class Raw:
    """A raw record with everything that one can have."""

    _topic: str
    _partition: int
    _offset: int
    _value: bytes | None = None
    _key: bytes | None = None
    _timestamp: tuple[int, int] = (0, -1)
    _headers: Sequence[tuple[str, bytes | None]] | None = None

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Sequence[tuple[str, bytes | None]] | None:
        return self._headers


def status_record(offset: int, *, race: int = 1, at: int = 0, topic: str = "status", partition: int = 0) -> Raw:
    """A status of a race, written `at` milliseconds after 1970."""
    value = encode(RaceStatusEvent(1, race, RaceStatus.OPEN))
    return Raw(topic, partition, offset, value, None, (1, at))


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, no block can be written; the headers of files can."""

    class FullDisk(FileIO):
        def write(self, data: Any) -> int:
            if BLOCK_MAGIC in data:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(segment_writer, "FileIO", FullDisk)


def writer_for(folder: Path, *, max_bytes: int = 2**40, keep: int | None = None, fsync: bool = False) -> SegmentWriter:
    folder.mkdir(exist_ok=True)
    return SegmentWriter(folder, attrs.asdict(TOPICS), max_bytes=max_bytes, keep=keep, fsync=fsync)


def add(writer: SegmentWriter, records: Sequence[RawRecord], *, ends_block: bool = False) -> None:
    writer.add(Columns.of(records, RaceFinder(TOPICS.kinds)))
    if ends_block:
        writer.end_block()


def written(folder: Path, blocks: Iterable[Sequence[RawRecord]]) -> Recording:
    """A recording in which each of these is a block of its own, as if the process had been killed after the last."""
    with FolderLock(folder):
        writer = writer_for(folder)
        for records in blocks:
            add(writer, records)
            writer.flush()
        writer.abandon()
    return Recording(folder)


def is_locked(folder: Path) -> bool:
    """Whether somebody writes to the folder."""
    try:
        FolderLock(folder).release()
    except RecordingError:
        return True
    return False


def offsets(recording: Recording) -> list[tuple[str, int]]:
    return [(record.topic, record.offset) for record in recording]
