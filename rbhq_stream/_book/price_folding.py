"""Folds many price updates of one partition at once.

Of all updates of a price, only two matter: the last one, and the one that moved the price to its value. So the updates
are read backwards, until both are found. Of a thousand updates and more, that takes half of the time of calling
`updated` for each of them, and has the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from rbhq_stream._book.prices import PriceKey, Prices
from rbhq_stream._book.provenance import Location, Partition


def fold_many(
    prices: Prices,
    keys: Sequence[PriceKey],
    values: Sequence[Decimal | None],
    location_of: Callable[[int], Location],
    partition: Partition,
) -> bool:
    """Changes prices as the updates of some events do, if none of these can be late.

    Args:
        prices: The prices.
        keys: Of each update, the price that it is about.
        values: Of each update, the value that it states.
        location_of: Returns the record of an update, by the number of the update.
        partition: The partition of all these records.

    Returns:
        Whether it has changed them. If not, one of these prices was last stated by a record of another partition, or by
        none, and `updated` has to decide about each update.
    """
    last = dict(zip(keys, range(len(keys)), strict=True))
    before = {key: prices.get(key) for key in last}
    if any(fact is not None and (fact[3] is None or fact[3][0] is not partition) for fact in before.values()):
        return False
    since, moved = _since(keys, values, last)
    unopened = {key for key, fact in before.items() if fact is None or fact[1] is None}
    opening = _first_values(keys, values, unopened.copy())
    for key, fact in before.items():
        at = since[key]
        recorded = location_of(last[key])
        if fact is not None and key not in moved and fact[0] == values[at]:
            prices[key] = (*fact[:3], recorded)
        else:
            opened = opening.get(key) if fact is None or key in unopened else fact[1]
            prices[key] = values[at], opened, location_of(at), recorded
    return True


def _since(
    keys: Sequence[PriceKey], values: Sequence[Decimal | None], last: dict[PriceKey, int]
) -> tuple[dict[PriceKey, int], set[PriceKey]]:
    """Returns the first of the last updates of each price that state the same, and the prices with a different one
    before that.
    """
    since, moved = last.copy(), set[PriceKey]()
    open_ = last.copy()
    get = open_.get
    for at in range(len(keys) - 1, -1, -1):
        key = keys[at]
        later = get(key)
        if later is None:
            continue
        value = values[at]
        if value is values[later] or value == values[later]:
            open_[key] = since[key] = at
        else:
            moved.add(key)
            del open_[key]
            if not open_:
                break
    return since, moved


def _first_values(
    keys: Sequence[PriceKey], values: Sequence[Decimal | None], wanted: set[PriceKey]
) -> dict[PriceKey, Decimal]:
    """Returns the first value of each of these prices that is one."""
    first: dict[PriceKey, Decimal] = {}
    if wanted:
        for key, value in zip(keys, values, strict=True):
            if value is not None and key in wanted:
                first[key] = value
                wanted.remove(key)
                if not wanted:
                    break
    return first
