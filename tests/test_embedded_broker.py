"""The embedded broker: published records are stored in the right partition, for every kind of client."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from decimal import Decimal
from typing import cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from rbhq_stream import Feed, PartitionsLost
from rbhq_stream._config import Topics
from rbhq_stream._wire import decode
from rbhq_stream.events import (
    Event,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
)
from rbhq_stream.record import RawRecord, Record
from rbhq_stream.testing import BrokerClosedError, EmbeddedBroker, PublishError


def price(race: int, cents: int = 440) -> PriceEvent:
    update = PriceUpdate(3, PriceType.WIN, 12, Decimal(cents).scaleb(-2))
    return PriceEvent(1397808, race, (update,))


def read(broker: EmbeddedBroker, group_id: str = "reader") -> list[Record]:
    """Reads everything on the broker with an ordinary Kafka client of a consumer group, and commits it."""
    ends = broker.end_offsets()
    client = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": group_id,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        client.subscribe(sorted({topic for topic, _ in ends}))
        records: list[Record] = []
        deadline = time.monotonic() + 20
        while len(records) < sum(ends.values()):
            assert time.monotonic() < deadline, f"only {len(records)} of {ends} came"
            message = client.poll(0.2)
            # a tombstone is false
            if message is not None:
                assert message.error() is None
                records.append(Record.of(cast("RawRecord", message)))
        client.commit(
            offsets=[TopicPartition(topic, partition, end) for (topic, partition), end in ends.items() if end],
            asynchronous=False,
        )
        return records
    finally:
        client.close()


def test_each_event_comes_back_from_the_topic_of_its_class(broker: EmbeddedBroker) -> None:
    events: list[Event] = [
        price(7),
        RaceStatusEvent(1397808, 7, RaceStatus.CLOSED),
        RaceResultEvent(1397808, 7, RaceStatus.FINAL, venue="Flemington"),
    ]
    written = broker.publish(*events)

    assert [record.topic for record in written] == [
        broker.topics.prices,
        broker.topics.race_status,
        broker.topics.race_results,
    ]
    found = {record.topic: record for record in read(broker)}
    for event, record in zip(events, written, strict=True):
        assert found[record.topic] == record
        assert record.value is not None
        assert decode(type(event), record.value) == (event,)


def test_a_race_stays_in_its_partition_and_in_order(broker: EmbeddedBroker) -> None:
    events = [price(race, cents) for cents in range(110, 160) for race in range(1, 13)]
    written = broker.publish(*events)

    partitions = {event.race_id: record.partition for event, record in zip(events, written, strict=True)}
    assert set(partitions.values()) == {0, 1, 2}
    for event, record in zip(events, written, strict=True):
        assert record.partition == partitions[event.race_id]
        assert record.key == str(event.race_id).encode()
    read_prices: dict[RaceId, list[PriceEvent]] = {}
    for record in read(broker):
        assert record.value is not None
        (event,) = decode(PriceEvent, record.value)
        read_prices.setdefault(event.race_id, []).append(event)
    for race_id, of_race in read_prices.items():
        assert of_race == [event for event in events if event.race_id == race_id]


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_topics_have_the_requested_number_of_partitions(partitions: int) -> None:
    with EmbeddedBroker(partitions=partitions, brokers=2) as broker:
        assert broker.end_offsets() == {
            (topic, number): 0
            for topic in (broker.topics.prices, broker.topics.race_status, broker.topics.race_results)
            for number in range(partitions)
        }
        assert len(broker.bootstrap_servers.split(",")) == 2


def test_a_configuration_for_it_is_complete(broker: EmbeddedBroker) -> None:
    config = broker.config(group_id="mine", commit_interval=0.1)

    assert ",".join(config.bootstrap_servers) == broker.bootstrap_servers
    assert config.topics == broker.topics
    assert config.group_id == "mine"
    assert config.security == "PLAINTEXT"
    assert config.username is None
    assert config.commit_interval == 0.1


def test_given_topics_are_used_and_a_missing_one_is_an_error() -> None:
    with EmbeddedBroker(topics=Topics(prices="my-prices")) as broker:
        (record,) = broker.publish(price(1))
        assert record.topic == "my-prices"
        assert {topic for topic, _ in broker.end_offsets()} == {"my-prices"}
        with pytest.raises(ValueError, match="no topic for RaceStatusEvent"):
            broker.publish(RaceStatusEvent(1, 1, RaceStatus.OPEN))


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe not JSON", b"x" * 2_000_000])
def test_any_bytes_can_be_written(broker: EmbeddedBroker, value: bytes | None) -> None:
    assert broker.topics.prices is not None
    written = broker.publish_raw(broker.topics.prices, value, b"a-key", {"trace": b"\x00\x01"}, partition=2)

    assert read(broker) == [written]
    assert written.value == value
    assert written.key == b"a-key"
    assert written.headers == (("trace", b"\x00\x01"),)
    assert (written.partition, written.offset) == (2, 0)


def test_committed_and_end_offsets_are_returned(broker: EmbeddedBroker) -> None:
    broker.publish(*[price(race) for race in range(1, 30)])
    ends = broker.end_offsets()

    assert sum(ends.values()) == 29
    assert broker.committed("reader") == {}
    read(broker)
    assert broker.committed("reader") == {place: end for place, end in ends.items() if end}
    assert broker.committed("somebody else") == {}


def test_any_thread_may_publish(broker: EmbeddedBroker) -> None:
    failures: list[BaseException] = []

    def publish(race: int) -> None:
        try:
            for cents in range(110, 160):
                (record,) = broker.publish(price(race, cents))
                assert record.offset >= 0
        except BaseException as failure:  # noqa: BLE001 (told to the main thread)
            failures.append(failure)

    threads = [threading.Thread(target=publish, args=(race,)) for race in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert sum(broker.end_offsets().values()) == 8 * 50


def test_more_than_the_client_queues_can_be_written_at_once(broker: EmbeddedBroker) -> None:
    records = broker.publish(*[price(1 + n % 5) for n in range(101_000)])

    assert len(records) == sum(broker.end_offsets().values()) == 101_000


def test_a_refused_record_is_an_error(broker: EmbeddedBroker) -> None:
    assert broker.topics.prices is not None
    with pytest.raises(PublishError) as caught:
        broker.publish_raw(broker.topics.prices, b"x", partition=3)

    assert caught.value.topic == broker.topics.prices
    assert "nknown partition" in str(caught.value)


def test_an_outage_stops_it_and_ends() -> None:
    with EmbeddedBroker(timeout=2) as broker:
        broker.publish(price(1))
        with broker.outage(), pytest.raises(PublishError, match="timed out"):
            broker.publish(price(2))
    with EmbeddedBroker() as broker:
        broker.publish(price(1))
        with broker.outage():
            pass
        broker.publish(price(1))
        assert sum(broker.end_offsets().values()) == 2


def test_a_slow_broker_delays_each_response_and_is_fast_again_afterwards() -> None:
    with EmbeddedBroker() as broker:
        broker.publish(price(1))
        with broker.slow(1.0):
            began = time.monotonic()
            broker.publish(price(2))
            assert time.monotonic() - began >= 1.0
        with broker.slow(60):
            pass
        broker.publish(price(3))  # which would time out


def test_one_of_several_brokers_can_be_slow() -> None:
    with EmbeddedBroker(partitions=2, brokers=2) as broker:
        topic = broker.topics.prices
        for partition in (0, 1):
            broker.publish_raw(topic or "", b"{}", partition=partition)
        with broker.slow(60, 2):
            broker.publish_raw(topic or "", b"{}", partition=0)  # which is on the other broker
        with broker.slow(1.0, 2):
            began = time.monotonic()
            broker.publish_raw(topic or "", b"{}", partition=1)
            assert time.monotonic() - began >= 1.0


def test_responses_that_wait_are_sent_when_the_broker_is_no_longer_slow() -> None:
    with EmbeddedBroker() as broker:
        broker.publish(price(1))
        publishing = threading.Thread(target=broker.publish, args=[price(2)])
        began = time.monotonic()
        with broker.slow(60):
            publishing.start()
            time.sleep(0.1)
        publishing.join()
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_slow_broker_takes_a_positive_time(broker: EmbeddedBroker, seconds: float) -> None:
    with pytest.raises(ValueError, match="expected a positive number"), broker.slow(seconds):
        pass


def test_an_evicted_feed_reports_it_and_gets_again_what_it_had_not_committed(broker: EmbeddedBroker) -> None:
    broker.publish(price(1))
    lost: list[PartitionsLost] = []
    with Feed(broker.config(group_id="mine", commit_interval=60)) as feed:
        feed.on(PartitionsLost)(lost.append)
        first = next(feed)
        assert feed.poll(0.2) is None  # which acknowledges it
        broker.evict("mine")
        assert next(feed) == first
    assert [bool(signal.uncommitted) for signal in lost] == [True]
    broker.evict("nobody")


def test_closing_is_prompt_with_clients_connected_and_publishing() -> None:
    with EmbeddedBroker() as broker:
        broker.publish(price(1))
        stopped: list[BaseException] = []

        def publish() -> None:
            try:
                while True:
                    broker.publish(price(1))
            except (PublishError, BrokerClosedError) as error:
                stopped.append(error)

        threads = [threading.Thread(target=publish) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    for thread in threads:
        thread.join(5)
    assert len(stopped) == 3
    broker.close()


def test_closing_leaves_no_socket_of_a_client_that_has_just_connected(recwarn: pytest.WarningsRecorder) -> None:
    for _ in range(20):
        with EmbeddedBroker() as broker:
            host, port = broker.bootstrap_servers.split(":")
            clients = [socket.create_connection((host, int(port))) for _ in range(5)]
        for client in clients:
            client.close()
        gc.collect()  # an open socket is reported when it is collected
    assert not recwarn.list


def test_using_it_outside_its_block_is_an_error() -> None:
    broker = EmbeddedBroker()
    with pytest.raises(BrokerClosedError, match="`with` block"):
        broker.publish(price(1))
    with broker:
        broker.publish(price(1))
    with pytest.raises(BrokerClosedError, match="`with` block"):
        broker.config()


def test_it_can_be_used_again() -> None:
    broker = EmbeddedBroker()
    for _ in range(2):
        with broker:
            broker.publish(price(1))
            assert sum(broker.end_offsets().values()) == 1


def test_it_writes_nothing_to_the_standard_streams(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), EmbeddedBroker() as broker:
        broker.publish(price(1))
        broker.end_offsets()
        with broker.outage():
            time.sleep(0.1)

    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert {record.name for record in caplog.records} <= {"rbhq_stream.testing"}
