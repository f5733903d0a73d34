"""The enumerations that RBHQ may extend: price types and race statuses."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar, cast

from typing_extensions import Self

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


def to_price_type(value: PriceType | str) -> PriceType:
    return _member(PriceType, value)


def to_race_status(value: RaceStatus | str) -> RaceStatus:
    return _member(RaceStatus, value)


def _member(kind: type[_M], value: Any) -> _M:
    try:
        return kind(value)
    except ValueError:
        return cast("_M", value)
