"""`diagnose` against a real broker: each fault is reported by its step, in time and without a secret."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType  # type: ignore[attr-defined]  # not marked as exported

from rbhq_stream import ConfigError, FeedConfig, Topics
from rbhq_stream._diagnose import Diagnosis, Step, diagnose, progress
from rbhq_stream._kafka import probe
from rbhq_stream.testing import EmbeddedBroker
from tests.broker.certificates import untrusted_ca
from tests.broker.core import wait_until
from tests.broker.fixtures import MakePartner, Partner, new_partner
from tests.broker.kafka import KafkaCluster
from tests.broker.ports import free_port
from tests.broker.proxy import TcpProxy
from tests.partner_configs import partner_config

NETWORK = ["resolve", "connect", "tls"]
Examine = Callable[..., Diagnosis]


@pytest.fixture
def examine(caplog: pytest.LogCaptureFixture) -> Examine:
    """Calls `diagnose`, and checks what holds for every result: it is in time, can be printed, and has no password."""
    caplog.set_level(logging.DEBUG)

    def run(config: FeedConfig, timeout: float = 30.0) -> Diagnosis:
        begin = time.monotonic()
        diagnosis = diagnose(config, timeout=timeout)
        assert time.monotonic() - begin < timeout + 2
        document = json.dumps(diagnosis.to_dict())
        text = "\n".join([str(diagnosis), diagnosis.as_text(colour=True), repr(diagnosis), document, caplog.text])
        assert config.password is None or config.password.reveal() not in text
        assert [step["verdict"] for step in json.loads(document)["steps"]] == [s.verdict for s in diagnosis.steps]
        assert diagnosis.ok is json.loads(document)["ok"] is ("failed" not in {s.verdict for s in diagnosis.steps})
        for step in diagnosis.steps:
            assert step.detail
            assert bool(step.hint) is (step.verdict in ("failed", "warning")), step
        return diagnosis

    return run


def step(diagnosis: Diagnosis, name: str, target: str | None = None) -> Step:
    (found,) = [one for one in diagnosis.steps if one.name == name and target in (None, one.target)]
    return found


def only_failed(diagnosis: Diagnosis) -> Step:
    (found,) = diagnosis.failed
    return found


def skipped(diagnosis: Diagnosis) -> set[str]:
    return {one.name for one in diagnosis.steps if one.verdict == "skipped"}


CLUSTER_STEPS = {"login", "brokers", "topic", "read", "newest", "group", "position"}


# --- all is well


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_working_configuration_passes_every_step(
    kafka: KafkaCluster, partner: Partner, examine: Examine, protocol: str
) -> None:
    for topic in partner.topics:
        kafka.publish(topic, [("a", b"1"), ("b", b"2")])
    config = partner_config(kafka, partner, kafka={"group.protocol": protocol})
    diagnosis = examine(config)
    assert {one.verdict for one in diagnosis.steps} == {"ok"}, str(diagnosis)
    per_topic = [(name, topic) for topic in partner.topics for name in ("topic", "read", "newest")]
    assert [(one.name, one.target) for one in diagnosis.steps] == [
        *((name, kafka.bootstrap) for name in NETWORK),
        ("login", "cluster"),
        ("brokers", "cluster"),
        *per_topic,
        ("group", config.group_id),
        *(("position", topic) for topic in partner.topics),
    ]
    tls = step(diagnosis, "tls").facts
    assert tls["names"] == ["localhost", "127.0.0.1"]
    assert tls["days_left"] > 100_000
    assert "trustme" in tls["issuer"]
    assert step(diagnosis, "brokers").facts["brokers"] == {"1": kafka.bootstrap}
    newest = step(diagnosis, "newest", partner.topics.prices).facts
    assert 0 <= newest["age_seconds"] < 30
    assert step(diagnosis, "position", partner.topics.prices).facts == {"committed": {}}
    assert diagnosis.seconds == pytest.approx(sum(one.seconds for one in diagnosis.steps), abs=0.5)
    assert diagnosis.at.utcoffset() == timedelta(0)


def test_a_running_feed_is_not_disturbed(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    topic = partner.topics.prices
    kafka.publish(topic, [(None, b"%d" % number) for number in range(5)])
    config = partner_config(kafka, partner)
    rebalances: list[str] = []
    member = Consumer({**config.kafka_properties(), "auto.offset.reset": "earliest"})
    with closing(member):
        member.subscribe(
            [topic],
            on_assign=lambda *_: rebalances.append("assigned"),
            on_revoke=lambda *_: rebalances.append("revoked"),
            on_lost=lambda *_: rebalances.append("lost"),
        )
        read = 0
        while read < 3:
            message = member.poll(10)
            assert message is not None
            read += message.error() is None
        member.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
        diagnosis = examine(config)
        assert diagnosis.ok
        assert step(diagnosis, "position", topic).facts == {"committed": {"0": 2}, "lag": 3}
        kafka.publish(topic, [(None, b"5")])
        while read < 6:
            message = member.poll(10)
            assert message is not None
            read += message.error() is None
        assert rebalances == ["assigned"]
        assert kafka.committed(config.group_id, topic) == {0: 2}


def test_an_empty_topic_is_a_warning(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    kafka.publish(partner.topics.prices, [(None, b"1")])
    diagnosis = examine(partner_config(kafka, partner))
    assert diagnosis.ok
    assert step(diagnosis, "newest", partner.topics.prices).verdict == "ok"
    for topic in (partner.topics.race_status, partner.topics.race_results):
        assert step(diagnosis, "read", topic).verdict == "ok"
        newest = step(diagnosis, "newest", topic)
        assert (newest.verdict, newest.detail, newest.facts) == ("warning", "no records", {"age_seconds": None})


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(timedelta(hours=1), "60 min in the future"), (timedelta(days=-3), "3 days old")],
    ids=["clock", "old"],
)
def test_a_newest_record_at_a_strange_time(
    kafka: KafkaCluster, partner: Partner, examine: Examine, ahead: timedelta, expected: str
) -> None:
    topic = partner.topics.prices
    at = datetime.now(timezone.utc) + ahead
    kafka.publish(topic, [(None, b"1")], timestamp_ms=int(at.timestamp() * 1000))
    newest = step(examine(partner_config(kafka, partner, topics=Topics(prices=topic))), "newest")
    assert newest.verdict == "warning"
    assert newest.detail.startswith(expected)
    assert newest.facts["age_seconds"] == pytest.approx(-ahead.total_seconds(), abs=30)


def test_control_records_of_transactions_are_not_taken_for_records(
    kafka: KafkaCluster, make_partner: MakePartner, examine: Examine
) -> None:
    partner = make_partner(partitions=2)
    topic = partner.topics.prices
    kafka.publish(topic, [(None, b"1")], partition=0)
    kafka.publish(topic, [(None, b"2")], partition=1)
    kafka.publish_transaction(topic, [(None, b"never")], partition=1, commit=False)
    diagnosis = examine(partner_config(kafka, partner, topics=Topics(prices=topic)))
    assert step(diagnosis, "read").detail == "read offset 0 of partition 1"
    assert step(diagnosis, "topic").facts == {"partitions": 2, "leaderless": []}


def test_a_committed_offset_that_has_expired_is_a_failure(
    kafka: KafkaCluster, partner: Partner, examine: Examine
) -> None:
    topic = partner.topics.prices
    config = partner_config(kafka, partner, topics=Topics(prices=topic))
    kafka.publish(topic, [(None, b"1")] * 10)
    with closing(Consumer(config.kafka_properties())) as consumer:
        consumer.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    kafka.delete_records(topic, 0, 7)
    diagnosis = examine(config)
    assert diagnosis.ok
    position = step(diagnosis, "position")
    assert position.verdict == "warning"
    assert position.facts == {"committed": {"0": 3}, "lag": 3, "lost": {"0": 4}}
    assert "DataLossError" in position.hint
    with closing(Consumer(config.kafka_properties())) as consumer:
        consumer.commit(offsets=[TopicPartition(topic, 0, 11)], asynchronous=False)
    assert "beyond the end" in step(examine(config), "position").detail


def test_a_broker_without_tls_on_this_machine(examine: Examine) -> None:
    with EmbeddedBroker() as broker:
        diagnosis = examine(broker.config(group_id="check"))
    assert diagnosis.ok
    assert skipped(diagnosis) == {"tls", "login"}
    assert {one.verdict for one in diagnosis.steps if one.name == "read"} == {"ok"}


# --- permissions


def test_a_wrong_password_is_not_tried_again_and_again(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    config = partner_config(kafka, partner, password="canary-of-the-diagnosis")
    with TcpProxy(kafka.nodes[0].ports.client) as proxy:
        diagnosis = examine(attrs.evolve(config, bootstrap_servers=f"localhost:{proxy.port}"))
        time.sleep(1)  # nor later
        attempts = proxy.connections - 2  # one to connect, one for the certificate
    failed = only_failed(diagnosis)
    assert failed.name == "login"
    assert failed.facts["error"] == "AuthenticationError"
    assert "username and password" in failed.hint
    assert skipped(diagnosis) == CLUSTER_STEPS - {"login"}
    assert 1 <= attempts <= 4
    assert diagnosis.seconds < 15


def test_a_wrong_password_is_not_tried_at_every_broker(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    with ExitStack() as stack:
        proxies = [stack.enter_context(TcpProxy(kafka.nodes[0].ports.client)) for _ in range(5)]
        servers = [f"localhost:{proxy.port}" for proxy in proxies]
        diagnosis = examine(partner_config(kafka, partner, password="wrong-canary", bootstrap_servers=servers))
        attempts = sum(proxy.connections - 2 for proxy in proxies)
    assert only_failed(diagnosis).name == "login"
    assert 1 <= attempts <= 4


def test_no_permission_on_one_topic(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    for topic in partner.topics:
        kafka.publish(topic, [(None, b"1")])
    kafka.deny_read(partner.username, partner.topics.race_status)
    diagnosis = examine(partner_config(kafka, partner))
    failed = only_failed(diagnosis)
    assert (failed.name, failed.target) == ("topic", partner.topics.race_status)
    assert failed.facts["error"] == "AuthorizationError"
    assert {(one.name, one.target) for one in diagnosis.steps if one.verdict == "skipped"} == {
        (name, partner.topics.race_status) for name in ("read", "newest", "position")
    }


def test_a_topic_may_be_seen_but_not_read(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    topic = partner.topics.race_results
    kafka.deny(partner.username, AclOperation.READ, ResourceType.TOPIC, topic)
    diagnosis = examine(partner_config(kafka, partner))
    failed = only_failed(diagnosis)
    assert (failed.name, failed.target) == ("read", topic)
    assert failed.facts["error"] == "AuthorizationError"
    assert skipped(diagnosis) == {"newest"}


def test_no_permission_on_the_group(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    kafka.publish(partner.topics.prices, [(None, b"1")])
    diagnosis = examine(partner_config(kafka, partner, group_id="somebody-elses"))
    failed = only_failed(diagnosis)
    assert (failed.name, failed.target) == ("group", "somebody-elses")
    assert failed.facts["error"] == "AuthorizationError"
    assert skipped(diagnosis) == {"position"}
    assert step(diagnosis, "newest", partner.topics.prices).verdict == "ok"  # reading is not the group's matter
    assert diagnosis.seconds < 15


def test_without_a_group_no_permission_for_one_is_needed(
    kafka: KafkaCluster, partner: Partner, examine: Examine
) -> None:
    kafka.publish(partner.topics.prices, [(b"k", b"v")])
    kafka.revoke_group(partner.username, partner.group_prefix)
    diagnosis = examine(partner_config(kafka, partner, group_id=None, topics=Topics(prices=partner.topics.prices)))
    assert diagnosis.ok
    assert step(diagnosis, "group").verdict == "skipped"
    assert step(diagnosis, "position").detail == "a feed will start at earliest"


def test_an_unknown_topic(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    unknown = f"{partner.group_prefix}unknown"
    kafka.allow_read(partner.username, unknown)
    diagnosis = examine(
        partner_config(kafka, partner, topics=Topics(prices=partner.topics.prices, race_status=unknown))
    )
    failed = only_failed(diagnosis)
    assert (failed.name, failed.target) == ("topic", unknown)
    assert failed.facts["error"] == "UnknownTopicError"
    assert "topic names" in failed.hint
    assert step(diagnosis, "group").verdict == "ok"


def test_no_topic_at_all_but_the_group(kafka: KafkaCluster, partner: Partner, examine: Examine) -> None:
    diagnosis = examine(partner_config(kafka, partner, topics=Topics(prices="nobodys")))
    assert only_failed(diagnosis).name == "topic"
    assert step(diagnosis, "group").verdict == "ok"


# --- TLS


def tls_failure(diagnosis: Diagnosis) -> Step:
    """Returns the TLS step, which must be the only failed one, with nothing tried after it."""
    failed = only_failed(diagnosis)
    assert failed.name == "tls"
    assert failed.facts["error"] == "TlsError"
    assert skipped(diagnosis) == CLUSTER_STEPS
    assert diagnosis.seconds < 15
    return failed


@pytest.mark.parametrize("given", ["ca_file", "ca_pem", "system"])
def test_an_untrusted_authority(
    kafka: KafkaCluster, anyone: Partner, examine: Examine, tmp_path: Path, given: str
) -> None:
    ca_file = untrusted_ca(tmp_path / "ca")
    authority: dict[str, Any] = (
        {"ca_file": ca_file} if given == "ca_file" else {"ca_pem": ca_file.read_text(), "ca_file": None}
    )
    if given == "system":
        authority = {"ca_file": None}
    failed = tls_failure(examine(partner_config(kafka, anyone, **authority)))
    assert "is not trusted" in failed.detail
    assert failed.facts["names"] == ["localhost", "127.0.0.1"]
    assert ("neither ca_file nor ca_pem is set" if given == "system" else f"{given} doesn't hold") in failed.hint


@contextmanager
def shown(cluster: KafkaCluster, certificate: Path) -> Iterator[None]:
    """The cluster with another certificate."""
    cluster.use_certificate(certificate)
    try:
        # each of the broker's threads takes it up by itself
        wait_until(partial(_always_shows, cluster, certificate), "all threads show the certificate")
        yield
    finally:
        cluster.use_certificate(cluster.authority.server())


def _always_shows(cluster: KafkaCluster, certificate: Path) -> bool:
    port = cluster.nodes[0].ports.client
    expected = certificate.read_text()
    return all(ssl.get_server_certificate(("127.0.0.1", port)).strip() in expected for _ in range(8))


def test_an_expired_certificate(faulty: KafkaCluster, examine: Examine) -> None:
    partner = new_partner(faulty)
    with shown(faulty, faulty.authority.expired_server()):
        failed = tls_failure(examine(partner_config(faulty, partner)))
    assert "has expired" in failed.detail
    assert "1 days ago" in failed.detail
    assert failed.facts["days_left"] == -2
    assert "clock" in failed.hint


def test_a_certificate_for_another_host(faulty: KafkaCluster, examine: Examine) -> None:
    partner = new_partner(faulty)
    with shown(faulty, faulty.authority.server_with_wrong_hostname()):
        failed = tls_failure(examine(partner_config(faulty, partner)))
    assert "is not for localhost" in failed.detail
    assert "kafka.example.com" in failed.detail
    assert failed.facts["names"] == ["kafka.example.com"]
    assert "bootstrap_servers" in failed.hint


def test_a_plaintext_port_given_for_tls(kafka: KafkaCluster, anyone: Partner, examine: Examine) -> None:
    failed = tls_failure(examine(partner_config(kafka, anyone, bootstrap_servers=kafka.internal_bootstrap)))
    assert "speaks Kafka without TLS" in failed.detail


def test_a_tls_port_given_for_plaintext(kafka: KafkaCluster, anyone: Partner, examine: Examine) -> None:
    config = partner_config(kafka, anyone, security="PLAINTEXT", username=None, password=None, ca_file=None)
    failed = tls_failure(examine(config))
    assert "speaks TLS, but security is PLAINTEXT" in failed.detail


@pytest.mark.parametrize("security", ["SASL_SSL", "PLAINTEXT"])
def test_a_server_that_is_not_a_kafka_broker_is_a_failure(
    kafka: KafkaCluster, anyone: Partner, examine: Examine, security: str
) -> None:
    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # the test is over
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = progress.in_background(answer)
        login: dict[str, Any] = {} if security == "SASL_SSL" else {"username": None, "password": None, "ca_file": None}
        config = partner_config(
            kafka,
            anyone,
            bootstrap_servers=f"localhost:{server.getsockname()[1]}",
            security=security,
            **login,
        )
        failed = tls_failure(examine(config, timeout=3))
        server.shutdown(socket.SHUT_RDWR)
        thread.result(5)
    assert "handshake" in failed.detail or "neither Kafka nor TLS" in failed.detail


# --- the network


def test_a_name_that_does_not_resolve(kafka: KafkaCluster, anyone: Partner, examine: Examine) -> None:
    diagnosis = examine(partner_config(kafka, anyone, bootstrap_servers="no-such-host.invalid"))
    failed = only_failed(diagnosis)
    assert (failed.name, failed.target) == ("resolve", "no-such-host.invalid:9196")
    assert failed.facts["error"] == "UnreachableError"
    assert skipped(diagnosis) == {"connect", "tls"} | CLUSTER_STEPS


def test_a_dns_that_does_not_respond_is_a_failure(
    kafka: KafkaCluster, anyone: Partner, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: time.sleep(5))
    diagnosis = examine(partner_config(kafka, anyone), timeout=3)
    assert only_failed(diagnosis).detail.startswith("no response from the DNS")
    assert diagnosis.seconds < 2.9


def test_nothing_listens(kafka: KafkaCluster, anyone: Partner, examine: Examine) -> None:
    port = free_port()
    diagnosis = examine(partner_config(kafka, anyone, bootstrap_servers=f"127.0.0.1:{port}"))
    failed = only_failed(diagnosis)
    assert failed.name == "connect"
    assert "refused" in failed.detail
    assert f"nothing listens on port {port}" in failed.hint
    assert skipped(diagnosis) == {"tls"} | CLUSTER_STEPS
    assert diagnosis.seconds < 15


@contextmanager
def black_hole() -> Iterator[int]:
    """A loopback port whose queue of connections is full: the system silently drops all further connections."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_a_black_hole(kafka: KafkaCluster, anyone: Partner, examine: Examine) -> None:
    with black_hole() as port:
        diagnosis = examine(partner_config(kafka, anyone, bootstrap_servers=f"127.0.0.1:{port}"), timeout=3)
    failed = only_failed(diagnosis)
    assert failed.name == "connect"
    assert "timed out" in failed.detail
    assert "whitelisted" in failed.hint
    assert f"port {port}" in failed.hint
    assert "9196" in failed.hint


