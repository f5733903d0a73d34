"""The fast path: decodes price documents in RBHQ's plain format, which are nearly all of the traffic.

One call into C parses and checks a document, and the slots of the attrs objects are set from its result. Prices and
deductions repeat all day, so the `Decimal` of each is remembered by its string; nothing else is. Every document that is
not exactly plain is left to the lenient reader: the fast path does not decide that a document is bad, and never returns
anything else than the lenient reader would. `tests/test_wire_laws.py` checks that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from rbhq_stream._slots import open_class
from rbhq_stream._wire import values
from rbhq_stream._wire.faults import Unreadable
from rbhq_stream._wire.names import EVENT_ID, FIELDS
from rbhq_stream.events import NO_EXTRA, PriceEvent, PriceType, PriceUpdate, RaceEvent, Scratching
from rbhq_stream.record import RawRecord, Record

_T = TypeVar("_T")

NOT_PLAIN = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError, Unreadable)
"""The exceptions of `PriceReader.read` for a document that it leaves to the lenient reader."""

_Natural = Annotated[int, msgspec.Meta(ge=0, le=values.INT64_MAX)]
_Integer = Annotated[int, msgspec.Meta(ge=values.INT64_MIN, le=values.INT64_MAX)]
_Number = Any
"""A number or a string that holds one. Numbers with a fraction arrive as their text, so that they stay exact."""


def _names(cls: type[Any]) -> dict[str, str]:
    return {field.attribute: field.name for field in FIELDS[cls]} | {"event_id": EVENT_ID}


class _PriceUpdate(msgspec.Struct, rename=_names(PriceUpdate), forbid_unknown_fields=True, gc=False):
    runner_number: _Natural
    price_type: PriceType
    property_id: _Integer | None = None
    price: _Number = None


class _Scratching(msgspec.Struct, rename=_names(Scratching), forbid_unknown_fields=True, gc=False):
    runner_number: _Natural
    win_deduction: _Number
    place_deduction: _Number
    two_place_deduction: _Number
    three_place_deduction: _Number
    four_place_deduction: _Number
    scratch_type: _Integer
    scratch_time: datetime


class _Document(msgspec.Struct, rename=_names(PriceEvent), forbid_unknown_fields=True, gc=False):
    meeting_id: _Natural
    event_number: _Natural
    event_id: str = ""
    price_updates: list[_PriceUpdate] = []
    scratchings: list[_Scratching] = []
    unscratchings: Annotated[list[Any], msgspec.Meta(max_length=0)] = []  # a reinstated runner is too rare to be plain


_OpenPriceUpdate, _OpenScratching, _OpenPriceEvent = map(open_class, (PriceUpdate, Scratching, PriceEvent))
_set_record = vars(RaceEvent)["_record"].__set__
"""Sets the private slot, which the constructor calls `record`."""


class Memo(dict[str, _T]):
    """Remembers the result of `read` for each string. Bounded, and safe to use from several threads.

    Only strings are used as keys, because `True` and `1` would be the same key but are not the same JSON.
    """

    MAX_ENTRIES = 32_768
    """The maximum number of entries. When it is reached, all are dropped: evicting single ones would cost more."""
    MAX_LENGTH = 32
    """The maximum length of a key. Longer strings are unlikely to occur again."""

    def __init__(self, read: Callable[[Any], _T]) -> None:
        super().__init__()
        self._read: Callable[[Any], _T] = read

    def __missing__(self, text: str) -> _T:
        value = self._read(text)
        if type(text) is str and len(text) <= self.MAX_LENGTH:
            if len(self) >= self.MAX_ENTRIES:
                self.clear()
            self[text] = value
        return value


class PriceReader:
    """Reads plain price documents. Its only state is what it remembers, so threads may share it."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_Document, float_hook=str).decode
        self.prices = Memo(values.price)
        self.deductions = Memo(values.decimal)

    def read(self, raw: bytes, record: Record | RawRecord | None) -> PriceEvent:
        """Returns the event in a plain document.

        Raises:
            One of `NOT_PLAIN`: the document is not plain, or it is wrong.
        """
        # msgspec does not check that strings which it skips are UTF-8, so only ASCII documents are plain
        if not raw.isascii():
            raise Unreadable
        document = self._decode(raw)
        meeting_id, event_number, event_id = document.meeting_id, document.event_number, document.event_id
        if event_id and event_id != f"{meeting_id}-{event_number}":
            raise Unreadable
        event = _OpenPriceEvent()
        event.meeting_id = meeting_id
        event.event_number = event_number
        _set_record(event, record)
        event.price_updates = self._price_updates(document.price_updates)
        event.scratchings = self._scratchings(document.scratchings) if document.scratchings else ()
        event.unscratchings = ()
        event.extra = NO_EXTRA
        event.__class__ = PriceEvent
        return event  # type: ignore[no-any-return]

    def _price_updates(self, plain: list[_PriceUpdate]) -> tuple[PriceUpdate, ...]:
        prices, updates = self.prices, []
        for one in plain:
            update = _OpenPriceUpdate()
            update.runner_number = one.runner_number
            update.price_type = one.price_type
            update.property_id = one.property_id
            update.price = prices[one.price]
            update.extra = NO_EXTRA
            update.__class__ = PriceUpdate
            updates.append(update)
        return tuple(updates)

    def _scratchings(self, plain: list[_Scratching]) -> tuple[Scratching, ...]:
        deductions, scratchings = self.deductions, []
        for one in plain:
            scratching = _OpenScratching()
            scratching.runner_number = one.runner_number
            scratching.win_deduction = deductions[one.win_deduction]
            scratching.place_deduction = deductions[one.place_deduction]
            scratching.two_place_deduction = deductions[one.two_place_deduction]
            scratching.three_place_deduction = deductions[one.three_place_deduction]
            scratching.four_place_deduction = deductions[one.four_place_deduction]
            scratching.scratch_type = one.scratch_type
            scratching.scratch_time = values.utc(one.scratch_time)
            scratching.extra = NO_EXTRA
            scratching.__class__ = Scratching
            scratchings.append(scratching)
        return tuple(scratchings)
