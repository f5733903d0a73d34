"""The kinds of event, and how an event keeps the Kafka record that contained it."""

from __future__ import annotations

import threading
from collections import namedtuple
from datetime import datetime
from typing import Any, TypeVar, Union, get_args

import attrs
from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream.events._extra import NO_EXTRA, Extra, is_extra, to_extra
from rbhq_stream.events._open_enums import RaceStatus, to_race_status
from rbhq_stream.events._parts import Dividend, PriceUpdate, RunnerResult, Scratching, Unscratching
from rbhq_stream.events._race_id import RaceId
from rbhq_stream.record import RawRecord, Record

_E = TypeVar("_E", bound="RaceEvent")


def _check_record(_: Any, __: Any, value: object) -> None:
    if not (value is None or isinstance(value, Record) or hasattr(value, "headers")):
        raise TypeError(f"record={checks.shown(value)}: expected a Record or the Kafka client's message")


_first_look = threading.RLock()
"""Held while an event stores its `Record`, so that threads which use it at the same time get the same object."""


@frozen
class RaceEvent:
    """The base class of all events of the feed."""

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
        """The Kafka record that contained the event, always the same object; `None` if the application constructed it.

        It is ignored by `==` and is not a field of the event: tools that write the event leave it out, and
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

    @property
    def raw_record(self) -> Record | RawRecord | None:
        """The same record as its source handed it over: for code that needs its coordinates or its time only, and is
        not to spend the time to make a `Record`.
        """
        try:
            return self._record
        except AttributeError:  # a subclass of the application's may have no such argument
            return None

    def require_record(self) -> Record:
        """Returns the Kafka record, for code that knows that its events came from a feed.

        Raises:
            ValueError: the application constructed the event.
        """
        record = self.record
        if record is None:
            raise ValueError(
                f"{type(self).__name__} of race {self.race_id} was constructed by the application: it has no record"
            )
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
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


@frozen
class RaceStatusEvent(RaceEvent):
    """A race's new status."""

    status: RaceStatus = field(converter=to_race_status, validator=checks.member_of(RaceStatus))
    runner_number: int | None = field(default=None, validator=checks.optional_integer)
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


@frozen
class RaceResultEvent(RaceEvent):
    """A race's result.

    A race's result is sent again as INTERIM, PROTEST and FINAL, and may be amended after FINAL. The newest one counts.
    """

    venue: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    status: RaceStatus = field(converter=to_race_status, validator=checks.member_of(RaceStatus))
    source: str | None = field(default=None, validator=checks.optional_text)
    host: str | None = field(default=None, validator=checks.optional_text)
    date_created: datetime | None = field(default=None, converter=checks.to_utc, validator=checks.optional_time)
    """When RBHQ made this result (UTC)."""
    results: tuple[RunnerResult, ...] = field(default=(), validator=checks.each(checks.instance_of(RunnerResult)))
    dividends: tuple[Dividend, ...] = field(default=(), validator=checks.each(checks.instance_of(Dividend)))
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


Event = Union[PriceEvent, RaceStatusEvent, RaceResultEvent]
"""Any event of the feed."""


def _hide_record(cls: Any) -> None:
    """Removes the record from `attrs.fields`, and so from what `attrs.asdict`, cattrs and others write."""
    listed = [a for a in attrs.fields(cls) if a.name != "_record"]
    named = namedtuple(f"{cls.__name__}Attributes", [a.name for a in listed])  # type: ignore[misc]  # noqa: PYI024
    cls.__attrs_attrs__ = named(*listed)


for _cls in (RaceEvent, *get_args(Event)):
    _hide_record(_cls)
