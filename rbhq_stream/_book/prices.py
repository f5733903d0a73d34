"""A runner's price of one type, and how it follows from the updates.

The book keeps each price as a plain tuple, a `PriceFact`, and makes a `Price` of it only for a reader: prices change
all day, and few of them are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, Union

from attrs import frozen

from rbhq_stream._book.frozen_mapping import FrozenMapping
from rbhq_stream._book.provenance import Location, RecordMark, location_of, mark_at
from rbhq_stream._slots import open_class
from rbhq_stream.events import PriceType

PriceKey = tuple[int, PriceType]
"""The runner's number and the type of the price."""


@frozen
class Price:
    """A runner's price of one type, as it is now."""

    value: Decimal | None
    """The decimal odds; `None` if no price is offered."""
    opening: Decimal | None
    """The first price that was applied; `None` if there was none yet."""
    moved: RecordMark | None = None
    """The record that last changed `value`; `None` for an event without a record."""
    recorded: RecordMark | None = None
    """The record that last stated `value`, changed or not; `None` for an event without a record."""


PriceFact = tuple[Union[Decimal, None], Union[Decimal, None], Union[Location, None], Union[Location, None]]
"""The same four as in a `Price`, with the locations of the records."""


Prices = dict[PriceKey, PriceFact]


def updated(before: PriceFact | None, value: Decimal | None, location: Location | None) -> PriceFact:
    """Returns the price after an update. It is `before` if the update changes nothing, not even `recorded`.

    Args:
        before: The price until now; `None` if there was none.
        value: The price that the update states.
        location: The record of the update; `None` for an event without one, which changes nothing if it states the same
            price.
    """
    if before is None:
        return value, value, location, location
    old, opening, moved, recorded = before
    if location is None or recorded is None:
        if location is None and old == value:
            return before
    elif location[0] is not recorded[0] and _is_late(location, recorded):
        return before
    if opening is None:
        opening = value
    if old is value or old == value:
        return old, opening, moved, location
    return value, opening, location, location


def _is_late(location: Location, last: Location) -> bool:
    """Whether a record is older than another one, because the race's records are not all in one partition."""
    (_, partition), (_, last_partition) = location[0], last[0]
    time, last_time = location[3], last[3]
    return partition != last_partition and time is not None and last_time is not None and time < last_time


def withdrawn(prices: Mapping[PriceKey, PriceFact], runners: Collection[int]) -> dict[PriceKey, PriceFact]:
    """Returns the prices that are offered for runners which are scratched, as they are without an offer.

    A price is still offered if a newer record stated it than the one that scratched its runner. It is withdrawn as of
    that newer record, so that no earlier one replaces it.
    """
    return {
        key: updated(price, None, price[3])
        for key, price in prices.items()
        if key[0] in runners and price[0] is not None
    }


_OpenPrice = open_class(Price)


def price_of(fact: PriceFact) -> Price:
    """Returns a price for a reader."""
    price = _OpenPrice()
    price.value, price.opening, moved, recorded = fact
    price.recorded = mark_at(recorded)
    price.moved = price.recorded if moved is recorded else mark_at(moved)
    price.__class__ = Price
    made: Price = price
    return made


def fact_of(price: Price) -> PriceFact:
    """Returns a price as the book keeps it."""
    return price.value, price.opening, location_of(price.moved), location_of(price.recorded)


class PriceTable(Mapping[PriceKey, Price]):
    """The prices of a race at one time. It makes each `Price` when it is first read. Any thread may read.

    Args:
        facts: The prices. Nobody may write to this dictionary again.
        made: Some of them as they are read.
    """

    __slots__ = ("_facts", "_made")

    def __init__(self, facts: dict[PriceKey, PriceFact], made: dict[PriceKey, Price] | None = None) -> None:
        self._facts = facts
        # any thread adds to it, each time by one call that is atomic
        self._made: dict[PriceKey, Price] = {} if made is None else made

    def followed_by(self, facts: dict[PriceKey, PriceFact]) -> PriceTable:
        """Returns the prices of the same race at a later time. Those that were read and have not changed are shared."""
        before = self._facts
        made = {key: price for key, price in self._made.copy().items() if facts.get(key) is before[key]}
        return PriceTable(facts, made)

    def __getitem__(self, key: PriceKey) -> Price:
        price = self._made.get(key)
        return self._made.setdefault(key, price_of(self._facts[key])) if price is None else price

    def __iter__(self) -> Iterator[PriceKey]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, key: object) -> bool:
        return key in self._facts

    def __hash__(self) -> int:
        return hash(frozenset(self._facts))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMapping, (dict(self),)
