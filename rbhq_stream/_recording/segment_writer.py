"""`SegmentWriter`: writes records to the files of a recording. It uses no threads and no clock.

Records are collected until they fill a block, which is appended to the segment. So that a crash doesn't cost what was
collected, `flush` appends it in small blocks to a second file, the tail, which is emptied when the large block has
been written. A reader skips what is in the tail and already in the segment, so a crash between the two costs nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from rbhq_stream._durable_files import sync_folder
from rbhq_stream._recording.blocks import encode_block, encode_file_header
from rbhq_stream._recording.columns import Columns
from rbhq_stream._recording.segments import TAIL_SUFFIX, is_empty, segment_path, segment_paths

_log = logging.getLogger("rbhq_stream")

BLOCK_BYTES = 1024 * 1024
"""A block is written when its values have this many bytes. Larger blocks would not compress better."""
BLOCK_RECORDS = 50_000
"""A block is also written when it has this many records, however short they are."""


class SegmentWriter:
    """Appends to a recording, in a new segment. The folder must be locked.

    Args:
        folder: the folder of the recording.
        topics: the names of the topics, by the fields of `Topics`.
        max_bytes: the size at which a segment is full.
        keep: how many full segments to keep; `None` keeps all.
        fsync: whether `flush` waits for the disk.

    Raises:
        OSError: the first segment can't be created.
    """

    def __init__(
        self,
        folder: Path,
        topics: Mapping[str, str | None],
        *,
        max_bytes: int,
        keep: int | None,
        fsync: bool,
    ) -> None:
        self._folder = folder
        self._file_header = encode_file_header(topics)
        self._max_bytes = max_bytes
        self._keep = keep
        self._fsync = fsync
        self._parts: list[Columns] = []
        self._newest: dict[tuple[str, int], int] = {}  # the last offset of each of their partitions
        self._records = self._bytes = 0  # how many records they have, and the bytes of the values
        self._flushed_parts = 0  # how many of the parts are in the tail
        self._flushed = 0  # and of the records
        self._is_synced = True
        self._count = 0  # how many records the segment has
        self._tail: FileIO | None = None
        self._path, self._segment = self._begin_segment()

    @property
    def unflushed(self) -> int:
        """How many records would be lost if the process were killed now."""
        return self._records - self._flushed

    def add(self, columns: Columns) -> None:
        """Adds records.

        Raises:
            OSError: a block can't be written.
        """
        newest = self._newest
        if any(run.first <= newest.get(run.partition, -1) for run in columns.runs):
            self.end_block()  # a partition is read again, or was recreated: in a block its offsets only increase
        self._newest.update(columns.newest())
        self._parts.append(columns)
        self._records += len(columns)
        self._bytes += columns.size
        if self._bytes >= BLOCK_BYTES or self._records >= BLOCK_RECORDS:
            self.end_block()

    def end_block(self) -> None:
        """Writes what was added, at least one record, as a block. Begins the next segment if this one is full.

        Raises:
            OSError: it can't be written.
        """
        self._write_block()
        if self._segment.tell() >= self._max_bytes:
            self._end_segment()
            self._path, self._segment = self._begin_segment()

    def flush(self) -> None:
        """Writes everything that was added, so that it survives the process and, with `fsync`, the machine.

        Raises:
            OSError: it can't be written.
        """
        if self.unflushed:
            if self._tail is None:
                self._tail = self._created(self._path.with_suffix(TAIL_SUFFIX))
            number = self._count + self._flushed
            self._write(self._tail, encode_block(self._parts[self._flushed_parts :], number))
            self._flushed, self._flushed_parts = self._records, len(self._parts)
            self._sync(self._tail)
        if not self._is_synced:
            self._sync(self._segment)
            self._is_synced = True

    def close(self) -> None:
        """Writes the last block and closes the files.

        Raises:
            OSError: it can't be written. The files are closed.
        """
        try:
            if self._records:
                self._write_block()
            self._end_segment()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Closes the files as they are."""
        for file in (self._segment, self._tail):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def _write_block(self) -> None:
        self._write(self._segment, encode_block(self._parts, self._count))
        self._is_synced = False
        if self._tail is not None and self._flushed:
            self._sync(self._segment)  # before the only other copy goes
            self._is_synced = True
            self._tail.truncate(len(self._file_header))
        self._count += self._records
        self._parts = []
        self._newest = {}
        self._records = self._bytes = self._flushed = self._flushed_parts = 0

    def _begin_segment(self) -> tuple[Path, FileIO]:
        paths = segment_paths(self._folder)
        while paths and is_empty(paths[-1]):  # of a start after which no record arrived
            empty = paths.pop()
            empty.unlink()
            empty.with_suffix(TAIL_SUFFIX).unlink(missing_ok=True)
        numbers = [int(one.stem) for one in paths if one.stem.isascii() and one.stem.isdecimal()]
        path = segment_path(self._folder, max(numbers, default=0) + 1)
        segment = self._created(path)
        if self._keep is not None:
            self._delete_oldest(paths, self._keep)
        return path, segment

    def _delete_oldest(self, paths: Sequence[Path], keep: int) -> None:
        # by their size, not by their number: restarts one after the other would delete all that was before them
        newer = 0  # bytes, of each file max_bytes at most
        for path in reversed(paths):
            size = min(path.stat().st_size, self._max_bytes)
            if newer >= keep * self._max_bytes:
                _log.warning("deleting the oldest segment of a recording, %s: keep=%s", path, keep)
                path.unlink()
                path.with_suffix(TAIL_SUFFIX).unlink(missing_ok=True)
            newer += size

    def _end_segment(self) -> None:
        self._sync(self._segment)
        self._segment.close()
        if self._tail is not None:
            self._tail.close()
            self._tail = None
            self._path.with_suffix(TAIL_SUFFIX).unlink()
        self._count = 0

    def _created(self, path: Path) -> FileIO:
        file = FileIO(path, "xb")
        try:
            self._write(file, self._file_header)
            self._sync(file)
            if self._fsync:
                sync_folder(self._folder)
        except OSError:
            file.close()
            raise
        return file

    def _sync(self, file: FileIO) -> None:
        if self._fsync:
            os.fsync(file.fileno())

    @staticmethod
    def _write(file: FileIO, data: bytes) -> None:
        file.seek(0, os.SEEK_END)  # the tail may have been cut
        while data:  # usually one pass; if the disk is full, the second pass raises
            data = data[file.write(data) or 0 :]
