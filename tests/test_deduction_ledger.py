"""The deduction ledger: which deductions a bet bears, by when it was struck and by what RBHQ stated since."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import PriceEvent, PriceType, PriceUpdate, Record, Scratching, Unscratching
from rbhq_stream._book.ledger import DeductionLedger, Deductions

NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)
STATED = ("0.07", "0.06", "0.05", "0.04", "0.03")
EVERY_TYPE = Scratching(
    4,
    win_deduction=Decimal("0.07"),
    place_deduction=Decimal("0.06"),
    two_place_deduction=Decimal("0.05"),
    three_place_deduction=Decimal("0.04"),
    four_place_deduction=Decimal("0.03"),
    scratch_time=NOON + timedelta(minutes=10),
)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def record(offset: int, minute: float | None = None, *, partition: int = 0, part: int = 0) -> Record:
    return Record("prices", partition, offset, None if minute is None else at(minute), part=part)


def scratching(runner: int, win: str | None = "0.07", minute: float | None = None) -> Scratching:
    return Scratching(runner, win_deduction=win, scratch_time=None if minute is None else at(minute))


def prices(
    *facts: Scratching | Unscratching, offset: int | None = None, minute: float | None = None, **where: int
) -> PriceEvent:
    return PriceEvent(
        1,
        2,
        scratchings=tuple(fact for fact in facts if isinstance(fact, Scratching)),
        unscratchings=tuple(fact for fact in facts if isinstance(fact, Unscratching)),
        record=None if offset is None else record(offset, minute, **where),
    )


def stated_in(event: PriceEvent) -> tuple[Scratching | Unscratching, ...]:
    return event.scratchings + event.unscratchings


def ledger(*events: PriceEvent) -> DeductionLedger:
    kept = DeductionLedger()
    for event in events:
        kept = kept.with_event(event)
    return kept


def of_win(kept: DeductionLedger, struck: float) -> dict[int, Decimal]:
    """The deductions from a win bet that was struck so many minutes after noon, by runner."""
    found = kept.deductions(PriceType.WIN, struck_at=at(struck))
    return {item.runner_number: item.fraction for item in found.items}


def test_a_bet_struck_before_the_scratching_bears_its_deduction_and_a_later_bet_does_not() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10)))
    assert of_win(kept, 9.99) == {4: Decimal("0.07")}
    assert of_win(kept, 10.01) == {}


def test_a_bet_struck_at_the_instant_of_the_scratching_bears_no_deduction() -> None:
    assert of_win(ledger(prices(scratching(4, "0.07", 10))), 10) == {}


@pytest.mark.parametrize(("price_type", "stated"), list(zip(PriceType, STATED, strict=True)))
def test_each_price_type_has_the_deduction_that_rbhq_states_for_it(price_type: PriceType, stated: str) -> None:
    kept = ledger(prices(EVERY_TYPE))
    assert kept.deductions(price_type, struck_at=NOON).total == Decimal(stated)


def test_the_newest_revision_applies_also_to_bets_struck_before_it() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10), offset=1), prices(scratching(4, "0.05", 10), offset=2))
    assert of_win(kept, 0) == {4: Decimal("0.05")}
    assert len(kept.entries(4)) == 2


def test_a_revision_does_not_make_a_bet_struck_after_the_scratching_bear_it() -> None:
    kept = ledger(
        prices(scratching(4, "0.07", 10), offset=1, minute=10), prices(scratching(4, "0.09", 10), offset=2, minute=30)
    )
    assert of_win(kept, 20) == {}


def test_a_revision_that_states_no_deduction_leaves_the_earlier_one_in_force() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10), offset=1), prices(scratching(4, None, 10), offset=2))
    [item] = kept.deductions(PriceType.WIN, struck_at=NOON).items
    assert (item.fraction, item.revision.recorded) == (Decimal("0.07"), kept.entries(4)[0].recorded)


def test_a_revision_to_zero_revokes_a_deduction() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10), offset=1), prices(scratching(4, "0", 10), offset=2))
    assert of_win(kept, 0) == {4: Decimal(0)}


def test_a_reinstated_runner_has_no_deduction_and_is_reported() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10)), prices(Unscratching(4, at(15))))
    found = kept.deductions(PriceType.WIN, struck_at=at(5))
    assert not [*found.items, *found.unclear]
    assert found.total == 0
    assert [entry.fact for entry in found.reinstated] == [Unscratching(4, at(15))]
    assert kept.deductions(PriceType.WIN, struck_at=at(12)).reinstated == ()
    assert (kept.scratching(4), kept.scratched, kept.scratched_at(4)) == (None, {}, None)


def test_a_reinstatement_after_a_scratching_at_an_unknown_time_is_reported_to_every_bet() -> None:
    kept = ledger(prices(scratching(4)), prices(Unscratching(4, at(15))))
    assert len(kept.deductions(PriceType.WIN, struck_at=at(99)).reinstated) == 1


def test_a_runner_that_was_scratched_again_counts_as_scratched_the_second_time() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10)), prices(Unscratching(4, at(15))), prices(scratching(4, "0.09", 20)))
    # before, during and after the mistaken scratching, and after the real one
    assert [of_win(kept, struck).get(4) for struck in (5, 12, 17, 25)] == [Decimal("0.09")] * 3 + [None]
    assert kept.scratched_at(4) == at(20)


def test_a_deduction_of_a_scratching_that_was_undone_is_not_used_for_the_next_one() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10)), prices(Unscratching(4, at(15))), prices(scratching(4, None, 20)))
    found = kept.deductions(PriceType.WIN, struck_at=NOON)
    assert (found.items, found.unclear) == ((), (4,))


def test_without_a_scratch_time_the_time_of_the_first_record_counts() -> None:
    kept = ledger(
        prices(scratching(4), offset=1, minute=10),
        prices(scratching(4), offset=2, minute=20),
        prices(scratching(4, "0.05"), offset=3, minute=30),
    )
    assert [of_win(kept, struck) for struck in (9, 10, 25)] == [{4: Decimal("0.05")}, {}, {}]


def test_a_scratch_time_that_is_stated_later_replaces_the_time_of_the_record() -> None:
    kept = ledger(prices(scratching(4), offset=1, minute=10), prices(scratching(4, minute=8), offset=2, minute=20))
    assert of_win(kept, 9) == {}


def test_a_scratching_without_any_time_is_unclear() -> None:
    found = ledger(prices(scratching(4))).deductions(PriceType.WIN, struck_at=NOON)
    assert (found.items, found.unclear) == ((), (4,))


@pytest.mark.parametrize("stated", [None, "-0.01", "1.01", "7", "NaN", "sNaN", "Infinity"])
def test_a_deduction_that_is_not_a_fraction_of_the_payout_is_unclear(stated: str | None) -> None:
    kept = ledger(prices(scratching(4, stated, 10)))
    assert kept.deductions(PriceType.WIN, struck_at=NOON).unclear == (4,)
    assert kept.deductions(PriceType.WIN, struck_at=at(11)).unclear == ()


def test_a_price_type_that_rbhq_adds_has_unclear_deductions() -> None:
    kept = ledger(prices(EVERY_TYPE))
    assert kept.deductions(PriceType("place5"), struck_at=NOON).unclear == (4,)


def test_deductions_add_up_to_the_whole_payout_at_most() -> None:
    kept = ledger(prices(*(scratching(runner, "0.45", 10) for runner in (2, 4))))
    assert kept.deductions(PriceType.WIN, struck_at=NOON).total == Decimal("0.90")
    kept = kept.with_event(prices(scratching(6, "0.2", 10)))
    assert kept.deductions(PriceType.WIN, struck_at=NOON).total == 1


def test_the_total_is_exact_whatever_the_decimal_context_of_the_thread() -> None:
    kept = ledger(prices(scratching(2, "0.123456789", 10), scratching(4, "0." + "1" * 90, 10)))
    with localcontext() as context:
        context.prec = 3
        total = kept.deductions(PriceType.WIN, struck_at=NOON).total
    assert str(total) == "0.2345679001" + "1" * 80


def test_an_event_that_states_both_means_that_the_runner_is_in_the_race() -> None:
    assert ledger(prices(scratching(4), Unscratching(4))).scratched == {}


def test_the_repetition_of_an_earlier_scratching_makes_no_entry() -> None:
    kept = ledger(
        prices(scratching(4, "0.07", 10), offset=1, minute=10),
        prices(scratching(4, "0.07", 10), scratching(6, "0.02", 20), offset=2, minute=20),
    )
    [entry] = kept.entries(4)
    assert entry.recorded is not None
    assert entry.repeated is not None
    assert (entry.recorded.coordinates, entry.recorded_at) == (("prices", 0, 1), at(10))
    assert entry.repeated.coordinates == ("prices", 0, 2)


def test_an_event_without_news_leaves_the_same_ledger() -> None:
    kept = ledger(prices(scratching(4, "0.07", 10)))
    assert kept.with_event(PriceEvent(1, 2, (PriceUpdate(4, PriceType.WIN, price=Decimal(3)),))) is kept
    assert kept.with_event(prices(scratching(4, "0.07", 10))) is kept


def test_what_is_the_same_is_shared_with_the_ledger_before() -> None:
    before = ledger(prices(scratching(4, "0.07", 10)))
    after = before.with_event(prices(scratching(6, "0.05", 20)))
    assert after.entries(4) is before.entries(4)
    assert before.entries(6) == ()


def test_a_record_that_is_read_again_changes_nothing() -> None:
    first = prices(scratching(4, "0.07", 10), offset=1)
    again = prices(scratching(4, "0.07", 10), scratching(6, "0.02", 11), offset=2)
    kept = ledger(first, again, prices(scratching(4, "0.05", 10), offset=3), prices(Unscratching(6), offset=4))
    assert kept.with_event(first) is kept
    assert kept.with_event(again) is kept


def test_a_late_record_between_two_equal_ones_does_not_become_the_newest() -> None:
    kept = ledger(
        prices(scratching(4, "0.07", 10), offset=1),
        prices(scratching(4, "0.07", 10), offset=5),
        prices(scratching(4, "0.05", 10), offset=3),
    )
    assert of_win(kept, 0) == {4: Decimal("0.07")}
    assert [entry.fact.deduction(PriceType.WIN) for entry in kept.entries(4) if isinstance(entry.fact, Scratching)] == [
        Decimal("0.07"),
        Decimal("0.05"),
        Decimal("0.07"),
    ]


def test_a_late_record_that_states_the_same_moves_the_beginning_of_the_entry() -> None:
    kept = ledger(prices(scratching(4), offset=5, minute=50), prices(scratching(4), offset=3, minute=30))
    [entry] = kept.entries(4)
    assert (entry.recorded_at, kept.scratched_at(4)) == (at(30), at(30))


def test_a_late_record_that_states_something_else_is_an_entry_before_the_newer_one() -> None:
    early = prices(scratching(4, "0.05", 10), offset=1, minute=1)
    newer = prices(scratching(4, None, 20), offset=2, minute=2)
    kept = ledger(newer, early)
    assert kept == ledger(early, newer)
    assert len(kept.entries(4)) == 2
    assert of_win(kept, 9) == {4: Decimal("0.05")}, "the newer one states no deduction"


def test_between_partitions_the_times_of_the_records_decide() -> None:
    kept = ledger(
        prices(Unscratching(4), offset=1, minute=20, partition=1),
        prices(scratching(4, "0.07", 10), offset=90, minute=10, partition=0),
    )
    assert kept.scratched == {}


def test_parts_of_one_record_are_in_their_order() -> None:
    kept = ledger(prices(Unscratching(4), offset=1, part=1), prices(scratching(4), offset=1, part=0))
    assert kept.scratched == {}


@pytest.mark.parametrize(
    ("struck_at", "error"),
    [(datetime(2026, 11, 3), ValueError), ("2026-11-03T00:00:00Z", TypeError)],  # noqa: DTZ001
)
def test_the_time_of_a_bet_is_aware(struck_at: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^struck_at="):
        DeductionLedger().deductions(PriceType.WIN, struck_at=struck_at)


def test_a_scratch_time_without_a_zone_is_utc() -> None:
    naive = Scratching(4, Decimal("0.07"), scratch_time=datetime(2026, 11, 3, 12, 10))  # noqa: DTZ001
    assert of_win(ledger(prices(naive)), 9) == {4: Decimal("0.07")}


# laws

runners = st.integers(1, 3)
minutes = st.integers(0, 6)
fractions = st.sampled_from([None, "0", "0.05", "0.07", "0.6", "1", "1.5"])
facts = st.one_of(
    st.builds(scratching, runners, fractions, st.one_of(st.none(), minutes)),
    st.builds(lambda runner, minute: Unscratching(runner, at(minute)), runners, minutes),
)
days = st.lists(st.lists(facts, max_size=3), max_size=8).map(
    lambda day: [prices(*said, offset=offset, minute=offset) for offset, said in enumerate(day)]
)


def naive(
    events: Sequence[PriceEvent], price_type: PriceType, struck_at: datetime
) -> tuple[dict[int, Decimal], set[int]]:
    """The deductions and the unclear runners, computed from the raw events for each runner anew."""
    items, unclear = {}, set()
    for runner in {fact.runner_number for event in events for fact in stated_in(event)}:
        since: list[tuple[Scratching, datetime | None]] = []
        for event in events:
            stating = [fact for fact in event.scratchings if fact.runner_number == runner]
            since += [(fact, event.require_record().timestamp) for fact in stating[-1:]]
            if any(fact.runner_number == runner for fact in event.unscratchings):
                since = []
        if not since:
            continue
        times = [fact.scratch_time for fact, _ in since if fact.scratch_time is not None]
        scratched_at = times[-1] if times else since[0][1]
        assert scratched_at is not None
        if struck_at < scratched_at:
            stated = [fact.deduction(price_type) for fact, _ in since if fact.deduction(price_type) is not None]
            if stated and stated[-1] is not None and 0 <= stated[-1] <= 1:
                items[runner] = stated[-1]
            else:
                unclear.add(runner)
    return items, unclear


def plain(found: Deductions) -> tuple[dict[int, Decimal], set[int]]:
    return {item.runner_number: item.fraction for item in found.items}, set(found.unclear)


@given(days, minutes)
def test_the_deductions_equal_a_recomputation_from_the_raw_events(day: list[PriceEvent], struck: int) -> None:
    found = ledger(*day).deductions(PriceType.WIN, struck_at=at(struck))
    expected = naive(day, PriceType.WIN, at(struck))
    assert plain(found) == expected
    assert found.total == min(1, sum(expected[0].values()))


@given(days, st.data())
def test_events_that_are_applied_again_change_nothing(day: list[PriceEvent], data: st.DataObject) -> None:
    kept = ledger(*day)
    for event in data.draw(st.lists(st.sampled_from(day), max_size=6) if day else st.just([])):
        assert kept.with_event(event) is kept


@given(days, minutes, st.randoms(use_true_random=False))
def test_the_deductions_do_not_depend_on_the_order_of_arrival(day: list[PriceEvent], struck: int, random: Any) -> None:
    timed = [
        prices(
            *(
                scratching(fact.runner_number, str(fact.win_deduction or 0), 3)
                if isinstance(fact, Scratching)
                else fact
                for fact in stated_in(event)
            ),
            offset=offset,
        )
        for offset, event in enumerate(day)
    ]
    expected = ledger(*timed).deductions(PriceType.WIN, struck_at=at(struck))
    random.shuffle(timed)
    assert plain(ledger(*timed).deductions(PriceType.WIN, struck_at=at(struck))) == plain(expected)


@given(days)
def test_a_ledger_never_changes_and_can_be_sent_elsewhere(day: list[PriceEvent]) -> None:
    kept = DeductionLedger()
    snapshots = []
    for event in day:
        kept = kept.with_event(event)
        snapshots.append((kept, repr(kept), hash(kept)))
    assert all((repr(one), hash(one)) == (text, number) for one, text, number in snapshots)
    assert pickle.loads(pickle.dumps(kept)) == kept
