"""The laws of the race book, for whatever the topics say."""

from __future__ import annotations

import copy
from datetime import datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import (
    Event,
    PriceEvent,
    PriceType,
    RaceBook,
    RaceId,
    RaceState,
    RecordMark,
    Scratching,
)
from rbhq_stream._book.races import Races
from tests.book_strategies import LAST, RACES, Day, days
from tests.naive_race import time_of
from tests.race_books import after, apply


def book_of(events: tuple[Event, ...]) -> RaceBook:
    book = RaceBook()
    apply(book, *events)
    return book


@given(days(), st.data())
def test_applying_events_again_changes_nothing(day: Day, data: st.DataObject) -> None:
    book = book_of(day.mixed)
    before, positions = book.races(), book.positions
    if day.mixed:
        for event in data.draw(st.lists(st.sampled_from(day.mixed))):
            assert book.apply(event) == ()
    assert book.races() == before
    assert all(now is then for now, then in zip(book.races(), before, strict=True))
    assert book.positions == positions


@given(days(), st.data())
def test_duplicates_in_between_change_nothing(day: Day, data: st.DataObject) -> None:
    book = RaceBook()
    for number, event in enumerate(day.mixed, 1):
        book.apply(event)
        for again in data.draw(st.lists(st.sampled_from(day.mixed[:number]), max_size=2)):
            assert book.apply(again) == ()
    assert book.races() == book_of(day.mixed).races()


@given(days())
def test_the_state_does_not_depend_on_how_the_topics_are_interleaved(day: Day) -> None:
    assert book_of(day.mixed).races() == book_of(day.other).races()


@given(days(), st.integers(2, 12), st.data())
def test_the_state_does_not_depend_on_whether_changes_of_prices_are_listed(
    day: Day, history: int, data: st.DataObject
) -> None:
    """Prices are folded when they are read or listed, and after some updates, whatever comes first."""
    races, seldom_read = Races(None, history), Races(None, history)
    for event in day.mixed:
        races.apply(event, lists_prices=data.draw(st.booleans()))
        seldom_read.apply(event, lists_prices=False)
        if data.draw(st.booleans()):
            assert [race.state() for race in races.all()] == [race.state() for race in seldom_read.all()]
    book = book_of(day.mixed)
    for found in (races, seldom_read):
        assert {race.race_id: race.state() for race in found.all()} == {state.race_id: state for state in book.races()}


@given(days())
def test_a_snapshot_never_changes(day: Day) -> None:
    book = RaceBook()
    taken: list[tuple[RaceState, RaceState]] = []
    for event in day.mixed:
        book.apply(event)
        taken += [(state, copy.deepcopy(state)) for state in book.races()]
    assert all(state == as_it_was for state, as_it_was in taken)


@given(days())
def test_as_of_the_end_is_the_current_state(day: Day) -> None:
    book = book_of(day.mixed)
    for state in book.races():
        assert book.as_of(state.race_id, after(LAST)) == state


@given(days(in_time=True), st.integers(-1, LAST))
def test_as_of_a_time_is_the_state_after_what_was_published_by_then(day: Day, at: int) -> None:
    book = book_of(day.mixed)
    then = book_of(tuple(event for event in day.mixed if time_of(event) <= after(at)))
    for race_id in book:
        assert book.as_of(race_id, after(at)) == then.get(race_id)


@given(days())
def test_prices_are_the_newest_that_are_offered_of_runners_in_the_race(day: Day) -> None:
    book = book_of(day.mixed)
    for race_id in book:
        expected = newest_prices(race_id, day.topics[0])
        state = book[race_id]
        assert {key: price.value for key, price in state.prices.items() if price.value} == expected
        assert all(runner not in state.scratched for runner, _ in expected)


def newest_prices(race_id: RaceId, events: tuple[Event, ...]) -> dict[tuple[int, PriceType], Decimal]:
    """The prices of a race, computed from the raw events."""
    prices: dict[tuple[int, PriceType], Decimal] = {}
    scratched = set[int]()
    for event in events:
        if not isinstance(event, PriceEvent) or event.race_id != race_id:
            continue
        scratched |= {one.runner_number for one in event.scratchings}
        scratched -= {one.runner_number for one in event.unscratchings}
        stated = {(one.runner_number, one.price_type): one.price for one in event.price_updates}
        merged = {**prices, **stated}
        prices = {key: price for key, price in merged.items() if price is not None and key[0] not in scratched}
    return prices


@given(days(), st.integers(0, LAST))
def test_the_total_of_the_deductions_is_that_of_the_raw_events(day: Day, at: int) -> None:
    book = book_of(day.mixed)
    for race_id in book:
        total = book[race_id].deductions(PriceType.WIN, struck_at=after(at)).total
        assert total == total_deduction(race_id, day.topics[0], after(at))


def total_deduction(race_id: RaceId, events: tuple[Event, ...], struck_at: datetime) -> Decimal:
    """The sum of the win deductions for a bet, computed from the raw events."""
    current: dict[int, tuple[datetime, Decimal]] = {}
    for event in events:
        if not isinstance(event, PriceEvent) or event.race_id != race_id:
            continue
        undone = {one.runner_number for one in event.unscratchings}
        newest: dict[int, Scratching] = {one.runner_number: one for one in event.scratchings}
        for runner, one in newest.items():
            # a revision without a time does not move the scratching
            known = one.scratch_time or (current[runner][0] if runner in current else time_of(event))
            if runner not in undone:
                current[runner] = known, one.win_deduction or Decimal(0)
        for runner in undone:
            current.pop(runner, None)
    return min(Decimal(1), sum((cents for time, cents in current.values() if struck_at < time), Decimal(0)))


@given(days())
def test_each_change_names_its_race_and_the_record_that_made_it(day: Day) -> None:
    book = RaceBook()
    for event in day.mixed:
        for change in book.apply(event):
            assert change.race_id == event.race_id
            assert change.recorded == RecordMark.of(event)


@given(days())
def test_finality_of_an_incomplete_book_is_the_same_once_it_has_caught_up(day: Day) -> None:
    book = RaceBook()
    book.begin_catching_up()
    apply(book, *day.mixed)
    assert all(state.finality.value in {"none", "provisional"} for state in book.races())
    book.caught_up()
    assert book.races() == book_of(day.mixed).races()
    assert {race.race_id for race in book.races()} <= set(RACES)
