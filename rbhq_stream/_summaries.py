"""The summary of records that were polled together: the newest offsets and the size of the values.

The feed needs both for each poll. A source that knows them already returns `SummarisedRecords`, which saves a tenth of
the time that the poll thread spends on a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from rbhq_stream.record import RawRecord

_R = TypeVar("_R", bound=RawRecord)
_Partition = tuple[str, int]  # a TopicPartition or an equal plain tuple, which is faster to make for each record


class SummarisedRecords(list[_R]):
    """Records with their summary, from a source that knows it. A slice of them is a plain list.

    Args:
        records: the records.
        newest: the last offset of each partition.
        size: the bytes of their values.
    """

    __slots__ = ("newest", "size")

    def __init__(self, records: Iterable[_R], newest: Mapping[_Partition, int], size: int) -> None:
        super().__init__(records)
        self.newest = newest
        self.size = size


def newest_offsets(records: Sequence[RawRecord]) -> Mapping[_Partition, int]:
    """Returns the last offset of each partition. The records of one partition are in the order of their offsets."""
    if isinstance(records, SummarisedRecords):
        return records.newest
    return {(record.topic(), record.partition()): record.offset() for record in records}  # type: ignore[misc]


def size_of(records: Sequence[RawRecord]) -> int:
    """Returns the bytes of the values."""
    if isinstance(records, SummarisedRecords):
        return records.size
    return sum([len(record.value() or b"") for record in records])
