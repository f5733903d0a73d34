"""The body of a block: records as columns, which compress better than rows, in MessagePack. Pure.

Recording and replaying share the interpreter with the application, so each column is made and read by functions that
are written in C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import methodcaller
from types import MethodDescriptorType
from typing import Annotated, Any

import msgspec
from attrs import frozen

from rbhq_stream._recording.race_finder import RaceFinder
from rbhq_stream._summaries import SummarisedRecords
from rbhq_stream.events import RaceId
from rbhq_stream.record import RawRecord, Record
from rbhq_stream.source import TopicPartition

Header = tuple[str, bytes | None]

_ACCESSORS = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")


class RecordedRecord(msgspec.Struct, frozen=True, gc=False):
    """A `RawRecord` that was read from a recording."""

    # msgspec makes a struct in a third of the time that a tuple of a subclass takes. No reference leads back to it, so
    # the garbage collector need not track it.

    topic_partition: TopicPartition
    record_offset: int
    """The offset."""
    kind: int
    """Kafka's mark for the kind of the time; 0 if there is none."""
    time: int
    """The timestamp in milliseconds since 1970."""
    record_key: bytes | None
    """The key."""
    record_value: bytes | None
    """The value."""
    record_headers: list[Header] | None
    """The headers."""

    def topic(self) -> str:
        """Returns the topic's name."""
        return self.topic_partition[0]

    def partition(self) -> int:
        """Returns the number of the partition."""
        return self.topic_partition[1]

    def offset(self) -> int:
        """Returns the offset in the partition."""
        return self.record_offset

    def timestamp(self) -> tuple[int, int]:
        """Returns Kafka's mark for the kind of the time (0: there is none), and the milliseconds since 1970."""
        return self.kind, self.time

    def key(self) -> bytes | None:
        """Returns the record's key."""
        return self.record_key

    def value(self) -> bytes | None:
        """Returns the record's bytes."""
        return self.record_value

    def headers(self) -> list[Header] | None:
        """Returns pairs of a name and a value."""
        return self.record_headers


_Natural = Annotated[int, msgspec.Meta(ge=0)]
_Bytes = list[bytes | None]
_Headers = list[list[Header] | None]
_Body = tuple[list[_Natural], list[int], list[int], list[int], _Bytes, _Bytes, _Headers]
_Received = tuple[list[str], list[_Natural], list[int], list[int], list[int], _Bytes, _Bytes, _Headers]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


@frozen
class Run:
    """Records in a row that are from one partition."""

    partition: tuple[str, int]
    first: int
    """The offset of the first one."""
    last: int
    """The offset of the last one."""
    count: int


@frozen
class Columns:
    """Some records as columns. They have no references to the records, only to the bytes of their keys and values."""

    runs: tuple[Run, ...]
    since: int | None
    """The earliest timestamp, in milliseconds since 1970; `None` if no record has one."""
    until: int | None
    """The latest one."""
    races: frozenset[RaceId]
    size: int
    """The bytes of the values."""
    offsets: list[int]
    kinds: list[int]
    """The kinds of the timestamps."""
    times: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Sequence[Header] | None]

    @classmethod
    def of(cls, records: Sequence[RawRecord], races: RaceFinder) -> Columns:
        """Returns the columns of at least one record, in the order in which they came.

        Raises:
            msgspec.ValidationError: a method of a record returns a value of another type than `RawRecord` promises.
        """
        topic, partition, offset, timestamp, key, value, header = _accessors(records)
        topics, partitions = list(map(topic, records)), list(map(partition, records))
        offsets, keys, values = list(map(offset, records)), list(map(key, records)), list(map(value, records))
        kinds_and_times = list(chain.from_iterable(map(timestamp, records)))
        kinds, times = kinds_and_times[::2], kinds_and_times[1::2]
        timed = times if 0 not in set(kinds) else [time for kind, time in zip(kinds, times, strict=True) if kind]
        headers = _all_headers(header, records)
        if isinstance(offset, methodcaller):  # the Kafka client's own records need no check
            columns = topics, partitions, offsets, kinds, times, keys, values, headers
            msgspec.convert(columns, _Received, builtin_types=(bytes,))  # not base64
        runs = tuple(_runs(topics, partitions, offsets))
        since, until = min(timed, default=None), max(timed, default=None)
        found, size = races.of_all(topics, values), _size(values)
        return cls(runs, since, until, found, size, offsets, kinds, times, keys, values, headers)

    def __len__(self) -> int:
        return len(self.offsets)

    def newest(self) -> dict[tuple[str, int], int]:
        """Returns the last offset of each partition."""
        return {run.partition: run.last for run in self.runs}


