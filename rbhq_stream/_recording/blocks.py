"""Blocks, the unit in which records are written: encodes and decodes them, and knows every byte of them. Pure.

docs/recording.md specifies the format. Every number is little-endian.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from rbhq_stream._recording.columns import Columns, RecordedRecord, Run, decoded, encoded
from rbhq_stream.events import RaceId
from rbhq_stream.source import TopicPartition

FILE_MAGIC = b"RBHQREC1"
BLOCK_MAGIC = b"RBLK"
VERSION = 1
STORED, DEFLATED = 0, 1
LEVEL = 3
"""The level of zlib. Higher levels make a day smaller by a quarter at most, and take three times as long."""
_FILE_HEADER = struct.Struct("<8sII")
_HEADER = struct.Struct("<4sBBHQIIIIII")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size


class DamagedError(Exception):
    """Bytes that do not conform to the format."""


class UnsupportedError(DamagedError):
    """A block of a later version of the format."""


@frozen
class PartitionRange:
    """The records of one partition in a block."""

    partition: TopicPartition
    first: int
    """The offset of the first record that arrived."""
    last: int
    """The offset of the last record that arrived."""
    count: int


@frozen
class BlockIndex:
    """What a block contains."""

    since: int | None
    """The earliest timestamp, in milliseconds since 1970; `None` if no record has one."""
    until: int | None
    """The latest one."""
    partitions: tuple[PartitionRange, ...]
    races: frozenset[RaceId]

    def encoded(self) -> bytes:
        """Returns it as JSON."""
        document = {
            "since": self.since,
            "until": self.until,
            "partitions": [[*one.partition, one.first, one.last, one.count] for one in self.partitions],
            "races": sorted([list(race) for race in self.races]),
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def decoded(cls, data: bytes) -> BlockIndex:
        """Returns the index that was encoded.

        Raises:
            DamagedError: the bytes are not an index.
        """
        try:
            document = json.loads(data)
            return cls(
                document["since"],
                document["until"],
                tuple(PartitionRange(TopicPartition(t, p), *rest) for t, p, *rest in document["partitions"]),
                frozenset(RaceId(*race) for race in document["races"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"its index can't be read: {error!r}") from error


@frozen
class BlockHeader:
    """The first bytes of a block."""

    compression: int
    number: int
    """How many records precede it in its segment."""
    count: int
    index_size: int
    body_size: int
    """The bytes of the body as they are in the file."""
    raw_size: int
    """The bytes of the body before compression."""
    index_crc: int
    body_crc: int

    @property
    def size(self) -> int:
        """The bytes of the whole block."""
        return HEADER_SIZE + self.index_size + self.body_size

    @classmethod
    def decoded(cls, data: bytes) -> BlockHeader:
        """Returns the header at the start of these bytes.

        Raises:
            DamagedError: the bytes are not a header, or it is incomplete.
            UnsupportedError: the block has a version or a compression that this library does not know.
        """
        if len(data) < HEADER_SIZE:
            raise DamagedError("its header is incomplete")
        magic, version, compression, _, *numbers = _HEADER.unpack_from(data)
        if magic != BLOCK_MAGIC or _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
            raise DamagedError("its header is damaged")
        if version != VERSION or compression not in (STORED, DEFLATED):
            raise UnsupportedError(
                f"it is of version {version} with compression {compression}, which this library can't read"
            )
        return cls(compression, *numbers)


def encode_file_header(topics: Mapping[str, str | None]) -> bytes:
    """Returns the first bytes of a file.

    Args:
        topics: the names of the topics, by the fields of `Topics`.
    """
    document = json.dumps({"topics": {kind: name for kind, name in topics.items() if name is not None}}).encode()
    return _FILE_HEADER.pack(FILE_MAGIC, len(document), zlib.crc32(document)) + document


def decode_file_header(data: bytes) -> tuple[dict[str, str], int]:
    """Returns the names of the topics, by the fields of `Topics`, and the size of the header in bytes.

    Raises:
        DamagedError: these are not the first bytes of a file, or not all of them.
    """
    if len(data) < _FILE_HEADER.size:
        raise DamagedError("its first bytes are missing")
    magic, size, crc = _FILE_HEADER.unpack_from(data)
    if magic != FILE_MAGIC:
        raise DamagedError("it is not a file of a recording")
    document = data[_FILE_HEADER.size : _FILE_HEADER.size + size]
    if zlib.crc32(document) != crc:
        raise DamagedError("its first bytes are missing or damaged")
    topics: dict[str, str] = json.loads(document)["topics"]
    return topics, _FILE_HEADER.size + size


def encode_block(parts: Sequence[Columns], number: int) -> bytes:
    """Returns a block.

    Args:
        parts: its records, at least one, in the order in which they came.
        number: how many records precede it in its segment.
    """
    index = BlockIndex(
        min((part.since for part in parts if part.since is not None), default=None),
        max((part.until for part in parts if part.until is not None), default=None),
        _ranges(run for part in parts for run in part.runs),
        frozenset().union(*[part.races for part in parts]),
    )
    body = encoded(parts, {one.partition: number for number, one in enumerate(index.partitions)})
    packed, compression = zlib.compress(body, LEVEL), DEFLATED
    if len(packed) >= len(body):
        packed, compression = body, STORED
    encoded_index = index.encoded()
    header = _HEADER.pack(
        BLOCK_MAGIC, VERSION, compression, 0, number, sum(map(len, parts)), len(encoded_index), len(packed), len(body),
        zlib.crc32(encoded_index), zlib.crc32(packed),
    )  # fmt: skip
    return b"".join((header, _CRC.pack(zlib.crc32(header)), encoded_index, packed))


def _ranges(runs: Iterable[Run]) -> tuple[PartitionRange, ...]:
    """Returns what there is of each partition, in the order in which the partitions came."""
    found: dict[tuple[str, int], tuple[int, int, int]] = {}  # first offset, last offset, count
    for run in runs:
        first, _, count = found.get(run.partition, (run.first, 0, 0))
        found[run.partition] = first, run.last, count + run.count
    return tuple(PartitionRange(TopicPartition(*partition), *numbers) for partition, numbers in found.items())


def check_parts(header: BlockHeader, index: bytes | None, body: bytes | None) -> None:
    """Checks that the index and the body of a block, those that are given, are complete and as they were written.

    Raises:
        DamagedError: they are not.
    """
    for data, size, crc in ((index, header.index_size, header.index_crc), (body, header.body_size, header.body_crc)):
        if data is not None and len(data) < size:
            raise DamagedError("it is incomplete")
        if data is not None and zlib.crc32(data) != crc:
            raise DamagedError("its checksum is wrong")


def decode_body(header: BlockHeader, index: BlockIndex, body: bytes) -> list[RecordedRecord]:
    """Returns the records of a block.

    Raises:
        DamagedError: they can't be read.
    """
    try:
        raw: Any = body if header.compression == STORED else zlib.decompress(body, bufsize=header.raw_size)
        return decoded(raw, header.count, {one.partition: one.last for one in index.partitions})
    except (ValueError, zlib.error) as error:
        raise DamagedError(f"its records can't be read: {error!r}") from error
