"""What the feed says: one class for each kind of event, and for the parts they are made of.

All are frozen values: hashable, comparable, picklable, and safe to keep or to hand to another thread. Money, prices,
deductions and factors are `Decimal`, exactly as RBHQ wrote them; times are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar, Union

from attrs import field, fields, frozen
from typing_extensions import Self

from rbhq_stream.record import RawRecord, Record

_R = TypeVar("_R", bound="RaceEvent")


class _OpenEnum(str, Enum):
    """An enumeration that RBHQ may add to: a text it doesn't know becomes a member that keeps the text."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member

    @property
    def is_known(self) -> bool:
        """Whether this version of the library knows the value."""
        return self.value in type(self)._value2member_map_

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}" if self.is_known else f"{type(self).__name__}({self.value!r})"

    # by text: unknown members are not singletons
    __hash__ = str.__hash__


class PriceType(_OpenEnum):
    """Which fixed-odds price this is (`property` on the wire). A new one of RBHQ's has `is_known == False`."""

    WIN = "ep"
    """Win. Property id 12."""
    PLACE = "epPlace"
    """Place; how many places are paid follows from the field size. Property id 13."""
    PLACE_2 = "place2"
    """Place, two places paid. Property id 147."""
    PLACE_3 = "place3"
    """Place, three places paid. Property id 148."""
    PLACE_4 = "place4"
    """Place, four places paid. Property id 149."""


class RaceStatus(_OpenEnum):
    """Where a race stands. A new status of RBHQ's has `is_known == False`: treat it as "take no bets"."""

    OPEN = "OPEN"
    """Open for betting; also a closed race that was re-opened."""
    CLOSED = "CLOSED"
    """Betting is closed: the race has jumped or is about to."""
    INTERIM = "INTERIM"
    """Placings are semi-official."""
    PROTEST = "PROTEST"
    """A protest was lodged: the placings may change."""
    FINAL = "FINAL"
    """All clear. RBHQ may still amend a result after this."""
    ABANDONED = "ABANDONED"
    """The race will not be run."""


class Extra(Mapping[str, Any]):
    """The fields of the JSON that the classes don't know, by their JSON names: kept, not lost. Read-only."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        self._fields = dict(fields or {})

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __hash__(self) -> int:
        return hash(frozenset(self._fields))

    def __repr__(self) -> str:
        return repr(self._fields)


NO_EXTRA = Extra()
"""The `extra` of a document that has no fields besides the known ones."""


def _extra(fields: Mapping[str, Any]) -> Extra:
    return fields if isinstance(fields, Extra) else Extra(fields)


def _extra_field() -> Any:
    return field(default=NO_EXTRA, kw_only=True, converter=_extra)


@frozen(order=True)
class RaceId:
    """Names a race: RBHQ's meeting id and the race number in that meeting (which RBHQ calls the event number)."""

    meeting_id: int
    event_number: int

    def __str__(self) -> str:
        return f"{self.meeting_id}-{self.event_number}"

    @classmethod
    def parse(cls, text: str) -> RaceId:
        """Reads `"1397808-7"` and `"1377868:8"`, the two ways RBHQ writes it.

        Raises:
            ValueError: the text is neither.
        """
        meeting_id, separator, event_number = text.partition("-" if "-" in text else ":")
        if separator and _digits(meeting_id) and _digits(event_number):
            return cls(int(meeting_id), int(event_number))
        raise ValueError(f"not a race id: {text!r}; expected e.g. '1397808-7' or '1377868:8'")


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


@frozen
class PriceUpdate:
    """A runner's new price, of one type."""

    runner_number: int
    price_type: PriceType
    property_id: int | None = None
    """RBHQ's number for the price type; `None` where the record had none."""
    price: Decimal | None = None
    """The decimal odds, stake included, always 1 or above. `None`: no price is offered (RBHQ sent none, an
    empty one, or one below 1).
    """
    extra: Extra = _extra_field()


