"""One Kafka record.

`RawRecord` is what a source returns: the methods of `confluent_kafka.Message` that the library calls, and no others.
`Record` is the same record as a value. It is made only when it is first used.
"""

from __future__ import annotations

from datetime import datetime
from gc import get_referents
from operator import methodcaller
from typing import Any, Protocol

from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream._timestamps import from_milliseconds


class RawRecord(Protocol):
    """A record as the Kafka client returns it. `confluent_kafka.Message` is one."""

    def topic(self) -> str | None:
        """Returns the topic's name."""

    def partition(self) -> int | None:
        """Returns the partition's number."""

    def offset(self) -> int | None:
        """Returns the offset in the partition."""

    def timestamp(self) -> tuple[int, int]:
        """Returns the kind of the timestamp (0 none, 1 the producer's, 2 the broker's), and milliseconds since 1970."""
        ...

    def key(self) -> bytes | None:
        """Returns the key."""

    def value(self) -> bytes | None:
        """Returns the document; `None` for a tombstone."""

    def headers(self) -> Any:
        """Returns pairs of a name and bytes, or `None`."""


_SHOWN_BYTES = 80
"""How many bytes of a value its repr shows."""
_optional_bytes = checks.optional(checks.instance_of(bytes))


def _shortened(value: object) -> str:
    if not isinstance(value, bytes) or len(value) <= _SHOWN_BYTES:
        return repr(value)
    return f"{value[:_SHOWN_BYTES]!r}… ({len(value)} bytes)"


@frozen
class Record:
    """The Kafka record that contained an event.

    `value` has the bytes as RBHQ sent them, for a dead-letter store or as evidence. The repr shortens them.
    `Record.of(message)` makes a record from a message of confluent-kafka.
    """

    topic: str = field(validator=checks.text)
    """The topic's name."""
    partition: int = field(validator=checks.integer)
    """The partition's number."""
    offset: int = field(validator=checks.integer)
    """The record's offset in the partition."""
    timestamp: datetime | None = field(default=None, converter=checks.to_utc, validator=checks.optional(checks.time))
    """When the record was written, by the clock of the producer or of the broker, depending on the topic's
    configuration (aware, in UTC, to the millisecond). `None`: the record has no time, or one that a datetime can't
    represent.
    """
    key: bytes | None = field(default=None, validator=_optional_bytes)
    """The key, which determines the partition."""
    value: bytes | None = field(default=None, validator=_optional_bytes, repr=_shortened)
    """The document, as RBHQ sent it; `None` for a tombstone."""
    headers: tuple[tuple[str, bytes | None], ...] = field(default=(), validator=checks.each(checks.instance_of(tuple)))
    """Pairs of a name and a value, in the producer's order. A name that is not UTF-8 is replaced by U+FFFD."""
    part: int = field(default=0, validator=checks.integer)
    """Which of the record's events this is, counted from 0."""
    parts: int = field(default=1, validator=checks.integer)
    """How many events the record has: one, except for a document with a list of them."""
    delivery_tag: str | None = field(
        default=None, eq=False, repr=False, kw_only=True, validator=checks.optional(checks.text)
    )
    """With `commit="manual"`, identifies to `ack` the events that its feed handed over. It is not part of `==`."""

    @classmethod
    def of(cls, raw: RawRecord) -> Record:
        """Returns the record of a message of the Kafka client, for an application with its own consumer.

        Args:
            raw: A `confluent_kafka.Message` without an error, or anything else with its methods. A header whose name is
                not UTF-8 is read safely. The client's own `headers()` raises `SystemError` for it and can then crash
                the process.
        """
        return cls(
            topic=raw.topic() or "",
            partition=_number(raw.partition()),
            offset=_number(raw.offset()),
            timestamp=cls.time_of(raw),
            key=raw.key(),
            value=raw.value(),
            headers=_headers(raw),
        )

    @staticmethod
    def time_of(raw: RawRecord) -> datetime | None:
        """Returns the timestamp of a message of the Kafka client, as `Record.timestamp` has it."""
        kind, milliseconds = raw.timestamp()
        return from_milliseconds(milliseconds) if kind else None

    @property
    def coordinates(self) -> tuple[str, int, int]:
        """Topic, partition and offset, which together identify the record."""
        return self.topic, self.partition, self.offset

    @property
    def next_offset(self) -> int:
        """The position in the partition once this event is processed, for `positions`. It is the offset after the
        record or, unless this is the last event of the record, the record's own offset.
        """
        return self.offset + 1 if self.part + 1 >= self.parts else self.offset

    def trace_context(self) -> dict[str, str] | None:
        """Returns the W3C trace context in the headers, as the `carrier` that OpenTelemetry's `extract` takes.

        Returns:
            `traceparent` and, if there is one, `tracestate`; `None` without a `traceparent`. If a header occurs more
            than once, the last one counts. Whether the content is well-formed is left to `extract`.
        """
        found = {
            name: value.decode("ascii")
            for header, value in self.headers
            if (name := header.lower()) in _TRACE_HEADERS and value is not None and value.isascii()
        }
        return found if "traceparent" in found else None

    def __str__(self) -> str:
        """Returns topic, partition and offset, as logs and errors write them."""
        return f"topic {self.topic!r} partition {self.partition} offset {self.offset}"


_TRACE_HEADERS = ("traceparent", "tracestate")
_UNREADABLE_NAME = "\N{REPLACEMENT CHARACTER}"
# Not `raw.headers()`: since 3.11 CPython may call such a method without checking for the error that the client leaves
# set, and the error then surfaces in an unrelated call. A call made from C is always checked.
_call_headers = methodcaller("headers")


def _headers(raw: RawRecord) -> tuple[tuple[str, bytes | None], ...]:
    """Returns the headers; one whose name is not UTF-8 keeps its value and is named U+FFFD.

    This works around a defect of confluent-kafka (seen in 2.8.2, 2.12.2, 2.14.2 and 2.16.1, the newest so far). For a
    header name that is not UTF-8, which a producer in C or Go can write, `Message.headers()` raises `SystemError`.
    Every later call returns a list of pairs in which a null pointer stands for such a name, and reading that name
    crashes the process. The garbage collector skips null pointers, so it shows how much of a pair is there. Nothing
    is changed, so any number of threads may do this at once.
    """
    try:
        pairs = _call_headers(raw)
    except SystemError:
        pairs = _call_headers(raw)
    return tuple(
        (_UNREADABLE_NAME, pair[1]) if type(pair) is tuple and len(get_referents(pair)) < 2 else (pair[0], pair[1])
        for pair in pairs or ()
    )


def _number(value: int | None) -> int:
    return -1 if value is None else value
