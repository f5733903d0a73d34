"""What events consist of: price updates, scratchings, results and dividends. Values without a Kafka record."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream.events._extra import NO_EXTRA, Extra, is_extra, to_extra
from rbhq_stream.events._open_enums import PriceType, to_price_type


@frozen
class PriceUpdate:
    """A runner's new price, of one type.

    A scratching does not withdraw the runner's prices: its last price remains, and RBHQ sends no update without a
    price. An application that keeps prices must itself stop offering those of a scratched runner.
    """

    runner_number: int = field(validator=checks.integer)
    price_type: PriceType = field(converter=to_price_type, validator=checks.member_of(PriceType))
    property_id: int | None = field(default=None, validator=checks.optional_integer)
    """RBHQ's number for the price type; `None` if the record had none."""
    price: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=checks.optional_number)
    """The decimal odds, stake included, always 1 or above. `None`: no price is offered (RBHQ sent none, an empty one,
    or one below 1).
    """
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


@frozen
class Scratching:
    """A runner that was taken out of the race, and the deductions that follow.

    With a new scratching, RBHQ sends every earlier scratching of the race again. The newest deductions replace the
    earlier ones. Each deduction is a fraction of the payout, from 0 to 1 (`Decimal("0.07")` is 7 cents in the dollar);
    `None` if the record had none.
    """

    runner_number: int = field(validator=checks.integer)
    win_deduction: Decimal | None = field(
        default=None, converter=checks.to_optional_decimal, validator=checks.optional_number
    )
    place_deduction: Decimal | None = field(
        default=None, converter=checks.to_optional_decimal, validator=checks.optional_number
    )
    two_place_deduction: Decimal | None = field(
        default=None, converter=checks.to_optional_decimal, validator=checks.optional_number
    )
    three_place_deduction: Decimal | None = field(
        default=None, converter=checks.to_optional_decimal, validator=checks.optional_number
    )
    four_place_deduction: Decimal | None = field(
        default=None, converter=checks.to_optional_decimal, validator=checks.optional_number
    )
    scratch_type: int | None = field(default=None, validator=checks.optional_integer)
    """RBHQ's number for the kind of scratching. Only 1 has been seen; the values are not documented."""
    scratch_time: datetime | None = field(default=None, converter=checks.to_utc, validator=checks.optional_time)
    """When the runner was scratched (UTC)."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)

    def deduction(self, price_type: PriceType) -> Decimal | None:
        """Returns the deduction from bets of a price type, as RBHQ stated it.

        Args:
            price_type: The type of the bet's price. For the plain `PriceType.PLACE` this is `place_deduction`.

        Returns:
            A fraction of the payout, from 0 to 1; `None` if the record had none, or if this version of the library
            does not know the price type.
        """
        attribute = _DEDUCTION_OF.get(price_type)
        deduction: Decimal | None = None if attribute is None else getattr(self, attribute)
        return deduction


_DEDUCTION_OF = {
    PriceType.WIN: "win_deduction",
    PriceType.PLACE: "place_deduction",
    PriceType.PLACE_2: "two_place_deduction",
    PriceType.PLACE_3: "three_place_deduction",
    PriceType.PLACE_4: "four_place_deduction",
}


@frozen
class Unscratching:
    """A runner that was reinstated: its scratching was a mistake."""

    runner_number: int = field(validator=checks.integer)
    unscratch_time: datetime | None = field(default=None, converter=checks.to_utc, validator=checks.optional_time)
    """When the runner was reinstated (UTC)."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


@frozen
class PayoutFactors:
    """The factors for a runner's dividend or price: below 1 for a dead heat. `None`: the runner has no such payout.

    `win` goes with the win price or dividend, `place2` with the `PriceType.PLACE_2` price, and so on.
    """

    win: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=checks.optional_number)
    place2: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=checks.optional_number)
    place3: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=checks.optional_number)
    place4: Decimal | None = field(default=None, converter=checks.to_optional_decimal, validator=checks.optional_number)
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)

    def for_type(self, price_type: PriceType) -> Decimal | None:
        """Returns the factor for bets of a price type, as RBHQ stated it.

        RBHQ states no factor for the plain `PriceType.PLACE`. How many places such a bet pays follows from the size of
        the field, by a rule that is the operator's own; with three places paid, its factor is that of
        `PriceType.PLACE_3`.

        Args:
            price_type: The type of the bet's price.

        Returns:
            The factor; `None` if the runner has no such payout, for `PriceType.PLACE`, and for a price type that this
            version of the library does not know.
        """
        attribute = _FACTOR_OF.get(price_type)
        factor: Decimal | None = None if attribute is None else getattr(self, attribute)
        return factor


_FACTOR_OF = {
    PriceType.WIN: "win",
    PriceType.PLACE_2: "place2",
    PriceType.PLACE_3: "place3",
    PriceType.PLACE_4: "place4",
}


@frozen
class RunnerResult:
    """A runner's result."""

    runner_number: int = field(validator=checks.integer)
    outcome_name: str | None = field(default=None, validator=checks.optional_text)
    """The runner's name, if RBHQ gives it."""
    final_position: int | None = field(default=None, validator=checks.optional_integer)
    """1 for the winner. On a dead heat runners share a position."""
    payout_factor: Decimal | None = field(
        default=None, converter=checks.to_optional_decimal, validator=checks.optional_number
    )
    payout_factors: PayoutFactors = field(default=PayoutFactors(), validator=checks.instance_of(PayoutFactors))
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


@frozen
class PoolDividend:
    """The dividend of a pool for a selection of runners."""

    selections: tuple[int, ...] = field(validator=checks.each(checks.integer))
    """Runner numbers: one, or several for an exotic."""
    amount: Decimal = field(converter=checks.to_decimal, validator=checks.number)
    """Dollars for a stake of one dollar."""
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)


@frozen
class Dividend:
    """The dividends of one wagering product."""

    wagering_product: str = field(validator=checks.text)
    """`"SP"` is the starting price; tote products have their own names."""
    pool_dividends: tuple[PoolDividend, ...] = field(
        default=(), validator=checks.each(checks.instance_of(PoolDividend))
    )
    extra: Extra = field(default=NO_EXTRA, kw_only=True, converter=to_extra, validator=is_extra)
