"""`Feed(config, positions=…)`: the application chooses where to start. With records from memory and on a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import pytest

from rbhq_stream import (
    ConfigError,
    DataLossError,
    Feed,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceEvent,
    Topics,
)
from rbhq_stream.source import TopicPartition
from rbhq_stream.testing import MemorySource
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.facades import AsyncFacade, Facade, SyncFacade, both_facades
from tests.memory_feeds import PRICES, STATUS, MakeFacade, memory_config, wait_until_done
from tests.partner_configs import partner_config
from tests.waiting import wait_for

TOPICS = Topics(prices="prices", race_status="status")
CONFIG = memory_config(topics=TOPICS)
OPENED = b'{"meetingId":1,"eventNumber":%d,"status":"OPEN"}'


@pytest.fixture
def memory_source() -> MemorySource:
    """Ten records on each topic, of which the group has committed two."""
    source = MemorySource(TOPICS)
    source.publish(*(PriceEvent(1, number, (PriceUpdate(1, PriceType.WIN),)) for number in range(10)))
    for number in range(10):
        source.publish_raw("status", OPENED % number)
    source.committed.update({PRICES: 2, STATUS: 2})
    return source


@pytest.fixture
def make(make_facade: MakeFacade) -> MakeFacade:
    """Makes a `Feed` or an `AsyncFeed` on the memory_source."""
    return partial(make_facade, config=CONFIG)


def place(event: RaceEvent) -> tuple[str, int]:
    assert event.record is not None
    return event.record.topic, event.record.offset


def read(facade: Facade, count: int) -> dict[str, list[int]]:
    """The offsets of the next events, by topic."""
    found: dict[str, list[int]] = {}
    for _ in range(count):
        topic, offset = place(facade.next())
        found.setdefault(topic, []).append(offset)
    return found


# --- which records come


def test_a_mapping_sets_the_start_and_other_partitions_start_as_usual(make: MakeFacade) -> None:
    facade = make(positions={("prices", 0): 7})
    facade.enter()
    assert read(facade, 3 + 8) == {"prices": [7, 8, 9], "status": list(range(2, 10))}


def test_a_callable_is_called_with_the_assigned_partitions(make: MakeFacade) -> None:
    asked: list[list[TopicPartition]] = []

    def positions(partitions: Collection[TopicPartition]) -> Mapping[tuple[str, int], int]:
        asked.append(sorted(partitions))
        return {("prices", 0): 9, ("status", 0): 0, ("another", 3): 5}

    facade = make(positions=positions)
    assert not asked
    facade.enter()
    assert read(facade, 11) == {"prices": [9], "status": list(range(10))}
    assert asked == [[PRICES, STATUS]]


def test_reading_can_start_at_the_end(make: MakeFacade, memory_source: MemorySource) -> None:
    facade = make(positions={PRICES: 10, STATUS: 10})
    facade.enter()
    assert facade.poll(0.1) is None
    memory_source.publish_raw("status", OPENED % 1)
    assert place(facade.next()) == ("status", 10)


def test_the_group_commits_from_the_given_position_on(make: MakeFacade, memory_source: MemorySource) -> None:
    facade = make(positions={PRICES: 7, STATUS: 10})
    facade.enter()
    wait_for(lambda: memory_source.committed == {PRICES: 7, STATUS: 10}, "it is committed")
    read(facade, 2)
    facade.leave()
    assert memory_source.committed == {PRICES: 9, STATUS: 10}


# --- after a rebalance


def test_a_callable_is_called_again_when_a_partition_is_assigned_again(
    make: MakeFacade, memory_source: MemorySource
) -> None:
    stored = {("prices", 0): 5, ("status", 0): 10}
    facade = make(positions=lambda partitions: {partition: stored[partition] for partition in partitions})
    facade.enter()
    assert read(facade, 2) == {"prices": [5, 6]}
    stored["prices", 0] = 8  # another member of the group got so far meanwhile
    memory_source.revoke("prices")
    memory_source.assign("prices")
    wait_for(lambda: not memory_source._actions and memory_source._next == {PRICES: 10, STATUS: 10}, "all is read")
    assert read(facade, 2) == {"prices": [8, 9]}


def test_a_mapping_is_not_used_again_after_a_commit(make: MakeFacade, memory_source: MemorySource) -> None:
    facade = make(positions={PRICES: 5, STATUS: 10})
    facade.enter()
    assert read(facade, 3) == {"prices": [5, 6, 7]}
    wait_for(lambda: memory_source.committed[PRICES] == 7, "it is committed")
    memory_source.revoke("prices")
    memory_source.assign("prices")
    wait_for(lambda: not memory_source._actions and memory_source._next == {PRICES: 10, STATUS: 10}, "all is read")
    assert read(facade, 3) == {"prices": [7, 8, 9]}


# --- what goes wrong


def test_a_callable_that_raises_ends_the_feed_with_its_error(make: MakeFacade, memory_source: MemorySource) -> None:
    answers: list[Mapping[tuple[str, int], int]] = [{PRICES: 5, STATUS: 10}]
    facade = make(positions=lambda partitions: answers.pop())
    facade.enter()
    assert read(facade, 2) == {"prices": [5, 6]}
    memory_source.revoke("prices")
    memory_source.assign("prices")
    wait_until_done(memory_source)
    with pytest.raises(IndexError, match="pop from empty list"):
        read(facade, 9)
    facade.leave()
    assert memory_source.committed[PRICES] == 6, "the current event was not acknowledged when the partition went away"


@pytest.mark.parametrize(
    ("positions", "error", "match"),
    [
        (7, TypeError, r"positions=7: expected a mapping"),
        ({("prices", 0): -1}, ValueError, r"an offset of 0 to 9223372036854775807, got \('prices', 0\): -1"),
        ({("prices", 0): True}, ValueError, r"an offset of 0 to"),
        ({"prices": 1}, ValueError, r"expected \(topic, partition\)"),
        (
            {("prices", 0): 2**63},
            ValueError,
            r"an offset of 0 to 9223372036854775807, got \('prices', 0\): 9223372036854775808",
        ),
        ({("prices", 2**31): 0}, ValueError, r"expected \(topic, partition\)"),
        ({("prices", -1): 0}, ValueError, r"expected \(topic, partition\)"),
        ({("other", 0): 1}, ValueError, r"other\[0\] is of no topic of this feed; it has \['prices', 'status'\]"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    make: MakeFacade, positions: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        make(positions=positions)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, TypeError),
        ({("prices", 0): None}, ValueError),
        ({("prices", "0"): 1}, ValueError),
        ({("prices", 0): 2**63}, ValueError),
    ],
)
def test_a_callable_that_returns_wrong_data_raises_an_error(
    make: MakeFacade, answer: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="positions: expected"):
        make(positions=lambda partitions: answer).enter()


def test_an_offset_beyond_the_end_raises_data_loss_error(make: MakeFacade) -> None:
    with pytest.raises(DataLossError, match="ends at 10") as raised:
        make(positions={PRICES: 11}).enter()
    assert (raised.value.topic, raised.value.expected_offset, raised.value.lost) == ("prices", 11, 0)


def test_a_mapping_that_names_a_partition_that_does_not_exist_is_refused(make: MakeFacade) -> None:
    with pytest.raises(
        ConfigError, match=r"^positions: there is no partition prices\[1\]: the topic has partition 0"
    ) as raised:
        make(positions={PRICES: 1, ("prices", 1): 4}).enter()
    assert raised.value.field == "positions"


def test_a_callable_may_name_more_partitions_than_there_are(make: MakeFacade) -> None:
    facade = make(positions=lambda partitions: {PRICES: 9, STATUS: 10, ("prices", 99): 4})
    facade.enter()
    assert read(facade, 1) == {"prices": [9]}


# --- the parts of a record


def test_a_record_of_several_events_is_left_after_the_last(make: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish_raw("status", b"[%s,%s]" % (OPENED % 1, OPENED % 2))
    facade = make(positions={PRICES: 10, STATUS: 9})
    facade.enter()
    records = [facade.next().record for _ in range(3)]
    assert [(r.offset, r.part, r.parts, r.next_offset) for r in records if r] == [
        (9, 0, 1, 10), (10, 0, 2, 10), (10, 1, 2, 11),
    ]  # fmt: skip


# --- on the real broker


def publish(kafka: KafkaCluster, topic: str, count: int, partition: int = 0) -> None:
    kafka.publish(topic, [(b"k", OPENED % number) for number in range(count)], partition=partition)


STRATEGIES = {
    "cooperative": {},
    "eager": {"partition.assignment.strategy": "range"},
    "consumer protocol": {"group.protocol": "consumer"},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_broker_is_read_from_the_given_positions(
    kafka: KafkaCluster, make_partner: MakePartner, strategy: str
) -> None:
    partner = make_partner(partitions=3)
    topic = partner.topics.race_status
    for partition in range(3):
        publish(kafka, topic, 10, partition)
    fields: dict[str, Any] = {"kafka": STRATEGIES[strategy], "topics": Topics(race_status=topic)}
    if strategy == "consumer protocol":
        fields["session_timeout"] = 45.0
    given = {(topic, 0): 7, (topic, 1): 9}
    with Feed(partner_config(kafka, partner, **fields), positions=given) as feed:
        found: dict[int, list[int]] = {}
        for _ in range(3 + 1 + 10):
            record = next(feed).record
            assert record is not None
            found.setdefault(record.partition, []).append(record.offset)
    assert found == {0: [7, 8, 9], 1: [9], 2: list(range(10))}
    assert kafka.committed(f"{partner.group_prefix}app", topic) == {0: 10, 1: 10, 2: 10}
    # what the group has committed doesn't matter
    with Feed(partner_config(kafka, partner, **fields), positions=lambda partitions: {(topic, 2): 4}) as feed:
        for offset in range(4, 10):
            record = next(feed).record
            assert record is not None
            assert (record.partition, record.offset) == (2, offset)
        assert feed.poll(0.2) is None


@both_facades
def test_a_partition_that_the_topic_does_not_have(
    kafka: KafkaCluster, make_partner: MakePartner, facade: Callable[..., Facade]
) -> None:
    partner = make_partner(partitions=2)
    topic = partner.topics.race_status
    feed = facade(partner_config(kafka, partner), positions={(topic, 1): 0, (topic, 2): 0})
    with pytest.raises(ConfigError, match=rf"no partition {topic}\[2\]: the topic has partitions 0 to 1"):
        feed.enter()
    feed.finish()


def test_a_mapping_may_name_a_partition_that_another_member_has(kafka: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(partitions=2)
    topic = partner.topics.race_status
    publish(kafka, topic, 10, 0)
    publish(kafka, topic, 10, 1)
    given = {(topic, 0): 7, (topic, 1): 8}
    config = partner_config(kafka, partner, topics=Topics(race_status=topic))
    with Feed(config, positions=given) as one, Feed(config, positions=given) as two:
        found: set[tuple[int, int]] = set()

        def all_found() -> bool:
            for feed in (one, two):
                event = feed.poll(0.1)
                if event is not None and event.record is not None:
                    found.add((event.record.partition, event.record.offset))
            return len(found) == 5

        wait_for(all_found, "all are found")
    assert found == {(0, 7), (0, 8), (0, 9), (1, 8), (1, 9)}


@both_facades
def test_a_callable_that_raises_on_the_broker(
    kafka: KafkaCluster, partner: Partner, facade: Callable[..., Facade]
) -> None:
    topic = partner.topics.race_status
    publish(kafka, topic, 10)

    is_entered = threading.Event()

    def positions(partitions: Collection[TopicPartition]) -> Mapping[tuple[str, int], int]:
        assert is_entered.wait(60)
        raise OSError("the store is down")

    feed = facade(partner_config(kafka, partner), positions=positions)
    feed.enter()
    is_entered.set()
    for _ in range(2):
        with pytest.raises(OSError, match="the store is down"):
            feed.next()
    feed.leave()
    feed.finish()
    assert kafka.committed(f"{partner.group_prefix}app", topic) == {}, "nothing was read, so nothing is committed"


@pytest.mark.parametrize(
    ("facade", "offset", "lost"),
    [(SyncFacade, 2, 3), (AsyncFacade, 11, 0), (SyncFacade, 2**63 - 1, 0)],
    ids=["expired", "beyond the end", "the highest offset"],
)
def test_an_offset_that_the_broker_does_not_have(
    kafka: KafkaCluster, partner: Partner, facade: Callable[..., Facade], offset: int, lost: int
) -> None:
    topic = partner.topics.race_status
    publish(kafka, topic, 10)
    kafka.delete_records(topic, 0, 5)
    config = partner_config(kafka, partner)
    feed = facade(config, positions={(topic, 0): offset})
    with pytest.raises(DataLossError) as raised:  # noqa: PT012  # a thread may be so late that the first one raises it
        feed.enter()
        feed.next()
    error = raised.value
    assert (error.topic, error.partition, error.expected_offset, error.lost) == (topic, 0, offset, lost)
    feed.leave()
    feed.finish()
    # and by a declared policy, whatever `start` says
    config = partner_config(
        kafka, partner, group_id=f"{partner.group_prefix}b", on_data_loss="earliest", start="latest"
    )
    feed = facade(config, positions={(topic, 0): offset})
    feed.enter()
    assert place(feed.next()) == (topic, 5)
    feed.leave()
    feed.finish()
