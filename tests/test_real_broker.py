"""End to end, on a real Apache Kafka over TLS and SCRAM: the application gets exactly what is published."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream import (
    AuthenticationError,
    AuthorizationError,
    ConfigError,
    DecodeError,
    Event,
    Feed,
    PriceEvent,
    PriceUpdate,
    RaceEvent,
    RaceResultEvent,
    RaceStatusEvent,
    Recording,
    RunnerResult,
    Scratching,
    TlsError,
    UnknownTopicError,
    Unscratching,
    encode,
)
from rbhq_stream.testing import Simulator
from tests.broker import raw_producer
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.facades import Facade, both_facades
from tests.partner_configs import partner_config
from tests.waiting import wait_for

STATUS = b'{"meetingId":1,"eventNumber":2,"status":"OPEN"}'


def publish(kafka: KafkaCluster, partner: Partner, events: list[Event]) -> None:
    topics = {
        PriceEvent: partner.topics.prices,
        RaceStatusEvent: partner.topics.race_status,
        RaceResultEvent: partner.topics.race_results,
    }
    for kind, topic in topics.items():
        records = [(str(event.race_id).encode(), encode(event)) for event in events if type(event) is kind]
        if records:
            kafka.publish(topic, records)


def a_day(count: int = 3000, seed: int = 7) -> list[Event]:
    """A part of a simulated race day that has every kind of event."""
    events = [timed.event for timed in Simulator(seed=seed, meetings=1).events()]
    stride = max(1, len(events) // count)
    rare = [event for event in events if not isinstance(event, PriceEvent) or event.scratchings or event.unscratchings]
    prices = [event for event in events if isinstance(event, PriceEvent) and not event.scratchings]
    return rare + prices[::stride]


def by_race(events: list[Event]) -> dict[tuple[str, Any], list[Event]]:
    """The events of each race and kind in order, as a partition preserves it."""
    found: dict[tuple[str, Any], list[Event]] = {}
    for event in events:
        found.setdefault((type(event).__name__, event.race_id), []).append(event)
    return found


@pytest.mark.parametrize("partitions", [1, 4])
@both_facades
def test_a_simulated_day_by_iteration(
    kafka: KafkaCluster, make_partner: MakePartner, facade: Callable[..., Facade], partitions: int
) -> None:
    partner = make_partner(partitions=partitions)
    day = a_day()
    publish(kafka, partner, day)
    feed = facade(partner_config(kafka, partner))
    feed.enter()
    got = [feed.next() for _ in day]
    feed.leave()
    feed.finish()
    assert by_race(got) == by_race(day)
    for topic in partner.topics:
        assert kafka.committed(f"{partner.group_prefix}app", topic) == kafka.end_offsets(topic)


@both_facades
def test_a_simulated_day_by_callbacks(kafka: KafkaCluster, partner: Partner, facade: Callable[..., Facade]) -> None:
    day = a_day(seed=8)
    publish(kafka, partner, day)
    feed = facade(partner_config(kafka, partner))
    got: list[Event] = []
    parts: Counter[str] = Counter()

    @feed.feed.on(RaceEvent)
    def every(event: RaceEvent) -> None:
        got.append(event)  # type: ignore[arg-type]  # the three classes are all there are
        if len(got) == len(day):
            feed.feed.stop()

    for kind in (PriceUpdate, Scratching, Unscratching, RunnerResult):
        feed.feed.on(kind)(lambda part: parts.update([type(part).__name__]))
    feed.run()
    feed.finish()
    assert by_race(got) == by_race(day)
    assert parts == Counter(
        type(part).__name__
        for event in day
        for part in (
            (*event.price_updates, *event.scratchings, *event.unscratchings)
            if isinstance(event, PriceEvent)
            else event.results
            if isinstance(event, RaceResultEvent)
            else ()
        )
    )


def test_the_record_is_the_brokers(kafka: KafkaCluster, partner: Partner) -> None:
    kafka.publish(partner.topics.race_status, [(b"k", STATUS)], headers=[("trace", b"7")])
    with Feed(partner_config(kafka, partner)) as feed:
        record = next(feed).record
    assert record is not None
    assert (record.topic, record.partition, record.offset) == (partner.topics.race_status, 0, 0)
    assert (record.key, record.value, record.headers) == (b"k", STATUS, (("trace", b"7"),))
    assert record.timestamp is not None
    assert abs(record.timestamp.timestamp() - time.time()) < 60


def test_an_event_arrives_whose_header_name_is_not_utf_8(kafka: KafkaCluster, partner: Partner) -> None:
    headers = [(b"trace", b"7"), (b"caf\xe9", b"8")]
    raw_producer.publish(kafka.internal_bootstrap, partner.topics.race_status, STATUS, headers)
    kafka.publish(partner.topics.race_status, [(b"k", STATUS)])
    with Feed(partner_config(kafka, partner)) as feed:
        events = [next(feed), next(feed)]
        # the feed has committed the first by now, and the application may look as often as it likes
        found = [event.record and event.record.headers for event in events for _ in range(3)]
    assert found == [(("trace", b"7"), ("\ufffd", b"8"))] * 3 + [()] * 3


def test_a_restarted_consumer_continues_where_it_was(kafka: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(partitions=3)
    day = a_day(900)
    publish(kafka, partner, day)
    got: list[Event] = []
    while len(got) < len(day):
        with Feed(partner_config(kafka, partner)) as feed:
            for event in feed:
                got.append(event)
                if len(got) % 250 == 0 or len(got) == len(day):
                    break
    assert by_race(got) == by_race(day), "nothing twice, nothing missed, in order"


MEMBER = """
import json, sys
from rbhq_stream import Feed, FeedConfig
config = FeedConfig.from_toml(sys.argv[1])
with Feed(config) as feed:
    print("in", flush=True)
    for event in feed:
        r = event.record
        print(json.dumps([r.topic, r.partition, r.offset, str(event.race_id)]), flush=True)
