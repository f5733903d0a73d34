"""The dead-letter topic, on a real broker: what is written there, and which error is raised if that fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from typing import Any

import attrs
import pytest
from confluent_kafka import Consumer, Message

from rbhq_stream import ConfigError, DecodeError, Fault, Feed, PriceEvent, Record, Secret
from rbhq_stream._dead_letter import DeadLetterError, DeadLetterTopic
from rbhq_stream.testing import EmbeddedBroker
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.broker.ports import free_port
from tests.waiting import wait_for

RECORD = Record(
    "prices",
    2,
    17,
    datetime(2026, 11, 21, 9, 30, 0, 120_000, timezone.utc),
    b"1397808-7",
    b'{"a\xff\x00',
    (("trace", b"\xff"), ("trace", None)),
)
ERROR = DecodeError("PriceEvent", [Fault("$.a", "{", "JSON")], record=RECORD)
ADDED = [
    ("rbhq.topic", b"prices"),
    ("rbhq.partition", b"2"),
    ("rbhq.offset", b"17"),
    ("rbhq.timestamp", b"2026-11-21T09:30:00.120000+00:00"),
    ("rbhq.kind", b"PriceEvent"),
    ("rbhq.fault", b"at $.a found {, expected JSON"),
]


@pytest.fixture
def topic(kafka: KafkaCluster, partner: Partner) -> str:
    """An operator's own topic, which this user may write to and read."""
    name = f"{partner.group_prefix}dead"
    kafka.create_topic(name)
    kafka.allow_write(partner.username, name)
    kafka.allow_read(partner.username, name)
    return name


@pytest.fixture
def login(kafka: KafkaCluster, partner: Partner) -> dict[str, Any]:
    return kafka.client_settings(partner.username, partner.password)


def written(login: dict[str, Any], topic: str, partner: Partner, count: int) -> list[Message]:
    """The first records of the topic."""
    settings = {**login, "group.id": f"{partner.group_prefix}look", "auto.offset.reset": "earliest"}
    with closing(Consumer(settings)) as consumer:
        consumer.subscribe([topic])
        messages: list[Message] = consumer.consume(count, timeout=20)
    assert [message.error() for message in messages] == [None] * count
    return messages


def test_key_value_and_headers_arrive_unchanged(
    kafka: KafkaCluster, login: dict[str, Any], topic: str, partner: Partner
) -> None:
    large = attrs.evolve(RECORD, value=bytes(900_000), key=None, headers=(), timestamp=None)
    many = [Fault("$", str(number), "text") for number in range(7)]
    with DeadLetterTopic(topic, {**login, "sasl.password": Secret(partner.password)}) as sink:
        sink(ERROR)
        assert kafka.end_offsets(topic) == {0: 1}  # it is there when the call returns
        sink(DecodeError("RaceStatusEvent", many, record=large))
        sink.close()  # a sink that was closed connects again
        sink(ERROR)

    first, second, third = written(login, topic, partner, 3)

    assert [first.key(), first.value(), first.headers()] == [RECORD.key, RECORD.value, [*RECORD.headers, *ADDED]]
    assert [second.key(), second.value()] == [None, large.value]
    expected = b"; ".join(b"at $ found %d, expected text" % number for number in range(5))
    assert second.headers() == [
        *ADDED[:3],
        ("rbhq.kind", b"RaceStatusEvent"),
        ("rbhq.fault", expected + b"; and 2 more"),
    ]
    assert third.value() == RECORD.value


def test_a_feed_continues_after_a_record_that_was_written(
    login: dict[str, Any], topic: str, partner: Partner, kafka: KafkaCluster
) -> None:
    with EmbeddedBroker(partitions=1) as broker, DeadLetterTopic(topic, login) as sink:
        prices = str(broker.topics.prices)
        for value in (b"bad", None, b"{}"):
            broker.publish_raw(prices, value, b"1-1")
        broker.publish(PriceEvent(1, 1))
        with Feed(broker.config("g"), on_bad_record=sink) as feed:
            assert next(feed) == PriceEvent(1, 1)
            assert (feed.stats.bad_records, feed.stats.empty_records) == (2, 1)
            assert kafka.end_offsets(topic) == {0: 2}
        assert broker.committed("g")[prices, 0] == 4
    assert [message.value() for message in written(login, topic, partner, 2)] == [b"bad", b"{}"]


def test_a_feed_does_not_pass_a_record_that_its_sink_could_not_write() -> None:
    unreachable = f"127.0.0.1:{free_port()}"
    with EmbeddedBroker(partitions=1) as broker:
        prices = str(broker.topics.prices)
        broker.publish(PriceEvent(1, 1))
        broker.publish_raw(prices, b"bad")
        sink = DeadLetterTopic("dead", {"bootstrap.servers": unreachable}, timeout=0.5)
        with sink, Feed(broker.config("g"), on_bad_record=sink) as feed:
            assert next(feed) == PriceEvent(1, 1)
            with pytest.raises(DeadLetterError):
                next(feed)
        assert broker.committed("g")[prices, 0] == 1


def test_a_sink_works_again_after_an_outage() -> None:
    with EmbeddedBroker(partitions=1) as broker:
        dead = str(broker.topics.prices)
        with DeadLetterTopic(dead, {"bootstrap.servers": broker.bootstrap_servers}, timeout=4) as sink:
            sink(ERROR)
            with broker.outage(), pytest.raises(DeadLetterError, match=r"no confirmation within 4 s: .*refused"):
                sink(ERROR)
            sink(ERROR)
        # at least once: what was not confirmed may have arrived too
        assert broker.end_offsets()[dead, 0] in {2, 3}


