"""The body of a block: records as columns of numbers and bytes, which compress better than rows. Pure.

Recording shares the interpreter with the application, so each column is made by functions that are written in C.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise, repeat
from operator import methodcaller
from typing import Any

from rbhq_stream.record import RawRecord, Record
from rbhq_stream.source import TopicPartition

Header = tuple[str, bytes | None]

NULL = -1
"""The length of a key, a value or headers that a record does not have."""

_topic, _partition, _offset = methodcaller("topic"), methodcaller("partition"), methodcaller("offset")
_timestamp, _key, _value = methodcaller("timestamp"), methodcaller("key"), methodcaller("value")
# only from C, and the pairs are not looked at: see `rbhq_stream.record._headers` for the client's defect
_headers = methodcaller("headers")
_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<i")


class RecordedRecord(tuple[TopicPartition, int, int, int, bytes | None, bytes | None, tuple[Header, ...] | None]):
    """A `RawRecord` that was read from a recording."""

    __slots__ = ()

    def topic(self) -> str:
        """Returns the topic's name."""
        return self[0][0]

    def partition(self) -> int:
        """Returns the number of the partition."""
        return self[0][1]

    def offset(self) -> int:
        """Returns the offset in the partition."""
        return self[1]

    def timestamp(self) -> tuple[int, int]:
        """Returns Kafka's mark for the kind of the time (0: there is none), and the milliseconds since 1970."""
        return self[2], self[3]

    def key(self) -> bytes | None:
        """Returns the record's key."""
        return self[4]

    def value(self) -> bytes | None:
        """Returns the record's bytes."""
        return self[5]

    def headers(self) -> list[Header] | None:
        """Returns pairs of a name and a value."""
        headers: tuple[Header, ...] | None = self[6]
        return None if headers is None else list(headers)


class Columns:
    """The columns of some records, made once and used for the body and the index of a block.

    Args:
        records: the records, in the order in which they came.
    """

    def __init__(self, records: Sequence[RawRecord]) -> None:
        self.partitions: list[tuple[str, int]] = list(zip(map(_topic, records), map(_partition, records), strict=True))
        self.distinct = list(dict.fromkeys(self.partitions))
        """Each partition once, in the order in which they came."""
        numbers = dict(zip(self.distinct, range(len(self.distinct)), strict=True))
        self.numbers = list(map(numbers.__getitem__, self.partitions))
        """The position of each record's partition among those."""
        self.offsets: list[int] = list(map(_offset, records))
        kinds, times = zip(*map(_timestamp, records), strict=True)
        self.kinds: tuple[int, ...] = kinds
        self.times: tuple[int, ...] = times
        self.values: list[bytes | None] = list(map(_value, records))
        self._keys: list[bytes | None] = list(map(_key, records))
        self._headers = _encoded_headers(records)

    def encoded(self) -> bytes:
        """Returns the body."""
        blobs = (self._keys, self.values, self._headers)
        return b"".join(
            (
                _packed("H", self.numbers),
                _packed("q", self.offsets),
                bytes(self.kinds),
                _packed("q", self.times),
                *(_packed("i", _lengths(blob)) for blob in blobs),
                *(b"".join(blob if None not in blob else filter(None, blob)) for blob in blobs),  # type: ignore[arg-type]  # without None
            )
        )


def decoded(body: bytes, count: int, partitions: Sequence[TopicPartition]) -> list[RecordedRecord]:
    """Returns the records of a body.

    Raises:
        ValueError: the body is not one of so many records.
    """
    at = 0

    def column(code: str) -> Any:
        nonlocal at
        values = array(code)
        size = values.itemsize * count
        values.frombytes(body[at : at + size])
        at += size
        if len(values) != count:
            raise ValueError("a column is too short")
        if sys.byteorder == "big":
            values.byteswap()
        return values

    numbers, offsets = column("H"), column("q")
    kinds, times = column("B"), column("q")
    lengths = [column("i") for _ in range(3)]
    blobs: list[Iterable[bytes | None]] = []
    for of_column in lengths:
        blob, at = _sliced(body, at, of_column)
        blobs.append(blob)
    if at != len(body) or max(numbers) >= len(partitions):
        raise ValueError("the columns do not fit together")
    keys, values, encoded_headers = blobs
    headers: Iterable[Any] = encoded_headers
    if isinstance(encoded_headers, list):
        headers = map(_decoded_headers, encoded_headers)
    return list(
        map(
            RecordedRecord,
            zip(map(partitions.__getitem__, numbers), offsets, kinds, times, keys, values, headers, strict=False),
        )
    )


def _packed(code: str, numbers: Iterable[int]) -> bytes:
    packed = array(code, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _lengths(blob: Sequence[bytes | None]) -> Iterable[int]:
    if None not in blob:
        return map(len, blob)  # type: ignore[arg-type]  # without None
    return [NULL if one is None else len(one) for one in blob]


def _sliced(body: bytes, at: int, lengths: Sequence[int]) -> tuple[Iterable[bytes | None], int]:
    """Returns the byte strings of these lengths from `at` on, and where they end."""
    if lengths.count(NULL) == len(lengths):
        return repeat(None), at
    if min(lengths) >= 0:
        ends = list(accumulate(lengths, initial=at))
        return [body[begin:end] for begin, end in pairwise(ends)], ends[-1]
    found: list[bytes | None] = []
    for length in lengths:
        if length < NULL:
            raise ValueError("a length is negative")
        found.append(None if length == NULL else body[at : at + length])
        at += max(length, 0)
    return found, at


def _encoded_headers(records: Sequence[RawRecord]) -> list[bytes | None]:
    try:
        if not any(map(_headers, records)):
            return [None] * len(records)
    except SystemError:  # a name that is not UTF-8: `Record` reads it safely
        pass
    return [_encode_headers(Record.of(record).headers) for record in records]


def _encode_headers(headers: Sequence[Header]) -> bytes | None:
    if not headers:
        return None
    parts = [_COUNT.pack(len(headers))]
    for name, value in headers:
        encoded = name.encode()
        parts += [_COUNT.pack(len(encoded)), encoded, _LENGTH.pack(NULL if value is None else len(value)), value or b""]
    return b"".join(parts)


def _decoded_headers(data: bytes | None) -> tuple[Header, ...] | None:
    if data is None:
        return None
    (count,), at = _COUNT.unpack_from(data), _COUNT.size
    found: list[Header] = []
    for _ in range(count):
        (length,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        name = data[at : at + length].decode()
        at += length
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        found.append((name, None if size == NULL else data[at : at + size]))
        at += max(size, 0)
    return tuple(found)
