"""The Kafka client's properties that a `FeedConfig` makes, and which raw properties it accepts."""

from __future__ import annotations

import ctypes
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import confluent_kafka
import confluent_kafka.cimpl
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream._config import FeedConfig
from rbhq_stream._config.feed_config import GROUP_PROPERTIES, NO_GROUP
from rbhq_stream._config.properties import (
    MINIMUM,
    REFUSED,
    REFUSED_PATTERNS,
    KafkaProperties,
    RawProperties,
    Secret,
    is_sensitive,
    refusal,
)
from rbhq_stream.errors import ConfigError

LEAST: dict[str, Any] = {
    "bootstrap_servers": "a,b:9092",
    "username": "partner",
    "password": "correct horse",
    "topics": {"prices": "prices"},
    "group_id": "pricing",
}
LOCAL: dict[str, Any] = {**LEAST, "security": "PLAINTEXT", "username": None, "password": None}


def config(**fields: Any) -> FeedConfig:
    return FeedConfig(**{**LEAST, **fields})


def refused(properties: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config(kafka=properties)
    return caught.value


def made(config: FeedConfig) -> None:
    """Lets librdkafka check the properties. Without a broker to connect to, it does not use the network."""
    properties = config.kafka_properties()
    del properties["bootstrap.servers"]
    confluent_kafka.Consumer(properties).close()


@pytest.mark.parametrize(("platform", "authorities"), [("linux", {"ssl.ca.location": "probe"}), ("win32", {})])
def test_the_kafka_client_gets_these_properties(
    platform: str, authorities: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert config().kafka_properties() == {
        "bootstrap.servers": "a:9196,b:9092",
        "client.id": "rbhq-stream",
        "group.id": "pricing",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "partner",
        "sasl.password": "correct horse",
        "ssl.endpoint.identification.algorithm": "https",
        **authorities,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "session.timeout.ms": 45_000,
        "heartbeat.interval.ms": 3_000,
        "max.poll.interval.ms": 300_000,
        "partition.assignment.strategy": "cooperative-sticky",
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 10,
        "fetch.max.bytes": 4 * 1024 * 1024,
        "socket.timeout.ms": 15_000,
        "socket.keepalive.enable": True,
        "socket.connection.setup.timeout.ms": 10_000,
        "reconnect.backoff.ms": 500,
        "reconnect.backoff.max.ms": 5_000,
    }


def test_a_local_broker_has_neither_tls_nor_login() -> None:
    properties = FeedConfig(**LOCAL).kafka_properties()
    assert properties["security.protocol"] == "PLAINTEXT"
    assert [name for name in properties if name.startswith(("sasl.", "ssl."))] == []
    made(FeedConfig(**LOCAL))


def test_the_authority_becomes_a_property(tmp_path: Path) -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    file = tmp_path / "ca.pem"
    file.write_text(pem)
    by_file = config(ca_file=file)
    assert by_file.kafka_properties()["ssl.ca.location"] == str(file)
    assert "ssl.ca.pem" not in by_file.kafka_properties()
    by_text = config(ca_pem=pem)
    assert by_text.kafka_properties()["ssl.ca.pem"] == pem
    assert "ssl.ca.location" not in by_text.kafka_properties()
    made(by_file)
    made(by_text)


def test_the_other_fields_become_properties() -> None:
    properties = config(
        group_instance_id="host-1",
        client_id="desk",
        session_timeout=6,
        max_poll_interval=60.0004,
        kafka={"fetch.min.bytes": 2, "queued.min.messages": 7, "client.rack": "r1", "check.crcs": True},
    ).kafka_properties()
    assert properties["group.instance.id"] == "host-1"
    assert properties["client.id"] == "desk"
    assert properties["session.timeout.ms"] == 6000
    assert properties["heartbeat.interval.ms"] == 2000
    assert properties["max.poll.interval.ms"] == 60_000
    assert properties["fetch.min.bytes"] == 2
    assert properties["queued.min.messages"] == 7
    assert properties["client.rack"] == "r1"
    assert properties["check.crcs"] is True


@given(
    st.floats(0.001, 3600),
    st.floats(0.001, 86_400),
    st.sampled_from([None, "x"]),
    st.sampled_from(["classic", "consumer", "Consumer", None]),
    st.sampled_from(["app", None]),
)
def test_librdkafka_accepts_every_value_that_the_fields_accept(
    session: float, poll: float, instance: str | None, protocol: str | None, group_id: str | None
) -> None:
    fields: dict[str, Any] = {"group_id": group_id, "group_instance_id": instance, "max_poll_interval": poll}
    if protocol is not None:
        fields["kafka"] = {"group.protocol": protocol}
    if protocol in {None, "classic"}:
        fields["session_timeout"] = min(session, poll)
    made(FeedConfig(**{**LOCAL, **fields}))


# without a group


def test_without_a_group_no_property_of_one_is_sent() -> None:
    strategy = {"partition.assignment.strategy": "range", "heartbeat.interval.ms": 10}
    for kafka in ({}, strategy, {"group.protocol": "consumer", "group.remote.assignor": "uniform"}):
        without = config(group_id=None, group_instance_id="host-1", max_poll_interval=1, kafka=kafka)
        properties = without.kafka_properties()
        assert not set(GROUP_PROPERTIES) & set(properties)
        assert properties["group.id"] == NO_GROUP
        made(without)
    assert set(config(kafka=strategy).kafka_properties()) - set(properties) <= set(GROUP_PROPERTIES)


# the group protocol of KIP-848


def test_the_consumer_protocol_leaves_session_and_assignment_to_the_broker() -> None:
    properties = config(kafka={"group.protocol": "consumer"}).kafka_properties()
    assert properties["group.protocol"] == "consumer"
    for name in ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"):
        assert name not in properties
    made(config(kafka={"group.protocol": "consumer", "group.remote.assignor": "uniform"}))


def test_an_integer_has_at_most_64_bits() -> None:
    for value in (-(2**63), 2**63 - 1):
        assert config(kafka={"new.property": value}).kafka == {"new.property": value}
    for value in (-(2**63) - 1, 2**63):
        assert refused({"new.property": value}).problem == "expected an integer of at most 64 bits"


@pytest.mark.parametrize("name", ["partition.assignment.strategy", "heartbeat.interval.ms"])
def test_the_consumer_protocol_refuses_properties_that_the_broker_sets(name: str) -> None:
    error = refused({"group.protocol": "consumer", name: "1000"})
    assert error.field == f'kafka["{name}"]'
    assert "the broker sets it" in error.problem


def test_the_consumer_protocol_refuses_a_session_timeout() -> None:
    with pytest.raises(ConfigError, match="there the broker sets it") as caught:
        config(session_timeout=30, kafka={"group.protocol": "consumer"})
    assert caught.value.field == "session_timeout"


def test_the_heartbeat_is_shorter_than_the_session() -> None:
    made(config(kafka={"heartbeat.interval.ms": 1000}))
    for value in (45_000, "45000"):
        error = refused({"heartbeat.interval.ms": value})
        assert error.field == 'kafka["heartbeat.interval.ms"]'
        assert "shorter than session_timeout" in error.problem


def test_another_assignor_may_be_set() -> None:
    properties = config(kafka={"partition.assignment.strategy": "range"}).kafka_properties()
    assert properties["partition.assignment.strategy"] == "range"


# raw properties


@pytest.mark.parametrize("name", REFUSED)
def test_a_property_that_would_break_a_guarantee_is_refused(name: str) -> None:
    error = refused({"client.rack": "r", name: "canary"})
    assert error.field == f'kafka["{name}"]'
    assert error.problem == REFUSED[name]
    assert "can't be set" in error.problem
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "error_cb",
        "stats_cb",
        "throttle_cb",
        "log_cb",
        "oauth_cb",
        "oauthbearer_token_refresh_cb",
        "rebalance_cb",
        "offset_commit_cb",
        "consume_cb",
        "background_event_cb",
        "socket_cb",
        "connect_cb",
        "closesocket_cb",
        "open_cb",
        "resolve_cb",
        "ssl.certificate.verify_cb",
        "test.mock.num.brokers",
        "test.mock.broker.rtt",
        "ut_handle_ProduceResponse",
        # librdkafka takes the properties of topics under a second name too
        "topic.auto.offset.reset",
        "topic.enable.auto.commit",
        "topic.auto.commit.enable",
        "topic.offset.store.method",
        "topic.topic.auto.offset.reset",
    ],
)
def test_a_property_of_a_refused_family_is_refused(name: str) -> None:
    error = refused({name: lambda *_: None})
    assert error.field == f'kafka["{name}"]'
    assert "can't be set" in error.problem


