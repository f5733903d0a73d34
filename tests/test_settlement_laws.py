"""What a bet is worth equals a recomputation from the raw events, in fractions and without the library's own steps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from rbhq_stream import (
    CombineDeductions,
    DeductFrom,
    Event,
    InDoubt,
    Outcome,
    PriceEvent,
    PriceType,
    RaceBook,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Record,
    Scratching,
    SettlementRules,
    Unscratching,
)
from rbhq_stream.testing import Simulator
from tests.settlements import FACTOR_FIELDS, at, result, scratching
from tests.simulated_bets import Bet, bets_on, cents

RUNNERS = range(1, 10)
minutes = st.integers(0, 5)
fractions = st.decimals("0", "0.6", places=2)
rule_sets = st.builds(
    SettlementRules,
    combine_deductions=st.sampled_from(CombineDeductions),
    deduct_from=st.sampled_from(DeductFrom),
    max_deduction=st.sampled_from([Decimal(1), Decimal("0.5")]),
    scratched_in_result=st.just(InDoubt.SETTLE),
)


@attrs.frozen
class Case:
    """The raw events of one race, in order, and a bet on it."""

    prices: tuple[PriceEvent, ...]
    result: RaceResultEvent
    runner: int
    price_type: PriceType
    price: Decimal
    stake: Decimal
    struck_at: datetime


@st.composite
def cases(draw: DrawFn) -> Case:
    events = []
    for minute in range(draw(st.integers(0, 6))):
        runner = draw(st.sampled_from(RUNNERS[4:]))
        if draw(st.booleans()):
            fact = scratching(runner, str(draw(fractions)), minute)
            events.append(PriceEvent(1, 2, scratchings=(fact,)))
        else:
            events.append(PriceEvent(1, 2, unscratchings=(Unscratching(runner, at(minute)),)))
    order = draw(st.permutations(RUNNERS[:6]))
    tie = draw(st.sampled_from([1, 2, 3]))
    heat = draw(st.integers(0, 3))
    placings: list[int | tuple[int, ...]] = [*order[:heat], tuple(order[heat : heat + tie]), *order[heat + tie :]]
    return Case(
        tuple(events),
        result(*placings),
        draw(st.sampled_from(RUNNERS)),
        draw(st.sampled_from(PriceType)),
        draw(st.decimals(1, 100, places=2)),
        draw(st.decimals(0, 1000, places=2)),
        at(draw(minutes)),
    )


def is_scratched(case: Case, runner: int) -> tuple[Scratching, ...]:
    """The scratchings of a runner since it was last reinstated."""
    since: tuple[Scratching, ...] = ()
    for event in case.prices:
        since += tuple(fact for fact in event.scratchings if fact.runner_number == runner)
        if any(fact.runner_number == runner for fact in event.unscratchings):
            since = ()
    return since


def recomputed(case: Case, rules: SettlementRules) -> Fraction:
    """What the bet pays."""
    stake, price = Fraction(case.stake), Fraction(case.price)
    if is_scratched(case, case.runner):
        return stake
    price_type = case.price_type
    if price_type is PriceType.PLACE:
        starters = sum(not is_scratched(case, runner) for runner in RUNNERS)
        if starters < 5:
            return stake
        price_type = PriceType.PLACE_3 if starters >= 8 else PriceType.PLACE_2
    share = Fraction(0)
    for listed in case.result.results:
        if listed.runner_number == case.runner:
            share = Fraction(getattr(listed.payout_factors, FACTOR_FIELDS[price_type]) or 0)
    kept, taken = Fraction(1), Fraction(0)
    for runner in RUNNERS:
        since = is_scratched(case, runner)
        if since and since[-1].scratch_time is not None and case.struck_at < since[-1].scratch_time:
            fraction = Fraction(since[-1].win_deduction or 0)
            kept, taken = kept * (1 - fraction), taken + fraction
    if rules.combine_deductions is CombineDeductions.SUM:
        kept = 1 - taken
    kept = max(kept, 1 - Fraction(rules.max_deduction))
    if rules.deduct_from is DeductFrom.PAYOUT:
        return stake * price * kept * share
    return stake * (1 + (price - 1) * kept) * share


def settled(case: Case, rules: SettlementRules) -> tuple[Outcome, Decimal, list[Decimal]]:
    book = RaceBook()
    happened: list[Event] = [*case.prices, RaceStatusEvent(1, 2, RaceStatus.FINAL), case.result]
    for event in happened:
        book.apply(event)
    found = book[RaceId(1, 2)].payout(
        case.runner,
        case.price_type,
        price=case.price,
        struck_at=case.struck_at,
        stake=case.stake,
        rules=rules,
        runners=RUNNERS,
    )
    return found.outcome, found.amount, [factor.value for factor in found.factors]


@given(cases(), rule_sets)
def test_the_amount_equals_a_recomputation_from_the_raw_events(case: Case, rules: SettlementRules) -> None:
    outcome, amount, _ = settled(case, rules)
    assert outcome is not Outcome.PENDING
    assert Fraction(amount) == recomputed(case, rules)


@given(cases(), rule_sets)
def test_the_factors_explain_the_amount_exactly(case: Case, rules: SettlementRules) -> None:
    _, amount, factors = settled(case, rules)
    product = Fraction(1)
    for factor in factors:
        product *= Fraction(factor)
    assert product == Fraction(amount)


@given(cases(), rule_sets, st.sampled_from(["0.01", "0.05", "0.1", "1"]))
def test_a_rounded_amount_is_the_nearest_multiple(case: Case, rules: SettlementRules, quantum: str) -> None:
    _, exact, _ = settled(case, rules)
    _, amount, _ = settled(case, attrs.evolve(rules, quantum=quantum))
    assert Fraction(amount) % Fraction(quantum) == 0
    assert abs(Fraction(amount) - Fraction(exact)) <= Fraction(quantum) / 2


@given(cases(), rule_sets)
def test_twice_the_stake_pays_twice_the_amount(case: Case, rules: SettlementRules) -> None:
    outcome, amount, _ = settled(case, rules)
    doubled = settled(attrs.evolve(case, stake=2 * case.stake), rules)
    assert doubled[:2] == (outcome, 2 * amount)


# whole days

KINDS: tuple[type[Event], ...] = (PriceEvent, RaceStatusEvent, RaceResultEvent)


def settle(day: Iterable[Event], bets: Iterable[Bet]) -> dict[int, tuple[int, bool]]:
    """What each bet pays by a book of the day, in cents, and whether it is safe to settle."""
    book = RaceBook()
    for event in day:
        book.apply(event)
    rules = SettlementRules(quantum=Decimal("0.01"))
    worth = {}
    for bet in bets:
        number, _, runner, price_type, price, _, stake = bet.row()
        found = book[bet.race_id].payout(
            runner, price_type, price=price, struck_at=bet.struck_at, stake=stake, rules=rules
        )
        worth[number] = int(found.amount * 100), found.is_safe_to_settle
    return worth


@pytest.mark.parametrize("seed", range(12))
def test_every_bet_of_a_simulated_day_pays_what_happened_in_the_simulation(seed: int) -> None:
    simulator = Simulator(seed, meetings=2, price_records=15)
    truth = simulator.truth()
    bets = bets_on(simulator, truth, seed)
    expected = {bet.number: (cents(bet, truth[bet.race_id]), True) for bet in bets}
    day: list[Event] = [
        attrs.evolve(timed.event, record=Record(type(timed.event).__name__, 0, offset, timed.at))
        for offset, timed in enumerate(simulator.events())
    ]
    assert settle(day, bets) == expected
    for topics in permutations(KINDS):
        # one topic after the other, as after a restart
        assert settle((event for kind in topics for event in day if isinstance(event, kind)), bets) == expected
