"""The rules of settlement that RBHQ does not state, each a field of `SettlementRules` with a default and a reason."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from enum import Enum
from typing import Any

import attrs
from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.exact import EXACT, exact_product, exact_sum
from rbhq_stream.events import PriceType

_ROUNDING = Context(prec=5_000, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation])
_ROUNDINGS = frozenset(
    f"ROUND_{mode}" for mode in ("UP", "DOWN", "CEILING", "FLOOR", "HALF_UP", "HALF_DOWN", "HALF_EVEN", "05UP")
)


class InDoubt(Enum):
    """What to do with a bet when something about it is not certain."""

    WAIT = "wait"
    """The bet is pending, with the reason."""
    SETTLE = "settle"
    """The bet is settled in the way that the rule describes."""


class CombineDeductions(Enum):
    """How the deductions for several scratched runners combine."""

    SUM = "sum"
    """They add up: 7 and 5 cents in the dollar are 12."""
    PRODUCT = "product"
    """Each is taken from what the one before has left: 7 % and then 5 % leave 0.93 times 0.95."""


class DeductFrom(Enum):
    """What a deduction is a fraction of."""

    PAYOUT = "payout"
    """The payout, stake included."""
    PROFIT = "profit"
    """The payout without the stake."""


class LateScratching(Enum):
    """How a runner counts that was scratched after the race had jumped."""

    SCRATCHED = "scratched"
    """It counts as scratched: bets on it are refunded, and its deduction applies to the others."""
    STARTER = "starter"
    """It counts as a starter: bets on it stand, and nothing is deducted from the others."""


class FieldSize(Enum):
    """Which number of runners decides how many places a plain place bet pays."""

    STARTERS = "starters"
    """The runners that are not scratched in the end."""
    WHEN_STRUCK = "when struck"
    """The runners that were not scratched yet when the bet was struck."""


@frozen
class PlaceTerms:
    """How a plain place bet is paid in a field of at least so many runners."""

    runners: int = field(validator=checks.positive)
    """The smallest field that these terms are for."""
    paid_as: PriceType = field(validator=checks.instance_of(PriceType))
    """The price type whose payout factor applies: `PLACE_3` where three places are paid."""


def _is_quantum(_: Any, attribute: attrs.Attribute[Any], value: Decimal) -> None:
    checks.number(_, attribute, value)
    if not (value.is_finite() and value > 0):
        raise ValueError(f"{attribute.alias}={value}: expected an amount above 0, such as Decimal('0.01')")


def _is_fraction(_: Any, attribute: attrs.Attribute[Any], value: Decimal) -> None:
    checks.number(_, attribute, value)
    if not (value.is_finite() and 0 <= value <= 1):
        raise ValueError(f"{attribute.alias}={value}: expected a fraction from 0 to 1")


def _is_rounding(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in _ROUNDINGS:
        raise ValueError(f"{attribute.alias}={checks.shown(value)}: expected a rounding mode of the decimal module")


@frozen(kw_only=True)
class SettlementRules:
    """An operator's betting rules, for everything that RBHQ's reference leaves open.

    The defaults are what Australian bookmakers commonly do or, where they differ, to wait. They are no substitute for
    your own rules: read each of them once.
    """

    combine_deductions: CombineDeductions = field(
        default=CombineDeductions.SUM, validator=checks.instance_of(CombineDeductions)
    )
    """How several deductions combine. Default: they add up, as TABtouch and Picklebet, among others, publish it."""
    deduct_from: DeductFrom = field(default=DeductFrom.PAYOUT, validator=checks.instance_of(DeductFrom))
    """What deductions are taken from. Default: the payout. RBHQ calls them fractions of the payout, and so do
    Sportsbet's and others' examples: $10 at 2.50 with 20 cents in the dollar pays $20.
    """
    max_deduction: Decimal = field(default=Decimal(1), converter=checks.to_decimal, validator=_is_fraction)
    """The maximum of all deductions together, as a fraction. Default: everything, so that a payout is never
    negative."""
    quantum: Decimal | None = field(
        default=None, converter=checks.to_optional_decimal, validator=checks.optional(_is_quantum)
    )
    """What amounts are rounded to, such as `Decimal("0.01")`. Default: they are not rounded, so that the amount for a
    stake of 1 can be multiplied by any stake. Set it where `stake` is the real stake.
    """
    rounding: str = field(default=ROUND_HALF_UP, validator=_is_rounding)
    """How amounts are rounded: a mode of the `decimal` module. Default: half a cent is rounded up."""
    place_terms: tuple[PlaceTerms, ...] = field(
        default=(PlaceTerms(8, PriceType.PLACE_3), PlaceTerms(5, PriceType.PLACE_2)),
        validator=checks.each(checks.instance_of(PlaceTerms)),
    )
    """How a plain `PriceType.PLACE` bet is paid by the size of the field; a field that is smaller than all of them has
    no place betting, and the bet is refunded. Default: three places from 8 runners on, two from 5 to 7, the Australian
    convention. Some bookmakers pay a place bet on the winner in a smaller field: add `PlaceTerms(1, PriceType.WIN)`.
    """
    field_size: FieldSize = field(default=FieldSize.STARTERS, validator=checks.instance_of(FieldSize))
    """Which field size that is. Default: the starters, as in Sportsbet's "number of runners in a race"."""
    protests: InDoubt = field(default=InDoubt.WAIT, validator=checks.instance_of(InDoubt))
    """Whether a bet waits while a protest is undecided. Default: it does, because placings may change. `SETTLE`: the
    placings that were posted count, and the payout is provisional.
    """
    late_scratchings: LateScratching = field(
        default=LateScratching.SCRATCHED, validator=checks.instance_of(LateScratching)
    )
    """How a runner counts that was scratched after the jump. Default: it is scratched like any other, because RBHQ
    sends a deduction for it. It matters only where the time of the jump is known.
    """
    positions: InDoubt = field(default=InDoubt.SETTLE, validator=checks.instance_of(InDoubt))
    """What to do with a result that states no payout factor for the price type for any runner, like RBHQ's older
    samples. Default: settle by the finishing positions, which are stated.
    """
    dead_heats: InDoubt = field(default=InDoubt.WAIT, validator=checks.instance_of(InDoubt))
    """What to do when such a result has a dead heat for the last place that is paid. Default: wait, because RBHQ states
    a factor for each dead heat. `SETTLE`: the payout is shared equally, to ten digits: two runners get a half each.
    """
    not_in_result: InDoubt = field(default=InDoubt.SETTLE, validator=checks.instance_of(InDoubt))
    """What to do with a bet on a runner of the race that its result does not list. Default: it lost, because RBHQ lists
    the runners that are placed.
    """
    unknown_runners: InDoubt = field(default=InDoubt.WAIT, validator=checks.instance_of(InDoubt))
    """What to do with a bet on a runner about which nothing was ever published: no price, no scratching, no result.
    Default: wait, because the bet may name the wrong runner or race. `SETTLE`: it lost.
    """
    scratched_in_result: InDoubt = field(default=InDoubt.WAIT, validator=checks.instance_of(InDoubt))
    """What to do with a bet on a scratched runner that the result places. Default: wait, because one of the two is
    wrong, or the runner's reinstatement has not arrived yet. `SETTLE`: it is refunded.
    """
    unclear_deductions: InDoubt = field(default=InDoubt.WAIT, validator=checks.instance_of(InDoubt))
    """What to do with a bet that won and bears a deduction which RBHQ did not state, or not as a fraction, or whose
    time is unknown (`Deductions.unclear`). Default: wait. `SETTLE`: nothing is deducted for such a runner.
    """

    def place_type(self, runners: int) -> PriceType | None:
        """Returns how a plain place bet is paid: the price type whose payout factor applies.

        Args:
            runners: The size of the field.

        Returns:
            `None` when the field is too small for place betting.
        """
        fitting = [terms for terms in self.place_terms if terms.runners <= runners]
        return max(fitting, key=lambda terms: terms.runners).paid_as if fitting else None

    def kept(self, deductions: Iterable[Decimal]) -> tuple[Decimal, ...]:
        """Returns what deductions leave of a payout, as factors from 0 to 1, limited by `max_deduction`."""
        left = [EXACT.subtract(Decimal(1), fraction) for fraction in deductions]
        if self.combine_deductions is CombineDeductions.SUM and left:
            left = [EXACT.subtract(Decimal(1), exact_sum(EXACT.subtract(Decimal(1), part) for part in left))]
        least = EXACT.subtract(Decimal(1), self.max_deduction)
        return tuple(left) if exact_product(left) >= least else (least,)

    def rounded(self, amount: Decimal) -> Decimal:
        """Returns an amount as it is paid."""
        return amount if self.quantum is None else _to_multiple(amount, self.quantum, self.rounding)


def _to_multiple(amount: Decimal, quantum: Decimal, rounding: str) -> Decimal:
    """Rounds to a multiple of the quantum, which need not be a power of ten: 0.05 where there are no smaller coins."""
    whole = _ROUNDING.divide(amount, quantum).quantize(Decimal(1), rounding, _ROUNDING)
    return EXACT.multiply(whole, quantum)
