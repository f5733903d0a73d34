"""What keeps a feed from working is reported by a typed error, in time: while it connects, and while it runs."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from confluent_kafka.admin import AclOperation, ResourceType  # type: ignore[attr-defined]  # not marked as exported

from rbhq_stream import (
    AuthenticationError,
    AuthorizationError,
    ConnectError,
    Feed,
    TlsError,
    Topics,
    UnknownTopicError,
    UnreachableError,
)
from rbhq_stream._kafka import topics
from tests.broker.certificates import untrusted_ca
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.broker.ports import free_port
from tests.reliability.flow import Member, publish, status_config
from tests.waiting import wait_for

CANARY = "c4nary-p4ssword"
SOON = 15.0
"""Seconds within which a certain cause is reported, whatever `connect_timeout` is. Without load it takes up to 3 s."""


@frozen
class Case:
    """One fault, and the error that the feed raises for it."""

    fields: Callable[[KafkaCluster, Partner, Path], dict[str, Any]]
    error: type[ConnectError]
    text: str
    knows: Callable[[KafkaCluster, Partner], dict[str, Any]] = lambda cluster, partner: {}
    is_certain: bool = True
    certificate: str = "server"


def at_the_proxy(cluster: KafkaCluster, partner: Partner) -> dict[str, Any]:
    return {"broker": cluster.bootstrap}


CASES = {
    "wrong password": Case(
        lambda cluster, partner, path: {"password": CANARY}, AuthenticationError, "username and password", at_the_proxy
    ),
    "wrong user": Case(
        lambda cluster, partner, path: {"username": "nobody"},
        AuthenticationError,
        "username and password",
        at_the_proxy,
    ),
    "no right to a topic": Case(
        lambda cluster, partner, path: {
            "topics": Topics(race_status=partner.topics.race_status, prices="someone-elses")
        },
        AuthorizationError,
        "Ask RBHQ",
        lambda cluster, partner: {"resource": "someone-elses"},
    ),
    "no right to the group": Case(
        lambda cluster, partner, path: {"group_id": "someone-elses"},
        AuthorizationError,
        "Ask RBHQ",
        lambda cluster, partner: {"resource": "someone-elses"},
    ),
    "unknown topic": Case(
        lambda cluster, partner, path: {"topics": Topics(prices=f"{partner.group_prefix}missing")},
        UnknownTopicError,
        "Compare the topic names",
        lambda cluster, partner: {"topic": f"{partner.group_prefix}missing"},
    ),
    "untrusted authority": Case(
        lambda cluster, partner, path: {"ca_file": untrusted_ca(path)}, TlsError, "ca_file or ca_pem", at_the_proxy
    ),
    "other host's certificate": Case(
        lambda cluster, partner, path: {},
        TlsError,
        "names that are in the certificate",
        certificate="server_with_wrong_hostname",
    ),
    "expired certificate": Case(
        lambda cluster, partner, path: {}, TlsError, "has not expired", certificate="expired_server"
    ),
    "TLS to a plaintext port": Case(
        lambda cluster, partner, path: {"bootstrap_servers": f"127.0.0.1:{cluster.nodes[0].ports.internal}"},
        TlsError,
        "the port is the TLS one",
    ),
    "plaintext to a TLS port": Case(
        lambda cluster, partner, path: {"security": "PLAINTEXT", "username": None, "password": None, "ca_file": None},
        TlsError,
        'security="SASL_SSL"',
        at_the_proxy,
    ),
    "no such name": Case(
        lambda cluster, partner, path: {"bootstrap_servers": "no-such-host.invalid:9196"},
        UnreachableError,
        "DNS",
        lambda cluster, partner: {"broker": "no-such-host.invalid:9196"},
    ),
    "nothing listens": Case(
        lambda cluster, partner, path: {"bootstrap_servers": f"localhost:{free_port()}"},
        UnreachableError,
        "whitelisted",
        is_certain=False,
    ),
    "black hole": Case(
        lambda cluster, partner, path: {"connect_timeout": 2.0}, UnreachableError, "9196 for RBHQ", is_certain=False
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_permanent_error_is_raised_in_time(
    proxied: KafkaCluster,
    make_partner: MakePartner,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    case, partner = CASES[name], make_partner(proxied)
    proxied.allow_read(partner.username, f"{partner.group_prefix}missing")
    caplog.set_level(logging.DEBUG)
    proxy = proxied.proxies[0]
    timeout = 30.0 if case.is_certain else 2.0
    config = status_config(proxied, partner, **{"connect_timeout": timeout, **case.fields(proxied, partner, tmp_path)})
    if case.certificate != "server":
        proxied.use_certificate(getattr(proxied.authority, case.certificate)())
    if name == "black hole":
        proxy.blackhole()
    before, began = proxy.connections, time.monotonic()
    try:
        with pytest.raises(case.error) as raised, Feed(config):
            pass
        took = time.monotonic() - began
        if case.error is AuthenticationError:
            time.sleep(1.5)  # and none is made afterwards
            assert proxy.connections - before <= 5
    finally:
        proxy.resume()
        if case.certificate != "server":
            proxied.use_certificate(proxied.authority.server())
    error = raised.value
    print(f"{name}: {type(error).__name__} after {took:.1f} s")
    assert type(error) is case.error
    assert took < (SOON if case.is_certain else timeout + 1.0)
    assert case.text in str(error)
    for field, value in case.knows(proxied, partner).items():
        assert getattr(error, field) == value
    printed = "".join(capfd.readouterr()) + caplog.text + f"{error} {error!r} {vars(error)} {config!r}"
    assert CANARY not in printed
    assert partner.password not in printed


def test_one_of_three_bootstrap_brokers_is_enough(kafka: KafkaCluster, partner: Partner) -> None:
    """Nothing listens at one, the name of another doesn't exist, wherever the good one stands."""
    dead = [f"localhost:{free_port()}", "no-such-host.invalid:9196"]
    publish(kafka, partner)
    for at in range(3):
        servers = [*dead[:at], kafka.bootstrap, *dead[at:]]
        config = status_config(kafka, partner, bootstrap_servers=servers, group_id=f"{partner.group_prefix}{at}")
        with Feed(config) as feed:
            assert feed.poll(10) is not None


