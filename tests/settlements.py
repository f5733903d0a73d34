"""What a race's facts look like in the tests of settlement, and a second way to compute what a bet is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rbhq_stream import (
    PayoutFactors,
    PriceEvent,
    PriceType,
    RaceResultEvent,
    RaceStatus,
    RunnerResult,
    Scratching,
    Unscratching,
)
from rbhq_stream._book.finality import Finality
from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.payout import Payout
from rbhq_stream._book.settlement import SettlementFacts, payout
from rbhq_stream._book.settlement_rules import SettlementRules

NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)
FACTOR_FIELDS = {
    PriceType.WIN: "win",
    PriceType.PLACE_2: "place2",
    PriceType.PLACE_3: "place3",
    PriceType.PLACE_4: "place4",
}
PLACES = {PriceType.WIN: 1, PriceType.PLACE_2: 2, PriceType.PLACE_3: 3, PriceType.PLACE_4: 4}


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def scratching(runner: int, deduction: str | None = "0.07", minute: float | None = 0) -> Scratching:
    """A scratching whose deduction is the same for each price type."""
    stated = None if deduction is None else Decimal(deduction)
    return Scratching(
        runner,
        win_deduction=stated,
        place_deduction=stated,
        two_place_deduction=stated,
        three_place_deduction=stated,
        four_place_deduction=stated,
        scratch_time=None if minute is None else at(minute),
    )


def ledger(*facts: Scratching | Unscratching) -> DeductionLedger:
    """The ledger after one event for each fact."""
    kept = DeductionLedger()
    for fact in facts:
        if isinstance(fact, Scratching):
            kept = kept.with_event(PriceEvent(1, 2, scratchings=(fact,)))
        else:
            kept = kept.with_event(PriceEvent(1, 2, unscratchings=(fact,)))
    return kept


def share(position: int, tied: int, places: int) -> Fraction:
    """The part of a payout that a runner gets which shares a position with others."""
    return Fraction(max(0, min(tied, places - position + 1)), tied)


def result(
    *placings: int | tuple[int, ...],
    status: RaceStatus = RaceStatus.FINAL,
    has_factors: bool = True,
    types: Iterable[PriceType] = FACTOR_FIELDS,
) -> RaceResultEvent:
    """A result: runners in their finishing order, those of a dead heat in a tuple."""
    parts, position = [], 1
    for group in placings:
        runners = (group,) if isinstance(group, int) else group
        factors: dict[str, Any] = {}
        for price_type in types:
            part = share(position, len(runners), PLACES[price_type])
            if has_factors and part:
                factors[FACTOR_FIELDS[price_type]] = round(Decimal(part.numerator) / part.denominator, 2)
        parts += [RunnerResult(runner, None, position, None, PayoutFactors(**factors)) for runner in runners]
        position += len(runners)
    return RaceResultEvent(1, 2, status, results=tuple(parts))


def facts(*placings: int | tuple[int, ...], scratched: Sequence[Scratching] = (), **changed: Any) -> SettlementFacts:
    """The facts of a race of ten runners with a final result."""
    known: dict[str, Any] = {
        "finality": Finality.FINAL,
        "result": result(*placings),
        "ledger": ledger(*scratched),
        "runners": range(1, 11),
    }
    return SettlementFacts(**{**known, **changed})


def worth(
    known: SettlementFacts,
    runner: int,
    price_type: PriceType = PriceType.WIN,
    *,
    price: str = "4.40",
    struck: float = -60,
    stake: str = "1",
    **rules: Any,
) -> Payout:
    """What a bet is worth that was struck an hour before the first scratching."""
    return payout(
        known, runner, price_type, price=price, struck_at=at(struck), stake=stake, rules=SettlementRules(**rules)
    )
