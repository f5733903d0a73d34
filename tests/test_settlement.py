"""What a bet is worth: outcome, amount, arithmetic and finality, by the facts of its race and the operator's rules."""

from __future__ import annotations

import pickle
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

import attrs
import pytest

from rbhq_stream import (
    CombineDeductions,
    DeductFrom,
    FactorName,
    FieldSize,
    Finality,
    InDoubt,
    LateScratching,
    Outcome,
    Payout,
    PayoutFactors,
    PayoutReason,
    PlaceTerms,
    PriceType,
    RaceStatus,
    RunnerResult,
    SettlementRules,
    Unscratching,
)
from rbhq_stream._book.settlement import SettlementFacts, payout
from tests.settlements import at, facts, ledger, result, scratching, worth

WIN, PLACE, PLACE_2, PLACE_3, PLACE_4 = PriceType
WAIT, SETTLE = InDoubt


def summary(found: Payout) -> tuple[Outcome, Decimal, PayoutReason, Finality]:
    return found.outcome, found.amount, found.reason, found.finality


def pending(reason: PayoutReason) -> tuple[Outcome, Decimal, PayoutReason, Finality]:
    return Outcome.PENDING, Decimal(0), reason, Finality.NONE


# by the result


def test_the_winner_is_paid_its_price() -> None:
    found = worth(facts(3, 5, 7, 1), 3, price="4.40", stake="10")
    assert summary(found) == (Outcome.WON, Decimal("44.00"), PayoutReason.RESULT, Finality.FINAL)
    assert [(factor.name, factor.value) for factor in found.factors] == [
        (FactorName.STAKE, 10),
        (FactorName.PRICE, Decimal("4.40")),
        (FactorName.PAYOUT_FACTOR, 1),
    ]


def test_another_runner_lost() -> None:
    assert summary(worth(facts(3, 5, 7, 1), 5)) == (Outcome.LOST, Decimal(0), PayoutReason.RESULT, Finality.FINAL)


@pytest.mark.parametrize(
    ("price_type", "paid"), [(WIN, {3}), (PLACE_2, {3, 5}), (PLACE_3, {3, 5, 7}), (PLACE_4, {3, 5, 7, 1})]
)
def test_each_price_type_pays_its_places(price_type: PriceType, paid: set[int]) -> None:
    known = facts(3, 5, 7, 1)
    assert {runner for runner in range(1, 11) if worth(known, runner, price_type).outcome is Outcome.WON} == paid


def test_a_runner_that_the_result_does_not_list_lost() -> None:
    known = facts(3, 5, 7, 1)
    assert summary(worth(known, 9)) == (Outcome.LOST, Decimal(0), PayoutReason.NOT_IN_RESULT, Finality.FINAL)
    assert summary(worth(known, 9, not_in_result=WAIT)) == pending(PayoutReason.NOT_IN_RESULT)


def test_a_bet_on_a_runner_that_was_never_heard_of_waits() -> None:
    known = facts(3, 5, 7, 1)
    assert summary(worth(known, 99)) == pending(PayoutReason.UNKNOWN_RUNNER)
    assert worth(known, 99, unknown_runners=SETTLE).outcome is Outcome.LOST
    assert worth(attrs.evolve(known, runners=None), 99).reason is PayoutReason.NOT_IN_RESULT


@pytest.mark.parametrize(
    "known",
    [
        SettlementFacts(),
        SettlementFacts(finality=Finality.FINAL),
        SettlementFacts(result=result(3)),
        SettlementFacts(finality=Finality.FINAL, result=result()),
    ],
    ids=["nothing", "no result", "no finality", "an empty result"],
)
def test_without_a_result_a_bet_is_pending(known: SettlementFacts) -> None:
    assert summary(worth(known, 3)) == pending(PayoutReason.NO_RESULT)


def test_an_interim_result_makes_a_provisional_payout() -> None:
    known = facts(result=result(3, 5, status=RaceStatus.INTERIM), finality=Finality.PROVISIONAL)
    assert (worth(known, 3).outcome, worth(known, 3).finality) == (Outcome.WON, Finality.PROVISIONAL)
    assert not worth(known, 3).is_safe_to_settle


