"""The embedded broker behaves like Kafka, for every kind of client."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from rbhq_stream import DataLossError, Feed, FeedConfig, RaceStatus, RaceStatusEvent
from rbhq_stream.testing import BrokerClosedError, EmbeddedBroker
from rbhq_stream.testing._cluster.schema import MalformedError, Reader, parse_schema
from tests.broker.kafka import KafkaCluster

NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)


def status(race: int) -> RaceStatusEvent:
    return RaceStatusEvent(1397808, race, RaceStatus.OPEN)


def status_topic(broker: EmbeddedBroker) -> str:
    topic = broker.topics.race_status
    assert topic is not None
    return topic


def handle(config: FeedConfig, count: int) -> list[int]:
    """Returns the numbers of the next races, and acknowledges each."""
    with Feed(config) as feed:
        return [next(feed).event_number for _ in range(count)]


# time


def test_a_record_has_the_time_that_it_was_published_with(broker: EmbeddedBroker) -> None:
    [written] = broker.publish(status(1), timestamp=NOON)
    assert written.timestamp == NOON
    with Feed(broker.config()) as feed:
        event = next(feed)
        assert event.record is not None
        assert event.record.timestamp == NOON
    raw = broker.publish_raw(status_topic(broker), b"", timestamp=NOON + timedelta(milliseconds=7))
    assert raw.timestamp == NOON + timedelta(milliseconds=7)


def test_a_time_without_a_zone_is_refused(broker: EmbeddedBroker) -> None:
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match="no time zone"):
        broker.publish(status(1), timestamp=naive)
    with pytest.raises(ValueError, match="no time zone"):
        broker.expire(naive)
    assert sum(broker.end_offsets().values()) == 0


def test_a_feed_can_start_at_a_time(broker: EmbeddedBroker) -> None:
    for race in range(1, 7):
        broker.publish(status(race), timestamp=NOON + timedelta(minutes=race))
    between = NOON + timedelta(minutes=3, seconds=30)
    assert sorted(handle(broker.config("between", start=between), 3)) == [4, 5, 6]
    assert sorted(handle(broker.config("at", start=NOON + timedelta(minutes=4)), 3)) == [4, 5, 6]
    assert sorted(handle(broker.config("before", start=NOON), 6)) == [1, 2, 3, 4, 5, 6]
    with Feed(broker.config("after", start=NOON + timedelta(hours=1))) as feed:
        assert feed.poll(0.5) is None
        broker.publish(status(7))
        assert next(feed).event_number == 7


def test_records_that_expired_before_they_were_read_are_data_loss(broker: EmbeddedBroker) -> None:
    broker.publish(*map(status, range(10)))
    handle(broker.config("app"), 3)
    broker.expire()
    with pytest.raises(DataLossError), Feed(broker.config("app")) as feed:
        next(feed)
    broker.publish(status(11))
    assert handle(broker.config("new"), 1) == [11]


def test_only_old_records_expire_when_a_time_is_given(broker: EmbeddedBroker) -> None:
    for race in range(1, 7):
        broker.publish(status(race), timestamp=NOON + timedelta(minutes=race))
    broker.expire(NOON + timedelta(minutes=4))
    assert sorted(handle(broker.config(), 3)) == [4, 5, 6]


def test_more_than_five_megabytes_are_kept() -> None:
    with EmbeddedBroker(partitions=1) as broker:
        topic = status_topic(broker)
        for _ in range(8):
            broker.publish_raw(topic, b"x" * 1_000_000)
        with client(broker.bootstrap_servers) as consumer:
            assert consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30) == (0, 8)
            assert len(fetched(consumer, topic, 8)) == 8


# groups


def test_waiting_ends_when_all_is_handled(broker: EmbeddedBroker) -> None:
    seen: list[int] = []
    feed = Feed(broker.config("app"))
    feed.on(RaceStatusEvent)(lambda event: seen.append(event.event_number))
    running = threading.Thread(target=feed.run)
    running.start()
    try:
        for race in range(5):
            broker.publish(status(race))
            broker.wait_until_handled("app", timeout=60)
            assert race in seen
    finally:
        feed.stop()
        running.join()
    assert sum(broker.committed("app").values()) == 5


def test_waiting_for_an_event_that_was_not_acknowledged_raises(broker: EmbeddedBroker) -> None:
    [written] = broker.publish(status(1))
    with Feed(broker.config("app")) as feed:
        next(feed)
        with pytest.raises(TimeoutError, match=rf"group 'app' .* 0.3 s.* 1 in {written.topic}\[{written.partition}\]"):
            broker.wait_until_handled("app", timeout=0.3)


def test_waiting_ends_when_the_broker_is_closed(broker: EmbeddedBroker) -> None:
    broker.publish(status(1))
    timer = threading.Timer(0.2, broker.close)
    timer.start()
    with pytest.raises(BrokerClosedError):
        broker.wait_until_handled("app")
    timer.join()


def test_members_share_the_partitions_and_take_over_from_one_that_leaves(broker: EmbeddedBroker) -> None:
    seen: list[int] = []

    def run(feed: Feed) -> threading.Thread:
        feed.on(RaceStatusEvent)(lambda event: seen.append(event.event_number))
        thread = threading.Thread(target=feed.run)
        thread.start()
        return thread

    feeds = [Feed(broker.config("app")) for _ in range(4)]  # one more than there are partitions
    threads = [run(feed) for feed in feeds]
    number = 0
    for feed in feeds[:3]:
        broker.publish(*map(status, range(number, number + 30)))
        broker.wait_until_handled("app", timeout=60)
        feed.stop()
        number += 30
    broker.publish(*map(status, range(number, number + 30)))
    broker.wait_until_handled("app", timeout=60)
    feeds[3].stop()
    for thread in threads:
        thread.join()
    assert set(seen) == set(range(number + 30))


MEMBER = """
import sys
from rbhq_stream import Feed, FeedConfig, Topics
config = FeedConfig(
    bootstrap_servers=sys.argv[1], topics=Topics(race_status=sys.argv[2]), group_id="app", security="PLAINTEXT"
)
with Feed(config) as feed:
    next(feed)
    print(config.session_timeout, flush=True)
    sys.stdin.read()
