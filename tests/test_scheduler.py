"""The scheduler's decisions by themselves, and the laws that hold whatever the handlers do."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream._engine.scheduler import InFlight, Scheduler


def scheduler(*races: str, at_once: int = 4, max_in_flight: int = 100) -> Scheduler[int]:
    """A scheduler with one event of each of these races, numbered from 0."""
    made = Scheduler[int](at_once=at_once, max_in_flight=max_in_flight)
    for number, race in enumerate(races):
        made.add(number, race)
    return made


def start_all(scheduler: Scheduler[int], now: float = 0.0) -> dict[int, InFlight[int]]:
    """Starts as many as there is room for."""
    started = {}
    while (entry := scheduler.start(now)) is not None:
        started[entry.item] = entry
    return started


def test_events_of_different_races_run_at_once() -> None:
    assert list(start_all(scheduler("a", "b", "c"))) == [0, 1, 2]


def test_no_more_run_at_once_than_is_allowed() -> None:
    events = scheduler("a", "b", "c", at_once=2)
    started = start_all(events)
    assert list(started) == [0, 1]
    events.finish(started[1])
    assert list(start_all(events)) == [2]


def test_the_next_event_of_a_race_waits_for_the_one_before_it() -> None:
    events = scheduler("a", "a", "b")
    started = start_all(events)
    assert list(started) == [0, 2]
    events.finish(started[0])
    assert list(start_all(events)) == [1]


def test_the_oldest_event_that_is_ready_is_started_first() -> None:
    events = scheduler("a", "a", "b", "c", at_once=1)
    [first] = start_all(events).values()
    events.finish(first)
    assert list(start_all(events)) == [1]


def test_an_event_is_processed_when_all_before_it_are() -> None:
    events = scheduler("a", "b", "c")
    started = start_all(events)
    events.finish(started[1])
    assert events.take_processed() is None
    events.finish(started[0])
    assert events.take_processed() == 1
    assert events.take_processed() is None, "returned once"
    events.finish(started[2])
    assert events.take_processed() == 2
    assert events.is_idle


def test_to_finish_an_event_twice_changes_nothing() -> None:
    events = scheduler("a", "a", "a")
    started = start_all(events)
    events.finish(started[0])
    events.finish(started[0])
    assert list(start_all(events)) == [1]
    events.finish(started[0])
    assert start_all(events) == {}


def test_an_event_that_waits_for_a_retry_blocks_its_race_and_no_other() -> None:
    events = scheduler("a", "a", "b", "c", at_once=1)
    events.wait(start_all(events)[0], until=10.0)
    assert events.due == 10.0
    second = start_all(events, 9.9)
    assert list(second) == [2]
    events.finish(second[2])
    again = start_all(events, 10.0)
    assert list(again) == [0], "it is older than the event of race c"
    assert events.due is None
    events.finish(again[0])
    assert list(start_all(events, 10.0)) == [1]


def test_there_is_room_until_the_bound_is_reached() -> None:
    events = scheduler("a", "a", "a", max_in_flight=4)
    started = start_all(events)
    assert events.has_room
    events.add(3, "a")
    assert not events.has_room
    events.finish(started[0])
    assert events.has_room


def test_no_more_is_taken_while_enough_events_are_ready() -> None:
    events = scheduler("a", "b", "c", "d", at_once=2)
    assert not events.has_room
    start_all(events)
    assert not events.has_room, "two run, and two are ready"
    events = scheduler("a", "b", "c", at_once=2)
    start_all(events)
    assert events.has_room


def test_the_start_of_the_handlers_that_have_run_for_longest_is_known() -> None:
    events = scheduler("a", "b", "c", at_once=3)
    assert events.oldest_start is None
    started = start_all(events, 1.0)
    for number, race in ((3, "d"), (4, "e")):
        events.add(number, race)
        events.finish(started.pop(number - 3))
        started |= start_all(events, float(number))
    assert events.oldest_start == 1.0
    assert events.running() == [2, 3, 4]
    events.finish(started[2])
    assert events.oldest_start == 3.0
    events.wait(started[3], until=9.0)
    assert events.oldest_start == 4.0
    events.finish(started[4])
    assert events.oldest_start is None
    assert events.running() == []


@pytest.mark.parametrize("races", [1, 5, 50])
@given(data=st.data())
def test_laws(data: st.DataObject, races: int) -> None:
    """Handlers finish in any order, and fail now and then: see the assertions."""
    at_once = data.draw(st.integers(1, 8), "at once")
    max_in_flight = at_once + data.draw(st.integers(0, 8), "more in flight")
    arrivals = data.draw(st.lists(st.integers(1, races), max_size=60), "races, in the order of arrival")
    events = Scheduler[int](at_once=at_once, max_in_flight=max_in_flight)
    now = 0.0
    added = 0
    running: dict[int, InFlight[int]] = {}
    waiting: dict[int, float] = {}
    finished: list[int] = []
    processed = -1
    while len(finished) < len(arrivals):
        while added < len(arrivals) and events.has_room:
            events.add(added, arrivals[added])
            added += 1
        unfinished = set(range(added)) - set(finished)
        assert len(unfinished) <= max_in_flight, "the bound holds"
        while (entry := events.start(now)) is not None:
            assert waiting.pop(entry.item, now) <= now, "not before its time"
            assert not any(arrivals[other] == arrivals[entry.item] for other in running), "one of a race at a time"
            assert entry.item == min(n for n in unfinished if arrivals[n] == arrivals[entry.item]), "in its order"
            running[entry.item] = entry
        assert len(running) <= at_once
        assert events.oldest_start == min((entry.since for entry in running.values()), default=None)
        assert running or waiting, "something can always go on"
        now += 1.0
        if not running:
            assert events.due == min(waiting.values())
            now = max(now, *waiting.values())
            continue
        number = data.draw(st.sampled_from(sorted(running)), "the next to return")
        entry = running.pop(number)
        if data.draw(st.integers(0, 4), "fails at 0") == 0:
            waiting[number] = now + data.draw(st.integers(0, 5), "retried after")
            events.wait(entry, waiting[number])
        else:
            events.finish(entry)
            finished.append(number)
        last = events.take_processed()
        if last is not None:
            assert last > processed
            processed = last
        assert set(range(processed + 1)) <= set(finished), "never past an event that is not finished"
        assert processed + 1 == min(set(range(len(arrivals) + 1)) - set(finished)), "and not later than that"
    assert events.is_idle
    assert processed == len(arrivals) - 1, "everything is processed"
    by_race = defaultdict(list)
    for number in finished:
        by_race[arrivals[number]].append(number)
    assert all(numbers == sorted(numbers) for numbers in by_race.values())