"""


def test_two_processes_of_one_group_share_the_partitions(
    kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path
) -> None:
    partner = make_partner(partitions=4)
    (tmp_path / "rbhq.toml").write_text(
        f"""
        bootstrap_servers = "{kafka.bootstrap}"
        username = "{partner.username}"
        password = "{partner.password}"
        ca_file = "{kafka.ca_file}"
        group_id = "{partner.group_prefix}shared"
        session_timeout = 10
        [topics]
        prices = "{partner.topics.prices}"
        """
    )
    members = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(tmp_path / "rbhq.toml")], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for _ in range(2)
    ]
    seen: list[list[tuple[str, int, int, str]]] = [[], []]

    def read(member: int) -> None:
        out = members[member].stdout
        assert out is not None
        for line in out:
            if line.startswith("["):
                seen[member].append(tuple(json.loads(line)))

    readers = [threading.Thread(target=read, args=(member,)) for member in range(2)]
    try:
        for reader in readers:
            reader.start()
        day = [event for event in a_day(600) if isinstance(event, PriceEvent)]
        records = [(str(event.race_id).encode(), encode(event)) for event in day]
        published: list[tuple[int, int]] = []
        deadline = time.monotonic() + 60
        for _ in range(3):
            published += kafka.publish(partner.topics.prices, records)
            time.sleep(0.3)
        while not (seen[0] and seen[1]):
            assert time.monotonic() < deadline, "the partitions were never shared"
            published += kafka.publish(partner.topics.prices, records[:50])
            time.sleep(0.2)
        published += kafka.publish(partner.topics.prices, records)  # of each member's partitions
        while {(p, o) for member in seen for _, p, o, _ in member} < set(published):
            assert time.monotonic() < deadline, "not everything was seen"
            time.sleep(0.05)
    finally:
        for member in members:
            member.kill()
            member.wait()
        for reader in readers:
            reader.join()
        for member in members:
            assert member.stdout is not None
            member.stdout.close()
    assert {(p, o) for member in seen for _, p, o, _ in member} == set(published)
    last = [{p for _, p, _, _ in member[-10:]} for member in seen]
    assert not (last[0] & last[1]), "in the end each partition was one member's"


def test_a_wrong_password_is_reported_soon_and_not_shown(
    kafka: KafkaCluster, partner: Partner, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = "wr0ng-c4nary"
    began = time.monotonic()
    with pytest.raises(AuthenticationError) as raised, Feed(partner_config(kafka, partner, password=wrong)):
        pass
    assert time.monotonic() - began < 14, "connect_timeout is 15 s"
    assert "password" in str(raised.value)
    printed = "".join(capfd.readouterr()) + caplog.text + str(raised.value) + repr(raised.value)
    assert wrong not in printed
    assert partner.password not in printed


def test_the_authority_can_be_given_as_a_string(kafka: KafkaCluster, partner: Partner) -> None:
    publish(kafka, partner, a_day(10)[:5])
    with Feed(partner_config(kafka, partner, ca_file=None, ca_pem=kafka.ca_pem)) as feed:
        next(feed)


def test_the_authority_of_the_broker_is_verified_by_default(kafka: KafkaCluster, partner: Partner) -> None:
    with pytest.raises(TlsError, match=r"ca_file or ca_pem"), Feed(partner_config(kafka, partner, ca_file=None)):
        pass


def test_a_topic_without_permission_is_reported(kafka: KafkaCluster, partner: Partner) -> None:
    kafka.revoke_topic(partner.username, partner.topics.race_results)
    with pytest.raises((AuthorizationError, UnknownTopicError)) as raised, Feed(partner_config(kafka, partner)):
        pass
    assert partner.topics.race_results in str(raised.value)


def test_a_group_without_permission_is_reported(kafka: KafkaCluster, partner: Partner) -> None:
    with pytest.raises(AuthorizationError) as raised, Feed(partner_config(kafka, partner, group_id="someone-elses")):
        pass
    assert raised.value.resource == "someone-elses"


def test_a_property_that_the_client_refuses_is_a_config_error(kafka: KafkaCluster, partner: Partner) -> None:
    with pytest.raises(ConfigError, match="No such configuration property") as raised:
        Feed(partner_config(kafka, partner, kafka={"no.such.property": 1})).__enter__()
    assert raised.value.field == 'kafka["no.such.property"]'


def test_a_bad_record_has_its_coordinates_and_the_feed_continues(kafka: KafkaCluster, partner: Partner) -> None:
    topic = partner.topics.race_status
    good = b'{"meetingId":1,"eventNumber":2,"status":"OPEN"}'
    bad = b'{"meetingId":"x","eventNumber":2,"status":7}'
    kafka.publish(topic, [(b"k", good), (b"k", bad), (b"k", None), (b"k", good)])
    with Feed(partner_config(kafka, partner)) as feed:
        next(feed)
        with pytest.raises(DecodeError) as raised:
            next(feed)
        assert raised.value.record is not None
        assert raised.value.record.coordinates == (topic, 0, 1)
        assert raised.value.record.value == bad
        assert {fault.path for fault in raised.value.faults} == {"$.meetingId", "$.status"}
        record = next(feed).record
        assert record is not None
        assert record.offset == 3


def test_a_new_group_can_start_at_the_end_or_at_a_time(kafka: KafkaCluster, partner: Partner) -> None:
    from datetime import datetime, timezone  # noqa: PLC0415

    topic = partner.topics.race_status
    old = b'{"meetingId":1,"eventNumber":1,"status":"OPEN"}'
    kafka.configure_topic(topic, {"retention.ms": -1})  # they are older than a week
    kafka.publish(topic, [(b"k", old)], timestamp_ms=1_600_000_000_000)
    kafka.publish(topic, [(b"k", old)], timestamp_ms=1_700_000_000_000)
    since = datetime.fromtimestamp(1_650_000_000, timezone.utc)
    with Feed(partner_config(kafka, partner, group_id=f"{partner.group_prefix}time", start=since)) as feed:
        event = next(feed)
        assert event.record is not None
        assert event.record.offset == 1
    group = f"{partner.group_prefix}latest"
    with Feed(partner_config(kafka, partner, group_id=group, start="latest", commit_interval=0.1)) as feed:
        assert feed.poll(0.1) is None
        wait_for(lambda: kafka.committed(group, topic) == {0: 2}, "the position is committed from the beginning")
        assert feed.poll(0.1) is None
        kafka.publish(topic, [(b"k", old)])
        event = next(feed)
        assert event.record is not None
        assert event.record.offset == 2


def test_a_simulated_day_recorded_from_the_broker_replays_equal_one_by_one(
    kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path
) -> None:
    partner = make_partner(partitions=3)
    events = a_day()
    publish(kafka, partner, events)
    config = partner_config(kafka, partner, commit_interval=0.05)
    with Feed(config, record_to=tmp_path / "day") as feed:
        live = [next(feed) for _ in events]
    recording = Recording(tmp_path / "day")
    assert recording.topics == config.topics
    with Feed(config, source=recording.at()) as feed:
        replayed = list(feed)
    assert replayed == live == list(recording.events())
    assert [event.require_record() for event in replayed] == [event.require_record() for event in live]
    assert all(record.timestamp is not None for record in recording)
