"""Tests of the test broker itself: it really enforces what the other tests rely on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from tests.broker.certificates import untrusted_ca
from tests.broker.fixtures import MakePartner, Partner, new_partner
from tests.broker.kafka import KafkaCluster
from tests.broker.proxy import TcpProxy
from tests.waiting import wait_for

SECONDS = 20.0


def read(kafka: KafkaCluster, partner: Partner, topic: str, count: int, **settings: Any) -> list[bytes | None]:
    """The values of the first messages of a topic, as a partner's consumer gets them."""
    group = {"group.id": f"{partner.group_prefix}read", "auto.offset.reset": "earliest"}
    login = kafka.client_settings(partner.username, partner.password)
    values: list[bytes | None] = []
    with closing(Consumer({**login, **group, **settings})) as consumer:
        consumer.subscribe([topic])
        deadline = time.monotonic() + SECONDS
        while len(values) < count and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None:
                values.append(checked(message).value())
        if values:
            consumer.commit(asynchronous=False)
    return values


def checked(message: Message) -> Message:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    return message


def first_error(settings: dict[str, Any], topic: str, *codes: int) -> KafkaError:
    """Returns the first error with one of the codes that a consumer with these settings gets."""
    errors: list[KafkaError] = []
    more = {"error_cb": errors.append, "log_level": 0, "group.id": "any"}
    with closing(Consumer({**settings, **more})) as consumer:
        consumer.subscribe([topic])
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None and (error := message.error()) is not None:
                errors.append(error)
            for error in errors:
                if error.code() in codes:
                    return error
    raise AssertionError(f"none of {codes} among {errors}")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_scram_consumer_reads_over_tls_what_was_published(
    kafka: KafkaCluster, partner: Partner, protocol: str
) -> None:
    topic = partner.topics.prices
    delivered = kafka.publish(topic, [("a", b"1"), ("b", b"2"), ("a", None)])
    assert delivered == [(0, 0), (0, 1), (0, 2)]
    values = read(kafka, partner, topic, 3, **{"group.protocol": protocol})
    assert values == [b"1", b"2", None]
    assert kafka.committed(f"{partner.group_prefix}read", topic) == {0: 3}
    assert kafka.end_offsets(topic) == {0: 3}


def test_only_the_password_set_last_is_accepted(kafka: KafkaCluster, partner: Partner) -> None:
    topic = partner.topics.prices
    kafka.publish(topic, [(None, b"1")])
    kafka.set_password(partner.username, "another")
    login = kafka.client_settings(partner.username, partner.password)
    error = first_error(login, topic, KafkaError._AUTHENTICATION)
    assert "SASL" in error.str()
    assert read(kafka, partner, topic, 1, **{"sasl.password": "another"}) == [b"1"]
    kafka.delete_user(partner.username)


def test_a_broker_of_an_unknown_authority_is_refused(kafka: KafkaCluster, partner: Partner, tmp_path: Path) -> None:
    login = kafka.client_settings(partner.username, partner.password)
    login["ssl.ca.location"] = str(untrusted_ca(tmp_path))
    error = first_error(login, partner.topics.prices, KafkaError._SSL)
    assert "certificate" in error.str()