@pytest.mark.parametrize(
    "name",
    [
        "fetch.min.bytes",
        "topic.metadata.refresh.interval.ms",
        "ssl.key.location",
        "group.protocol",
        "log_level",
        "debug",
        "metadata.recovery.strategy",
    ],
)
def test_other_properties_are_accepted(name: str) -> None:
    assert refusal(name) is None


def test_each_refusal_names_the_alternative_if_there_is_one() -> None:
    fields = {attribute.name for attribute in attrs.fields(FeedConfig)}
    for reason in {*REFUSED.values(), *REFUSED_PATTERNS.values()}:
        named = reason.partition("use the field ")[2].split(" ")[0].rstrip(".")
        assert not named or named.split("[")[0] in fields, reason


@pytest.mark.parametrize("name", MINIMUM)
@pytest.mark.parametrize("kind", [int, str, Secret, float])
def test_a_property_below_its_minimum_is_refused(name: str, kind: Callable[[Any], Any]) -> None:
    least, reason = MINIMUM[name]
    made = config(kafka={name: kind(str(least)) if kind is Secret else kind(least)})
    assert made.kafka_properties()[name] in (least, str(least))
    for value in (least - 1, -1):
        error = refused({name: kind(str(value)) if kind is Secret else kind(value)})
        assert error.field == f'kafka["{name}"]'
        assert error.problem == f"expected an integer of at least {least}: {reason}"


