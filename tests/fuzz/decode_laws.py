"""What must hold for `decode` on any bytes at all. The fuzzer and the tests both ask this."""

from __future__ import annotations

from rbhq_stream._wire import codec as wire
from rbhq_stream._wire import forms
from rbhq_stream._wire.values import Unreadable
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event, PriceEvent, RaceResultEvent, RaceStatusEvent

KINDS: tuple[type[Event], ...] = (PriceEvent, RaceStatusEvent, RaceResultEvent)


def patiently(kind: type[Event], raw: bytes) -> tuple[Event, ...] | None:
    """What the patient reader alone makes of it; `None` if it refuses."""
    try:
        return forms.read(kind, raw)
    except Unreadable:
        return None


def check(kind: type[Event], raw: bytes) -> tuple[Event, ...] | None:
    """Decodes, and holds the result against the laws. `None` if `decode` refuses."""
    try:
        events = wire.decode(kind, raw)
    except DecodeError as refusal:
        error = refusal
    else:
        assert patiently(kind, raw) == events, "the paths disagree"
        for event in events:
            assert wire.decode(kind, wire.encode(event)) == (event,), "encode loses something"
        return events
    assert patiently(kind, raw) is None, "the paths disagree: only the patient one reads it"
    assert error.faults
    assert str(error).isprintable()
    for fault in error.faults:
        assert fault.path.startswith("$"), fault
        assert len(fault.found) <= 60, fault
        for text in (fault.path, fault.found, fault.expected):
            assert text.isascii(), fault
            assert text.isprintable(), fault
    return None
