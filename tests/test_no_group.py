"""`FeedConfig(group_id=None)`: every feed reads every partition, and the brokers store nothing about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from rbhq_stream import DataLossError, Feed, FeedConfig, RaceStatus, RaceStatusEvent, TopicPartition
from rbhq_stream._config.feed_config import NO_GROUP
from rbhq_stream._engine import poll_thread
from rbhq_stream._engine.holdups import Holdups
from rbhq_stream._kafka import EveryPartitionSource, kafka_source, topics
from rbhq_stream.testing import EmbeddedBroker, MemorySource
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.facades import Facade, both_facades
from tests.memory_feeds import TOPICS, memory_config, status
from tests.reliability.flow import Flow, Member, everything, publish, status_config
from tests.waiting import wait_for

NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)
BROKERLESS = '{"brokers": {":0/internal": {"source":"internal"}, "GroupCoordinator": {"source":"logical"}}}'


def race(number: int) -> RaceStatusEvent:
    return RaceStatusEvent(1397808, number, RaceStatus.OPEN)


def read(config: FeedConfig, count: int, **options: Any) -> list[int]:
    """Returns the numbers of the next races, in order."""
    with Feed(config, **options) as feed:
        numbers = sorted(next(feed).event_number for _ in range(count))
        assert feed.poll(0.1) is None, "there is no more"
    return numbers


@both_facades
def test_each_feed_gets_every_event_each_time(broker: EmbeddedBroker, facade: Callable[..., Facade]) -> None:
    broker.publish(*map(race, range(30)))
    for _ in range(2):
        feeds = [facade(broker.config(None)) for _ in range(2)]
        for feed in feeds:
            feed.enter()
        for feed in feeds:
            assert sorted(feed.next().event_number for _ in range(30)) == list(range(30))
            feed.leave()
            feed.finish()
    assert broker.committed(NO_GROUP) == {}


def test_a_feed_begins_at_start(broker: EmbeddedBroker) -> None:
    for number in range(6):
        broker.publish(race(number), timestamp=NOON + timedelta(minutes=number))
    assert read(broker.config(None), 6) == [0, 1, 2, 3, 4, 5]
    assert read(broker.config(None, start=NOON + timedelta(minutes=3)), 3) == [3, 4, 5]
    with Feed(broker.config(None, start="latest")) as feed:
        wait_for(lambda: feed.poll(0.05) is None and feed.health.ok, "it waits for what comes")
        broker.publish(race(6))
        assert next(feed).event_number == 6


def test_positions_come_before_start(broker: EmbeddedBroker) -> None:
    written = broker.publish(*map(race, range(30)))
    partition = TopicPartition(written[0].topic, written[0].partition)
    end = broker.end_offsets()[partition]
    others = [n for n, record in enumerate(written) if (record.topic, record.partition) != partition]
    assert read(broker.config(None), len(others), positions={partition: end}) == others
    asked: list[Any] = []

    def positions(partitions: Any) -> dict[tuple[str, int], int]:
        asked.append(partitions)
        return {partition: end}

    assert read(broker.config(None), len(others), positions=positions) == others
    assert len(asked) == 1
    assert len(asked[0]) == 9, "all partitions of three topics"


def test_records_that_are_gone_are_a_loss_as_for_a_group(broker: EmbeddedBroker) -> None:
    written = broker.publish(*map(race, range(30)))
    partition = TopicPartition(written[0].topic, written[0].partition)
    broker.expire()
    with pytest.raises(DataLossError) as caught, Feed(broker.config(None), positions={partition: 0}) as feed:
        next(feed)
    assert caught.value.expected_offset == 0
    broker.publish(race(30))
    assert read(broker.config(None, on_data_loss="earliest"), 1, positions={partition: 0}) == [30]
    assert read(broker.config(None), 1) == [30], "a feed that begins has lost nothing"


def test_an_outage_is_survived_without_a_gap_and_without_duplicates(broker: EmbeddedBroker) -> None:
    broker.publish(*map(race, range(10)))
    with Feed(broker.config(None)) as feed:
        assert sorted(next(feed).event_number for _ in range(10)) == list(range(10))
        with broker.outage():
            assert feed.poll(0.5) is None
        broker.publish(*map(race, range(10, 20)))
        assert sorted(next(feed).event_number for _ in range(10)) == list(range(10, 20))


def test_a_client_that_is_replaced_reads_on_where_the_last_one_was(broker: EmbeddedBroker) -> None:
    broker.publish(*map(race, range(30)))
    config = broker.config(None, buffer_records=5)
    source = EveryPartitionSource(config)
    with Feed(config, source=source) as feed:
        seen = [next(feed).event_number for _ in range(15)]
        first = source._client.consumer

        def is_replaced() -> bool:
            source._reports.statistics(BROKERLESS)
            return source._client.state.name == "JOINED" and source._client.consumer is not first

        wait_for(is_replaced, "the client is replaced")
        broker.publish(*map(race, range(30, 40)))
        seen += [next(feed).event_number for _ in range(25)]
        assert sorted(seen) == list(range(40))
        assert feed.poll(0.2) is None


@both_facades
def test_an_event_can_be_acknowledged_although_nothing_is_committed(
    broker: EmbeddedBroker, facade: Callable[..., Facade]
) -> None:
    broker.publish(race(1))
    feed = facade(broker.config(None), commit="manual")
    feed.enter()
    event = feed.next()
    feed.feed.ack(event)
    feed.feed.ack(event)
    with pytest.raises(ValueError, match="constructed by the application"):
        feed.feed.ack(race(1))
    feed.leave()
    feed.finish()
    assert read(broker.config(None), 1) == [1]


@pytest.mark.parametrize("group_id", ["g", None])
def test_an_event_that_is_not_acknowledged_holds_back_the_offset_of_a_group_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, group_id: str | None
) -> None:
    monkeypatch.setattr(poll_thread, "Holdups", lambda: Holdups(0.01))
    source = MemorySource(TOPICS)
    source.publish(status(1), status(2))
    with Feed(memory_config(group_id=group_id), source=source, commit="manual") as feed:
        next(feed)
        feed.ack(next(feed))
        assert feed.poll(0.4) is None
        said = "holds the group's offset back"
        if group_id is not None:
            wait_for(lambda: feed.poll(0.05) is None and said in caplog.text, "it is logged")
    assert (said in caplog.text) == (group_id is not None)


def test_the_repr_of_the_feed_shows_that_it_has_no_group() -> None:
    assert repr(Feed(memory_config(group_id=None), source=MemorySource(TOPICS))) == (
        "<Feed without a group at nowhere:1, not started>"
    )


def test_a_source_is_a_member_only_if_there_is_a_group() -> None:
    assert isinstance(kafka_source(memory_config(group_id=None)), EveryPartitionSource)
    assert not isinstance(kafka_source(memory_config()), EveryPartitionSource)


# on a real broker


def test_no_group_comes_into_being_and_no_right_to_one_is_needed(
    kafka: KafkaCluster, make_partner: MakePartner, caplog: pytest.LogCaptureFixture
) -> None:
    partner = make_partner(partitions=3)
    kafka.revoke_group(partner.username, partner.group_prefix)
    for partition in range(3):
        publish(kafka, partner, 5, partition)
    caplog.set_level(logging.WARNING)
    source = EveryPartitionSource(config := status_config(kafka, partner, group_id=None))
    with Member(config, source=source) as member:
        wait_for(lambda: len(member.seen) == 15, "all partitions are read")
        publish(kafka, partner, 1)
        wait_for(lambda: len(member.seen) == 16, "reading continues")
    assert set(member.seen) == everything(kafka, partner)
    assert member.closed_in < 5
    assert NO_GROUP not in kafka.groups()
    assert kafka.committed(NO_GROUP, partner.topics.race_status) == {}
    assert not caplog.records


def test_partitions_that_are_added_are_read_from_their_beginning(
    kafka: KafkaCluster, make_partner: MakePartner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "WATCH_INTERVAL", 0.2)
    partner = make_partner()
    publish(kafka, partner, 3)
    often = {"topic.metadata.refresh.interval.ms": 500}
    config = status_config(kafka, partner, group_id=None, start="latest", kafka=often)
    with Member(config, source=EveryPartitionSource(config)) as member:
        with Flow(kafka, partner):
            wait_for(lambda: member.seen, "it began at the end")
            kafka.add_partitions(partner.topics.race_status, 3)
            for partition in (1, 2):
                publish(kafka, partner, 3, partition)
            wait_for(lambda: {(1, 2), (2, 2)} <= set(member.seen), "the new ones are read")
        begun = {(0, offset) for offset in range(member.seen[0][1])}
        assert len(begun) >= 3
        wait_for(lambda: set(member.seen) | begun == everything(kafka, partner), "nothing is missed")
    for partition in range(3):
        offsets = [offset for number, offset in member.seen if number == partition]
        assert offsets == list(range(offsets[0], offsets[-1] + 1)), "each once and in order"
