"""What a result means for one bet: which part of its payout is paid, or why that is not known."""

from __future__ import annotations

from decimal import Context, Decimal

from rbhq_stream._book.payout import PayoutReason
from rbhq_stream._book.settlement_rules import InDoubt, SettlementRules
from rbhq_stream.events import PriceType, RaceResultEvent, RunnerResult

NOTHING = Decimal(0)

_PLACES = {PriceType.WIN: 1, PriceType.PLACE_2: 2, PriceType.PLACE_3: 3, PriceType.PLACE_4: 4}
_TEN_DIGITS = Context(prec=10)


def obstacle(result: RaceResultEvent, paid_as: PriceType, rules: SettlementRules) -> PayoutReason | None:
    """Returns why no bet of a price type can be settled by a result; `None` if they can.

    Args:
        result: The result.
        paid_as: The price type whose factor applies.
        rules: What to do where the result states no factor.
    """
    if paid_as not in _PLACES:
        return PayoutReason.UNKNOWN_PRICE_TYPE
    if _states_factors(result, paid_as):
        return None
    return None if has_winner(result) and rules.positions is InDoubt.SETTLE else PayoutReason.NO_FACTOR


def payout_factor(
    result: RaceResultEvent, listed: RunnerResult, paid_as: PriceType, rules: SettlementRules
) -> Decimal | PayoutReason:
    """Returns the payout factor of a runner, 0 for a bet that lost; or why the bet has to wait.

    Args:
        result: A result without an obstacle.
        listed: The runner's part of it.
        paid_as: The price type whose factor applies.
        rules: What to do where the result states no factor.
    """
    if _states_factors(result, paid_as):
        # only the factors that apply to a runner are present
        factor = listed.payout_factors.for_type(paid_as)
        if factor is None:
            return NOTHING
        return factor if factor.is_finite() and 0 <= factor <= 1 else PayoutReason.UNUSABLE_FACTOR
    places, position = _PLACES[paid_as], listed.final_position
    if position is None or not 1 <= position <= places:
        return NOTHING
    finished = {(other.runner_number, other.final_position) for other in result.results}
    tied = sum(other == position for _, other in finished)
    # Two winners are followed by a third runner, also if the result counts 1, 1, 2.
    before = sum(other is not None and 1 <= other < position for _, other in finished)
    paid = max(0, min(tied, places - max(position - 1, before)))
    if paid == tied:
        return Decimal(1)
    return PayoutReason.DEAD_HEAT if rules.dead_heats is InDoubt.WAIT else _TEN_DIGITS.divide(Decimal(paid), tied)


def _states_factors(result: RaceResultEvent, paid_as: PriceType) -> bool:
    return any(listed.payout_factors.for_type(paid_as) is not None for listed in result.results)


def is_placed(listed: RunnerResult) -> bool:
    """Whether a result gives a runner a position or a payout."""
    has_position = listed.final_position is not None and listed.final_position > 0
    return has_position or any(listed.payout_factors.for_type(price_type) for price_type in _PLACES)


def placed(result: RaceResultEvent) -> frozenset[int]:
    """Returns the runners that the result gives a position or a payout."""
    return frozenset(runner.runner_number for runner in result.results if is_placed(runner))


def has_winner(result: RaceResultEvent) -> bool:
    """Returns whether the result names a winner."""
    return any(runner.final_position == 1 for runner in result.results)
