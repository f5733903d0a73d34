"""Many price updates are folded at once, as if they were folded one by one."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import PriceType, PriceUpdate
from rbhq_stream._book.price_folding import fold_many
from rbhq_stream._book.price_log import FOLDED_EVENTS, MANY_EVENTS, PACKED_EVENTS, PriceLog, SharedKeys
from rbhq_stream._book.prices import PriceKey, Prices, updated
from rbhq_stream._book.provenance import Location, Partition

_PARTITION: Partition = ("prices", 0)
_OTHER: Partition = ("prices", 1)
_Update = tuple[PriceKey, Decimal | None]
_updates = st.lists(
    st.tuples(
        st.sampled_from([(runner, PriceType.WIN) for runner in range(1, 4)]),
        st.sampled_from([None, Decimal(2), Decimal("2.0"), Decimal("2.00"), Decimal(3)]),
    ),
    max_size=30,
)


def location(number: int, partition: Partition = _PARTITION) -> Location:
    return partition, number, 0, 1_000_000 * number, number


def folded(prices: Prices, updates: list[_Update], first: int = 0, partition: Partition = _PARTITION) -> Prices:
    """The prices after these updates, folded one by one."""
    prices = prices.copy()
    for number, (key, value) in enumerate(updates, first):
        prices[key] = updated(prices.get(key), value, location(number, partition))
    return prices


@given(_updates, _updates)
def test_updates_of_one_partition_are_folded_at_once_as_one_by_one(earlier: list[_Update], new: list[_Update]) -> None:
    before = folded({}, earlier)
    found = before.copy()
    keys, values = [key for key, _ in new], [value for _, value in new]
    assert fold_many(found, keys, values, lambda update: location(100 + update), _PARTITION)
    expected = folded(before, new, 100)
    assert found == expected
    assert repr(sorted(found.items())) == repr(sorted(expected.items())), "of equal values, the first remains"


@given(_updates, _updates)
def test_nothing_is_folded_at_once_if_a_price_comes_from_another_partition(
    earlier: list[_Update], new: list[_Update]
) -> None:
    before = folded({}, earlier, 0, _OTHER)
    found = before.copy()
    keys, values = [key for key, _ in new], [value for _, value in new]
    is_folded = fold_many(found, keys, values, lambda update: location(100 + update), _PARTITION)
    assert is_folded is before.keys().isdisjoint(keys)
    assert found == (folded(before, new, 100) if is_folded else before)


def test_a_log_has_the_same_prices_whenever_they_are_read() -> None:
    """Also after more events than are packed, and than are folded, at once."""
    log = PriceLog.empty(3 * FOLDED_EVENTS, SharedKeys())
    expected: Prices = {}
    for number in range(4 * FOLDED_EVENTS):
        price = Decimal(1 + number * number % 17)
        key = 1 + number % 7, PriceType.WIN
        log = log.append([PriceUpdate(*key, price=price)], location(number), 1_000_000 * number)
        expected[key] = updated(expected.get(key), price, location(number))
        if number % 97 == 0 or number % PACKED_EVENTS < 2:
            assert log.prices() == expected
            assert log.prices(log.position) == log.at(1_000_000 * number) == expected
    assert MANY_EVENTS < FOLDED_EVENTS
