"""A bad record as it is stored, and the error of a store that failed."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from attrs import frozen

from rbhq_stream._wire import MAX_BYTES, decode
from rbhq_stream.errors import DecodeError, Fault, RbhqStreamError
from rbhq_stream.events import Event
from rbhq_stream.record import Record

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


class DeadLetterError(RbhqStreamError):
    """A bad record could not be stored, so it isn't done: the feed hands it to its sink again when asked to go on.

    `sink` says where it was to go, `reason` what is wrong there, and `record` is the bad record.
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
    """Where it stood, and its raw bytes."""
    kind: str
    """The name of the event class that it was read as."""
    faults: tuple[Fault, ...]
    """What was wrong with it: the first 100 faults."""
    when: datetime
    """When it was stored (UTC)."""

    def decode(self, *, max_bytes: int = MAX_BYTES) -> tuple[Event, ...]:
        """Reads the record again, say with a later version of the library.

        Raises:
            DecodeError: it is still bad.
            ValueError: this version of the library has no events of that kind.
        """
        kind = _KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"there are no events of kind {self.kind!r}, only {', '.join(_KINDS)}")
        return decode(kind, self.record.value or b"", record=self.record, max_bytes=max_bytes)


def record_of(error: DecodeError) -> Record:
    if error.record is None:
        raise ValueError("this error has no record to store: give decode() the record it reads")
    return error.record


# --- the file ---
