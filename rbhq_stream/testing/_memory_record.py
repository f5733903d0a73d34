"""A record from given values, for sources that are not Kafka."""

from __future__ import annotations

from attrs import frozen


@frozen
class MemoryRecord:
    """A `RawRecord` from given values, for a source that isn't Kafka.

    Args:
        topic: the topic's name.
        partition: the number of the partition.
        offset: the offset in the partition.
        value: the record's bytes; `None` for a tombstone.
        key: the record's key.
        timestamp: when it was written, in seconds since 1970.
    """

    _topic: str
    _partition: int
    _offset: int
    _value: bytes | None
    _key: bytes | None = None
    _timestamp: float = 0.0

    def topic(self) -> str:
        """Returns the topic's name."""
        return self._topic

    def partition(self) -> int:
        """Returns the number of the partition."""
        return self._partition

    def offset(self) -> int:
        """Returns the offset in the partition."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Returns 1, Kafka's mark for the producer's time, and the milliseconds since 1970."""
        return 1, round(self._timestamp * 1000)

    def key(self) -> bytes | None:
        """Returns the record's key."""
        return self._key

    def value(self) -> bytes | None:
        """Returns the record's bytes."""
        return self._value

    def headers(self) -> None:
        """Returns `None`: there are no headers."""
        return