@pytest.mark.parametrize(
    "changed",
    [{"is_under_protest": True}, {"result": result(3, 5, status=RaceStatus.PROTEST)}],
    ids=["by the status", "by the result"],
)
def test_a_protest_makes_bets_wait_unless_the_rules_settle_them(changed: dict[str, Any]) -> None:
    known = facts(3, 5, finality=Finality.PROVISIONAL, **changed)
    assert summary(worth(known, 3)) == pending(PayoutReason.PROTEST)
    assert worth(known, 3, protests=SETTLE).outcome is Outcome.WON


def test_a_result_that_states_two_things_of_a_runner_is_a_contradiction() -> None:
    twice = (RunnerResult(3, None, 1), RunnerResult(3, None, 2))
    known = facts(result=attrs.evolve(result(3), results=twice))
    assert summary(worth(known, 3)) == pending(PayoutReason.CONTRADICTION)
    assert worth(facts(result=attrs.evolve(result(3), results=result(3).results * 2)), 3).outcome is Outcome.WON


@pytest.mark.parametrize("factor", ["1.01", "-0.5", "NaN", "Infinity"])
def test_a_factor_that_is_no_fraction_is_not_used(factor: str) -> None:
    listed = RunnerResult(3, None, 1, None, PayoutFactors(win=Decimal(factor)))
    known = facts(result=attrs.evolve(result(3), results=(listed,)))
    assert summary(worth(known, 3)) == pending(PayoutReason.UNUSABLE_FACTOR)


def test_a_factor_of_zero_pays_nothing() -> None:
    listed = RunnerResult(3, None, 1, None, PayoutFactors(win=Decimal(0)))
    assert worth(facts(result=attrs.evolve(result(3), results=(listed,))), 3).outcome is Outcome.LOST


def test_how_a_price_type_that_rbhq_adds_is_paid_is_not_guessed() -> None:
    known = facts(3, 5, 7, 1)
    for runner in (3, 9):
        assert summary(worth(known, runner, PriceType("place5"))) == pending(PayoutReason.UNKNOWN_PRICE_TYPE)


# dead heats


def test_a_dead_heat_shares_the_payout_by_the_factor_that_rbhq_states() -> None:
    found = worth(facts((3, 5), 7), 5, price="6", stake="10")
    assert (found.amount, found.factors[-1].value) == (Decimal(30), Decimal("0.5"))
    # two places are paid in full, for the two of them
    assert worth(facts((3, 5), 7), 5, PLACE_2, price="2").amount == 2


def test_without_factors_the_positions_decide() -> None:
    known = facts(result=result(3, 5, 7, has_factors=False))
    assert [worth(known, runner, PLACE_2).outcome for runner in (3, 5, 7, 9)] == [
        Outcome.WON,
        Outcome.WON,
        Outcome.LOST,
        Outcome.LOST,
    ]
    assert summary(worth(known, 3, positions=WAIT)) == pending(PayoutReason.NO_FACTOR)


def test_without_factors_a_dead_heat_waits_unless_the_rules_share_it() -> None:
    known = facts(result=result(3, (5, 7, 8), has_factors=False))
    assert summary(worth(known, 7, PLACE_2)) == pending(PayoutReason.DEAD_HEAT)
    found = worth(known, 7, PLACE_2, price="3", dead_heats=SETTLE)
    assert (found.amount, found.exact) == (Decimal("0.9999999999"), Decimal("0.9999999999"))
    assert worth(known, 7, PLACE_4, price="3").amount == 3, "each of the three has a place of its own"


def by_position(*positions: tuple[int, int]) -> SettlementFacts:
    """The facts of a race whose result states finishing positions only."""
    listed = tuple(RunnerResult(runner, None, position) for runner, position in positions)
    return facts(result=attrs.evolve(result(3), results=listed))


def test_without_factors_the_runner_after_two_winners_is_third_also_if_the_result_counts_it_as_second() -> None:
    known = by_position((3, 1), (5, 1), (7, 2), (8, 3))
    assert summary(worth(known, 7, PLACE_2)) == pending(PayoutReason.DEAD_HEAT)
    assert worth(known, 7, PLACE_2, dead_heats=SETTLE).outcome is Outcome.LOST
    assert [worth(known, runner, PLACE_3, price="2").amount for runner in (3, 5, 7)] == [2, 2, 2]
    assert worth(known, 8, PLACE_4, price="2").amount == 2
    assert worth(known, 8, PLACE_2).outcome is Outcome.LOST


