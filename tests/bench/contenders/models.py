"""The price event as pydantic models: what a user of the peers would write to get the same typed values."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tests.bench.work import Checksum


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class PriceType(str, Enum):
    WIN = "ep"
    PLACE = "epPlace"
    PLACE_2 = "place2"
    PLACE_3 = "place3"
    PLACE_4 = "place4"


class PriceUpdate(_Model):
    runner_number: int
    price_type: PriceType = Field(alias="property")
    property_id: int | None = None
    price: Decimal | None = None


class Scratching(_Model):
    runner_number: int
    win_deduction: Decimal | None = None
    place_deduction: Decimal | None = None
    two_place_deduction: Decimal | None = None
    three_place_deduction: Decimal | None = None
    four_place_deduction: Decimal | None = None
    scratch_type: int | None = None
    scratch_time: datetime | None = None


class Unscratching(_Model):
    runner_number: int
    unscratch_time: datetime | None = None


class PriceEvent(_Model):
    meeting_id: int
    event_number: int
    price_updates: list[PriceUpdate] = []
    scratchings: list[Scratching] = []
    unscratchings: list[Unscratching] = []


def add(checksum: Checksum, event: PriceEvent) -> None:
    checksum.add(
        (event.meeting_id, event.event_number),
        ((u.runner_number, u.price_type.value, u.property_id, u.price) for u in event.price_updates),
        (tuple(getattr(s, name) for name in Scratching.model_fields) for s in event.scratchings),
        ((u.runner_number, u.unscratch_time) for u in event.unscratchings),
    )
