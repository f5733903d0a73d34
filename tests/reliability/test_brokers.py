"""Brokers and networks fail while events flow: nothing is missed, the feed continues by itself, and closing is prompt.

`RBHQ_LONG=1` gives outages their long form, 60 s.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from confluent_kafka import KafkaException

from rbhq_stream import AuthenticationError, Feed, PartitionsLost
from rbhq_stream._kafka import EveryPartitionSource
from rbhq_stream.record import RawRecord
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.reliability import flow
from tests.reliability.flow import LONG, Flow, Member, everything, publish, status_config
from tests.waiting import wait_for

KINDS_OF_LINES = 12
"""So many kinds of log lines an outage may have. Of each kind one comes in 10 s."""


def most_lines(seconds: float) -> float:
    return KINDS_OF_LINES * (2 + seconds / 10)


def test_the_leader_and_then_the_coordinator_die(kafka3: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(kafka3, partitions=3)
    config = status_config(kafka3, partner)
    with Member(config) as member:
        with Flow(kafka3, partner, partitions=3):
            wait_for(lambda: len(member.seen) > 20, "it flows")
            for who in ("leader", "coordinator"):
                number = (
                    kafka3.partition_leader(partner.topics.race_status, 0)
                    if who == "leader"
                    else kafka3.group_coordinator(config.group_id)
                )
                kafka3.nodes[number - 1].kill()
                before = {p: max(o for q, o in member.seen if q == p) for p in range(3)}

                def flows_again(before: dict[int, int] = before) -> bool:
                    return all(any(q == p and o > at + 20 for q, o in member.seen[-500:]) for p, at in before.items())

                took = wait_for(flows_again, f"it flows again without the {who}")
                print(f"{who} killed: all partitions flowed again after {took:.1f} s")
                kafka3.nodes[number - 1].start()
                kafka3.wait_leaders(partner.topics.race_status, 3)
        wait_for(lambda: set(member.seen) >= everything(kafka3, partner), "nothing is missed")
        wait_for(
            lambda: (
                kafka3.committed(config.group_id, partner.topics.race_status)
                == kafka3.end_offsets(partner.topics.race_status)
            ),
            "all is committed, the coordinator being another",
        )
    member.assert_in_order()


def test_a_feed_without_a_group_reads_on_when_a_leader_dies(kafka3: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(kafka3, partitions=3)
    config = status_config(kafka3, partner, group_id=None)
    with Member(config, source=EveryPartitionSource(config)) as member:
        with Flow(kafka3, partner, partitions=3):
            wait_for(lambda: len(member.seen) > 20, "it flows")
            number = kafka3.partition_leader(partner.topics.race_status, 0)
            kafka3.nodes[number - 1].kill()
            before = len(member.seen)
            wait_for(lambda: {p for p, _ in member.seen[before + 60 :]} == {0, 1, 2}, "it flows again")
            kafka3.nodes[number - 1].start()
            kafka3.wait_leaders(partner.topics.race_status, 3)
        wait_for(lambda: set(member.seen) >= everything(kafka3, partner), "nothing is missed")
    assert len(member.seen) == len(set(member.seen)), "nothing came twice"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stopped", "blackhole", "swallowed", "refused"])
def test_the_feed_survives_an_outage(
    proxied: KafkaCluster, make_partner: MakePartner, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """The brokers are away for a while, then back."""
    partner = make_partner(proxied)
    node, proxy = proxied.nodes[0], proxied.proxies[0]

    def refuse() -> None:
        proxy.refuse()
        proxy.cut()

    outages: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "stopped": (node.stop, node.start),
        "blackhole": (proxy.blackhole, proxy.resume),
        "swallowed": (lambda: proxy.blackhole(swallow=True), proxy.resume),
        "refused": (refuse, proxy.accept),
    }
    outage = 60.0 if LONG else 8.0 if how == "stopped" else 3.0
    caplog.set_level(logging.INFO, "rbhq_stream")
    with Member(status_config(proxied, partner, close_timeout=3.0)) as member:
        publish(proxied, partner, 10)
        wait_for(lambda: len(member.seen) == 10, "it flows")
        caplog.clear()
        with Member(status_config(proxied, partner, group_id=f"{partner.group_prefix}b", close_timeout=2.0)) as other:
            wait_for(lambda: len(other.seen) == 10, "the other one flows")
            began = time.monotonic()
            begin, end = outages[how]
            begin()
            time.sleep(outage / 2)
            other.leave()
            assert other.closed_in < 2.0 + 1.0, "closed within its deadline, in the middle of the outage"
        time.sleep(max(0, began + outage - time.monotonic()))
        end()
        lasted = time.monotonic() - began
        lines = [record.getMessage() for record in caplog.records if record.name.startswith("rbhq_stream")]
        publish(proxied, partner, 10)
        took = wait_for(lambda: len(member.seen) >= 20, "it flows again")
        print(f"{how}: {lasted:.1f} s, {len(lines)} lines, flowed again after {took:.1f} s")
        assert set(member.seen) == everything(proxied, partner), "no gap"
        assert len(lines) <= most_lines(lasted), "\n".join(lines)
    member.assert_in_order()


class Asking(flow.CountingSource):
    """Requests the list of brokers repeatedly, when the test asks for it, until they report that there are none."""

    asks = False
    was_told_none = False

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        while self.asks and not self.was_told_none:
            with suppress(KafkaException):
                self.was_told_none = not self._client.consumer.list_topics(
                    self._config.topics.names[0], timeout=0.2
                ).brokers
        return super().poll(timeout)


def test_a_client_to_which_the_last_broker_reported_no_brokers_is_replaced(
    proxied: KafkaCluster, make_partner: MakePartner, caplog: pytest.LogCaptureFixture
) -> None:
    """The Kafka client believes it, forgets that broker, and never connects again: it needs to be replaced.

    With its default setting it mostly finds its way back by itself, but not always; with this one it never does.
    """
    partner = make_partner(proxied)
    config = status_config(proxied, partner, session_timeout=6.0, kafka={"metadata.recovery.strategy": "none"})
    source = Asking(config)
    lost: list[PartitionsLost] = []
    node = proxied.nodes[0]
    with Member(config, source=source) as member:
        member.feed.on(PartitionsLost)(lost.append)
        publish(proxied, partner, 10)
        wait_for(lambda: len(member.seen) == 10, "it flows")
        for _ in range(5):
            source.asks = True
            node.stop()
            source.asks = False
            if source.was_told_none:
                break
            node.start()  # it was too quick
        else:
            pytest.fail("the broker never said so: the test tests nothing")
        try:
            wait_for(lambda: "it is replaced by a new one" in caplog.text, "the client is replaced")
        finally:
            node.start()
        publish(proxied, partner, 10)
        took = wait_for(lambda: set(member.seen) >= everything(proxied, partner), "no gap", timeout=60)
        print(f"flowed again after {took:.1f} s")
        assert lost, "the loss is signalled"
    assert proxied.committed(config.group_id, partner.topics.race_status) == {0: 20}


def test_connections_on_which_nothing_arrives_are_replaced(proxied: KafkaCluster, make_partner: MakePartner) -> None:
    """The system keeps them open; new ones are made without trouble."""
    partner = make_partner(proxied)
    config = status_config(proxied, partner, session_timeout=45.0)
    lost: list[PartitionsLost] = []
    with Member(config) as member:
        member.feed.on(PartitionsLost)(lost.append)
        publish(proxied, partner, 10)
        wait_for(lambda: len(member.seen) == 10, "it flows")
        proxied.proxies[0].silence()
        publish(proxied, partner, 10)
        took = wait_for(lambda: len(member.seen) >= 20, "it flows again")
        print(f"flowed again after {took:.1f} s")
        assert took < 25
    assert member.seen == [(0, offset) for offset in range(20)]
    assert not lost, "it stayed in the group"
    assert proxied.committed(config.group_id, partner.topics.race_status) == {0: 20}


def test_connections_cut_in_the_middle_of_a_fetch_lose_no_record(
    proxied: KafkaCluster, make_partner: MakePartner, caplog: pytest.LogCaptureFixture
) -> None:
    """Also in the middle of a TLS handshake and of a log-in, which must not be taken for refusals."""
    partner = make_partner(proxied, partitions=2)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    caplog.set_level(logging.INFO, "rbhq_stream")
    began, cuts = time.monotonic(), 0
    with Member(status_config(proxied, partner)) as member, Flow(proxied, partner, partitions=2):
        wait_for(lambda: len(member.seen) > 20, "it flows")
        for after in (*range(0, 3000, 150), *(chance.randrange(20_000) for _ in range(20))):
            assert member.error is None, repr(member.error)
            proxied.proxies[0].cut_after(after)
            cuts += 1
            time.sleep(0.2)
    proxied.proxies[0].reset()
    with Member(status_config(proxied, partner)) as rest:
        wait_for(lambda: set(member.seen) | set(rest.seen) >= everything(proxied, partner), "no gap")
    member.assert_in_order()
    lines = [record.getMessage() for record in caplog.records]
    print(f"{cuts} cuts, {len(lines)} lines in {time.monotonic() - began:.1f} s")
    assert len(lines) <= most_lines(time.monotonic() - began), "\n".join(lines)


def test_a_refused_password_is_not_tried_again_for_a_last_commit(
    proxied: KafkaCluster, make_partner: MakePartner
) -> None:
    partner = make_partner(proxied)
    proxy = proxied.proxies[0]
    with Member(status_config(proxied, partner, commit_interval=60.0)) as member:
        publish(proxied, partner, 10)
        wait_for(lambda: len(member.seen) == 10, "it flows")
        proxied.set_password(partner.username, "n3w-c4nary")
        before, began = proxy.connections, time.monotonic()
        proxy.cut()
        member.fails_with(AuthenticationError)
        took = time.monotonic() - began
        time.sleep(max(0, began + 10 - time.monotonic()))
        attempts = proxy.connections - before
        print(f"AuthenticationError after {took:.1f} s, {attempts} attempts in 10 s")
        assert attempts <= 5
        assert took < 5, "nothing is waited for"
    with Member(status_config(proxied, partner, password="n3w-c4nary")) as again:
        wait_for(lambda: len(again.seen) == 10, "what was not committed is delivered again")


def test_a_refused_password_is_not_tried_again_while_closing(proxied: KafkaCluster, make_partner: MakePartner) -> None:
    """The connection is cut just when the feed is left, with something to commit."""
    partner = make_partner(proxied)
    proxy = proxied.proxies[0]
    feed = Feed(status_config(proxied, partner, commit_interval=60.0, close_timeout=8.0))
    publish(proxied, partner, 10)
    feed.__enter__()
    for _ in range(5):
        next(feed)
    proxied.set_password(partner.username, "n3w-c4nary")
    before, began = proxy.connections, time.monotonic()
    proxy.cut()
    feed.close()
    took = time.monotonic() - began
    time.sleep(max(0, began + 10 - time.monotonic()))
    print(f"closed in {took:.1f} s, {proxy.connections - before} attempts in 10 s")
    assert proxy.connections - before <= 5
    assert took < 5


def test_rotated_credentials_lose_no_record(proxied: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(proxied)
    proxy = proxied.proxies[0]
    with Member(status_config(proxied, partner)) as member:
        publish(proxied, partner, 10)
        wait_for(lambda: len(member.seen) == 10, "it flows")
        proxied.set_password(partner.username, "n3w-c4nary")
        publish(proxied, partner, 10)
        wait_for(lambda: len(member.seen) == 20, "an open connection stays")
        wait_for(
            lambda: proxied.committed(member.config.group_id, partner.topics.race_status) == {0: 20},
            "what was handled is committed",
        )
        before, began = proxy.connections, time.monotonic()
        proxy.cut()
        error = member.fails_with(AuthenticationError)
        took = time.monotonic() - began
        time.sleep(max(0, began + 10 - time.monotonic()))
        attempts = proxy.connections - before
        print(f"AuthenticationError after {took:.1f} s, {attempts} attempts in 10 s")
        assert attempts <= 5
        assert error.broker == proxied.bootstrap
        assert "n3w-c4nary" not in str(error)
        assert partner.password not in f"{error} {error!r} {vars(error)}"
    publish(proxied, partner, 10)
    with Member(status_config(proxied, partner, password="n3w-c4nary")) as again:
        wait_for(lambda: len(again.seen) == 10, "it continues with the new password")
        assert again.seen == [(0, offset) for offset in range(20, 30)], "where the other one was"
