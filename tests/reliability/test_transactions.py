"""Offsets without a record, such as the control records of transactions, are committed past, and are no loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rbhq_stream import DataLossError, Feed, FeedConfig
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.reliability.flow import VALUE, Member, publish, status_config
from tests.waiting import wait_for


def publish_transaction(cluster: KafkaCluster, partner: Partner, count: int, *, commit: bool = True) -> None:
    cluster.publish_transaction(partner.topics.race_status, [(b"k", VALUE)] * count, commit=commit)


def handle(config: FeedConfig, count: int) -> list[int]:
    """Handles so many events and closes the feed at once. Returns their offsets."""
    offsets = []
    with Feed(config) as feed:
        for _ in range(count):
            event = feed.poll(10)
            assert event is not None
            assert event.record is not None
            offsets.append(event.record.offset)
    return offsets


def handle_to_the_end(cluster: KafkaCluster, partner: Partner, config: FeedConfig) -> None:
    """Handles the five records of a transaction, until its end is committed as well."""
    publish_transaction(cluster, partner, 5)
    with Member(config) as member:
        wait_for(offset_is(cluster, config, 6), "the end of the transaction is committed")
    assert len(member.seen) == 5


def committed(cluster: KafkaCluster, config: FeedConfig) -> int | None:
    assert config.topics.race_status is not None
    return cluster.committed(config.group_id, config.topics.race_status).get(0)


def expire(cluster: KafkaCluster, partner: Partner, before: int) -> None:
    """Removes the records below an offset, as retention does."""
    cluster.delete_records(partner.topics.race_status, 0, before)


def offset_is(cluster: KafkaCluster, config: FeedConfig, offset: int) -> Callable[[], bool]:
    return lambda: committed(cluster, config) == offset


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_quiet_topic_is_committed_to_its_end(kafka: KafkaCluster, partner: Partner, protocol: str) -> None:
    """And after retention has removed everything, neither a restart nor a second member misses anything."""
    config = status_config(kafka, partner, kafka={"group.protocol": protocol})
    publish_transaction(kafka, partner, 5)
    publish_transaction(kafka, partner, 3, commit=False)
    with Member(config) as member:
        wait_for(lambda: len(member.seen) == 5, "the records of the committed transaction arrive")
        wait_for(offset_is(kafka, config, 10), "two control records and three aborted records are committed past")
        publish_transaction(kafka, partner, 2, commit=False)
        wait_for(offset_is(kafka, config, 13), "and those that follow without a record between")
        expire(kafka, partner, 13)
        with Member(config) as other:
            wait_for(lambda: sum(len(m.source.owned) for m in (member, other)) == 1, "the group is complete")
            publish(kafka, partner, 2)
            wait_for(lambda: len(member.seen) + len(other.seen) == 7, "the group reads on")
    expire(kafka, partner, 15)
    with Member(config) as restarted:
        publish(kafka, partner, 1)
        wait_for(lambda: restarted.seen == [(0, 15)], "the restarted feed reads on")


def test_closing_after_the_last_record_of_a_transaction_commits_past_its_end(
    kafka: KafkaCluster, partner: Partner
) -> None:
    config = status_config(kafka, partner)
    publish_transaction(kafka, partner, 5)
    assert handle(config, 5) == [0, 1, 2, 3, 4]
    assert committed(kafka, config) == 6
    expire(kafka, partner, 6)
    publish(kafka, partner, 3)
    assert handle(config, 3) == [6, 7, 8]


def test_records_after_the_end_of_a_transaction_are_not_skipped(kafka: KafkaCluster, partner: Partner) -> None:
    config = status_config(kafka, partner, on_data_loss="latest")
    publish_transaction(kafka, partner, 5)
    publish(kafka, partner, 10)
    assert handle(config, 5) == [0, 1, 2, 3, 4]
    expire(kafka, partner, 6)
    assert handle(config, 10) == list(range(6, 16))


def test_a_new_group_commits_past_aborted_records(kafka: KafkaCluster, partner: Partner) -> None:
    config = status_config(kafka, partner)
    publish_transaction(kafka, partner, 3, commit=False)
    with Member(config) as member:
        wait_for(offset_is(kafka, config, 4), "the aborted records are committed past")
        expire(kafka, partner, 4)
    assert member.seen == []
    publish(kafka, partner, 1)
    assert handle(config, 1) == [4]


def test_with_manual_acknowledgement_the_oldest_open_event_still_decides(kafka: KafkaCluster, partner: Partner) -> None:
    config = status_config(kafka, partner)
    publish_transaction(kafka, partner, 2)
    publish_transaction(kafka, partner, 2)
    publish_transaction(kafka, partner, 2, commit=False)
    with Feed(config, commit="manual") as feed:
        events = [feed.poll(10) for _ in range(4)]
        assert feed.poll(1) is None
        first, second, third, fourth = [event for event in events if event is not None]
        for event in (second, third, fourth):
            feed.ack(event)
        assert feed.poll(0.5) is None
        assert committed(kafka, config) == 0
        feed.ack(first)
        wait_for(offset_is(kafka, config, 9), "all are acknowledged")


def test_positions_kept_by_the_application_are_those_of_records(kafka: KafkaCluster, partner: Partner) -> None:
    """The application knows the last record that it stored; the group's offset is beyond the end of its transaction."""
    config = status_config(kafka, partner)
    topic = partner.topics.race_status
    handle_to_the_end(kafka, partner, config)
    expire(kafka, partner, 6)
    with Feed(config, positions={(topic, 0): 5}) as feed:
        publish(kafka, partner, 1)
        event = feed.poll(10)
    assert event is not None
    assert event.record is not None
    assert event.record.offset == 6


def test_positions_of_a_database_that_was_restored_are_a_loss(kafka: KafkaCluster, partner: Partner) -> None:
    """The group has handled these records, but the application's data is without them."""
    config = status_config(kafka, partner)
    topic = partner.topics.race_status
    handle_to_the_end(kafka, partner, config)
    expire(kafka, partner, 6)
    with pytest.raises(DataLossError) as raised, Feed(config, positions={(topic, 0): 3}) as feed:
        feed.poll(10)
    assert (raised.value.expected_offset, raised.value.available_offset) == (3, 6)


def test_an_end_that_is_reached_while_paused_is_committed_later(kafka: KafkaCluster, partner: Partner) -> None:
    config = status_config(kafka, partner, buffer_records=5)
    publish_transaction(kafka, partner, 5)
    with Feed(config) as feed:
        assert feed.poll(10) is not None
        wait_for(lambda: feed._session._poll_thread._is_paused, "the buffer is full")
        publish_transaction(kafka, partner, 2, commit=False)
        for _ in range(4):
            assert feed.poll(10) is not None
        assert feed.poll(0) is None
        wait_for(offset_is(kafka, config, 9), "the end of the partition is committed")
