"""The feed's events: one class for each kind of event, and for each of the parts they consist of.

All are frozen values: hashable, comparable, picklable, and safe to keep or to hand to another thread. Money, prices,
deductions and factors are `Decimal`, exactly as RBHQ wrote them; times are aware and in UTC. The constructors check
their arguments and raise `TypeError` or `ValueError`. A number may also be given as an `int` or as a string such as
`"4.40"`, but not as a `float`, which is binary and holds most decimal numbers only nearly.
"""

from __future__ import annotations

import threading
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn, TypeVar, Union, cast, get_args

import attrs
from attrs import field, frozen
from typing_extensions import Self

from rbhq_stream import _field_checks as checks
from rbhq_stream.record import RawRecord, Record

_E = TypeVar("_E", bound="RaceEvent")
_M = TypeVar("_M", bound="_OpenEnum")


class _OpenEnum(str, Enum):
    """An enumeration that RBHQ may extend. Case does not matter; an unknown string becomes a member that keeps it."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not value or value.isspace():
            return None
        for known in cls:
            if known.value.lower() == value.lower():
                return known
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

    # by the string, because unknown members are not singletons
    __hash__ = str.__hash__


class PriceType(_OpenEnum):
    """The type of a fixed-odds price (`property` on the wire). One that RBHQ adds has `is_known == False`."""

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
    """The status of a race. One that RBHQ adds has `is_known == False`: take no bets on such a race."""

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


class Extra(dict[str, Any]):
    """The fields of the JSON that the classes do not know, under their JSON names. Read-only.

    It is a `dict`, because that is what every tool that writes data can write. `{**extra, "name": value}` makes a
    changed copy.
    """

    __slots__ = ()

    def __init__(self, fields: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__(fields or ())
        for name in self:
            if not isinstance(name, str):
                raise TypeError(f"{checks.shown(name)} cannot be the name of a field: expected a string")

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none, as it can change
        return hash(frozenset(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("Extra is read-only: make a changed copy with {**extra, …}")

    __setitem__ = __delitem__ = __ior__ = cast("Any", _refuse)
    clear = pop = popitem = setdefault = update = cast("Any", _refuse)


NO_EXTRA = Extra()


def _to_extra(fields: Mapping[str, Any]) -> Extra:
    if isinstance(fields, Mapping) and not isinstance(fields, Extra) and all(isinstance(name, str) for name in fields):
        return Extra(fields)
    return cast("Extra", fields)


def _to_price_type(value: PriceType | str) -> PriceType:
    return _member(PriceType, value)


def _to_race_status(value: RaceStatus | str) -> RaceStatus:
    return _member(RaceStatus, value)


def _member(kind: type[_M], value: Any) -> _M:
    try:
        return kind(value)
    except ValueError:
        return cast("_M", value)


_integer = checks.optional(checks.integer)
_time = checks.optional(checks.time)
_number = checks.optional(checks.number)
_text = checks.optional(checks.text)
_extra = checks.instance_of(Extra, "a mapping with strings as keys")


@frozen(order=True)
class RaceId:
    """The name of a race: RBHQ's meeting id, and the race number in that meeting (which RBHQ calls the event number).

    It unpacks: `meeting_id, event_number = event.race_id`.
    """

    meeting_id: int = field(validator=checks.integer)
    event_number: int = field(validator=checks.integer)

    def __str__(self) -> str:
        return f"{self.meeting_id}-{self.event_number}"

    def __iter__(self) -> Iterator[int]:
        return iter((self.meeting_id, self.event_number))

    @classmethod
    def parse(cls, text: str) -> RaceId:
        """Reads `"1397808-7"` and `"1377868:8"`, the two ways RBHQ writes it.

        Raises:
            ValueError: the string is neither.
        """
        meeting_id, separator, event_number = text.partition("-" if "-" in text else ":")
        if separator and _digits(meeting_id) and _digits(event_number):
            return cls(int(meeting_id), int(event_number))
        raise ValueError(f"not a race id: {checks.shown(text)}; expected e.g. '1397808-7' or '1377868:8'")


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


@frozen
class PriceUpdate:
    """A runner's new price, of one type.

    A scratching does not withdraw the runner's prices: its last price stays as it was, and no update without a price
    follows. An application that keeps prices must take the price of a scratched runner out itself.
    """

    runner_number: int = field(validator=checks.integer)
    price_type: PriceType = field(converter=_to_price_type, validator=checks.member_of(PriceType))
    property_id: int | None = field(default=None, validator=_integer)
    """RBHQ's number for the price type; `None` if the record had none."""
    price: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    """The decimal odds, stake included, always 1 or above. `None`: no price is offered (RBHQ sent none, an empty one,
    or one below 1).
    """
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class Scratching:
    """A runner that was taken out of the race, and the deductions that follow.

    With a new scratching RBHQ sends every earlier scratching of the race again; the newest deductions count, and they
    replace the earlier ones. Each deduction is a fraction of the payout, from 0 to 1 (`Decimal("0.07")` is 7 cents in
    the dollar); `None` if the record had none.
    """

    runner_number: int = field(validator=checks.integer)
    win_deduction: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    place_deduction: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    two_place_deduction: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    three_place_deduction: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    four_place_deduction: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    scratch_type: int | None = field(default=None, validator=_integer)
    """RBHQ's number for the kind of scratching. Only 1 has been seen; the values are not documented."""
    scratch_time: datetime | None = field(default=None, converter=checks.to_utc, validator=_time)
    """When the runner was scratched (UTC)."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class Unscratching:
    """A runner that was reinstated: its scratching was a mistake."""

    runner_number: int = field(validator=checks.integer)
    unscratch_time: datetime | None = field(default=None, converter=checks.to_utc, validator=_time)
    """When the runner was reinstated (UTC)."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class PayoutFactors:
    """What to multiply a runner's dividend or price by: below 1 on a dead heat. `None`: the runner has no such payout.

    `win` goes with the win price or dividend, `place2` with the `PriceType.PLACE_2` price, and so on.
    """

    win: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    place2: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    place3: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    place4: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class RunnerResult:
    """A runner's result."""

    runner_number: int = field(validator=checks.integer)
    outcome_name: str | None = field(default=None, validator=_text)
    """The runner's name, if RBHQ gives it."""
    final_position: int | None = field(default=None, validator=_integer)
    """1 for the winner. On a dead heat runners share a position."""
    payout_factor: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=_number)
    payout_factors: PayoutFactors = field(default=PayoutFactors(), validator=checks.instance_of(PayoutFactors))
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class PoolDividend:
    """What a pool pays for a selection of runners."""

    selections: tuple[int, ...] = field(validator=checks.each(checks.integer))
    """Runner numbers: one, or several for an exotic."""
    amount: Decimal = field(converter=checks.to_decimal, validator=checks.number)
    """Dollars for a stake of one dollar."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class Dividend:
    """The dividends of one wagering product."""

    wagering_product: str = field(validator=checks.text)
    """`"SP"` is starting price; tote products come under their own names."""
    pool_dividends: tuple[PoolDividend, ...] = field(
        default=(), validator=checks.each(checks.instance_of(PoolDividend))
    )
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


def _check_record(_: Any, __: Any, value: object) -> None:
    if not (value is None or isinstance(value, Record) or hasattr(value, "headers")):
        raise TypeError(f"record={checks.shown(value)}: expected a Record or the Kafka client's message")


_first_look = threading.RLock()
"""Held while an event keeps its `Record`, so that threads that ask for it at once all get the same one."""


@frozen
class RaceEvent:
    """What every event of the feed has. `isinstance(x, RaceEvent)` holds for each of them."""

    meeting_id: int = field(validator=checks.integer)
    event_number: int = field(validator=checks.integer)
    """The race number."""
    _record: Record | RawRecord | None = field(
        default=None, kw_only=True, eq=False, repr=False, alias="record", validator=_check_record
    )

    @property
    def race_id(self) -> RaceId:
        """The race that the event is about."""
        return RaceId(self.meeting_id, self.event_number)

    @property
    def record(self) -> Record | None:
        """The Kafka record that the event came in, always the same object; `None` for an event made by hand.

        It takes no part in `==` and is no field of the event: tools that write the event leave it out, and
        `attrs.evolve` makes an event without it.
        """
        record = getattr(self, "_record", None)  # a subclass of the application's may have no such argument
        if record is None or isinstance(record, Record):
            return record
        made = Record.of(record)
        with _first_look:
            kept = self._record
            if isinstance(kept, Record):
                return kept
            object.__setattr__(self, "_record", made)
        return made

    def require_record(self) -> Record:
        """Returns the Kafka record, for code that knows that its events came from a feed.

        Raises:
            ValueError: the event was made by hand.
        """
        record = self.record
        if record is None:
            raise ValueError(f"{type(self).__name__} of race {self.race_id} was made by hand and has no Kafka record")
        return record

    def __reduce__(self) -> tuple[Any, ...]:
        # by the arguments of the constructor: the Kafka client's message, which may still be here, cannot be pickled
        values = {a.alias: getattr(self, a.name) for a in attrs.fields(type(self))}
        return _restored, (type(self), {**values, "record": self.record})


def _restored(cls: type[_E], values: dict[str, Any]) -> _E:
    return cls(**values)


@frozen
class PriceEvent(RaceEvent):
    """Price updates, scratchings and unscratchings of one race, in any combination."""

    price_updates: tuple[PriceUpdate, ...] = field(default=(), validator=checks.each(checks.instance_of(PriceUpdate)))
    scratchings: tuple[Scratching, ...] = field(default=(), validator=checks.each(checks.instance_of(Scratching)))
    """A newly scratched runner and, again, all that were scratched before it; usually empty."""
    unscratchings: tuple[Unscratching, ...] = field(default=(), validator=checks.each(checks.instance_of(Unscratching)))
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class RaceStatusEvent(RaceEvent):
    """A race's new status."""

    status: RaceStatus = field(converter=_to_race_status, validator=checks.member_of(RaceStatus))
    runner_number: int | None = field(default=None, validator=_integer)
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


