"""The records of one partition, in the batches in which they were produced."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import islice

from attrs import frozen

from rbhq_stream.testing._cluster.protocol import (
    CORRUPT_MESSAGE,
    NO_ERROR,
    OFFSET_OUT_OF_RANGE,
    UNSUPPORTED_COMPRESSION_TYPE,
)

EARLIEST, LATEST = -2, -1
"""Special timestamps for the start and the end of a partition."""
NOT_FOUND = -1

# base offset, length of what follows, leader epoch, format, checksum, attributes, offset delta of the last record,
# first and newest timestamp, producer id and epoch, first sequence number, count
_HEADER = struct.Struct(">qiibIhiqqqhii")
_OFFSET_AND_LENGTH = struct.Struct(">qi")
_FORMAT = 2
_COMPRESSION = 0b111
_REMEMBERED_BATCHES = 5  # the maximum that an idempotent producer has in flight


@frozen
class _Batch:
    base_offset: int
    last_offset: int
    first_timestamp: int
    newest_timestamp: int
    is_compressed: bool
    data: bytes

    def records(self) -> Iterator[tuple[int, int]]:
        """Iterates the offset and the timestamp of each record; only of a batch that is not compressed."""
        position = _HEADER.size
        while position < len(self.data):
            size, position = _varint(self.data, position)
            timestamp, at = _varint(self.data, position + 1)
            offset, _ = _varint(self.data, at)
            yield self.base_offset + offset, self.first_timestamp + timestamp
            position += size


class Log:
    """One partition: what was produced, from the first record that has not expired."""

    def __init__(self) -> None:
        self.start = 0
        """The offset of the first record that is still there."""
        self.end = 0
        """The offset of the next record."""
        self._batches: list[_Batch] = []
        # the newest batches of each idempotent producer, which sends one again when it missed the response
        self._produced: dict[int, deque[tuple[tuple[int, int], int]]] = {}

    def append(self, data: bytes) -> tuple[int, int]:
        """Appends record batches.

        Returns:
            An error code, and the offset of the first record.
        """
        first = self.end
        position = 0
        while position < len(data):
            if len(data) - position < _HEADER.size or data[position + 16] != _FORMAT:
                return CORRUPT_MESSAGE, NOT_FOUND
            header = _HEADER.unpack_from(data, position)
            size = _OFFSET_AND_LENGTH.size + header[1]
            attributes, last_delta, oldest, newest, producer, epoch, sequence, _ = header[5:]
            if producer >= 0:
                produced = self._produced.setdefault(producer, deque(maxlen=_REMEMBERED_BATCHES))
                for sent_before, offset in produced:
                    if sent_before == (epoch, sequence):
                        return NO_ERROR, offset
                produced.append(((epoch, sequence), self.end))
            base = _OFFSET_AND_LENGTH.pack(self.end, header[1])
            batch = base + data[position + len(base) : position + size]
            last_offset = self.end + last_delta
            self._batches.append(_Batch(self.end, last_offset, oldest, newest, bool(attributes & _COMPRESSION), batch))
            self.end = last_offset + 1
            position += size
        return NO_ERROR, first

    def read(self, offset: int, max_bytes: int) -> tuple[int, bytes]:
        """Returns an error code, and the batches from this offset on, at least one if there is one."""
        if not self.start <= offset <= self.end:
            return OFFSET_OUT_OF_RANGE, b""
        found = bytearray()
        for batch in self._from(offset):
            if found and len(found) + len(batch.data) > max_bytes:
                break
            found += batch.data
        return NO_ERROR, bytes(found)

    def find(self, timestamp: int) -> tuple[int, int, int]:
        """Finds the first record that was written at a time or later.

        Args:
            timestamp: milliseconds since 1970, `EARLIEST` or `LATEST`.

        Returns:
            An error code, and the record's timestamp and offset, each -1 when there is none.
        """
        if timestamp in {EARLIEST, LATEST}:
            return NO_ERROR, NOT_FOUND, self.start if timestamp == EARLIEST else self.end
        for batch in self._from(self.start):
            if batch.newest_timestamp < timestamp:
                continue
            if batch.is_compressed:
                return UNSUPPORTED_COMPRESSION_TYPE, NOT_FOUND, NOT_FOUND
            for offset, written in batch.records():
                if offset >= self.start and written >= timestamp:
                    return NO_ERROR, written, offset
        return NO_ERROR, NOT_FOUND, NOT_FOUND

    def delete_before(self, offset: int) -> int:
        """Deletes the records before an offset, all of them for -1, and returns an error code."""
        offset = self.end if offset == LATEST else offset
        if offset > self.end:
            return OFFSET_OUT_OF_RANGE
        self.start = max(self.start, offset)
        self._batches = list(self._from(self.start))
        return NO_ERROR

    def expire(self, before: int) -> None:
        """Deletes the oldest batches, as far as all their records were written before a time (milliseconds)."""
        for batch in list(self._batches):
            if batch.newest_timestamp >= before:
                break
            self.delete_before(batch.last_offset + 1)

    def _from(self, offset: int) -> Iterator[_Batch]:
        first = bisect_left(self._batches, offset, key=lambda batch: batch.last_offset)
        return islice(self._batches, first, None)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns the zigzag-encoded number at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