@frozen
class Scratching:
    """A runner taken out of the race, and what that takes off each payout.

    RBHQ sends every earlier scratching of the race again with a new one; the newest deductions count. Each
    deduction is a fraction of the payout (`Decimal("0.07")` is 7 cents in the dollar); `None` where the
    record had none.
    """

    runner_number: int
    win_deduction: Decimal | None = None
    place_deduction: Decimal | None = None
    two_place_deduction: Decimal | None = None
    three_place_deduction: Decimal | None = None
    four_place_deduction: Decimal | None = None
    scratch_type: int | None = None
    """RBHQ's number for the kind of scratching. Only 1 has been seen; the values are not documented."""
    scratch_time: datetime | None = None
    """When the runner was scratched (UTC)."""
    extra: Extra = _extra_field()


@frozen
class Unscratching:
    """A runner put back: its scratching was a mistake."""

    runner_number: int
    unscratch_time: datetime | None = None
    """When the runner was reinstated (UTC)."""
    extra: Extra = _extra_field()


@frozen
class PayoutFactors:
    """What to multiply a runner's dividend or price by: below 1 on a dead heat. `None`: the runner has no such payout.

    `win` goes with the win price or dividend, `place2` with the `PriceType.PLACE_2` price, and so on.
    """

    win: Decimal | None = None
    place2: Decimal | None = None
    place3: Decimal | None = None
    place4: Decimal | None = None
    extra: Extra = _extra_field()


@frozen
class RunnerResult:
    """Where a runner finished."""

    runner_number: int
    outcome_name: str | None = None
    """The runner's name, where RBHQ gives it."""
    final_position: int | None = None
    """1 for the winner. On a dead heat runners share a position."""
    payout_factor: Decimal | None = None
    payout_factors: PayoutFactors = PayoutFactors()
    extra: Extra = _extra_field()


@frozen
class PoolDividend:
    """What a pool pays for a selection of runners."""

    selections: tuple[int, ...]
    """Runner numbers: one, or several for an exotic."""
    amount: Decimal
    """Dollars for a stake of one dollar."""
    extra: Extra = _extra_field()


@frozen
class Dividend:
    """The dividends of one wagering product."""

    wagering_product: str
    """`"SP"` is starting price; tote products come under their own names."""
    pool_dividends: tuple[PoolDividend, ...] = ()
    extra: Extra = _extra_field()


@frozen
class RaceEvent:
    """What every event of the feed has. `isinstance(x, RaceEvent)` holds for each of them."""

    meeting_id: int
    event_number: int
    """The race number."""
    _record: Record | RawRecord | None = field(default=None, kw_only=True, eq=False, repr=False, alias="record")

    @property
    def race_id(self) -> RaceId:
        """The race this is about."""
        return RaceId(self.meeting_id, self.event_number)

    @property
    def record(self) -> Record | None:
        """The Kafka record the event came in; `None` for an event made by hand. No part of `==`."""
        record = self._record
        return record if record is None or isinstance(record, Record) else Record.of(record)

    def __reduce__(self) -> tuple[Any, ...]:
        # by its public fields: the Kafka client's own message, which the event may still hold, can't be pickled
        cls = type(self)
        values = {a.alias: getattr(self, a.name.lstrip("_")) for a in fields(cls)}
        return _restored, (cls, values)


def _restored(cls: type[_R], values: dict[str, Any]) -> _R:
    return cls(**values)


@frozen
class PriceEvent(RaceEvent):
    """Price updates, scratchings and unscratchings of one race, in any combination."""

    price_updates: tuple[PriceUpdate, ...] = ()
    scratchings: tuple[Scratching, ...] = ()
    """A newly scratched runner and, again, all that were scratched before it; usually empty."""
    unscratchings: tuple[Unscratching, ...] = ()
    extra: Extra = _extra_field()


@frozen
class RaceStatusEvent(RaceEvent):
    """A race's new status."""

    status: RaceStatus
    runner_number: int | None = None
    extra: Extra = _extra_field()


@frozen
class RaceResultEvent(RaceEvent):
    """A race's result. It comes again as INTERIM, PROTEST and FINAL, and may be amended after FINAL: the
    newest counts.
    """

    venue: str | None = field(default=None, kw_only=True)
    status: RaceStatus
    source: str | None = None
    host: str | None = None
    date_created: datetime | None = None
    """When RBHQ made this result (UTC)."""
    results: tuple[RunnerResult, ...] = ()
    dividends: tuple[Dividend, ...] = ()
    extra: Extra = _extra_field()


Event = Union[PriceEvent, RaceStatusEvent, RaceResultEvent]
"""Anything the feed yields."""
