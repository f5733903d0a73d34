"""Calculates what a bet is worth from the facts of its race. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs
from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.exact import EXACT, exact_product
from rbhq_stream._book.finality import Finality
from rbhq_stream._book.ledger import DeductionLedger, Deductions
from rbhq_stream._book.payout import Factor, FactorName, Outcome, Payout, PayoutReason, ResultId
from rbhq_stream._book.placings import NOTHING, is_placed, obstacle, payout_factor
from rbhq_stream._book.provenance import RecordMark
from rbhq_stream._book.settlement_rules import DeductFrom, FieldSize, InDoubt, LateScratching, SettlementRules
from rbhq_stream.events import PriceType, RaceResultEvent, RaceStatus, RunnerResult


def _to_jumped_at(value: datetime | None) -> datetime | None:
    return None if value is None else checks.aware("jumped_at", value)


@frozen(kw_only=True)
class SettlementFacts:
    """Everything about a race that matters for its bets."""

    finality: Finality = Finality.NONE
    result: RaceResultEvent | None = None
    """The newest result."""
    recorded: RecordMark | None = None
    """The record that the result came in, for a result that does not have it itself."""
    ledger: DeductionLedger = DeductionLedger()
    is_under_protest: bool = False
    """Whether the race's status is PROTEST. A result may have this status as well."""
    runners: Collection[int] | None = None
    """Every runner that the race has or had, scratched ones included; `None` if they are not known."""
    jumped_at: datetime | None = field(default=None, converter=_to_jumped_at)
    """When the race jumped (UTC), if it is known."""


def _is_amount(least: int) -> checks.Check:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Decimal) -> None:
        checks.number(_, attribute, value)
        if not (value.is_finite() and value >= least):
            raise ValueError(f"{attribute.alias}={value}: expected {least} or more")

    return check


def _to_struck_at(value: datetime) -> datetime:
    return checks.aware("struck_at", value)


@frozen(kw_only=True)
class _Bet:
    runner: int = field(validator=checks.integer)
    price_type: PriceType = field(validator=checks.instance_of(PriceType))
    price: Decimal = field(converter=checks.to_decimal, validator=_is_amount(1))
    struck_at: datetime = field(converter=_to_struck_at)
    stake: Decimal = field(converter=checks.to_decimal, validator=_is_amount(0))


def payout(
    facts: SettlementFacts,
    runner: int,
    price_type: PriceType,
    *,
    price: Decimal | int | str,
    struck_at: datetime,
    stake: Decimal | int | str,
    rules: SettlementRules,
) -> Payout:
    """Returns what a bet is worth by the facts of its race.

    Args:
        facts: All that is known of the race.
        runner: The number of the runner that was bet on.
        price_type: The type of the bet's price.
        price: The fixed odds at which it was struck, stake included.
        struck_at: When it was struck; an aware time.
        stake: The stake.
        rules: The operator's betting rules, for everything that RBHQ does not state.

    Raises:
        TypeError: an argument has another type; a float is not exact.
        ValueError: `price` is below 1, `stake` is below 0, or `struck_at` has no time zone.
    """
    bet = _Bet(
        runner=runner,
        price_type=price_type,
        price=price,
        struck_at=struck_at,
        stake=stake,
    )
    return _Settlement(facts, bet, rules).payout()


