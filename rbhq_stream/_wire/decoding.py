"""`decode`: the bytes of a record to its events."""

from __future__ import annotations

from typing import TypeVar, get_args

import attrs

from rbhq_stream._wire import lenient
from rbhq_stream._wire.fast_path import NOT_PLAIN, PriceReader
from rbhq_stream._wire.faults import Unreadable
from rbhq_stream.errors import DecodeError, Fault
from rbhq_stream.events import Event, PriceEvent
from rbhq_stream.record import RawRecord, Record

_E = TypeVar("_E", bound=Event)

MAX_BYTES = 4 * 1024 * 1024
"""Longer documents are refused before they are parsed. RBHQ's have a few kilobytes, and brokers rarely allow 1 MiB."""

KINDS: tuple[type[Event], ...] = get_args(Event)
"""The classes of events."""

_plain_prices = PriceReader()


def decode(
    kind: type[_E], raw: bytes, *, record: Record | RawRecord | None = None, max_bytes: int = MAX_BYTES
) -> tuple[_E, ...]:
    """Decodes a document in any format that RBHQ is known or likely to use.

    Args:
        kind: The class of the events in the document's topic: `PriceEvent`, `RaceStatusEvent` or `RaceResultEvent`.
        raw: The document, as UTF-8.
        record: The record that contains the document: a `Record`, or a message of confluent-kafka. The events and the
            error have it as `record`.
        max_bytes: A longer document is refused before it is parsed.

    Returns:
        The events in their order: most often one, and none for an empty list or an empty payload.

    Raises:
        DecodeError: the document cannot be read without guessing. The error lists everything that is wrong with it.
        TypeError: `kind` is none of the three.
    """
    if len(raw) > max_bytes:
        faults = [Fault("$", f"{len(raw)} bytes", f"at most {max_bytes} bytes")]
    else:
        if kind is PriceEvent:
            try:
                return (_plain_prices.read(raw, record),)  # type: ignore[return-value]  # kind is PriceEvent, so _E is too
            except NOT_PLAIN:
                pass  # so the lenient reader decides
        elif kind not in KINDS:
            raise TypeError(f"decode({kind!r}, …): RBHQ sends {', '.join(known.__name__ for known in KINDS)}")
        try:
            events = lenient.read(kind, raw)
            return events if record is None else _recorded(events, record)
        except Unreadable as bad:
            faults = bad.under("$")
    raise DecodeError(
        kind.__name__, faults, record=record if record is None or isinstance(record, Record) else Record.of(record)
    )


def _recorded(events: tuple[_E, ...], record: Record | RawRecord) -> tuple[_E, ...]:
    """Returns the events with their record, each with its number among the record's events."""
    if len(events) == 1:
        return (_with_record(events[0], record),)
    whole = record if isinstance(record, Record) else Record.of(record)
    return tuple(
        [_with_record(event, attrs.evolve(whole, part=part, parts=len(events))) for part, event in enumerate(events)]
    )


def _with_record(event: _E, record: Record | RawRecord) -> _E:
    """Sets the record of a new event, to which there is no other reference yet. Faster than `attrs.evolve`."""
    object.__setattr__(event, "_record", record)
    return event