def test_without_factors_a_runner_that_is_listed_twice_is_no_dead_heat() -> None:
    known = by_position((3, 1), (3, 1), (5, 2))
    assert worth(known, 3, price="2").amount == 2
    assert worth(known, 5, PLACE_2, price="2").amount == 2


def test_factors_decide_without_positions() -> None:
    listed = (RunnerResult(3, None, None, None, PayoutFactors(win=Decimal(1))), RunnerResult(5))
    known = facts(result=attrs.evolve(result(3), results=listed))
    assert [worth(known, runner).outcome for runner in (3, 5)] == [Outcome.WON, Outcome.LOST]


def test_without_factors_and_without_a_winner_nothing_is_known() -> None:
    nobody = attrs.evolve(result(3), results=(RunnerResult(3), RunnerResult(5, None, 0)))
    assert summary(worth(facts(result=nobody), 3)) == pending(PayoutReason.NO_FACTOR)
    unplaced = attrs.evolve(result(3), results=(RunnerResult(3, None, 1), RunnerResult(5), RunnerResult(7, None, 0)))
    assert {worth(facts(result=unplaced), runner, PLACE_4).outcome for runner in (5, 7)} == {Outcome.LOST}


# the plain place


def test_a_plain_place_bet_is_paid_by_the_number_of_starters() -> None:
    for runners, paid in ((9, {3, 5, 7}), (8, {3, 5, 7}), (7, {3, 5}), (5, {3, 5})):
        known = facts(3, 5, 7, 1, runners=[3, 5, 7, 1, *range(11, 7 + runners)])
        assert {runner for runner in (3, 5, 7, 1) if worth(known, runner, PLACE).outcome is Outcome.WON} == paid
    assert worth(facts(3, 5, 7, 1), 7, PLACE).paid_as == PLACE_3


def test_a_runner_that_is_listed_twice_is_one_starter() -> None:
    known = facts(3, 5, 7, runners=[3, 5, 7, 1, 2, 2, 2, 4])
    assert worth(known, 3, PLACE).paid_as == PLACE_2


def test_a_field_that_is_too_small_for_place_betting_refunds_the_bet_unless_the_rules_pay_the_winner() -> None:
    known = facts(3, 5, runners=[3, 5, 7, 1])
    refunded = (Outcome.REFUNDED, Decimal(1), PayoutReason.NO_PLACE_BETTING, Finality.FINAL)
    assert summary(worth(known, 3, PLACE)) == refunded
    terms = (*SettlementRules().place_terms, PlaceTerms(1, WIN))
    assert worth(known, 3, PLACE, place_terms=terms).paid_as == WIN
    assert worth(known, 5, PLACE, place_terms=terms).outcome is Outcome.LOST


def test_scratched_runners_are_no_starters() -> None:
    known = facts(3, 5, 7, runners=range(1, 9), scratched=[scratching(8, "0.05", 0)])
    assert worth(known, 7, PLACE).outcome is Outcome.LOST
    # the field when the bet was struck had eight runners, and a later bet's had seven
    assert worth(known, 7, PLACE, struck=-1, field_size=FieldSize.WHEN_STRUCK).outcome is Outcome.WON
    assert worth(known, 7, PLACE, struck=1, field_size=FieldSize.WHEN_STRUCK).outcome is Outcome.LOST


def test_without_the_runners_of_the_race_a_plain_place_bet_waits() -> None:
    assert summary(worth(facts(3, runners=None), 3, PLACE)) == pending(PayoutReason.UNKNOWN_FIELD_SIZE)


# deductions


def test_deductions_are_taken_from_the_payout_stake_included() -> None:
    found = worth(facts(3, scratched=[scratching(8, "0.20")]), 3, price="2.50", stake="10")
    assert found.amount == 20
    assert [(factor.name, factor.value) for factor in found.factors[1:3]] == [
        (FactorName.PRICE, Decimal("2.50")),
        (FactorName.DEDUCTIONS, Decimal("0.80")),
    ]
    assert found.deductions is not None
    assert [(item.runner_number, item.fraction) for item in found.deductions.items] == [(8, Decimal("0.20"))]


