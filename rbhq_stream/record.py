"""One Kafka record, and where it stood.

`RawRecord` is what a source hands over: the methods of `confluent_kafka.Message` that the library uses, and no more.
`Record` is the same as a value, made when somebody asks for it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from attrs import field, fields, frozen

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class RawRecord(Protocol):
    """A record as the Kafka client gives it. `confluent_kafka.Message` is one."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Any: ...  # pairs of a name and bytes, or None


class _Tagged:
    """Gives a record room for its delivery tag, which is no part of its value: neither compared nor shown."""

    __slots__ = ("_tag",)


@frozen
class Record(_Tagged):
    """The Kafka record that an event came in.

    `value` holds the bytes as RBHQ sent them, for a dead-letter store or a dispute. Its repr shortens them.
    """

    topic: str
    """The topic's name."""
    partition: int
    offset: int
    timestamp: datetime | None = None
    """When the record was written, by the producer's or the broker's clock, as the topic is set up (UTC, aware,
    milliseconds). `None`: not told, or no time that there is.
    """
    key: bytes | None = None
    value: bytes | None = field(default=None, repr=lambda value: _shortened(value))  # noqa: PLW0108  # defined below
    headers: tuple[tuple[str, bytes | None], ...] = ()
    part: int = 0
    """Which of the record's events this is, from 0."""
    parts: int = 1
    """How many events the record has: one, but for a document with a list of them."""

    @classmethod
    def of(cls, raw: RawRecord) -> Record:
        """The record as a value, from what the Kafka client gave."""
        kind, milliseconds = raw.timestamp()
        return cls(
            topic=raw.topic() or "",
            partition=_number(raw.partition()),
            offset=_number(raw.offset()),
            timestamp=_moment(milliseconds) if kind else None,
            key=raw.key(),
            value=raw.value(),
            headers=tuple((name, content) for name, content in raw.headers() or ()),
        )

    def __getstate__(self) -> dict[str, Any]:
        # attrs would leave the tag out, and a copy of an event could not be acknowledged
        return {**{a.name: getattr(self, a.name) for a in fields(type(self))}, "_tag": delivery_tag(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset: what names the record."""
        return self.topic, self.partition, self.offset

    @property
    def next_offset(self) -> int:
        """Where to go on in the partition when this event is done: after the record, or, while it has more
        events, at it again. For `positions`.
        """
        return self.offset + 1 if self.part + 1 >= self.parts else self.offset

    def __str__(self) -> str:
        """Where the record stood, as the logs and errors write it."""
        return f"topic {self.topic!r} partition {self.partition} offset {self.offset}"


def tag_delivery(record: Record, tag: object) -> None:
    """Notes by which delivery the record was handed over. A copy or a pickle of the record keeps the tag."""
    object.__setattr__(record, "_tag", tag)


def delivery_tag(record: Record) -> object:
    """Returns what `tag_delivery` noted; `None` for a record that was not handed over for acknowledgement."""
    return getattr(record, "_tag", None)


def _moment(milliseconds: int) -> datetime | None:
    """The time, unless it is none that anybody can mean: a producer may write anything."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds >= 0 else None
    except OverflowError:
        return None


def _number(value: int | None) -> int:
    return -1 if value is None else value


def _shortened(value: bytes | None, length: int = 80) -> str:
    if value is None or len(value) <= length:
        return repr(value)
    return f"{value[:length]!r}… ({len(value)} bytes)"