@frozen
class RaceResultEvent(RaceEvent):
    """A race's result.

    It comes again as INTERIM, PROTEST and FINAL, and may be amended after FINAL: the newest counts.
    """

    venue: str | None = field(default=None, kw_only=True, validator=_text)
    status: RaceStatus = field(converter=_to_race_status, validator=checks.member_of(RaceStatus))
    source: str | None = field(default=None, validator=_text)
    host: str | None = field(default=None, validator=_text)
    date_created: datetime | None = field(default=None, converter=checks.to_utc, validator=_time)
    """When RBHQ made this result (UTC)."""
    results: tuple[RunnerResult, ...] = field(default=(), validator=checks.each(checks.instance_of(RunnerResult)))
    dividends: tuple[Dividend, ...] = field(default=(), validator=checks.each(checks.instance_of(Dividend)))
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=_to_extra, validator=_extra)


Event = Union[PriceEvent, RaceStatusEvent, RaceResultEvent]
"""Anything the feed yields."""


def _hide_record(cls: Any) -> None:
    """Takes the record out of what `attrs.fields` lists, and so out of what `attrs.asdict`, cattrs and others write."""
    listed = [a for a in attrs.fields(cls) if a.name != "_record"]
    named = namedtuple(f"{cls.__name__}Attributes", [a.name for a in listed])  # type: ignore[misc]  # noqa: PYI024
    cls.__attrs_attrs__ = named(*listed)


for _cls in (RaceEvent, *get_args(Event)):
    _hide_record(_cls)