def test_a_bet_struck_after_the_scratching_bears_nothing() -> None:
    assert worth(facts(3, scratched=[scratching(8, "0.20")]), 3, price="2.50", struck=1).amount == Decimal("2.50")


def test_several_deductions_add_up_unless_the_rules_take_them_one_after_the_other() -> None:
    known = facts(3, scratched=[scratching(8, "0.2"), scratching(9, "0.1")])
    assert worth(known, 3, price="10").amount == 7
    found = worth(known, 3, price="10", combine_deductions=CombineDeductions.PRODUCT)
    assert (found.amount, len(found.factors)) == (Decimal("7.2"), 5)


def test_the_rules_can_deduct_from_the_profit_only() -> None:
    found = worth(facts(3, scratched=[scratching(8, "0.20")]), 3, price="2.50", deduct_from=DeductFrom.PROFIT)
    assert (found.amount, found.factors[1].name) == (Decimal("2.20"), FactorName.PRICE_AFTER_DEDUCTIONS)


@pytest.mark.parametrize("combined", CombineDeductions)
def test_deductions_are_limited(combined: CombineDeductions) -> None:
    known = facts(3, scratched=[scratching(8, "0.6"), scratching(9, "0.6")])
    found = worth(known, 3, price="10", combine_deductions=combined, max_deduction=Decimal("0.5"))
    assert found.amount == 5
    assert worth(known, 3, price="10").amount == 0


def test_an_unclear_deduction_makes_a_bet_that_won_wait() -> None:
    known = facts(3, scratched=[scratching(8, None)])
    assert summary(worth(known, 3)) == pending(PayoutReason.UNCLEAR_DEDUCTIONS)
    assert worth(known, 5).outcome is Outcome.LOST
    assert worth(known, 3, price="4", unclear_deductions=SETTLE).amount == 4


# refunds


def test_bets_on_an_abandoned_race_are_refunded() -> None:
    for known in (SettlementFacts(finality=Finality.VOID), facts(3, finality=Finality.VOID)):
        found = worth(known, 3, stake="10")
        assert summary(found) == (Outcome.REFUNDED, Decimal(10), PayoutReason.ABANDONED, Finality.VOID)
        assert found.is_safe_to_settle


def test_a_bet_on_a_scratched_runner_is_refunded_provisionally_until_there_is_a_result() -> None:
    before = SettlementFacts(ledger=ledger(scratching(8)))
    assert summary(worth(before, 8)) == (Outcome.REFUNDED, Decimal(1), PayoutReason.SCRATCHED, Finality.PROVISIONAL)
    assert worth(facts(3, 5, scratched=[scratching(8)]), 8).finality is Finality.FINAL


def test_a_bet_on_a_reinstated_runner_stands() -> None:
    known = facts(8, ledger=ledger(scratching(8), Unscratching(8, at(1))))
    assert worth(known, 8).outcome is Outcome.WON


def test_a_scratched_runner_that_the_result_places_is_a_contradiction() -> None:
    known = facts(3, 8, scratched=[scratching(8)])
    assert summary(worth(known, 8)) == pending(PayoutReason.CONTRADICTION)
    assert worth(known, 8, scratched_in_result=SETTLE).outcome is Outcome.REFUNDED
    listed = attrs.evolve(result(3), results=(*result(3).results, RunnerResult(8, None, 0), RunnerResult(9)))
    known = facts(result=listed, scratched=[scratching(8), scratching(9)])
    assert {worth(known, runner).outcome for runner in (8, 9)} == {Outcome.REFUNDED}


def test_the_rules_can_make_a_runner_scratched_after_the_jump_a_starter() -> None:
    known = facts(3, 5, 7, runners=range(1, 9), scratched=[scratching(8, "0.2", 10)], jumped_at=at(5))
    starter: dict[str, Any] = {"late_scratchings": LateScratching.STARTER}
    assert [worth(known, 8).outcome, worth(known, 8, **starter).outcome] == [Outcome.REFUNDED, Outcome.LOST]
    assert [worth(known, 3, price="10").amount, worth(known, 3, price="10", **starter).amount] == [8, 10]
    # it counts for the size of the field
    assert [worth(known, 7, PLACE).outcome, worth(known, 7, PLACE, **starter).outcome] == [Outcome.LOST, Outcome.WON]
    # what RBHQ did not state of it does not matter then
    unstated = attrs.evolve(known, ledger=ledger(scratching(8, None, 10)))
    assert [worth(unstated, 3).outcome, worth(unstated, 3, **starter).outcome] == [Outcome.PENDING, Outcome.WON]
    for jumped_at in (None, at(10), at(11)):
        assert worth(attrs.evolve(known, jumped_at=jumped_at), 8, **starter).outcome is Outcome.REFUNDED


