"""The book equals a naive recomputation, also when the records of a race are scattered over partitions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from rbhq_stream import (
    Event,
    PayoutFactors,
    PriceType,
    PriceUpdate,
    RaceBook,
    RaceState,
    RaceStatus,
    RunnerResult,
    Scratching,
)
from tests.naive_race import NaiveRace, time_of
from tests.race_books import RACE, Topics, after
from tests.settlements import FACTOR_FIELDS, PLACES, share

END = 100
FIELD = range(1, 10)
runners = st.sampled_from(FIELD)
price_updates = st.builds(
    PriceUpdate,
    runners,
    st.sampled_from([PriceType.WIN, PriceType.PLACE]),
    price=st.sampled_from([None, "2", "3"]),
)
deductions = st.sampled_from(["0.05", "0.10", "0.60", "0", None, "1.2"])
scratchings = st.builds(
    Scratching,
    runners,
    *[deductions] * 5,
    st.just(1),
    st.one_of(st.none(), st.integers(0, END).map(after)),
)
statuses = st.sampled_from([*RaceStatus, RaceStatus("DELAYED")])


@attrs.frozen
class Scattered:
    """The events of a race in an order of arrival, in which each partition keeps its own."""

    arrived: tuple[Event, ...]
    partitions: int


@st.composite
def placings(draw: DrawFn) -> tuple[RunnerResult, ...]:
    left = list(draw(st.permutations(FIELD)))[: draw(st.integers(0, 7))]
    has_factors, counts_on = draw(st.booleans()), draw(st.booleans())
    listed: list[RunnerResult] = []
    position = stated = 1
    while left:
        tied = [left.pop() for _ in range(min(len(left), draw(st.sampled_from([1, 1, 2, 3]))))]
        factors: dict[str, Any] = {
            FACTOR_FIELDS[price_type]: round(Decimal(part.numerator) / part.denominator, 2)
            for price_type, places in PLACES.items()
            if has_factors and (part := share(position, len(tied), places))
        }
        for runner in tied:
            shown = draw(st.sampled_from([stated] * 8 + [None, 0]))
            listed.append(RunnerResult(runner, None, shown, None, PayoutFactors(**factors)))
        position += len(tied)
        stated = stated + 1 if counts_on else position
    return tuple(listed)


@st.composite
def scattered(draw: DrawFn) -> Scattered:
    topics, partitions = Topics(), draw(st.sampled_from([1, 1, 2, 3]))
    queues: dict[tuple[str, int], list[Event]] = {}
    for kind in ("prices", "prices", "status", "results"):
        # the times of a topic differ, those of two topics may be equal
        taken = {time_of(event) for (topic, _), events in queues.items() if topic == kind for event in events}
        for at in sorted(draw(st.sets(st.integers(0, END), max_size=7))):
            if after(at) in taken:
                continue
            partition = draw(st.integers(0, partitions - 1))
            event = _event(draw, topics, kind, at, partition)
            queues.setdefault((kind, partition), []).append(event)
    for events in queues.values():
        events.sort(key=time_of)
    turns = draw(st.permutations([key for key, events in queues.items() for _ in events]))
    in_turn = {key: iter(renumbered(events)) for key, events in queues.items()}
    return Scattered(tuple(next(in_turn[key]) for key in turns), partitions)


def renumbered(events: Sequence[Event]) -> list[Event]:
    """The same events with the offsets 0, 1, 2, …"""
    return [
        attrs.evolve(event, record=attrs.evolve(event.require_record(), offset=offset))
        for offset, event in enumerate(events)
    ]


def _event(draw: DrawFn, topics: Topics, kind: str, at: int, partition: int) -> Event:
    if kind == "status":
        return topics.status(draw(statuses), at=at, partition=partition)
    if kind == "results":
        return topics.result(draw(st.sampled_from(RaceStatus)), results=draw(placings()), at=at, partition=partition)
    return topics.prices(
        *draw(st.lists(price_updates, max_size=3)),
        scratchings=draw(st.lists(scratchings, max_size=2, unique_by=lambda one: one.runner_number)),
        reinstated=draw(st.lists(runners, max_size=1)),
        at=at,
        partition=partition,
    )


def offered_to_scratched(state: RaceState) -> list[int]:
    return [runner for (runner, _), price in state.prices.items() if price.value and runner in state.scratched]


@settings(deadline=None)
@given(scattered(), st.integers(-1, END).map(after), st.data())
def test_the_book_equals_a_naive_recomputation(day: Scattered, struck_at: datetime, data: st.DataObject) -> None:
    book = RaceBook()
    for number, event in enumerate(day.arrived, 1):
        book.apply(event)
        assert not offered_to_scratched(book[RACE])
        for again in data.draw(st.lists(st.sampled_from(day.arrived[:number]), max_size=1)):
            assert book.apply(again) == ()
    if not day.arrived:
        return
    race, naive = book[RACE], NaiveRace(day.arrived)
    assert (race.status, race.finality, set(race.scratched)) == (
        naive.status,
        naive.finality,
        set(naive.scratchings),
    )
    for price_type in PriceType:
        found = race.deductions(price_type, struck_at=struck_at)
        items = {item.runner_number: Fraction(item.fraction) for item in found.items}
        assert (items, list(found.unclear)) == naive.deductions(price_type, struck_at)
        for runner in (*FIELD, 99):
            payout = race.payout(runner, price_type, price="3.3", struck_at=struck_at, runners=FIELD)
            assert (payout.outcome, Fraction(payout.amount)) == naive.worth(runner, price_type, "3.3", struck_at, FIELD)


@given(scattered(), st.integers(-1, END).map(after))
def test_the_past_of_the_book_equals_a_naive_recomputation(day: Scattered, at: datetime) -> None:
    book = RaceBook()
    for event in day.arrived:
        book.apply(event)
    published = [event for event in day.arrived if time_of(event) <= at]
    state = book.as_of(RACE, at) if day.arrived else None
    assert (state is None) == (not published)
    if state is None:
        return
    assert not offered_to_scratched(state)
    if day.partitions == 1:
        naive = NaiveRace(published)
        assert (state.status, state.finality, set(state.scratched)) == (
            naive.status,
            naive.finality,
            set(naive.scratchings),
        )


@settings(deadline=None)  # the disk may be busy
@given(scattered(), st.data())
def test_a_book_that_is_saved_and_loaded_in_between_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, day: Scattered, data: st.DataObject
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "book.json"
    cut = data.draw(st.integers(0, len(day.arrived)))
    whole, restored = RaceBook(), RaceBook()
    for event in day.arrived[:cut]:
        restored.apply(event)
    restored.save(path)
    restored = RaceBook.load(path)
    restored.caught_up()
    for event in day.arrived:
        whole.apply(event)
    # from a little before the saved positions on, as after a crash
    for event in day.arrived[max(0, cut - 3) :]:
        restored.apply(event)
    assert restored.races() == whole.races()