def test_an_operation_without_permission_is_refused(kafka: KafkaCluster, partner: Partner) -> None:
    topic = partner.topics.prices
    login = kafka.client_settings(partner.username, partner.password)
    group = KafkaError.GROUP_AUTHORIZATION_FAILED
    assert first_error(login, topic, group)  # its group's name is "any"
    kafka.allow_group(partner.username, "any")
    kafka.deny_read(partner.username, topic)
    assert first_error(login, topic, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    kafka.revoke_all(partner.username)


def test_topics_can_be_changed(kafka: KafkaCluster, make_partner: MakePartner) -> None:
    topic = make_partner(partitions=2).topics.race_status
    kafka.publish(topic, [(None, b"%d" % n) for n in range(10)], partition=1)
    kafka.delete_records(topic, 1, 4)
    kafka.add_partitions(topic, 3)
    kafka.publish(topic, [(None, b"x")], partition=2)
    assert kafka.begin_offsets(topic) == {0: 0, 1: 4, 2: 0}
    assert kafka.end_offsets(topic) == {0: 0, 1: 10, 2: 1}
    kafka.publish_transaction(topic, [(None, b"never")], partition=0, commit=False)
    assert kafka.end_offsets(topic)[0] == 2  # the message and the end of the transaction
    kafka.delete_topic(topic)


def test_a_killed_broker_comes_back_with_its_data(faulty: KafkaCluster) -> None:
    partner = new_partner(faulty)
    topic = partner.topics.prices
    faulty.publish(topic, [(None, b"before")])
    faulty.nodes[0].kill()
    assert not faulty.nodes[0].running
    faulty.nodes[0].start()
    faulty.publish(topic, [(None, b"after")])
    assert read(faulty, partner, topic, 2) == [b"before", b"after"]


def test_a_consumer_outlives_a_cut_connection(faulty: KafkaCluster) -> None:
    partner, proxy = new_partner(faulty), faulty.proxies[0]
    topic = partner.topics.prices
    faulty.publish(topic, [(None, b"1")])
    before = proxy.connections
    errors: list[KafkaError] = []
    settings = {
        **faulty.client_settings(partner.username, partner.password),
        "group.id": f"{partner.group_prefix}cut",
        "auto.offset.reset": "earliest",
        "error_cb": errors.append,
    }
    with closing(Consumer({**settings, "log_level": 0})) as consumer:
        consumer.subscribe([topic])
        message = consumer.poll(SECONDS)
        assert message is not None
        assert checked(message).value() == b"1"
        connected = proxy.connections
        assert connected > before
        proxy.cut()
        faulty.publish(topic, [(None, b"2")])
        message = consumer.poll(SECONDS)
        assert message is not None
        assert checked(message).value() == b"2"
        assert proxy.connections > connected
    assert errors  # it noticed


@pytest.mark.parametrize("fault", ["expired_server", "server_with_wrong_hostname"])
def test_a_faulty_certificate_is_refused(faulty: KafkaCluster, fault: str) -> None:
    partner = new_partner(faulty)
    faulty.publish(partner.topics.prices, [(None, b"1")])
    login = faulty.client_settings(partner.username, partner.password)
    faulty.use_certificate(getattr(faulty.authority, fault)())
    try:
        error = first_error(login, partner.topics.prices, KafkaError._SSL)
        assert "certificate" in error.str()
    finally:
        faulty.use_certificate(faulty.authority.server())
    assert read(faulty, partner, partner.topics.prices, 1) == [b"1"]


@pytest.mark.java
def test_no_broker_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.broker.kafka import KafkaCluster\n"
        "cluster = KafkaCluster(Path(sys.argv[1])).__enter__()\n"
        "print(cluster.nodes[0].pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        process.kill()

    def gone() -> bool:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        return status.rpartition(")")[2].split()[0] == "Z"  # dead, and nobody asked after it yet

    wait_for(gone, "the topic is gone")


@pytest.fixture
def echo() -> Iterator[TcpProxy]:
    """A proxy in front of a server that sends everything back."""

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass  # it was reset

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # the test is over
            threading.Thread(target=answer, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with TcpProxy(server.getsockname()[1]) as proxy:
            yield proxy
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=20)


def test_the_proxy_cuts_refuses_and_accepts(echo: TcpProxy) -> None:
    with connect(echo) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        assert (echo.connections, echo.bytes_to_target, echo.bytes_to_client) == (1, 5, 5)
        echo.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(echo)
        client.sendall(b"still")
        assert client.recv(100) == b"still"
        echo.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        assert echo.open_connections == 0
    echo.accept()
    with connect(echo) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"again"
        echo.cut_after(3)
        client.sendall(b"hello")
        assert client.recv(100) == b"hel"
        with pytest.raises(ConnectionResetError):
            client.recv(100)


@pytest.mark.parametrize("swallow", [False, True])
def test_the_proxy_goes_silent(echo: TcpProxy, swallow: bool) -> None:
    with connect(echo) as old:
        old.sendall(b"1")
        assert old.recv(100) == b"1"
        echo.blackhole(swallow=swallow)
        with connect(echo) as new:
            for client in (old, new):
                client.settimeout(0.3)
                client.sendall(b"hello")
                with pytest.raises(TimeoutError):
                    client.recv(100)
            echo.resume()
            for client in (old, new):
                client.settimeout(20)
                if swallow:
                    with pytest.raises(ConnectionResetError):
                        client.recv(100)
                else:
                    assert client.recv(100) == b"hello"


def test_the_proxy_delays(echo: TcpProxy) -> None:
    with connect(echo) as client:
        echo.delay(0.2)
        start = time.monotonic()
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        assert time.monotonic() - start >= 0.4  # 0.2 s there and 0.2 s back
        echo.reset()
