"""`ack` accepts only events that this feed handed over; anything else is refused and changes nothing."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from rbhq_stream import Event, PriceEvent, Record
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import PRICES, STATUS, TOPICS, TWO_EVENTS, MakeFacade, prices, status, wait_until_done
from tests.waiting import wait_for

NOT_OURS = "was not handed over by this feed"


def test_events_of_another_feed_are_refused_and_change_nothing(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    """Both feeds read the same topic. The events of the other feed name records that this feed has not processed."""
    memory_source.publish(*prices(50))
    same_records = MemorySource(TOPICS)
    same_records.publish(*prices(50))
    facade, other = make_facade(commit="manual"), make_facade(commit="manual", source=same_records)
    facade.enter()
    other.enter()
    facade.next()
    for foreign in [other.next() for _ in range(50)]:
        assert foreign.record is not None  # an application may have looked at it
        with pytest.raises(ValueError, match=NOT_OURS):
            facade.feed.ack(foreign)
        other.feed.ack(foreign)
    facade.leave()
    other.leave()
    assert memory_source.committed.get(PRICES, 0) == 0
    assert same_records.committed[PRICES] == 50


def test_ack_is_refused_by_a_feed_that_acknowledges_automatically(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(2))
    same_records = MemorySource(TOPICS)
    same_records.publish(*prices(2))
    facade, other = make_facade(commit="manual"), make_facade(source=same_records)
    facade.enter()
    other.enter()
    facade.next()
    with pytest.raises(ValueError, match=NOT_OURS):
        facade.feed.ack(other.next())
    facade.leave()
    assert memory_source.committed.get(PRICES, 0) == 0


def test_events_of_the_feed_before_a_restart_are_refused(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(3))
    before = make_facade(commit="manual")
    before.enter()
    old = [before.next() for _ in range(3)]
    before.leave()
    facade = make_facade(commit="manual")
    facade.enter()
    again = facade.next()
    for event in old:
        with pytest.raises(ValueError, match=NOT_OURS):
            facade.feed.ack(event)
    facade.feed.ack(again)
    facade.leave()
    assert memory_source.committed[PRICES] == 1


def _never_handed_over(event: Event) -> Event:
    assert event.record is not None
    return attrs.evolve(event, record=attrs.evolve(event.record, offset=2))


def _beyond_the_end(event: Event) -> Event:
    return attrs.evolve(event, record=Record("prices", 0, 2**40))


def _of_a_topic_that_is_not_read(event: Event) -> Event:
    return attrs.evolve(event, record=Record("elsewhere", 0, 0))


def _same_place_by_hand(event: Event) -> Event:
    return attrs.evolve(event, record=Record("prices", 0, 0))


@pytest.mark.parametrize(
    "altered", [_never_handed_over, _beyond_the_end, _of_a_topic_that_is_not_read, _same_place_by_hand]
)
def test_events_with_a_record_that_was_not_handed_over_are_refused(
    make_facade: MakeFacade, memory_source: MemorySource, altered: Callable[[Event], Event]
) -> None:
    memory_source.publish(*prices(5))
    facade = make_facade(commit="manual")
    facade.enter()
    event = facade.next()
    with pytest.raises(ValueError, match=NOT_OURS):
        facade.feed.ack(altered(event))
    facade.feed.ack(event)
    facade.leave()
    assert memory_source.committed[PRICES] == 1


@pytest.mark.parametrize("wrong", [None, "prices", Record("prices", 0, 0), 7])
def test_ack_refuses_anything_but_an_event(make_facade: MakeFacade, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected an event"):
        make_facade(commit="manual").feed.ack(wrong)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_of_an_event_counts_as_the_event(
    make_facade: MakeFacade, memory_source: MemorySource, copied: Callable[[Event], Event]
) -> None:
    """For example, a process pool returns a copy of the event that was passed to it."""
    memory_source.publish(*prices(2))
    memory_source.publish_raw("status", TWO_EVENTS)
    facade = make_facade(commit="manual")
    facade.enter()
    for event in [facade.next() for _ in range(4)]:
        facade.feed.ack(copied(event))
    facade.leave()
    assert (memory_source.committed[PRICES], memory_source.committed[STATUS]) == (2, 1)


def test_a_second_acknowledgement_changes_nothing(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade(commit="manual")
    facade.enter()
    first, _second, third = [facade.next() for _ in range(3)]
    for _ in range(3):
        facade.feed.ack(third)
    for _ in range(3):
        facade.feed.ack(first)
    wait_for(lambda: memory_source.committed.get(PRICES) == 1, "the first record is committed")
    facade.feed.ack(first)
    facade.leave()
    assert memory_source.committed[PRICES] == 1


def test_acknowledging_one_event_twice_does_not_acknowledge_the_next_one(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish_raw("status", TWO_EVENTS)
    memory_source.publish_raw("status", TWO_EVENTS)
    facade = make_facade(commit="manual")
    facade.enter()
    one, two, _three, four = [facade.next() for _ in range(4)]
    for event in (one, one, four, four, two, two, one):
        facade.feed.ack(event)
    facade.leave()
    assert memory_source.committed[STATUS] == 1


def test_an_event_of_a_partition_that_was_lost_changes_nothing(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    """This is not an error: a rebalance may happen between the hand-over and the acknowledgement."""
    memory_source.publish(*prices(3))
    memory_source.publish(status(1))
    facade = make_facade(commit="manual")
    facade.enter()
    events = [facade.next() for _ in range(4)]
    memory_source.lose("prices")
    wait_until_done(memory_source)
    for event in events:
        facade.feed.ack(event)
    facade.leave()
    assert (memory_source.committed.get(PRICES, 0), memory_source.committed[STATUS]) == (0, 1)


@pytest.mark.parametrize("value", [None, TWO_EVENTS], ids=["of one event", "of two events"])
def test_an_event_from_before_a_loss_does_not_acknowledge_the_record_that_was_read_again(
    make_facade: MakeFacade, memory_source: MemorySource, value: bytes | None
) -> None:
    if value is None:
        memory_source.publish(status(1))
    else:
        memory_source.publish_raw("status", value)
    parts = 1 if value is None else 2
    facade = make_facade(commit="manual")
    facade.enter()
    old = [facade.next() for _ in range(parts)]
    memory_source.lose("status")
    memory_source.assign("status")
    new = [facade.next() for _ in range(parts)]
    assert new == old
    for event in old:
        facade.feed.ack(event)
    assert facade.poll(0.2) is None  # long enough for a commit
    assert memory_source.committed.get(STATUS, 0) == 0
    for event in new:
        facade.feed.ack(event)
    facade.leave()
    assert memory_source.committed[STATUS] == 1


def test_an_event_may_be_acknowledged_after_the_feed_was_closed(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    """A worker may finish its last event later. It is not committed any more, and is delivered again."""
    memory_source.publish(*prices(2))
    facade = make_facade(commit="manual")
    facade.enter()
    event = facade.next()
    facade.leave()
    facade.feed.ack(event)
    assert memory_source.committed.get(PRICES, 0) == 0


def test_threads_may_acknowledge_the_events_of_one_record_at_once(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    for _ in range(50):
        memory_source.publish_raw("status", TWO_EVENTS)
    facade = make_facade(commit="manual")
    facade.enter()
    events = [facade.next() for _ in range(100)]
    start = threading.Barrier(4)

    def acknowledge(mine: list[Event]) -> None:
        start.wait()
        for event in mine:
            facade.feed.ack(event)

    threads = [threading.Thread(target=acknowledge, args=(events[number % 2 :: 2],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    facade.leave()
    assert memory_source.committed[STATUS] == 50


def test_the_delivery_tag_is_not_part_of_the_value_of_an_event(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(1))
    facade = make_facade(commit="manual")
    facade.enter()
    event = facade.next()
    record = event.record
    assert record is not None
    plain = attrs.evolve(record, delivery_tag=None)
    assert (record, hash(record), repr(record)) == (plain, hash(plain), repr(plain))
    assert isinstance(event, PriceEvent)