REVIEWED = """
    acks delivery.timeout.ms linger.ms max.in.flight max.partition.fetch.bytes retries
    batch.num.messages batch.size broker.address.family broker.address.ttl builtin.features check.crcs client.rack
    client.software.name compression.codec compression.level compression.type connections.max.idle.ms
    consume.callback.max.messages coordinator.query.interval.ms debug delivery.report.only.error
    enable.gapless.guarantee enable.idempotence enable.metrics.push enable.random.seed
    enable.sasl.oauthbearer.unsecure.jwt enable_sasl_queue fetch.error.backoff.ms fetch.max.bytes
    fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms group.protocol
    group.remote.assignor heartbeat.interval.ms https.ca.location https.ca.pem log.thread.name
    max.in.flight.requests.per.connection max.poll.records message.copy.max.bytes message.max.bytes
    message.send.max.retries message.timeout.ms metadata.max.age.ms metadata.recovery.rebootstrap.trigger.ms
    metadata.recovery.strategy metadata.request.timeout.ms api.version.request.timeout.ms msg_order_cmp
    partition.assignment.strategy partitioner produce.offset.report queue.buffering.backpressure.threshold
    queue.buffering.max.kbytes queue.buffering.max.messages queue.buffering.max.ms queued.max.messages.kbytes
    queued.min.messages queuing.strategy receive.message.max.bytes reconnect.backoff.jitter.ms request.required.acks
    request.timeout.ms retry.backoff.max.ms retry.backoff.ms share.acknowledgement.mode socket.blocking.max.ms
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.nagle.disable socket.receive.buffer.bytes
    socket.send.buffer.bytes socket.timeout.ms ssl.ca.certificate.stores ssl.certificate.location ssl.certificate.pem
    ssl.cipher.suites ssl.crl.location ssl.curves.list ssl.key.location ssl.key.password ssl.key.pem
    ssl.keystore.location ssl.keystore.password ssl.sigalgs.list sticky.partitioning.linger.ms
    topic.metadata.propagation.max.ms topic.metadata.refresh.fast.cnt topic.metadata.refresh.fast.interval.ms
    topic.metadata.refresh.sparse transaction.timeout.ms transactional.id
"""
"""The properties that may be set to anything that librdkafka accepts: none breaks a guarantee. Those of a producer, and
those for ways to log in that the feed doesn't use (`sasl.kerberos.*`, `sasl.oauthbearer.*`), have no effect."""