@frozen
class _Settlement:
    facts: SettlementFacts
    bet: _Bet
    rules: SettlementRules

    def payout(self) -> Payout:
        facts, rules = self.facts, self.rules
        if facts.finality is Finality.VOID:
            return self._refunded(PayoutReason.ABANDONED, Finality.VOID)
        listed = [] if facts.result is None else _parts_of(facts.result, self.bet.runner)
        if len(listed) > 1:
            return self._pending(PayoutReason.CONTRADICTION)
        if self._is_scratched(self.bet.runner):
            if rules.scratched_in_result is InDoubt.WAIT and any(map(is_placed, listed)):
                return self._pending(PayoutReason.CONTRADICTION)
            # before the result, the runner may still be reinstated
            is_early = facts.finality is Finality.NONE
            return self._refunded(PayoutReason.SCRATCHED, Finality.PROVISIONAL if is_early else facts.finality)
        if facts.result is None or facts.finality is Finality.NONE or not facts.result.results:
            return self._pending(PayoutReason.NO_RESULT)
        is_protest = facts.is_under_protest or facts.result.status == RaceStatus.PROTEST
        if is_protest and rules.protests is InDoubt.WAIT:
            return self._pending(PayoutReason.PROTEST)
        if self.bet.price_type != PriceType.PLACE:
            return self._by_result(facts.result, listed, self.bet.price_type)
        runners = self._field_size()
        if runners is None:
            return self._pending(PayoutReason.UNKNOWN_FIELD_SIZE)
        paid_as = rules.place_type(runners)
        if paid_as is None:
            return self._refunded(PayoutReason.NO_PLACE_BETTING, facts.finality)
        return self._by_result(facts.result, listed, paid_as)

    def _by_result(self, result: RaceResultEvent, listed: list[RunnerResult], paid_as: PriceType) -> Payout:
        reason = obstacle(result, paid_as, self.rules)
        if reason is not None:
            return self._pending(reason)
        if not listed:
            return self._not_listed(paid_as)
        verdict = payout_factor(result, listed[0], paid_as, self.rules)
        if isinstance(verdict, PayoutReason):
            return self._pending(verdict)
        return self._won(paid_as, verdict) if verdict else self._lost(PayoutReason.RESULT, paid_as)

    # scratchings

    def _is_scratched(self, runner: int) -> bool:
        return self.facts.ledger.scratching(runner) is not None and not self._counts_as_starter(runner)

    def _counts_as_starter(self, runner: int) -> bool:
        """Whether a scratched runner was scratched too late to count as one."""
        jumped_at, scratched_at = self.facts.jumped_at, self.facts.ledger.scratched_at(runner)
        is_late = jumped_at is not None and scratched_at is not None and jumped_at < scratched_at
        return is_late and self.rules.late_scratchings is LateScratching.STARTER

    def _field_size(self) -> int | None:
        if self.facts.runners is None:
            return None
        return sum(not self._is_out(runner) for runner in set(self.facts.runners))

    def _is_out(self, runner: int) -> bool:
        """Whether a runner does not count for the size of the field."""
        if not self._is_scratched(runner):
            return False
        scratched_at = self.facts.ledger.scratched_at(runner)
        was_in = scratched_at is not None and self.bet.struck_at < scratched_at
        return not (was_in and self.rules.field_size is FieldSize.WHEN_STRUCK)

    def _deductions(self) -> Deductions:
        found = self.facts.ledger.deductions(self.bet.price_type, struck_at=self.bet.struck_at)
        items = tuple(item for item in found.items if not self._counts_as_starter(item.runner_number))
        unclear = tuple(runner for runner in found.unclear if not self._counts_as_starter(runner))
        return attrs.evolve(found, items=items, unclear=unclear)

    # outcomes

    def _won(self, paid_as: PriceType, factor: Decimal) -> Payout:
        bet, rules = self.bet, self.rules
        deductions = self._deductions()
        if deductions.unclear and rules.unclear_deductions is InDoubt.WAIT:
            return self._pending(PayoutReason.UNCLEAR_DEDUCTIONS)
        kept = rules.kept(item.fraction for item in deductions.items)
        if not kept or rules.deduct_from is DeductFrom.PAYOUT:
            price = [Factor(FactorName.PRICE, bet.price), *(Factor(FactorName.DEDUCTIONS, part) for part in kept)]
        else:
            profit = EXACT.multiply(EXACT.subtract(bet.price, Decimal(1)), exact_product(kept))
            price = [Factor(FactorName.PRICE_AFTER_DEDUCTIONS, EXACT.add(Decimal(1), profit))]
        return self._paid(
            Outcome.WON,
            self.facts.finality,
            PayoutReason.RESULT,
            [*price, Factor(FactorName.PAYOUT_FACTOR, factor)],
            deductions=deductions,
            paid_as=paid_as,
        )

    def _lost(self, reason: PayoutReason, paid_as: PriceType) -> Payout:
        factors = [Factor(FactorName.PRICE, self.bet.price), Factor(FactorName.PAYOUT_FACTOR, NOTHING)]
        return self._paid(Outcome.LOST, self.facts.finality, reason, factors, paid_as=paid_as)

    def _not_listed(self, paid_as: PriceType) -> Payout:
        runners = self.facts.runners
        is_known = runners is None or self.bet.runner in runners
        reason = PayoutReason.NOT_IN_RESULT if is_known else PayoutReason.UNKNOWN_RUNNER
        rule = self.rules.not_in_result if is_known else self.rules.unknown_runners
        return self._pending(reason) if rule is InDoubt.WAIT else self._lost(reason, paid_as)

    def _refunded(self, reason: PayoutReason, finality: Finality) -> Payout:
        return self._paid(Outcome.REFUNDED, finality, reason, [])

    def _paid(
        self, outcome: Outcome, finality: Finality, reason: PayoutReason, factors: list[Factor], **explained: Any
    ) -> Payout:
        every = (Factor(FactorName.STAKE, self.bet.stake), *factors)
        exact = exact_product(factor.value for factor in every)
        return Payout(
            outcome=outcome,
            finality=finality,
            reason=reason,
            amount=self.rules.rounded(exact),
            factors=every,
            result=self._result_id(finality),
            **explained,
        )

    def _pending(self, reason: PayoutReason) -> Payout:
        return Payout(
            outcome=Outcome.PENDING,
            finality=Finality.NONE,
            reason=reason,
            amount=NOTHING,
            result=self._result_id(self.facts.finality),
        )

    def _result_id(self, finality: Finality) -> ResultId | None:
        result = self.facts.result
        if result is None or finality is Finality.VOID:
            return None
        identity = ResultId.of(result)
        return identity if self.facts.recorded is None else attrs.evolve(identity, recorded=self.facts.recorded)


def _parts_of(result: RaceResultEvent, runner: int) -> list[RunnerResult]:
    """Returns the parts of a result that are about a runner, without duplicates."""
    return list(dict.fromkeys(part for part in result.results if part.runner_number == runner))