"""


def test_a_killed_member_is_replaced_long_before_its_session_ends(broker: EmbeddedBroker) -> None:
    broker.publish(status(1))
    arguments = [sys.executable, "-c", MEMBER, broker.bootstrap_servers, status_topic(broker)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as member:
        assert member.stdout is not None
        assert float(member.stdout.readline()) == 45
        os.kill(member.pid, signal.SIGKILL)
        member.wait()
    killed = time.monotonic()
    assert handle(broker.config("app"), 1) == [1]
    assert time.monotonic() - killed < 30


# clients


@contextlib.contextmanager
def client(bootstrap_servers: str, **properties: Any) -> Iterator[Consumer]:
    # a question waits for the fetch before it
    quick = {"bootstrap.servers": bootstrap_servers, "group.id": "a-client", "fetch.wait.max.ms": 10}
    consumer = Consumer({**quick, **properties})
    try:
        yield consumer
    finally:
        consumer.close()


def fetched(consumer: Consumer, topic: str, count: int) -> list[tuple[int, bytes | None, int]]:
    """Returns the offset, key and time of the next records, or an error code instead."""
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[tuple[int, bytes | None, int]] = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, found
        message = consumer.poll(0.2)
        if message is not None:
            error = message.error()
            if error is not None:
                return [(error.code(), None, 0)]
            found.append((int(message.offset() or 0), message.key(), message.timestamp()[1]))
    return found


def code_of(call: Any) -> int:
    try:
        call()
    except KafkaException as error:
        code: int = error.args[0].code()
        return code
    return 0


def observed(bootstrap_servers: str, name: str) -> dict[str, Any]:
    """The results that ordinary clients get from a cluster, as far as they are the same for every cluster."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    seen: dict[str, Any] = {}

    def create() -> None:
        for future in admin.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "86400000"})]).values():
            future.result(30)

    def configuration(topic: str) -> dict[str, str]:
        [future] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return {key: entry.value for key, entry in future.result(30).items()}

    seen["create"] = code_of(create), code_of(create)
    deadline = time.monotonic() + 30
    while len(admin.list_topics(name, timeout=30).topics[name].partitions) < 2:  # a real broker takes its time
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = configuration(name)
    seen["configuration"] = {key: found[key] for key in ("retention.ms", "cleanup.policy", "message.timestamp.type")}
    seen["unknown topic"] = code_of(lambda: configuration("no-such-topic"))
    assert admin.list_topics(timeout=30).controller_id > 0

    times = [1000, 3000, 2000, 5000, 5000]
    base = int(time.time() // 1000 * 1000) * 1000 - 3600_000
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "linger.ms": 50})
    for number, at in enumerate(times):
        producer.produce(name, b"value", str(number).encode(), partition=0, timestamp=base + at)
    producer.flush(30)
    with client(bootstrap_servers, **{"auto.offset.reset": "error"}) as consumer:

        def look_up() -> list[int]:
            wanted = [TopicPartition(name, 0, base + at) for at in (0, 1000, 1500, 2500, 4000, 6000)]
            return [consumer.offsets_for_times([one], timeout=30)[0].offset for one in wanted]

        seen["by time"] = look_up()
        seen["records"] = [(offset, key, at - base) for offset, key, at in fetched(consumer, name, 5)]
        consumer.commit(offsets=[TopicPartition(name, 0, 3)], asynchronous=False)
        seen["committed"] = [one.offset for one in consumer.committed([TopicPartition(name, n) for n in (0, 1)], 30)]
        [future] = admin.delete_records([TopicPartition(name, 0, 2)]).values()
        seen["deleted"] = future.result(30).low_watermark
        [beyond] = admin.delete_records([TopicPartition(name, 0, 9)]).values()
        seen["deleted beyond the end"] = code_of(lambda: beyond.result(30))
        seen["ends"] = [consumer.get_watermark_offsets(TopicPartition(name, n), timeout=30) for n in (0, 1)]
        seen["by time, of what is left"] = look_up()
        seen["deleted offset"] = fetched(consumer, name, 1)
    return seen


