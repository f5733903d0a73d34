"""The betting gate: one decision with every reason against it; what is not known counts against the bet."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import (
    BettingChanged,
    BettingDecision,
    BettingGate,
    CardMeeting,
    CardRace,
    GateRules,
    Health,
    HealthReason,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceBook,
    RaceCard,
    RaceId,
    RaceResultEvent,
    RaceState,
    RaceStatus,
    RaceStatusEvent,
    Record,
    Refusal,
    RefusalReason,
    RunnerResult,
    Scratching,
)

RACE = RaceId(1, 2)
NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
START = NOON + timedelta(minutes=30)
LIVE = Health(reason=HealthReason.UP_TO_DATE, detail="up to date", since=NOON, at=NOON)
DOWN = attrs.evolve(LIVE, reason=HealthReason.BROKERS_UNREACHABLE, detail="no broker responds")
CARD = RaceCard((CardMeeting(1, races=(CardRace(RACE, START),)),))


def record(minute: float) -> Record:
    at = NOON + timedelta(minutes=minute)
    return Record("prices", 0, int(minute * 60) + 10_000, at)


def book(*events: Any) -> RaceBook:
    """A book with an open race, in which runners 1 to 3 have win prices and runner 4 has none; then more events."""
    kept = RaceBook()
    updates = tuple(PriceUpdate(runner, PriceType.WIN, price="3") for runner in (1, 2, 3))
    opening = PriceEvent(1, 2, (*updates, PriceUpdate(4, PriceType.WIN)), record=record(-10))
    for event in (opening, RaceStatusEvent(1, 2, RaceStatus.OPEN), *events):
        kept.apply(event)
    return kept


def decide(kept: RaceBook, **changed: Any) -> BettingDecision:
    asked: dict[str, Any] = {"health": LIVE, "now": NOON}
    return kept.accepting_bets(RACE, **{**asked, **changed})


def reasons(decision: BettingDecision) -> list[RefusalReason]:
    return [refusal.reason for refusal in decision.reasons]


def test_a_bet_on_an_open_race_with_a_price_and_a_live_feed_is_accepted() -> None:
    for asked in ({}, {"runner": 2}, {"price_type": PriceType.WIN}, {"runner": 2, "price_type": PriceType.WIN}):
        decision = decide(book(), card=CARD, **asked)
        assert decision
        assert (decision.reasons, str(decision)) == ((), "bets are accepted")


def test_without_a_live_feed_no_bet_is_accepted() -> None:
    decision = decide(book(), health=DOWN)
    assert not decision
    assert reasons(decision) == [RefusalReason.FEED_NOT_TRUSTED]
    assert "no broker responds" in str(decision)
    assert reasons(decide(book(), health=None)) == [RefusalReason.FEED_NOT_TRUSTED]


def test_a_health_that_was_kept_too_long_is_not_believed() -> None:
    late = NOON + timedelta(seconds=11)
    assert reasons(decide(book(), now=late)) == [RefusalReason.HEALTH_TOO_OLD]
    assert decide(book(), now=late, rules=GateRules(max_health_age=timedelta(seconds=11)))


def test_a_health_from_the_future_is_not_believed() -> None:
    early = NOON - timedelta(seconds=11)
    assert reasons(decide(book(), now=early)) == [RefusalReason.HEALTH_TOO_OLD]
    assert decide(book(), now=NOON - timedelta(seconds=10))


def test_a_race_that_the_book_does_not_have_takes_no_bets() -> None:
    assert reasons(decide(RaceBook())) == [RefusalReason.UNKNOWN_RACE]


@pytest.mark.parametrize("status", [*RaceStatus, RaceStatus("DELAYED")])
def test_only_an_open_race_takes_bets(status: RaceStatus) -> None:
    decision = decide(book(RaceStatusEvent(1, 2, status)))
    expected = {RaceStatus.OPEN: [], RaceStatus.ABANDONED: [RefusalReason.ABANDONED]}
    assert reasons(decision) == expected.get(status, [RefusalReason.NOT_OPEN])


def test_a_race_without_a_status_takes_no_bets() -> None:
    kept = RaceBook()
    kept.apply(PriceEvent(1, 2, (PriceUpdate(1, PriceType.WIN, price="3"),)))
    decision = decide(kept)
    assert reasons(decision) == [RefusalReason.NOT_OPEN]
    assert "not known" in str(decision)


def test_a_race_with_a_result_takes_no_bets_whatever_its_status() -> None:
    posted = RaceResultEvent(1, 2, RaceStatus.INTERIM, results=(RunnerResult(1, None, 1),))
    assert RefusalReason.RESULT_POSTED in reasons(decide(book(posted)))
    closed, opened = RaceStatusEvent(1, 2, RaceStatus.CLOSED), RaceStatusEvent(1, 2, RaceStatus.OPEN)
    assert reasons(decide(book(closed, posted, opened))) == [RefusalReason.RESULT_POSTED]


def test_while_the_book_is_catching_up_no_bet_is_accepted() -> None:
    kept = book()
    kept.begin_catching_up()
    assert reasons(decide(kept)) == [RefusalReason.BOOK_INCOMPLETE]
    kept.caught_up()
    assert decide(kept)


def test_a_scratched_runner_takes_no_bets_and_the_others_do() -> None:
    kept = book(PriceEvent(1, 2, scratchings=(Scratching(2),)))
    assert reasons(decide(kept, runner=2)) == [RefusalReason.RUNNER_SCRATCHED]
    assert decide(kept, runner=1)
    assert decide(kept)


def test_a_runner_without_a_price_takes_no_bets() -> None:
    assert reasons(decide(book(), runner=4)) == [RefusalReason.NO_PRICE]
    assert reasons(decide(book(), runner=2, price_type=PriceType.PLACE)) == [RefusalReason.NO_PRICE]
    assert reasons(decide(book(), price_type=PriceType.PLACE)) == [RefusalReason.NO_PRICE]
    assert reasons(decide(book(), runner=99)) == [RefusalReason.UNKNOWN_RUNNER]


def test_a_race_in_which_no_runner_has_a_price_takes_no_bets() -> None:
    none = PriceEvent(1, 2, tuple(PriceUpdate(runner, PriceType.WIN) for runner in (1, 2, 3)))
    decision = decide(book(none))
    assert reasons(decision) == [RefusalReason.NO_PRICE]
    assert "no price is offered for the race" in str(decision)


def test_a_price_can_be_too_old() -> None:
    rules = GateRules(max_price_age=timedelta(minutes=10))
    assert decide(book(), runner=1, rules=rules)
    rules = GateRules(max_price_age=timedelta(minutes=9))
    assert reasons(decide(book(), runner=1, rules=rules)) == [RefusalReason.PRICE_TOO_OLD]
    stated_again = PriceEvent(1, 2, (PriceUpdate(1, PriceType.WIN, price="3"),), record=record(-1))
    assert decide(book(stated_again), runner=1, rules=rules)
    assert not decide(book(stated_again), runner=2, rules=rules)
    # a price without a time may be of any age
    by_hand = PriceEvent(1, 2, (PriceUpdate(1, PriceType.WIN, price="4"),))
    assert reasons(decide(book(by_hand), runner=1, rules=rules)) == [RefusalReason.PRICE_TOO_OLD]


def test_a_race_past_its_scheduled_start_takes_no_bets() -> None:
    def at(now: datetime, **changed: Any) -> list[RefusalReason]:
        return reasons(decide(book(), now=now, health=attrs.evolve(LIVE, at=now), card=CARD, **changed))

    second = timedelta(seconds=1)
    assert at(START - second) == []
    assert at(START) == [RefusalReason.PAST_JUMP]
    assert at(START + second, rules=GateRules(stop_after_jump=2 * second)) == []
    assert at(START - second, rules=GateRules(stop_after_jump=-2 * second)) == [RefusalReason.PAST_JUMP]
    assert at(START + timedelta(days=1), rules=GateRules(stop_after_jump=None)) == []


def test_a_race_that_is_not_on_the_card_takes_no_bets() -> None:
    assert reasons(decide(book(), card=RaceCard())) == [RefusalReason.NOT_ON_CARD]
    assert decide(book(), card=RaceCard(), rules=GateRules(stop_after_jump=None))


def test_every_reason_is_listed() -> None:
    kept = book(RaceStatusEvent(1, 2, RaceStatus.CLOSED), PriceEvent(1, 2, scratchings=(Scratching(2),)))
    kept.begin_catching_up()
    decision = decide(kept, runner=2, health=DOWN, now=START, card=CARD)
    assert reasons(decision) == [
        RefusalReason.FEED_NOT_TRUSTED,
        RefusalReason.HEALTH_TOO_OLD,
        RefusalReason.PAST_JUMP,
        RefusalReason.BOOK_INCOMPLETE,
        RefusalReason.NOT_OPEN,
        RefusalReason.RUNNER_SCRATCHED,
    ]


@pytest.mark.parametrize(("now", "error"), [(datetime(2026, 11, 3), ValueError), (None, TypeError)])  # noqa: DTZ001
def test_the_present_time_is_aware(now: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^now="):
        decide(book(), now=now)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_price_age": timedelta(-1)},
        {"max_health_age": 10},
        {"max_health_age": timedelta(-1)},
        {"stop_after_jump": 0},
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(wrong))}="):
        GateRules(**wrong)


# the gate of one race


def test_a_gate_reports_when_the_decision_changes() -> None:
    kept, gate = book(), BettingGate(RACE, runner=2)
    assert gate.decision is None
    first = gate.check(kept.get(RACE), health=LIVE, now=NOON)
    assert first is not None
    assert first.before is None
    assert first.after
    assert gate.check(kept.get(RACE), health=LIVE, now=NOON) is None
    kept.apply(PriceEvent(1, 2, scratchings=(Scratching(2),)))
    change = gate.check(kept.get(RACE), health=LIVE, now=NOON)
    assert change == BettingChanged(RACE, None, first.after, decide(kept, runner=2))
    assert gate.decision == decide(kept, runner=2)


def test_a_gate_reports_another_reason_once() -> None:
    kept, gate = book(RaceStatusEvent(1, 2, RaceStatus.CLOSED)), BettingGate(RACE)
    gate.check(kept.get(RACE), health=LIVE, now=NOON)
    change = gate.check(kept.get(RACE), health=DOWN, now=NOON)
    assert change is not None
    assert reasons(change.after) == [RefusalReason.FEED_NOT_TRUSTED, RefusalReason.NOT_OPEN]
    # only the words are others
    assert gate.check(kept.get(RACE), health=attrs.evolve(DOWN, detail="still none"), now=NOON) is None


def test_a_decision_can_be_stored() -> None:
    decision = decide(RaceBook(), health=DOWN)
    assert pickle.loads(pickle.dumps(decision)) == decision
    assert decision.reasons[1] == Refusal(RefusalReason.UNKNOWN_RACE, "the book does not have race 1-2")


# laws

events = st.one_of(
    st.sampled_from(RaceStatus).map(lambda status: RaceStatusEvent(1, 2, status)),
    st.integers(1, 4).map(lambda runner: PriceEvent(1, 2, scratchings=(Scratching(runner),))),
    st.builds(
        lambda runner, price: PriceEvent(1, 2, (PriceUpdate(runner, PriceType.WIN, price=price),)),
        st.integers(1, 4),
        st.sampled_from([None, "2", "3"]),
    ),
)


def plainly(race: RaceState | None, health: Health | None, runner: int) -> bool:
    """Whether a win bet at noon on a runner is accepted, in one condition."""
    return (
        health is not None
        and health.ok
        and race is not None
        and race.is_complete
        and race.is_open
        and race.result is None
        and race.price(runner, PriceType.WIN) is not None
    )


@given(st.lists(events, max_size=6), st.sampled_from([None, LIVE, DOWN]), st.integers(1, 5), st.booleans())
def test_a_bet_is_accepted_only_if_everything_speaks_for_it(
    happened: list[Any], health: Health | None, runner: int, is_complete: bool
) -> None:
    kept = book(*happened)
    if not is_complete:
        kept.begin_catching_up()
    decision = decide(kept, health=health, runner=runner, price_type=PriceType.WIN)
    assert bool(decision) == plainly(kept.get(RACE), health, runner)