def documented_properties(library: ctypes.CDLL, path: Path) -> set[str]:
    """Returns the properties that the library documents, callbacks included."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(bytes(path), b"w"))
    library.rd_kafka_conf_properties_show(file)
    libc.fclose(file)
    rows = [line.split("|")[0].strip() for line in path.read_text().splitlines() if "|" in line]
    return {name for name in rows if not name.startswith(("Property", "--"))}


def hidden_properties(library: ctypes.CDLL) -> set[str]:
    """Returns the properties that have a default, documented or not."""
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_conf_dump.restype = ctypes.POINTER(ctypes.c_char_p)
    conf, count = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.c_size_t()
    pairs = library.rd_kafka_conf_dump(conf, ctypes.byref(count))
    names = {pairs[number].decode() for number in range(0, count.value, 2)}
    library.rd_kafka_conf_dump_free(pairs, count)
    library.rd_kafka_conf_destroy(conf)
    return names


def test_every_property_of_librdkafka_was_reviewed(tmp_path: Path) -> None:
    """A new version may have one that breaks a guarantee: read what it does, then refuse it or add it above."""
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    known = documented_properties(library, tmp_path / "properties.md") | hidden_properties(library)
    assert {"isolation.level", "ssl.ca.pem", "enable.sparse.connections"} <= known
    unused = {name for name in known if name.startswith(("sasl.kerberos.", "sasl.oauthbearer."))}
    assert {name for name in known - unused - set(REVIEWED.split()) - set(MINIMUM) if refusal(name) is None} == set()


@pytest.mark.parametrize("name", ["", " ", "fetch min", "fetch.min.bytes ", "a\0b", "a=b", "ä", 7, None])
def test_what_cannot_be_the_name_of_a_property_is_refused(name: Any) -> None:
    error = refused({name: 1})
    assert error.field == f'kafka["{name}"]'
    assert "is not the name of a property of librdkafka" in error.problem


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("client.rack", None, "got NoneType"),
        ("client.rack", ["a"], "got list"),
        ("client.rack", b"a", "got bytes"),
        ("client.rack", "a\0b", "NUL"),
        ("client.rack", "\udc80", "half a surrogate pair"),
        ("client.rack", 0.5, "integer, got 0.5"),
        ("client.rack", float("nan"), "integer, got nan"),
        ("client.rack", float("inf"), "integer, got inf"),
        # librdkafka would read these as 5
        ("fetch.wait.max.ms", "5s", "integer, got '5s'"),
        ("fetch.wait.max.ms", "5e3", "integer, got '5e3'"),
        ("fetch.min.bytes", "5.5", "integer, got '5.5'"),
        ("fetch.min.bytes", "", "integer, got ''"),
        ("fetch.min.bytes", "0x10", "integer, got '0x10'"),
        ("fetch.min.bytes", True, "integer, got True"),
        ("queued.min.messages", "many", "integer, got 'many'"),
    ],
)
def test_a_bad_value_of_a_property_is_refused(name: str, value: Any, problem: str) -> None:
    error = refused({name: value})
    assert error.field == f'kafka["{name}"]'
    assert problem in error.problem


@pytest.mark.parametrize("value", [7, None, "fetch.min.bytes=1", ["fetch.min.bytes"]])
def test_kafka_must_be_a_mapping(value: Any) -> None:
    error = refused(value)
    assert error.field == "kafka"
    assert "expected a mapping" in error.problem


def test_a_float_without_a_fraction_is_an_integer() -> None:
    # its text, 1e+16, would be read as 1
    assert config(kafka={"fetch.min.bytes": 1e16}).kafka["fetch.min.bytes"] == 10**16
    assert type(config(kafka={"fetch.min.bytes": 1.0}).kafka["fetch.min.bytes"]) is int


def test_raw_properties_are_hashable_and_comparable() -> None:
    given: dict[str, Any] = {"fetch.min.bytes": 1, "client.rack": "r"}
    made = config(kafka=given)
    given["fetch.min.bytes"] = 2
    assert made.kafka == {"fetch.min.bytes": 1, "client.rack": "r"}
    assert len(made.kafka) == 2
    assert made == config(kafka={"client.rack": "r", "fetch.min.bytes": 1})
    assert hash(made) == hash(config(kafka={"client.rack": "r", "fetch.min.bytes": 1}))
    assert pickle.loads(pickle.dumps(made.kafka)) == made.kafka
    assert config(kafka=made.kafka).kafka is made.kafka
    with pytest.raises(TypeError):
        made.kafka["fetch.min.bytes"] = 2  # type: ignore[index]
    assert not isinstance(made.kafka, dict)
    assert RawProperties() == {}


# printing

SENSITIVE = [
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.password",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
]


@pytest.mark.parametrize("name", SENSITIVE)
def test_sensitive_properties_become_secrets(name: str) -> None:
    assert is_sensitive(name)
    if refusal(name):
        return
    made = config(kafka={name: "canary"})
    assert made.kafka[name] == Secret("canary")
    assert made == config(kafka={name: Secret("canary")})
    assert "canary" not in f"{made!r} {made.kafka!r} {dict(made.kafka)} {attrs.asdict(made)}"
    assert made.kafka_properties()[name] == "canary"


@pytest.mark.parametrize("name", ["ssl.key.location", "ssl.certificate.pem", "sasl.username", "fetch.min.bytes"])
def test_other_properties_are_shown(name: str) -> None:
    assert not is_sensitive(name)


def test_kafka_properties_print_masked() -> None:
    properties = config(kafka={"ssl.key.password": "canary"}).kafka_properties()
    again = [properties, properties.copy(), properties | {"x": 1}, {"x": 1} | properties]
    again.append(pickle.loads(pickle.dumps(properties)))
    for one in again:
        assert isinstance(one, KafkaProperties)
        assert one["sasl.password"] == "correct horse"
        for text in (repr(one), str(one), f"{one}", f"{one!r}", "%s" % one):  # noqa: UP031  # it is tested too
            assert "correct horse" not in text
            assert "canary" not in text
            assert "'sasl.username': 'partner'" in text


def test_librdkafka_accepts_the_properties_that_it_documents() -> None:
    made(config(kafka={"fetch.min.bytes": "2", "check.crcs": True, "log_level": 7}))


@pytest.mark.parametrize(
    ("properties", "problem"),
    [({"no.such": 1}, "No such configuration property"), ({"fetch.min.bytes": -1}, "outside allowed range")],
)
def test_a_property_that_only_librdkafka_knows_to_be_wrong_is_refused_on_entering(
    properties: dict[str, Any], problem: str
) -> None:
    with pytest.raises(confluent_kafka.KafkaException, match=problem):
        made(config(kafka=properties))
