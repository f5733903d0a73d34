"""What must hold for `decode` on any bytes at all. The fuzzer and the tests both ask this."""

from __future__ import annotations

from rbhq_stream._wire import decode, encode, lenient
from rbhq_stream._wire.faults import Unreadable
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event, PriceEvent, RaceResultEvent, RaceStatusEvent

KINDS: tuple[type[Event], ...] = (PriceEvent, RaceStatusEvent, RaceResultEvent)


def leniently(kind: type[Event], raw: bytes) -> tuple[Event, ...] | None:
    """What the lenient reader alone makes of it; `None` if it refuses."""
    try:
        return lenient.read(kind, raw)
    except Unreadable:
        return None


def check(kind: type[Event], raw: bytes) -> tuple[Event, ...] | None:
    """Decodes, and holds the result against the laws. `None` if `decode` refuses."""
    try:
        events = decode(kind, raw)
    except DecodeError as refusal:
        error = refusal
    else:
        assert leniently(kind, raw) == events, "the paths disagree"
        for event in events:
            assert decode(kind, encode(event)) == (event,), "encode loses something"
        return events
    assert leniently(kind, raw) is None, "the paths disagree: only the lenient reader reads it"
    assert error.faults
    assert str(error).isprintable()
    for fault in error.faults:
        assert fault.path.startswith("$"), fault
        assert len(fault.found) <= 60, fault
        for text in (fault.path, fault.found, fault.expected):
            assert text.isascii(), fault
            assert text.isprintable(), fault
    return None
