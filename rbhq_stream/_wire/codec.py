"""Bytes to events and back.

Most of the traffic is prices in RBHQ's plain form, and much of it repeats: the same runner at the same price, the same
scratchings again. So `decode` has a fast path for just that: one call into C splits the document, and parts that were
seen before are not read again, since equal bytes are the same frozen value. Whatever is not exactly plain goes to
`forms`, the patient reader, which decides. The fast path refuses nothing for good, and takes nothing that `forms` would
read differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar, cast, get_args, get_type_hints

import attrs
import msgspec

from rbhq_stream._wire import forms, objects, values
from rbhq_stream._wire.objects import EVENT_ID, NATURALS, WIRE_NAMES
from rbhq_stream._wire.values import Unreadable
from rbhq_stream.errors import DecodeError, Fault
from rbhq_stream.events import NO_EXTRA, Event, PriceEvent, PriceType, PriceUpdate, Scratching, Unscratching
from rbhq_stream.record import RawRecord, Record

_E = TypeVar("_E", bound=Event)
_P = TypeVar("_P", PriceUpdate, Scratching, Unscratching)
_K = TypeVar("_K", str, bytes)
_V = TypeVar("_V")

MAX_BYTES = 4 * 1024 * 1024
"""Longer documents are refused before they are parsed. RBHQ's are a few kilobytes; brokers rarely allow above 1 MiB."""


KINDS: tuple[type[Event], ...] = get_args(Event)
"""The classes of events there are."""


def decode(
    kind: type[_E], raw: bytes, *, record: Record | RawRecord | None = None, max_bytes: int = MAX_BYTES
) -> tuple[_E, ...]:
    """The events in a document, in their order; often one, and none for an empty list or an empty payload.

    `kind` is what the document holds, as its topic tells: `PriceEvent`, `RaceStatusEvent` or `RaceResultEvent`.
    `record` is where it came from: the events and the error will say so.

    Raises:
        DecodeError: the document can't be read without guessing; it tells all that is wrong.
        TypeError: `kind` is none of the three.
    """
    if len(raw) > max_bytes:
        faults = [Fault("$", f"{len(raw)} bytes", f"at most {max_bytes} bytes")]
    else:
        if kind is PriceEvent:
            try:
                return (_plain_prices(raw, record),)
            except _NOT_PLAIN:
                pass  # not decided, only not plain
        elif kind not in KINDS:
            raise TypeError(f"decode({kind!r}, …): RBHQ sends {', '.join(known.__name__ for known in KINDS)}")
        try:
            events = forms.read(kind, raw)
            return events if record is None else _recorded(events, record)
        except Unreadable as bad:
            faults = bad.under("$")
    raise DecodeError(
        kind.__name__, faults, record=record if record is None or isinstance(record, Record) else Record.of(record)
    )


def _recorded(events: tuple[_E, ...], record: Record | RawRecord) -> tuple[_E, ...]:
    """The events with the record they came in, and which of its events each of them is."""
    if len(events) == 1:
        return (attrs.evolve(events[0], record=record),)
    whole = record if isinstance(record, Record) else Record.of(record)
    return tuple(
        [
            attrs.evolve(event, record=attrs.evolve(whole, part=part, parts=len(events)))
            for part, event in enumerate(events)
        ]
    )


# --- the fast path ---

MOST_REMEMBERED = 32_768
"""Answers kept of each kind. Then all are forgotten: finer ways to make room cost more than reading some anew."""
LONGEST_REMEMBERED = 1024
"""Bytes. RBHQ's longest part, a scratching, has about 210."""

_NOT_PLAIN = (msgspec.MsgspecError, ValueError, RecursionError, Unreadable)
_Natural = Annotated[int, msgspec.Meta(ge=0, le=values.INT64_MAX)]
_Integer = Annotated[int, msgspec.Meta(ge=values.INT64_MIN, le=values.INT64_MAX)]


class _Memo(dict[_K, _V], Generic[_K, _V]):
    """The answers of `answer`, by what was asked. Bounded."""

    def __init__(self, answer: Callable[[_K], _V]) -> None:
        super().__init__()
        self._answer: Callable[[_K], _V] = answer

    def __missing__(self, key: _K) -> _V:
        value = self._answer(key)
        if len(key) <= LONGEST_REMEMBERED:
            if len(self) >= MOST_REMEMBERED:
                self.clear()
            self[key] = value
        return value


class _Document(
    msgspec.Struct, rename={**WIRE_NAMES[PriceEvent], "event_id": EVENT_ID}, forbid_unknown_fields=True, gc=False
):
    """The top level of a plain price document. Its parts are left as bytes."""

    meeting_id: _Natural
    event_number: _Natural
    event_id: str = ""
    price_updates: Sequence[msgspec.Raw] = ()
    scratchings: Sequence[msgspec.Raw] = ()
    unscratchings: Sequence[msgspec.Raw] = ()


