"""A runner's price of one type, and how it follows from the updates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

from attrs import frozen

from rbhq_stream._book.provenance import RecordMark, precedes
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


_OpenPrice = open_class(Price)


def updated(before: Price | None, value: Decimal | None, mark: RecordMark | None) -> Price:
    """Returns the price after an update.

    Args:
        before: The price until now; `None` if there was none.
        value: The price that the update states.
        mark: The record of the update; `None` for an event without one, which changes nothing if it states the same
            price.
    """
    if before is None:
        return Price(value, value, mark, mark)
    last = before.recorded
    if mark is None or last is None:
        if mark is None and before.value == value:
            return before
    elif mark.partition != last.partition and precedes(mark, last):
        return before  # late, because the race's records are not all in one partition
    after = _OpenPrice()
    if before.value is value or before.value == value:
        after.value = before.value
        after.moved = before.moved
    else:
        after.value = value
        after.moved = mark
    after.opening = value if before.opening is None else before.opening
    after.recorded = mark
    after.__class__ = Price
    return after  # type: ignore[no-any-return]


def withdrawn(prices: Mapping[PriceKey, Price], runners: Collection[int]) -> dict[PriceKey, Price]:
    """Returns the prices that are offered for runners which are scratched, as they are without an offer.

    A price is still offered if a newer record stated it than the one that scratched its runner. It is withdrawn as of
    that newer record, so that no earlier one replaces it.
    """
    return {
        key: updated(price, None, price.recorded)
        for key, price in prices.items()
        if key[0] in runners and price.value is not None
    }