def test_the_feed_waits_for_a_broker_that_starts_late(proxied: KafkaCluster, make_partner: MakePartner) -> None:
    partner, proxy = make_partner(proxied), proxied.proxies[0]
    publish(proxied, partner)
    proxy.refuse()
    try:
        with Member(status_config(proxied, partner)) as member:
            time.sleep(2.5)
            proxy.accept()
            wait_for(lambda: len(member.seen) == 1, "it connects once there is a broker")
    finally:
        proxy.reset()


def test_a_connection_that_breaks_while_connecting_is_not_a_refusal(
    proxied: KafkaCluster, make_partner: MakePartner
) -> None:
    """The client reports a log-in that the network cut short as a refused one."""
    partner, proxy = make_partner(proxied), proxied.proxies[0]
    publish(proxied, partner)
    failures = []
    for after in (*range(0, 5000, 1000), *(random.randrange(5000) for _ in range(4))):
        proxy.cut_after(after)
        group = f"{partner.group_prefix}{after}"
        try:
            with Feed(status_config(proxied, partner, group_id=group)) as feed:
                assert feed.poll(10) is not None
        except ConnectError as error:
            failures.append((after, error))
        finally:
            proxy.reset()
    assert not failures


def test_the_feed_waits_for_a_topic_that_is_not_known_yet(kafka: KafkaCluster, partner: Partner) -> None:
    late = f"{partner.group_prefix}late"
    kafka.allow_read(partner.username, late)
    with Member(status_config(kafka, partner, topics=Topics(race_status=late))) as member:
        time.sleep(0.7)
        kafka.create_topic(late)
        kafka.publish(late, [(b"k", b'{"meetingId":1,"eventNumber":2,"status":"OPEN"}')])
        wait_for(lambda: len(member.seen) == 1, "it is read")


PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


@PROTOCOLS
def test_deleting_a_topic_that_is_read_ends_the_feed(
    kafka: KafkaCluster, partner: Partner, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(topics, "WATCH_INTERVAL", 1.0)
    monkeypatch.setattr(topics, "GONE_AFTER", 2.0)
    with Member(status_config(kafka, partner, kafka={"group.protocol": protocol})) as member:
        publish(kafka, partner)
        wait_for(lambda: len(member.seen) == 1, "it flows")
        kafka.delete_topic(partner.topics.race_status)
        error = member.fails_with(UnknownTopicError)
    assert error.topic == partner.topics.race_status


@PROTOCOLS
def test_revoking_the_permission_for_a_topic_ends_the_feed(
    kafka: KafkaCluster, partner: Partner, protocol: str
) -> None:
    with Member(status_config(kafka, partner, kafka={"group.protocol": protocol})) as member:
        publish(kafka, partner)
        wait_for(lambda: len(member.seen) == 1, "it flows")
        kafka.revoke_topic(partner.username, partner.topics.race_status)
        error = member.fails_with(AuthorizationError)
    assert error.resource == partner.topics.race_status


@PROTOCOLS
def test_revoking_the_permission_for_the_group_ends_the_feed(
    kafka: KafkaCluster, partner: Partner, protocol: str
) -> None:
    config = status_config(kafka, partner, kafka={"group.protocol": protocol})
    with Member(config) as member:
        publish(kafka, partner)
        wait_for(lambda: len(member.seen) == 1, "it flows")
        kafka.revoke_group(partner.username, partner.group_prefix)
        publish(kafka, partner)
        error = member.fails_with(AuthorizationError)
    assert error.resource == config.group_id


def test_a_user_who_may_see_a_topic_but_not_read_it_is_a_typed_error(kafka: KafkaCluster, partner: Partner) -> None:
    topic = partner.topics.race_status
    publish(kafka, partner)
    kafka.revoke_topic(partner.username, topic)
    kafka.allow(partner.username, AclOperation.DESCRIBE, ResourceType.TOPIC, topic)
    with Member(status_config(kafka, partner)) as member:
        error = member.fails_with(AuthorizationError)
    assert error.resource == topic


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"group_instance_id": "a"}, {"group_instance_id": "a"}, "group_instance_id"),
        ({}, {"session_timeout": 0.1}, "session_timeout"),
        ({"kafka": {"partition.assignment.strategy": "range"}}, {}, "partition.assignment.strategy"),
    ],
    ids=["same instance id", "session too short", "mixed strategies"],
)
def test_a_member_that_the_group_does_not_accept_is_a_typed_error(
    kafka: KafkaCluster, partner: Partner, first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    """The client would try again for ever."""
    publish(kafka, partner)
    with Member(status_config(kafka, partner, **first)) as one:
        wait_for(lambda: len(one.seen) == 1, "it flows")
        with Member(status_config(kafka, partner, **second)) as other:
            wait_for(lambda: not (one.is_alive() and other.is_alive()), "one of them gives up")
            errors = [member.error for member in (one, other) if member.error is not None]
            one.error = other.error = None
    assert len(errors) == 1
    assert isinstance(errors[0], ConnectError)
    assert text in str(errors[0])
