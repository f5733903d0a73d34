"""`DeadLetter`, a bad record as it was stored, and `DeadLetterError`, the error of a sink that could not store one."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from rbhq_stream._kinds import EVENT_KINDS
from rbhq_stream._wire import MAX_BYTES, decode
from rbhq_stream.errors import DecodeError, Fault, RbhqStreamError
from rbhq_stream.events import Event
from rbhq_stream.record import Record

_KINDS: dict[str, type[Event]] = {kind.event.__name__: kind.event for kind in EVENT_KINDS}


class DeadLetterError(RbhqStreamError):
    """A bad record could not be stored, so it is not acknowledged. Requesting the next event tries again to store it.

    Attributes:
        sink: Where it should have been stored: a path, or a topic and its brokers.
        reason: Why it could not be stored.
        record: The bad record.
    """

    def __init__(self, sink: str, reason: str, record: Record) -> None:
        super().__init__(sink, reason, record)
        self.sink = sink
        self.reason = reason
        self.record = record

    def __str__(self) -> str:
        return f"the bad record at {self.record} could not be stored in {self.sink}: {self.reason}"


@frozen
class DeadLetter:
    """A bad record as it was stored."""

    record: Record
    """The Kafka record, with its raw bytes."""
    kind: str
    """The name of the event class that it was decoded as."""
    faults: tuple[Fault, ...]
    """What was wrong with it: a file stores the first 100 faults."""
    when: datetime
    """When it was stored (UTC)."""

    def decode(self, *, max_bytes: int = MAX_BYTES) -> tuple[Event, ...]:
        """Decodes the record again, for example with a later version of the library.

        Args:
            max_bytes: The largest record to decode.

        Returns:
            Its events.

        Raises:
            DecodeError: the record is still bad.
            ValueError: this version of the library has no event class named `kind`.
        """
        kind = _KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"there is no event class {self.kind!r}, only {', '.join(_KINDS)}")
        return decode(kind, self.record.value or b"", record=self.record, max_bytes=max_bytes)


def record_of(error: DecodeError) -> Record:
    """Returns the record of the error.

    Raises:
        ValueError: it has none, because `decode` was called without `record`.
    """
    if error.record is None:
        raise ValueError("this error has no record to store: call decode() with record=")
    return error.record
