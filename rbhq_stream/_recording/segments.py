"""The files of a recording: their names, and which blocks each of them contains, up to where it was cut off."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

from rbhq_stream._recording.blocks import (
    BLOCK_MAGIC,
    FILE_MAGIC,
    HEADER_SIZE,
    BlockHeader,
    BlockIndex,
    DamagedError,
    UnsupportedError,
    check_parts,
    decode_body,
    decode_file_header,
)
from rbhq_stream._recording.columns import RecordedRecord
from rbhq_stream.errors import RecordingError

SEGMENT_SUFFIX, TAIL_SUFFIX = ".rbhq", ".tail"
_FORMAT = FILE_MAGIC[:-1]
"""What the files of all versions begin with."""
_MAX_HEADER = 64 * 1024
"""The most bytes that the header of a file can have: the names of three topics."""


@frozen
class RecordingCut:
    """Where a file of a recording was cut off, because its process was killed or its disk was full."""

    path: Path
    """The file."""
    at: int
    """How many of its bytes can be read."""
    ignored: int
    """How many bytes follow. They are the beginning of an incomplete block."""
    reason: str
    """What is wrong with that block."""


@frozen
class Block:
    """A block in a file, or of a tail that was read into memory."""

    path: Path
    at: int
    """The byte at which its body begins."""
    header: BlockHeader
    index: BlockIndex
    body: bytes | None = field(default=None, repr=False)
    """The bytes of its body, if they are in memory."""


@frozen
class Segment:
    """What a file and its tail contain."""

    topics: Mapping[str, str]
    """The names of the topics, by the fields of `Topics`."""
    blocks: tuple[Block, ...]
    cuts: tuple[RecordingCut, ...]


def segment_path(folder: Path, number: int) -> Path:
    """Returns the path of the segment with this number."""
    return folder / f"{number:08d}{SEGMENT_SUFFIX}"


def segment_paths(folder: Path) -> list[Path]:
    """Returns the segments of a recording, the oldest first.

    Raises:
        OSError: the folder can't be read. `Path.glob` would find nothing in it.
    """
    return sorted(path for path in folder.iterdir() if path.suffix == SEGMENT_SUFFIX)


def read_topics(path: Path) -> dict[str, str]:
    """Returns the names of the topics of a segment, by the fields of `Topics`; none if its header can't be read.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        try:
            return decode_file_header(file.read(_MAX_HEADER))[0]
        except DamagedError:
            return {}


def read_segment(path: Path) -> Segment:
    """Returns which blocks a segment contains. It can be read while it is written.

    Raises:
        RecordingError: it is not a file of a recording, or it is damaged before its last block.
        OSError: it can't be read.
    """
    # The tail first: if its records move to the segment meanwhile, they are found there.
    tail_path = path.with_suffix(TAIL_SUFFIX)
    try:
        tail = tail_path.read_bytes()
    except FileNotFoundError:
        tail = b""
    with path.open("rb") as file:
        topics, blocks, cut = _scan(file, path, in_memory=False)
    cuts = [] if cut is None else [cut]
    count = sum(block.header.count for block in blocks)
    if tail:
        _, tail_blocks, cut = _scan(BytesIO(tail), tail_path, in_memory=True)
        blocks += [block for block in tail_blocks if block.header.number >= count]
        cuts += [] if cut is None else [cut]
    return Segment(topics, tuple(blocks), tuple(cuts))


def is_empty(path: Path) -> bool:
    """Returns whether a segment has no records, as when a feed was closed or killed before it received any.

    Raises:
        OSError: it can't be read.
    """
    if path.stat().st_size > _MAX_HEADER:
        return False  # without reading all of it, at each start and for each file that is full
    try:
        segment = read_segment(path)
    except RecordingError:  # it is damaged
        return False
    return not segment.blocks and not any(cut.ignored for cut in segment.cuts)


class BlockReader:
    """Reads the records of blocks. Keeps the file of the last one open until `close`."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def read(self, block: Block) -> list[RecordedRecord]:
        """Returns the records of a block.

        Raises:
            RecordingError: it is damaged.
            OSError: it can't be read.
        """
        body = self._body(block) if block.body is None else block.body
        try:
            check_parts(block.header, None, body)
            return decode_body(block.header, block.index, body)
        except DamagedError as damage:
            raise _damaged(block.path, block.at, damage) from damage

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._path = self._file = None

    def _body(self, block: Block) -> bytes:
        if self._file is None or self._path != block.path:
            self.close()
            self._path, self._file = block.path, block.path.open("rb")
        self._file.seek(block.at)
        return self._file.read(block.header.body_size)


def _scan(file: BinaryIO, path: Path, *, in_memory: bool) -> tuple[dict[str, str], list[Block], RecordingCut | None]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    blocks: list[Block] = []
    topics: dict[str, str] = {}
    at = 0
    try:
        topics, at = decode_file_header(file.read(_MAX_HEADER))
        while at < size:
            file.seek(at)
            header = BlockHeader.decoded(file.read(HEADER_SIZE))
            index = file.read(header.index_size)
            is_last = at + header.size >= size
            body = file.read(header.body_size) if is_last or in_memory else None
            check_parts(header, index, body)
            body_at = at + HEADER_SIZE + header.index_size
            blocks.append(Block(path, body_at, header, BlockIndex.decoded(index), body if in_memory else None))
            at += header.size
    except UnsupportedError as error:
        raise _damaged(path, at, error) from error
    except DamagedError as damage:
        file.seek(at)
        rest = file.read(size - at)  # not what was written meanwhile
        if not at and not _FORMAT.startswith(rest[: len(_FORMAT)]):  # a beginning of it was cut off
            raise _damaged(path, at, damage) from damage
        if _has_block(rest[1:]):
            raise _damaged(path, at, damage) from damage
        return topics, blocks, RecordingCut(path, at, size - at, str(damage))
    return topics, blocks, None


def _has_block(data: bytes) -> bool:
    """Whether a whole header of a block is in these bytes, so that what precedes it was not cut off but damaged."""
    at = data.find(BLOCK_MAGIC)
    while at >= 0:
        try:
            BlockHeader.decoded(data[at : at + HEADER_SIZE])
        except DamagedError:
            at = data.find(BLOCK_MAGIC, at + 1)
        else:
            return True
    return False


def _damaged(path: Path, at: int, damage: DamagedError) -> RecordingError:
    return RecordingError(str(path), f"the block at byte {at} can't be read: {damage}")