def test_ordinary_clients_get_the_same_results_as_from_kafka(kafka: KafkaCluster, broker: EmbeddedBroker) -> None:
    real = observed(kafka.internal_bootstrap, f"compared-{time.time_ns()}")
    assert observed(broker.bootstrap_servers, "compared") == real
    assert real["by time"] == [0, 0, 1, 1, 3, -1], "the comparison compares something"


def test_a_look_up_by_time_in_compressed_records_is_an_error(broker: EmbeddedBroker) -> None:
    topic = status_topic(broker)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "compression.type": "gzip", "linger.ms": 50})
    for _ in range(10):
        producer.produce(topic, b"x" * 1000, partition=0)
    producer.flush(30)
    with client(broker.bootstrap_servers) as consumer:
        wanted = [TopicPartition(topic, 0, 1)]
        code = code_of(lambda: consumer.offsets_for_times(wanted, timeout=30))
        assert code == KafkaError.UNSUPPORTED_COMPRESSION_TYPE
        assert len(fetched(consumer, topic, 10)) == 10, "reading them works"


def test_the_other_broker_takes_over_during_an_outage_of_one() -> None:
    with EmbeddedBroker(brokers=2) as broker:
        broker.publish(*map(status, range(10)))
        with broker.outage(1):
            broker.publish(*map(status, range(10, 20)))
            assert sorted(handle(broker.config(), 20)) == list(range(20))
        broker.publish(status(20))
        assert handle(broker.config(), 1) == [20]


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00" + bytes(600), b"\xff\xff\xff\xff", bytes(4), b"\x00\x00\x00\x08" + bytes(8)],
    ids=["TLS", "a negative size", "no size", "an unknown version"],
)
def test_a_connection_that_does_not_use_kafkas_protocol_is_closed(broker: EmbeddedBroker, sent: bytes) -> None:
    host, _, port = broker.bootstrap_servers.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(100) == b""
    broker.publish(status(1))
    assert handle(broker.config(), 1) == [1]


def test_messages_are_read_as_they_were_written() -> None:
    schema = parse_schema("a:bool b:int8 c:int64 d:string e:bytes f:[int32] g:[name:string inner:[x:int16]] h:[string]")
    value = {
        "a": True, "b": -1, "c": 2**40, "d": "ü", "e": None, "f": [1, 2],
        "g": [{"name": None, "inner": [{"x": 3}]}, {"name": "", "inner": []}], "h": None,
    }  # fmt: skip
    out = bytearray()
    schema.write(value, out)
    assert schema.read(Reader(bytes(out))) == value
    for size in range(len(out)):
        with pytest.raises(MalformedError):
            schema.read(Reader(bytes(out[:size])))
