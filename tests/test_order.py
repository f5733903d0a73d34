"""`order="time"`: while a feed catches up, its events come in time order over all topics and partitions."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from rbhq_stream import (
    AsyncFeed,
    Event,
    Feed,
    FeedConfig,
    PriceEvent,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RbhqStreamError,
    encode,
)
from rbhq_stream._engine import session
from rbhq_stream._kafka import KafkaSource
from rbhq_stream._timestamps import to_milliseconds
from rbhq_stream.testing import EmbeddedBroker, MemorySource, Simulator, TimedEvent
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.facades import Facade, both_facades
from tests.memory_feeds import PRICES, STATUS, MakeFacade, memory_config, price, status
from tests.partner_configs import partner_config
from tests.waiting import wait_for

NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


@pytest.fixture(scope="module")
def day() -> Sequence[TimedEvent]:
    """A simulated day."""
    return list(Simulator(seed=3, meetings=2).events())


def by_topic(day: Iterable[TimedEvent]) -> list[TimedEvent]:
    """The events as a source may deliver a backlog: one topic after the other, the results first."""
    kinds = [RaceResultEvent, RaceStatusEvent, PriceEvent]
    return sorted(day, key=lambda timed: kinds.index(type(timed.event)))


def times(events: Iterable[Event]) -> list[datetime]:
    return [moment for event in events if (moment := event.require_record().timestamp) is not None]


def scratched_after_final(events: Iterable[Event]) -> list[RaceId]:
    """The races of which a scratching was handed over after the FINAL that followed it."""
    final: dict[RaceId, datetime] = {}
    late = []
    for event in events:
        [moment] = times([event])
        if isinstance(event, (RaceResultEvent, RaceStatusEvent)) and event.status is RaceStatus.FINAL:
            final.setdefault(event.race_id, moment)
        elif isinstance(event, PriceEvent) and event.scratchings and moment < final.get(event.race_id, moment):
            late.append(event.race_id)
    return late


def read(feed: Facade, count: int) -> list[Event]:
    return [feed.next() for _ in range(count)]


# records from memory


@pytest.mark.parametrize("order", ["time", "arrival"])
def test_no_scratching_is_handed_over_after_the_final_that_followed_it(
    make_facade: MakeFacade, memory_source: MemorySource, day: Sequence[TimedEvent], order: str
) -> None:
    for timed in by_topic(day):
        memory_source.publish(timed.event, timestamp=timed.at)
    feed = make_facade(order=order)
    feed.enter()
    events = read(feed, len(day))
    assert bool(scratched_after_final(events)) is (order == "arrival"), "the order of arrival is a bad one"
    assert (times(events) == sorted(times(events))) is (order == "time")


def test_after_a_restart_in_the_middle_the_rest_is_in_order_and_nothing_is_missed(
    make_facade: MakeFacade, memory_source: MemorySource, day: Sequence[TimedEvent]
) -> None:
    for timed in by_topic(day):
        memory_source.publish(timed.event, timestamp=timed.at)
    seen: list[Event] = []
    for count in (300, 700):
        feed = make_facade(order="time")
        feed.enter()
        seen += (some := read(feed, count))
        assert times(some) == sorted(times(some))
        feed.leave(RbhqStreamError("the application crashed"))  # the last event is delivered again
        assert sum(memory_source.committed.values()) == len({e.require_record().coordinates for e in seen}) - 1
    feed = make_facade(order="time")
    feed.enter()
    seen += (some := read(feed, len(day) - sum(memory_source.committed.values())))
    assert not scratched_after_final(seen)
    assert len({event.require_record().coordinates for event in seen}) == len(day)
    assert len(seen) == len(day) + 2


def test_once_caught_up_events_come_as_they_arrive(
    make_facade: MakeFacade, memory_source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rbhq_stream")
    memory_source.publish(price(1), timestamp=at(2))
    memory_source.publish(status(1), timestamp=at(1))
    feed = make_facade(order="time")
    feed.enter()
    assert [type(event) for event in read(feed, 2)] == [RaceStatusEvent, PriceEvent]
    wait_for(lambda: "records are no longer merged by time" in caplog.text, "the feed has caught up")
    assert feed.poll(0) is None
    memory_source.publish(price(2), timestamp=at(4))
    memory_source.publish(status(2), timestamp=at(3))
    assert [type(event) for event in read(feed, 2)] == [PriceEvent, RaceStatusEvent]


def test_an_assignment_begins_another_catch_up(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    feed = make_facade(order="time")
    feed.enter()
    memory_source.publish(price(1), timestamp=at(1))
    assert feed.poll(5) == price(1)
    memory_source.cut_off()
    memory_source.lose("prices")
    for number in range(2, 30):
        memory_source.publish(price(number), timestamp=at(2 * number))
    for number in range(2, 30):
        memory_source.publish(status(number), timestamp=at(2 * number + 1))
    memory_source.assign("prices")
    assert feed.poll(0.2) is None
    memory_source.reconnect()
    numbers = [(event.event_number, type(event)) for event in read(feed, 57)]
    assert numbers[0] == (1, PriceEvent), "it was not committed"
    assert numbers[1:] == [(number, kind) for number in range(2, 30) for kind in (PriceEvent, RaceStatusEvent)]


def test_a_record_that_waits_is_not_handed_over_once_its_partition_is_revoked(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.cut_off("status")
    memory_source.publish(price(1), price(2), timestamp=at(1))
    feed = make_facade(order="time")
    feed.enter()
    wait_for(lambda: feed.feed.stats.waiting_records == 2, "they wait for the status")
    memory_source.revoke("prices")
    wait_for(lambda: feed.feed.stats.waiting_records == 0, "they are dropped")
    memory_source.publish(status(1), timestamp=at(2))
    memory_source.reconnect()
    assert feed.next() == status(1)
    memory_source.assign("prices")
    assert read(feed, 2) == [price(1), price(2)]


def test_what_waits_when_the_feed_is_closed_is_delivered_the_next_time(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(status(1), price(1), timestamp=at(1))
    memory_source.cut_off("results")
    first = make_facade(order="time")
    first.enter()
    wait_for(lambda: first.feed.stats.waiting_records == 2, "they wait for the results")
    first.leave()
    assert not any(memory_source.committed.values())
    memory_source.reconnect()
    second = make_facade(order="time")
    second.enter()
    assert read(second, 2) == [price(1), status(1)]


def test_what_waits_when_the_source_fails_comes_in_order_before_the_error(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(status(1), timestamp=at(2))
    memory_source.publish(price(1), timestamp=at(1))
    memory_source.cut_off("results")
    feed = make_facade(order="time")
    feed.enter()
    wait_for(lambda: feed.feed.stats.waiting_records == 2, "they wait for the results")
    memory_source.fail(RbhqStreamError("it is over"))
    assert read(feed, 2) == [price(1), status(1)]
    with pytest.raises(RbhqStreamError, match="it is over"):
        feed.next()


def test_a_partition_that_is_silent_is_waited_for_for_a_limited_time(
    make_facade: MakeFacade, memory_source: MemorySource, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(session, "MAX_WAIT", 0.3)
    memory_source.publish(price(1), timestamp=at(1))
    memory_source.cut_off("status")
    feed = make_facade(order="time")
    feed.enter()
    assert feed.poll(5) == price(1)
    assert "status[0] delivers no records, although it is behind its end" in caplog.text


def test_an_event_can_be_acknowledged_in_any_order(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    for number in range(1, 11):
        memory_source.publish(price(number), timestamp=at(2 * number))
    for number in range(1, 11):
        memory_source.publish(status(number), timestamp=at(2 * number + 1))
    feed = make_facade(order="time", commit="manual")
    feed.enter()
    events = read(feed, 20)
    assert times(events) == sorted(times(events))
    random.Random(4).shuffle(events)
    for event in events:
        if event.event_number != 6:
            feed.feed.ack(event)
    wait_for(lambda: {PRICES: 5, STATUS: 5}.items() <= memory_source.committed.items(), "up to the oldest that is not")


def test_a_small_buffer_changes_nothing(
    make_facade: MakeFacade, memory_source: MemorySource, day: Sequence[TimedEvent]
) -> None:
    for timed in by_topic(day):
        memory_source.publish(timed.event, timestamp=timed.at)
    feed = make_facade(config=memory_config(buffer_records=7), order="time")
    feed.enter()
    events = read(feed, len(day))
    assert times(events) == sorted(times(events))
    feed.leave()
    assert sum(memory_source.committed.values()) == len(day)


@pytest.mark.parametrize("facade", [Feed, AsyncFeed])
def test_another_order_is_refused(facade: Any) -> None:
    with pytest.raises(ValueError, match="order='random': expected 'arrival' or 'time'"):
        facade(memory_config(), order="random")


# a broker


@pytest.mark.parametrize("buffer_records", [10_000, 30])
def test_partitions_ahead_of_the_others_are_held_back(
    day: Sequence[TimedEvent], buffer_records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[object] = []
    hold = KafkaSource.hold

    def noted(source: KafkaSource, partitions: Any) -> None:
        held.append(partitions)
        hold(source, partitions)

    monkeypatch.setattr(KafkaSource, "hold", noted)
    with EmbeddedBroker() as broker:
        for kind in (RaceResultEvent, RaceStatusEvent, PriceEvent):
            for timed in day:
                if type(timed.event) is kind:
                    broker.publish(timed.event, timestamp=timed.at)
        with Feed(broker.config(None, buffer_records=buffer_records), order="time") as feed:
            events = [next(feed) for _ in day]
            assert times(events) == sorted(times(events))
            assert feed.poll(0.1) is None
            broker.publish(status(1))
            assert next(feed) == status(1)
    assert bool(held) is (buffer_records == 30)


@both_facades
def test_a_day_on_a_real_broker_with_a_restart_in_the_middle(
    kafka: KafkaCluster, make_partner: MakePartner, day: Sequence[TimedEvent], facade: Callable[..., Facade]
) -> None:
    partner = make_partner(partitions=3)
    config: FeedConfig = partner_config(kafka, partner, commit_interval=0.1, buffer_records=1000)
    shift = datetime.now(timezone.utc) - day[-1].at  # what is older than a week, retention would remove
    for topic, kind in config.topics.kinds.items():
        for partition in range(3):
            some = [one for one in day if type(one.event) is kind and one.event.event_number % 3 == partition]
            records = [(str(one.event.race_id).encode(), encode(one.event)) for one in some]
            moments = [to_milliseconds(one.at + shift) for one in some]
            kafka.publish(topic, records, partition=partition, timestamp_ms=moments)
    seen: list[Event] = []
    different: set[tuple[str, int, int]] = set()
    for error in (RbhqStreamError("the application crashed"), None):
        feed = facade(config, order="time")
        feed.enter()
        while len(different) < (len(day) if error is None else 1000):
            seen.append(feed.next())
            different.add(seen[-1].require_record().coordinates)
        feed.leave(error)
        feed.finish()
    assert not scratched_after_final(seen)
    assert sum(after < before for before, after in pairwise(times(seen))) <= 1, "only where it was restarted"
