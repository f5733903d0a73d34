"""The entries of a race card: meetings, their races, and the runners of each."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, cast

import attrs
from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream.events import NO_EXTRA, Extra, RaceId
from rbhq_stream.events._extra import is_extra, to_extra


def _to_utc(value: datetime) -> datetime:
    return cast("datetime", checks.to_utc(value))


def _is_aware(instance: Any, attribute: attrs.Attribute[Any], value: datetime) -> None:
    checks.time(instance, attribute, value)
    checks.aware(attribute.alias or attribute.name, value)


@frozen
class CardRunner:
    """A runner on the card."""

    runner_number: int = field(validator=checks.integer)
    name: str | None = field(default=None, validator=checks.optional_text)
    jockey: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    """The jockey or, in harness racing, the driver."""
    trainer: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    weight: Decimal | None = field(
        default=None, kw_only=True, converter=checks.to_optional_decimal, validator=checks.optional_number
    )
    barrier_position: int | None = field(default=None, kw_only=True, validator=checks.optional_integer)
    """The starting position."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


@frozen
class CardRace:
    """A race on the card."""

    race_id: RaceId = field(validator=checks.instance_of(RaceId))
    start_time: datetime = field(converter=_to_utc, validator=_is_aware)
    """The scheduled start, the advertised jump (UTC). A race often starts some minutes later."""
    name: str | None = field(default=None, validator=checks.optional_text)
    runners: tuple[CardRunner, ...] = field(default=(), validator=checks.each(checks.instance_of(CardRunner)))
    distance: int | None = field(default=None, kw_only=True, validator=checks.optional_integer)
    """Metres."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)

    def runner_name(self, runner_number: int) -> str | None:
        """Returns the name of a runner; `None` if the card has none."""
        return next((runner.name for runner in self.runners if runner.runner_number == runner_number), None)


@frozen
class CardMeeting:
    """The races of one venue on one day."""

    meeting_id: int = field(validator=checks.integer)
    venue: str | None = field(default=None, validator=checks.optional_text)
    races: tuple[CardRace, ...] = field(default=(), validator=checks.each(checks.instance_of(CardRace)))
    meeting_type: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    """The kind of racing: `"R"` thoroughbreds, `"G"` greyhounds, `"H"` harness."""
    meeting_date: datetime | None = field(
        default=None, kw_only=True, converter=checks.to_utc, validator=checks.optional(_is_aware)
    )
    """The day, as RBHQ writes it: midnight in UTC."""
    country: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    state: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    region: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    rail: str | None = field(default=None, kw_only=True, validator=checks.optional_text)
    """The position of the rail."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)

    def __attrs_post_init__(self) -> None:
        for race in self.races:
            if race.race_id.meeting_id != self.meeting_id:
                raise ValueError(f"races: race {race.race_id} does not belong to meeting {self.meeting_id}")