def encoded(parts: Sequence[Columns], numbers: Mapping[tuple[str, int], int]) -> bytes:
    """Returns the body of a block.

    Args:
        parts: its records, in the order in which they came.
        numbers: the number of each partition in the index of the block.
    """
    partitions: list[int] = []
    offsets: list[int] = []
    kinds: list[int] = []
    times: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: list[Sequence[Header] | None] = []
    for part in parts:
        for run in part.runs:
            partitions += [numbers[run.partition]] * run.count
        offsets += part.offsets
        kinds += part.kinds
        times += part.times
        keys += part.keys
        values += part.values
        headers += part.headers
    return _encode((partitions, offsets, kinds, times, keys, values, headers))


def decoded(body: bytes, count: int, newest: Mapping[TopicPartition, int]) -> SummarisedRecords[RecordedRecord]:
    """Returns the records of a body.

    Args:
        body: as `encoded` returned it.
        count: how many records it has.
        newest: the last offset of each partition, in the order in which the partitions are numbered.

    Raises:
        ValueError: it is not the body of such a block.
    """
    try:
        columns = _decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    numbers, offsets, kinds, times, keys, values, headers = columns
    if set(map(len, columns)) != {count} or max(numbers) >= len(newest):
        raise ValueError("the columns do not fit together")
    partitions = list(newest)
    records = map(RecordedRecord, map(partitions.__getitem__, numbers), offsets, kinds, times, keys, values, headers)
    return SummarisedRecords(records, {one: newest[one] for one in partitions}, _size(values))


def _accessors(records: Sequence[RawRecord]) -> list[Callable[[RawRecord], Any]]:
    """Returns functions that call the methods of these records.

    Methods written in C, such as those of the Kafka client's messages, are four times as fast when they are called as
    functions of their class.
    """
    found = [getattr(type(records[0]), name, None) for name in _ACCESSORS]
    if all(isinstance(one, MethodDescriptorType) for one in found):
        return found  # type: ignore[return-value]  # none of them is None
    return [methodcaller(name) for name in _ACCESSORS]


def _runs(topics: Sequence[str], partitions: Sequence[int], offsets: Sequence[int]) -> Iterator[Run]:
    if topics.count(topics[0]) == partitions.count(partitions[0]) == len(offsets):  # as nearly always while catching up
        yield Run((topics[0], partitions[0]), offsets[0], offsets[-1], len(offsets))
        return
    at = 0
    for partition, run in groupby(zip(topics, partitions, strict=True)):
        count = len(list(run))
        yield Run(partition, offsets[at], offsets[at + count - 1], count)
        at += count


def _size(values: Sequence[bytes | None]) -> int:
    try:
        return sum(map(len, values))  # type: ignore[arg-type]  # there are tombstones rarely
    except TypeError:
        return sum(map(len, filter(None, values)))


def _all_headers(headers: Callable[[RawRecord], Any], records: Sequence[RawRecord]) -> list[Sequence[Header] | None]:
    try:
        # only from C, and the pairs are not looked at: see `rbhq_stream.record._headers` for the client's defect
        if not any(map(headers, records)):
            return [None] * len(records)
    except SystemError:  # a name that is not UTF-8: `Record` reads it safely
        pass
    return [Record.of(record).headers or None for record in records]
