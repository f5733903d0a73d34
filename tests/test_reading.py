"""`read` and `aread`: the events between two times, in time order over all topics and partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream import (
    AsyncReading,
    DecodeError,
    Event,
    Feed,
    PriceEvent,
    RaceId,
    RaceResultEvent,
    RaceStatusEvent,
    RbhqStreamError,
    Reading,
    Recording,
    UnreachableError,
    aread,
    encode,
    read,
)
from rbhq_stream._config.feed_config import NO_GROUP
from rbhq_stream._timestamps import to_milliseconds
from rbhq_stream.testing import EmbeddedBroker, MemorySource, Simulator, TimedEvent
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.memory_feeds import BAD, TOPICS, memory_config, poll_threads, price, status
from tests.partner_configs import partner_config
from tests.waiting import wait_for

NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)
KINDS = (PriceEvent, RaceStatusEvent, RaceResultEvent)
Collect = Callable[..., list[Event]]


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


def collected(*arguments: Any, **options: Any) -> list[Event]:
    return list(read(*arguments, **options))


def collected_by_awaiting(*arguments: Any, **options: Any) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in aread(*arguments, **options)]

    return asyncio.run(collect())


both_ways = pytest.mark.parametrize("collect", [collected, collected_by_awaiting], ids=["read", "aread"])


@pytest.fixture(scope="module")
def day() -> Sequence[TimedEvent]:
    """A simulated day."""
    return list(Simulator(seed=5, meetings=1).events())


@pytest.fixture
def source() -> MemorySource:
    return MemorySource(TOPICS)


def a_few(source: MemorySource) -> None:
    """Prices at even seconds, statuses at odd ones, of the races 0 to 9."""
    for number in range(10):
        source.publish(price(number), timestamp=at(2 * number))
    for number in range(10):
        source.publish(status(number), timestamp=at(2 * number + 1))


def plain_sort(day: Collection[TimedEvent], since: datetime, until: datetime) -> list[Event]:
    """The reference: what was published between two times, to the millisecond, sorted by time and then by topic."""
    some = [timed for timed in day if since <= in_milliseconds(timed.at) < until]
    return [
        timed.event
        for timed in sorted(some, key=lambda timed: (to_milliseconds(timed.at), KINDS.index(type(timed.event))))
    ]


def in_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


@both_ways
def test_a_time_range_of_a_day_equals_a_plain_sort(
    collect: Collect, source: MemorySource, day: Sequence[TimedEvent]
) -> None:
    for kind in KINDS:
        for timed in day:
            if type(timed.event) is kind:
                source.publish(timed.event, timestamp=in_milliseconds(timed.at))
    since, until = day[400].at, day[1500].at
    events = collect(memory_config(), since=since, until=until, source=source)
    assert events == plain_sort(day, since, until)
    assert len(events) > 1000
    assert not any(source.committed.values())


@both_ways
def test_the_beginning_belongs_to_the_time_range_and_the_end_does_not(collect: Collect, source: MemorySource) -> None:
    a_few(source)
    assert collect(memory_config(), since=at(4), until=at(7), source=source) == [price(2), status(2), price(3)]
    just_after = timedelta(microseconds=1)
    between = collect(memory_config(), since=at(4) + just_after, until=at(7) + just_after, source=source)
    assert between == [status(2), price(3), status(3)]


@both_ways
def test_records_are_found_though_the_clocks_of_producers_differ(collect: Collect, source: MemorySource) -> None:
    for number, second in enumerate([0, 70, 61, 119, 62, 118, 90]):
        source.publish(price(number), timestamp=at(second))
    events = collect(memory_config(), since=at(61), until=at(90), source=source)
    assert events == [price(number) for number in (1, 2, 4)]


@both_ways
def test_an_empty_time_range_ends_at_once(collect: Collect, source: MemorySource) -> None:
    assert collect(memory_config(), since=at(4), until=at(7), source=source) == []
    a_few(source)
    assert collect(memory_config(), since=at(100), source=source) == []


@both_ways
def test_only_the_chosen_races_are_returned(collect: Collect, source: MemorySource) -> None:
    a_few(source)
    events = collect(memory_config(), since=at(0), source=source, races=[RaceId(1, 3), RaceId(1, 7), RaceId(2, 3)])
    assert events == [price(3), status(3), price(7), status(7)]


@pytest.mark.parametrize("races", ["1-7", RaceId(1, 7), ["1-7"], [(1, 7)]])
def test_races_that_are_no_race_ids_are_refused_because_nothing_would_be_found(
    source: MemorySource, races: Any
) -> None:
    with pytest.raises(TypeError, match=r"races.*expected .*RaceIds"):
        read(memory_config(), since=datetime(2026, 11, 3, tzinfo=timezone.utc), races=races, source=source)


@pytest.mark.parametrize("since", [None, "2026-11-03"])
def test_a_beginning_that_is_no_time_is_refused(source: MemorySource, since: Any) -> None:
    with pytest.raises(TypeError, match=r"since=.*expected a datetime"):
        read(memory_config(), since=since, source=source)


def test_a_reading_may_be_iterated_again_and_knows_how_far_it_is(source: MemorySource) -> None:
    a_few(source)
    reading = read(memory_config(), since=at(0), until=at(20), source=source, races={RaceId(1, n) for n in range(5)})
    assert (reading.progress.events, reading.progress.at, reading.progress.fraction) == (0, None, 0.0)
    for _ in range(2):
        seen = []
        for event in reading:
            progress = reading.progress
            assert progress.at == event.require_record().timestamp
            seen.append((progress.events, progress.fraction))
        assert seen == [(n + 1, n / 20) for n in range(10)]
        assert (reading.progress.events, reading.progress.at, reading.progress.fraction) == (10, at(19), 1.0)
    assert repr(reading) == f"<Reading of {at(0)} to {at(20)}>"


def test_leaving_a_reading_early_disconnects(source: MemorySource) -> None:
    a_few(source)
    for event in read(memory_config(), since=at(0), source=source):
        assert event == price(0)
        break
    wait_for(lambda: not poll_threads(), "its thread has ended")

    async def first() -> None:
        reading = aread(memory_config(), since=at(0), source=source)
        async with aclosing(aiter(reading)) as events:  # type: ignore[type-var]  # it is a generator
            async for event in events:
                assert event == price(0)
                break
        wait_for(lambda: not poll_threads(), "its thread has ended")
        assert reading.progress.fraction < 1

    asyncio.run(first())


@both_ways
def test_a_bad_record_ends_a_reading_or_is_skipped(collect: Collect, source: MemorySource) -> None:
    source.publish(status(1), timestamp=at(1))
    source.publish_raw("status", BAD, timestamp=at(2))
    source.publish(status(3), timestamp=at(3))
    with pytest.raises(DecodeError):
        collect(memory_config(), since=at(0), source=source)
    wait_for(lambda: not poll_threads(), "its thread has ended")
    found: list[DecodeError] = []
    events = collect(memory_config(), since=at(0), source=source, on_bad_record=found.append)
    assert events == [status(1), status(3)]
    assert len(found) == 1


@both_ways
def test_what_cannot_be_read_to_the_end_is_an_error(collect: Collect, source: MemorySource) -> None:
    """Something could be missing, and nobody would notice."""
    a_few(source)
    source.cut_off("status")
    with pytest.raises(UnreachableError, match=r"status\[0\] delivers no records: it was cut off by the test"):
        collect(memory_config(connect_timeout=1.0), since=at(0), source=source)
    source.reconnect()
    source.fail(RbhqStreamError("it failed"))
    with pytest.raises(RbhqStreamError, match="it failed"):
        collect(memory_config(), since=at(0), source=source)


@pytest.mark.parametrize("function", [read, aread])
@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ({"since": at(0).replace(tzinfo=None)}, "since=.* has no time zone"),
        ({"since": at(0), "until": at(1).replace(tzinfo=None)}, "until=.* has no time zone"),
        ({"since": at(1), "until": at(1)}, "is not before until"),
        ({"since": at(0), "until": datetime.now(timezone.utc) + timedelta(days=1)}, "is in the future"),
    ],
)
def test_a_wrong_time_is_refused_at_once(
    function: Callable[..., Reading | AsyncReading], times: dict[str, datetime], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        function(memory_config(), **times)


@pytest.mark.parametrize("function", [read, aread])
def test_a_replay_at_a_speed_is_refused_because_its_end_is_still_to_come(
    function: Callable[..., Reading | AsyncReading], source: MemorySource, tmp_path: Path
) -> None:
    with Feed(memory_config(), source=source, record_to=tmp_path / "day"):
        pass
    with pytest.raises(ValueError, match="its end is still to come"):
        function(memory_config(), since=at(0), source=Recording(tmp_path / "day").at(60))


@both_ways
def test_a_time_range_can_be_read_from_a_recording(
    collect: Collect, source: MemorySource, day: Sequence[TimedEvent], tmp_path: Path
) -> None:
    for kind in KINDS:
        for timed in day:
            if type(timed.event) is kind:
                source.publish(timed.event, timestamp=in_milliseconds(timed.at))
    with Feed(memory_config(), source=source, record_to=tmp_path / "day") as feed:
        for _ in day:
            next(feed)
    since, until = day[400].at, day[1500].at
    recorded = Recording(tmp_path / "day").at()
    assert collect(memory_config(), since=since, until=until, source=recorded) == plain_sort(day, since, until)


def test_without_an_end_everything_up_to_now_is_read() -> None:
    with EmbeddedBroker() as broker:
        for number in range(20):
            broker.publish(price(number), timestamp=at(number))
        broker.publish(status(1))
        reading = read(broker.config(), since=at(15))
        broker.publish(status(2), timestamp=datetime.now(timezone.utc) + timedelta(seconds=1))
        assert list(reading) == [price(15), price(16), price(17), price(18), price(19), status(1)]


@both_ways
def test_a_time_range_on_a_real_broker_equals_a_plain_sort(
    kafka: KafkaCluster, make_partner: MakePartner, day: Sequence[TimedEvent], collect: Collect
) -> None:
    partner = make_partner(partitions=3)
    config = partner_config(kafka, partner, buffer_records=500)
    shift = datetime.now(timezone.utc) - day[-1].at  # what is older than a week, retention would remove
    written: list[tuple[int, int, int, Event]] = []  # time, topic, partition
    for rank, (topic, kind) in enumerate(config.topics.kinds.items()):
        for partition in range(3):
            some = [one for one in day if type(one.event) is kind and one.event.event_number % 3 == partition]
            moments = [to_milliseconds(one.at + shift) for one in some]
            kafka.publish(topic, [(b"k", encode(one.event)) for one in some], partition=partition, timestamp_ms=moments)
            written += [(moment, rank, partition, one.event) for moment, one in zip(moments, some, strict=True)]
    since, until = day[400].at + shift, day[1500].at + shift
    first, last = (to_milliseconds(time - timedelta(microseconds=1)) + 1 for time in (since, until))  # rounded up
    wanted = [event for moment, *_, event in sorted(written, key=lambda one: one[:3]) if first <= moment < last]
    events = collect(config, since=since, until=until)
    assert events == wanted
    assert len(events) > 1000
    assert not {config.group_id, NO_GROUP} & kafka.groups()
