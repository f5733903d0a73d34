"""One spelling for what RBHQ states by the type of a price: deductions and payout factors."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rbhq_stream import PayoutFactors, PriceType, Scratching

DEDUCTIONS = {
    PriceType.WIN: Decimal("0.11"),
    PriceType.PLACE: Decimal("0.12"),
    PriceType.PLACE_2: Decimal("0.13"),
    PriceType.PLACE_3: Decimal("0.14"),
    PriceType.PLACE_4: Decimal("0.15"),
}
SCRATCHING = Scratching(4, Decimal("0.11"), Decimal("0.12"), Decimal("0.13"), Decimal("0.14"), Decimal("0.15"))
FACTORS = {
    PriceType.WIN: Decimal("0.5"),
    PriceType.PLACE: None,  # depends on how many places are paid, which RBHQ does not state
    PriceType.PLACE_2: Decimal("0.6"),
    PriceType.PLACE_3: Decimal("0.7"),
    PriceType.PLACE_4: Decimal("0.8"),
}


@pytest.mark.parametrize("price_type", PriceType)
def test_a_deduction_is_found_by_its_price_type(price_type: PriceType) -> None:
    assert SCRATCHING.deduction(price_type) == DEDUCTIONS[price_type]
    assert Scratching(4).deduction(price_type) is None


@pytest.mark.parametrize("price_type", PriceType)
def test_a_payout_factor_is_found_by_its_price_type(price_type: PriceType) -> None:
    factors = PayoutFactors(Decimal("0.5"), Decimal("0.6"), Decimal("0.7"), Decimal("0.8"))
    assert factors.for_type(price_type) == FACTORS[price_type]
    assert PayoutFactors().for_type(price_type) is None


def test_nothing_is_guessed_for_a_price_type_that_rbhq_adds() -> None:
    assert SCRATCHING.deduction(PriceType("place5")) is None
    assert PayoutFactors(win=Decimal(1)).for_type(PriceType("place5")) is None