def test_a_black_hole_does_not_stop_the_others(kafka: KafkaCluster, anyone: Partner, examine: Examine) -> None:
    with black_hole() as port:
        servers = f"127.0.0.1:{port},{kafka.bootstrap},no-such-host.invalid"
        # a third of it for the black hole; then each step needs the time for one more log-in
        diagnosis = examine(partner_config(kafka, anyone, bootstrap_servers=servers), timeout=12)
    assert [one.name for one in diagnosis.failed] == ["connect", "resolve"]
    assert step(diagnosis, "read", anyone.topics.prices).verdict == "ok"
    assert diagnosis.seconds < 11


def test_another_address_is_tried(
    kafka: KafkaCluster, anyone: Partner, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = partner_config(kafka, anyone)
    real = socket.getaddrinfo
    port = kafka.nodes[0].ports.client

    def two(host: str, *arguments: Any) -> Any:
        found = real(host, *arguments)
        return [(*found[0][:4], ("127.0.0.2", port)), *found] if host == "localhost" else found

    monkeypatch.setattr(socket, "getaddrinfo", two)
    connect = step(examine(config), "connect")
    assert connect.verdict == "ok"
    assert connect.detail == "127.0.0.2: connection refused; connected to 127.0.0.1"


@pytest.mark.parametrize("swallow", [False, True])
def test_connections_that_carry_no_data_are_a_failure(faulty: KafkaCluster, examine: Examine, swallow: bool) -> None:
    partner = new_partner(faulty)
    faulty.proxies[0].blackhole(swallow=swallow)
    try:
        diagnosis = examine(partner_config(faulty, partner), timeout=3)
    finally:
        faulty.proxies[0].reset()
    failed = tls_failure(diagnosis)
    assert "nothing was received" in failed.detail
    assert "whitelisted" in failed.hint


def test_the_brokers_that_the_cluster_advertises_are_checked(faulty: KafkaCluster, examine: Examine) -> None:
    partner = new_partner(faulty)
    direct = f"127.0.0.1:{faulty.nodes[0].ports.client}"
    diagnosis = examine(partner_config(faulty, partner, bootstrap_servers=direct))
    assert diagnosis.ok
    names = [(one.name, one.target) for one in diagnosis.steps]
    assert names[:8] == [
        *((name, direct) for name in NETWORK),
        ("login", "cluster"),
        ("brokers", "cluster"),
        *((name, faulty.bootstrap) for name in NETWORK),
    ]


def test_an_advertised_broker_that_cannot_be_reached_is_a_failure(faulty: KafkaCluster, examine: Examine) -> None:
    partner = new_partner(faulty)
    direct = f"127.0.0.1:{faulty.nodes[0].ports.client}"
    faulty.proxies[0].refuse()
    try:
        diagnosis = examine(partner_config(faulty, partner, bootstrap_servers=direct), timeout=6)
    finally:
        faulty.proxies[0].reset()
    assert step(diagnosis, "login").verdict == "ok"
    # whether the client still gets an answer from the broker that it began with is a matter of luck
    connect = step(diagnosis, "connect", faulty.bootstrap)
    assert connect.verdict == "failed"
    assert connect.hint.startswith("The cluster itself names this address")
    assert {one.name for one in diagnosis.failed} <= {"brokers", "connect", "topic", "read", "group"}


def test_brokers_that_stop_responding_after_the_log_in_are_a_failure(
    faulty: KafkaCluster, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = new_partner(faulty)
    ask = probe.Probe.cluster

    def cluster(self: probe.Probe, topic: str, deadline: float) -> probe.Cluster:
        answer = ask(self, topic, deadline)
        faulty.proxies[0].blackhole()
        return answer

    monkeypatch.setattr(probe.Probe, "cluster", cluster)
    try:
        diagnosis = examine(partner_config(faulty, partner), timeout=8)
    finally:
        faulty.proxies[0].reset()
    assert [one.name for one in diagnosis.failed] == ["topic", "topic", "topic", "group"]
    assert {one.facts["error"] for one in diagnosis.failed} == {"UnreachableError"}


def test_a_step_that_hangs_fails_at_the_deadline(
    kafka: KafkaCluster, anyone: Partner, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.Probe, "topic", lambda *_: time.sleep(6))
    diagnosis = examine(partner_config(kafka, anyone), timeout=4)
    assert not diagnosis.ok
    assert step(diagnosis, "topic", anyone.topics.prices).detail.startswith("no response within")
    assert step(diagnosis, "group").detail == "not tried: the 4 s were over"
    time.sleep(2.5)  # the client is still to be closed


def test_a_bug_of_ours_is_a_failed_step(
    kafka: KafkaCluster, anyone: Partner, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(probe.Probe, "newest", broken)
    diagnosis = examine(partner_config(kafka, anyone, topics=Topics(prices=anyone.topics.prices)))
    assert only_failed(diagnosis).detail == "unexpected: ZeroDivisionError('oh')"
    assert step(diagnosis, "group").verdict == "ok"


# --- what it is asked


def test_a_property_that_the_client_refuses_is_a_config_error(kafka: KafkaCluster, anyone: Partner) -> None:
    with TcpProxy(kafka.nodes[0].ports.client) as proxy:
        servers = f"localhost:{proxy.port}"
        config = partner_config(kafka, anyone, bootstrap_servers=servers, kafka={"fetch.min.bytes": -5})
        with pytest.raises(ConfigError, match=r"fetch\.min\.bytes"):
            diagnose(config)
        assert proxy.connections == 0


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_has_to_be_positive(kafka: KafkaCluster, anyone: Partner, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        diagnose(partner_config(kafka, anyone), timeout=timeout)


def test_what_the_network_sends_is_printed_on_one_line() -> None:
    one = Step("tls", "host:1", "failed", "evil\x1b[2Jname\nsecond", "a\r\nb")
    assert (one.detail, one.hint) == ("evil [2Jname second", "a  b")


def test_the_documentation_has_each_step() -> None:
    page = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
    names = re.findall(r"^### `(\w+)`", page.read_text(encoding="utf-8"), re.MULTILINE)
    with EmbeddedBroker() as broker:
        diagnosis = diagnose(broker.config(group_id="check"))
    assert names == list(dict.fromkeys(one.name for one in diagnosis.steps))