def _struct(cls: type[Any]) -> Callable[[bytes], Any]:
    """A decoder of plain parts, in C, made from the class. All fields must be there; numbers are left as bytes."""
    plain = {int: _Integer, PriceType: str, Decimal: msgspec.Raw, datetime: datetime}
    types = get_type_hints(cls)
    fields = [
        (name, _Natural if name in NATURALS else plain[(get_args(types[name]) or (types[name],))[0]])
        for name in WIRE_NAMES[cls]
    ]
    struct = msgspec.defstruct(cls.__name__, fields, rename=WIRE_NAMES[cls], forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(struct).decode


_odd: set[type[Any]] = set()
"""The classes of which parts were read that are not plain, and so may have any number of colons."""


def _part_reader(cls: type[_P], colons: int, build: Callable[[Any], _P]) -> Callable[[bytes], _P]:
    """Makes the reader of one part. A plain one has so many `colons`; more tell of a field that is there twice."""
    decode_plain = _struct(cls)

    def read(raw: bytes) -> _P:
        if raw.count(b":") == colons:
            try:
                return build(decode_plain(raw))
            except _NOT_PLAIN:
                pass
        part = forms.read_part(cls, raw.decode())
        _odd.add(cls)
        return cast("_P", part)

    return read


_property_memo: _Memo[str, PriceType] = _Memo(values.price_type)
_price_memo: _Memo[bytes, Decimal | None] = _Memo(lambda raw: values.price(_scalar(raw)))
_decimal_memo: _Memo[bytes, Decimal] = _Memo(lambda raw: values.decimal(_scalar(raw)))


def _scalar(raw: bytes) -> Any:
    """A string or a number as its text: both readers take the two for the same. An escape in it is left: not plain."""
    text = raw.decode()
    if text[0] == '"':
        return text[1:-1]
    return text if text[0] in "-0123456789" else values.parse(text)


def _price_update(plain: Any) -> PriceUpdate:
    price = _price_memo[bytes(plain.price)]
    return PriceUpdate(plain.runner_number, _property_memo[plain.price_type], plain.property_id, price)


def _scratching(plain: Any) -> Scratching:
    runner_number, *deductions, scratch_type, scratch_time = msgspec.structs.astuple(plain)
    exact = [_decimal_memo[bytes(deduction)] for deduction in deductions]
    arguments: list[Any] = [runner_number, *exact, scratch_type, values.utc(scratch_time)]
    return Scratching(*arguments)


def _unscratching(plain: Any) -> Unscratching:
    return Unscratching(plain.runner_number, values.utc(plain.unscratch_time))


# plain parts have a colon after each name; a time has two more
_price_update_memo = _Memo(_part_reader(PriceUpdate, 4, _price_update))
_scratching_memo = _Memo(_part_reader(Scratching, 8 + 2, _scratching))
_unscratching_memo = _Memo(_part_reader(Unscratching, 2 + 2, _unscratching))


def _race(event_id: str) -> tuple[int, int]:
    meeting_id, _, event_number = event_id.partition("-")
    race = int(meeting_id), int(event_number)
    if event_id != f"{race[0]}-{race[1]}":
        raise Unreadable
    return race


_race_memo = _Memo(_race)


def _has_a_field_twice(raw: bytes, document: _Document) -> bool:
    """Whether there are more names, so more colons, than were read. The parts were checked one by one."""
    lists = document.price_updates, document.scratchings, document.unscratchings
    names = 2 + bool(document.event_id) + sum([items != () for items in lists])
    return raw.count(b":") != names + sum([bytes(part).count(b":") for items in lists for part in items])


_document_of = msgspec.json.Decoder(_Document).decode
_price_update_of = _price_update_memo.__getitem__
_scratching_of = _scratching_memo.__getitem__
_unscratching_of = _unscratching_memo.__getitem__

# what PriceEvent(...) does, in half the time: a frozen class sets its fields in a roundabout way
_new: Any = object.__new__
(
    _set_meeting_id,
    _set_event_number,
    _set_price_updates,
    _set_scratchings,
    _set_unscratchings,
    _set_extra,
) = (getattr(PriceEvent, a.name).__set__ for a in attrs.fields(PriceEvent))
_set_record: Any = PriceEvent._record.__set__  # type: ignore[union-attr]  # noqa: SLF001


def _plain_prices(raw: bytes, record: Record | RawRecord | None) -> Any:
    document = _document_of(raw)
    meeting_id, event_number, event_id = document.meeting_id, document.event_number, document.event_id
    if event_id and _race_memo[event_id] != (meeting_id, event_number):
        raise Unreadable
    updates, scratchings, unscratchings = document.price_updates, document.scratchings, document.unscratchings
    event = _new(PriceEvent)
    _set_meeting_id(event, meeting_id)
    _set_event_number(event, event_number)
    _set_record(event, record)
    _set_price_updates(
        event,
        (_price_update_of(bytes(updates[0])),)
        if len(updates) == 1
        else tuple(map(_price_update_of, map(bytes, updates))),
    )
    _set_scratchings(event, tuple(map(_scratching_of, map(bytes, scratchings))) if scratchings else ())
    _set_unscratchings(event, tuple(map(_unscratching_of, map(bytes, unscratchings))) if unscratchings else ())
    _set_extra(event, NO_EXTRA)
    colons = 6 + 4 * len(updates) + 10 * len(scratchings) + 4 * len(unscratchings)  # if all is there, and plain
    if (raw.count(b":") != colons or _odd) and _has_a_field_twice(raw, document):
        raise Unreadable
    return event


# --- events to bytes ---

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(event: Event) -> bytes:
    """The document as RBHQ would write it: compact UTF-8, numbers and prices with the digits they have.

    Raises:
        ValueError: the event can't be written: a number that is not finite, a time without a zone, an `extra` field
            with the name of a field that the class has.
    """
    return _encoder.encode(objects.write(event))
