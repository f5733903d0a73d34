"""Records are removed from the broker before they are handled: reported correctly, or skipped if configured so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from rbhq_stream import DataLossError, Event, Feed, FeedConfig
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.reliability.flow import Member, publish, status_config
from tests.waiting import wait_for

STRATEGIES = pytest.mark.parametrize("strategy", ["cooperative-sticky", "range"])


def handle(config: FeedConfig, count: int) -> None:
    with Feed(config) as feed:
        for _ in range(count):
            assert feed.poll(10) is not None


def commit(kafka: KafkaCluster, partner: Partner, group_id: str | None, offset: int) -> None:
    """As a consumer of another cluster, or of a topic that was recreated since, has left it."""
    settings = kafka.client_settings(partner.username, partner.password)
    consumer = Consumer({**settings, "group.id": group_id, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(partner.topics.race_status, 0, offset)], asynchronous=False)
    consumer.close()


def overtaken(cluster: KafkaCluster, partner: Partner, **fields: Any) -> FeedConfig:
    """The group has handled 5 of 20 records, and the first 12 are gone."""
    config = status_config(cluster, partner, **fields)
    publish(cluster, partner, 20)
    handle(config, 5)
    cluster.delete_records(partner.topics.race_status, 0, 12)
    return config


def test_an_expired_committed_offset_raises_data_loss_error(kafka: KafkaCluster, partner: Partner) -> None:
    config = overtaken(kafka, partner)
    for _ in range(2):  # it stays so until it is declared
        with pytest.raises(DataLossError) as raised, Feed(config) as feed:
            feed.poll(10)
        error = raised.value
        assert (error.topic, error.partition) == (partner.topics.race_status, 0)
        assert (error.expected_offset, error.available_offset, error.lost) == (5, 12, 7)
        assert not error.is_beyond_end
        assert "up to 7 records are gone" in str(error)
        assert "on_data_loss" in str(error)
    assert kafka.committed(config.group_id, partner.topics.race_status) == {0: 5}


@STRATEGIES
@pytest.mark.parametrize(("policy", "offsets"), [("earliest", range(12, 22)), ("latest", range(20, 22))])
def test_on_data_loss_decides_where_to_continue_after_a_loss(
    kafka: KafkaCluster,
    partner: Partner,
    caplog: pytest.LogCaptureFixture,
    policy: str,
    offsets: range,
    strategy: str,
) -> None:
    config = overtaken(kafka, partner, on_data_loss=policy, kafka={"partition.assignment.strategy": strategy})
    with Member(config) as member:
        wait_for(lambda: "7 records are gone" in caplog.text, "the loss is logged")
        publish(kafka, partner, 2)
        wait_for(lambda: len(member.seen) >= len(offsets), "it continues")
    assert member.seen == [(0, offset) for offset in offsets]
    assert [record.levelno for record in caplog.records if "are gone" in record.getMessage()] == [logging.ERROR]
    assert kafka.committed(config.group_id, partner.topics.race_status) == {0: 22}


@STRATEGIES
@pytest.mark.parametrize("policy", ["raise", "earliest"])
def test_records_that_expire_before_a_slow_application_reads_them_are_reported(
    kafka: KafkaCluster, make_partner: MakePartner, policy: str, strategy: str
) -> None:
    """What is in the buffer is handled all the same; another partition isn't touched."""
    partner = make_partner(partitions=2)
    config = status_config(
        kafka,
        partner,
        on_data_loss=policy,
        buffer_records=10,
        kafka={
            "partition.assignment.strategy": strategy,
            "queued.min.messages": 1,
            "queued.max.messages.kbytes": 1,
            "fetch.message.max.bytes": 1000,
        },
    )
    publish(kafka, partner, 3000)
    loss: DataLossError | None = None
    with Feed(config) as feed:
        seen = [feed.poll(10) for _ in range(5)]
        wait_for(lambda: feed._session._poll_thread._is_paused, "the buffer is full")
        kafka.delete_records(partner.topics.race_status, 0, 2900)
        publish(kafka, partner, 100, partition=1)
        ends = {(0, 2999), (1, 99)}
        try:
            while ends:
                seen.append(feed.poll(10))
                ends.discard(places_of(seen[-1:])[0])
            assert feed.poll(0.1) is None
        except DataLossError as error:
            loss = error
    places = places_of(seen)
    before = sum(1 for partition, offset in places if partition == 0 and offset < 2900)
    assert 14 <= before < 2900, "four were acknowledged, the fifth was current, and one of ten was buffered"
    assert [offset for partition, offset in places if partition == 0][:before] == list(range(before))
    if policy == "raise":
        assert loss is not None
        assert (loss.expected_offset, loss.available_offset, loss.lost) == (before, 2900, 2900 - before)
        assert kafka.committed(config.group_id, loss.topic)[0] == before
    else:
        assert [offset for partition, offset in places if partition == 0][before:] == list(range(2900, 3000))
        assert [offset for partition, offset in places if partition == 1] == list(range(100))
        assert kafka.committed(config.group_id, partner.topics.race_status) == {0: 3000, 1: 100}


def places_of(events: Sequence[Event | None]) -> list[tuple[int, int]]:
    return [(event.record.partition, event.record.offset) for event in events if event and event.record]


def test_an_offset_beyond_the_end_is_reported_as_such(kafka: KafkaCluster, partner: Partner) -> None:
    config = status_config(kafka, partner)
    publish(kafka, partner, 10)
    commit(kafka, partner, config.group_id, 1000)
    with pytest.raises(DataLossError, match="ends at 10: the topic was recreated") as raised, Feed(config) as feed:
        feed.poll(10)
    assert (raised.value.expected_offset, raised.value.available_offset, raised.value.lost) == (1000, 10, 0)
    assert raised.value.is_beyond_end


@pytest.mark.parametrize(("policy", "offsets"), [("earliest", range(12)), ("latest", range(10, 12))])
def test_on_data_loss_decides_where_to_continue_beyond_the_end(
    kafka: KafkaCluster, partner: Partner, caplog: pytest.LogCaptureFixture, policy: str, offsets: range
) -> None:
    config = status_config(kafka, partner, on_data_loss=policy)
    publish(kafka, partner, 10)
    commit(kafka, partner, config.group_id, 1000)
    with Member(config) as member:
        wait_for(lambda: "recreated" in caplog.text, "it is logged")
        publish(kafka, partner, 2)
        wait_for(lambda: len(member.seen) >= len(offsets), "it continues")
    assert member.seen == [(0, offset) for offset in offsets]
    assert kafka.committed(config.group_id, partner.topics.race_status) == {0: 12}, "further back than before"


def test_a_topic_recreated_under_a_running_feed_is_reported_or_read(kafka: KafkaCluster, partner: Partner) -> None:
    """Deleted and created again at once, with fewer records than were read: no new record is skipped silently."""
    config = status_config(kafka, partner)
    topic = partner.topics.race_status
    with Member(config) as member:
        publish(kafka, partner, 10)
        wait_for(lambda: len(member.seen) == 10, "it flows")
        kafka.delete_topic(topic)
        kafka.create_topic(topic)
        publish(kafka, partner, 5)
        wait_for(lambda: not member.is_alive() or len(member.seen) >= 15, "it is reported, or they are read")
        if member.error is None:
            assert member.seen[10:] == [(0, offset) for offset in range(5)]
        else:
            assert isinstance(member.error, DataLossError)
            assert member.error.is_beyond_end
            member.error = None
