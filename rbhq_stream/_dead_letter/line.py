"""A dead letter as a line of JSON: the format of `DeadLetterFile`, which docs/bad-records.md describes."""

from __future__ import annotations

from datetime import datetime

import attrs
import msgspec

from rbhq_stream._dead_letter.letter import DeadLetter
from rbhq_stream.errors import Fault
from rbhq_stream.record import Record

TEXT_BYTES = 1000
"""The number of bytes of a bad record's value that are stored a second time, as a string for people to read."""

_RECORD_FIELDS = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")


class _OtherFields(msgspec.Struct):
    """The fields of a line that are not the record's."""

    when: datetime
    kind: str
    faults: tuple[Fault, ...]


def encode_line(letter: DeadLetter) -> bytes:
    """Returns the letter as one line. Bytes are encoded as base64, times as RFC 3339."""
    value = letter.record.value or b""
    fields = {
        "when": letter.when,
        "kind": letter.kind,
        **{name: getattr(letter.record, name) for name in _RECORD_FIELDS},
        "faults": [attrs.asdict(fault) for fault in letter.faults],
        "text": value[:TEXT_BYTES].decode(errors="backslashreplace"),
    }
    return msgspec.json.encode(fields) + b"\n"


def decode_line(line: bytes) -> DeadLetter:
    """Returns the letter in the line.

    Raises:
        msgspec.MsgspecError: the line is not a dead letter.
    """
    fields = msgspec.json.decode(line)
    others = msgspec.convert(fields, _OtherFields)
    return DeadLetter(msgspec.convert(fields, Record), others.kind, others.faults, others.when)