# amounts


def test_amounts_are_exact_unless_the_rules_round_them() -> None:
    known = facts(3, scratched=[scratching(8, "0.07")])
    assert worth(known, 3, price="4.45").amount == Decimal("4.1385")
    found = worth(known, 3, price="4.45", quantum=Decimal("0.01"))
    assert (str(found.amount), found.exact) == ("4.14", Decimal("4.1385"))
    assert str(worth(known, 3, price="4.45", quantum=Decimal("0.01"), rounding="ROUND_DOWN").amount) == "4.13"
    assert str(worth(known, 3, price="4.45", quantum=Decimal("0.05")).amount) == "4.15"


def test_amounts_do_not_depend_on_the_decimal_context_of_the_thread() -> None:
    known = facts(3, scratched=[scratching(8, "0.07")])
    with localcontext() as context:
        context.prec = 2
        found = worth(known, 3, price="4.45", stake="12345.67")
    assert found.amount == Decimal("12345.67") * Decimal("4.45") * Decimal("0.93")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"price": 4.4}, TypeError),
        ({"price": "0.99"}, ValueError),
        ({"price": "NaN"}, ValueError),
        ({"price": "x"}, ValueError),
        ({"stake": 1.5}, TypeError),
        ({"stake": -1}, ValueError),
        ({"stake": "Infinity"}, ValueError),
        ({"struck_at": datetime(2026, 11, 3)}, ValueError),  # noqa: DTZ001
        ({"struck_at": None}, TypeError),
        ({"runner": "3"}, TypeError),
        ({"price_type": "ep"}, TypeError),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], error: type[Exception]) -> None:
    right: dict[str, Any] = {"runner": 3, "price_type": WIN, "price": "4.40", "struck_at": at(0), "stake": 1}
    with pytest.raises(error, match=f"^{next(iter(wrong))}="):
        payout(SettlementFacts(), rules=SettlementRules(), **{**right, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantum": Decimal(0)},
        {"quantum": 0.01},
        {"rounding": "up"},
        {"max_deduction": Decimal("1.1")},
        {"place_terms": [PlaceTerms(8, PLACE_3)]},
        {"place_terms": (8,)},
        {"protests": "wait"},
    ],
)
def test_wrong_rules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(wrong))}="):
        SettlementRules(**wrong)


# what a payout is compared with


def test_a_payout_names_the_result_that_it_is_based_on() -> None:
    found = worth(facts(3), 3).result
    assert found is not None
    assert (found.status, found.created, found.recorded) == (RaceStatus.FINAL, None, None)
    assert worth(facts(finality=Finality.VOID), 3).result is None


def test_an_amended_result_supersedes_a_payout_that_it_changes() -> None:
    paid = worth(facts(3, 5), 3)
    amended = facts(5, 3)
    assert paid.is_superseded_by(worth(amended, 3))
    assert not paid.is_superseded_by(paid)
    assert not worth(facts(3, 5), 9).is_superseded_by(worth(amended, 9)), "it lost by both results"


def test_a_payout_is_not_superseded_while_the_result_is_under_review() -> None:
    paid = worth(facts(3, 5), 3)
    review = facts(5, 3, finality=Finality.PROVISIONAL)
    assert not paid.is_superseded_by(worth(review, 3))
    assert not paid.is_superseded_by(worth(SettlementFacts(), 3))
    assert paid.is_superseded_by(worth(facts(finality=Finality.VOID), 3)), "the race was abandoned in the end"


def test_a_payout_can_be_stored() -> None:
    found = worth(facts(3, scratched=[scratching(8)]), 3)
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found) == hash(pickle.loads(pickle.dumps(found)))