# failures


def failure(sink: DeadLetterTopic, within: float) -> DeadLetterError:
    started = time.monotonic()
    with sink, pytest.raises(DeadLetterError) as caught:
        sink(ERROR)
    assert time.monotonic() - started < within
    assert caught.value.record == RECORD
    return caught.value


def test_unreachable_brokers_are_an_error_after_the_timeout(partner: Partner) -> None:
    address = f"localhost:{free_port()}"
    login = {"bootstrap.servers": address, "sasl.password": partner.password}
    error = failure(DeadLetterTopic("dead", login, timeout=1), 20)
    assert error.sink == f"topic 'dead' of {address}"
    assert error.reason.startswith("no confirmation within 1 s: ")
    assert "refused" in error.reason
    assert partner.password not in str(error)


def test_a_wrong_password_is_reported_before_the_timeout(login: dict[str, Any], topic: str) -> None:
    error = failure(DeadLetterTopic(topic, {**login, "sasl.password": "not-this-one"}), 25)
    assert "uthentication failed" in error.reason
    assert "not-this-one" not in str(error)


def test_a_user_without_permission_to_write_is_an_error(
    login: dict[str, Any], kafka: KafkaCluster, partner: Partner
) -> None:
    error = failure(DeadLetterTopic(partner.topics.prices, login), 25)
    assert error.reason.endswith("Cluster authorization failed")  # may write nowhere at all
    kafka.allow_write(partner.username, f"{partner.group_prefix}another")
    error = failure(DeadLetterTopic(partner.topics.prices, login), 25)
    assert error.reason.endswith("Topic authorization failed")


def test_an_unknown_topic_is_an_error(login: dict[str, Any], kafka: KafkaCluster, partner: Partner) -> None:
    topic = f"{partner.group_prefix}nowhere"
    kafka.allow_write(partner.username, topic)
    error = failure(DeadLetterTopic(topic, login, timeout=10), 25)
    assert "nknown topic" in error.reason


def test_a_record_that_is_too_large_for_the_topic_is_an_error(
    login: dict[str, Any], topic: str, kafka: KafkaCluster, partner: Partner
) -> None:
    kafka.configure_topic(topic, {"max.message.bytes": 100_000})
    large = DecodeError("PriceEvent", ERROR.faults, record=attrs.evolve(RECORD, value=bytes(3_000_000)))
    with DeadLetterTopic(topic, login) as sink:
        with pytest.raises(DeadLetterError, match="too large"):
            sink(large)
        sink(ERROR)
    assert kafka.end_offsets(topic) == {0: 1}


# arguments


def test_nothing_uses_the_network_before_the_first_record(free_listener: tuple[str, list[str]]) -> None:
    address, connected = free_listener
    sink = DeadLetterTopic("dead", {"bootstrap.servers": address}, timeout=0.2)
    sink.close()
    time.sleep(0.3)
    assert connected == []
    with pytest.raises(DeadLetterError):
        sink(ERROR)
    wait_for(lambda: connected, "it connects")
    sink.close()


@pytest.fixture
def free_listener() -> Iterator[tuple[str, list[str]]]:
    """An address at which connections are recorded and closed."""
    connected: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connected.append("somebody")
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", connected
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(
    ("topic", "properties", "timeout", "expected"),
    [
        ("", {"bootstrap.servers": "a"}, 1.0, "topic: expected 1 to 249"),
        ("t", {}, 1.0, 'kafka["bootstrap.servers"]: is required'),
        ("t", "a:9092", 1.0, "kafka: expected a mapping"),
        ("t", {"bootstrap.servers": "a"}, 0, "timeout: expected 0.001 to"),
        ("t", {"bootstrap.servers": "a", "acks": 1}, 1.0, 'kafka["acks"]: can\'t be set'),
        ("t", {"bootstrap.servers": "a", "error_cb": print}, 1.0, 'kafka["error_cb"]: can\'t be set'),
        ("t", {"bootstrap.servers": "a", "acsk": 1}, 1.0, 'kafka["acsk"]: the Kafka client refuses it'),
        ("t", {"bootstrap.servers": "a", "retries": 0}, 1.0, "kafka: the Kafka client refuses"),
        ("t", {"bootstrap.servers": "a", "security.protocol": "x"}, 1.0, 'kafka["security.protocol"]: the Kafka'),
    ],
)
def test_a_wrong_argument_is_refused_at_once(
    topic: str, properties: Any, timeout: float, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        DeadLetterTopic(topic, properties, timeout=timeout)
    assert str(caught.value).startswith(expected)
    assert capfd.readouterr() == ("", "")


def test_its_repr_shows_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    kafka = {"bootstrap.servers": "a:1", "sasl.username": "u", "sasl.password": "s3cret", "ssl.key.password": "k3y"}
    sink = DeadLetterTopic("dead", kafka)
    assert repr(sink) == (
        "DeadLetterTopic('dead', {'bootstrap.servers': 'a:1', 'sasl.username': 'u', 'sasl.password': '***',"
        " 'ssl.key.password': '***'}, timeout=30.0)"
    )
    assert capfd.readouterr() == ("", "")


def test_an_error_without_a_record_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="record="):
        DeadLetterTopic("dead", {"bootstrap.servers": "a:1"})(DecodeError("PriceEvent", ERROR.faults))
