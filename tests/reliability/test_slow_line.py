"""A line with long round trips, over TLS and SCRAM: it takes longer, and nothing else.

`RBHQ_LONG=1` adds round trips of up to 3 s.
"""

from __future__ import annotations

import time

import pytest

from rbhq_stream import AuthenticationError, Feed
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.broker.ports import free_port
from tests.reliability.flow import LONG, Member, publish, status_config
from tests.waiting import wait_for

ROUND_TRIPS = [0.05, 0.4, *([0.6, 1.2, 3.0] if LONG else [])]
CONNECT, READ = 24, 16
"""So many round trips it takes at most to enter a feed, and then to read the first record."""


@pytest.mark.parametrize("round_trip", ROUND_TRIPS)
def test_new_and_existing_groups_read_over_a_slow_network(
    proxied: KafkaCluster, make_partner: MakePartner, round_trip: float
) -> None:
    """With the default `connect_timeout` up to 1.2 s; while one broker is down."""
    partner, proxy = make_partner(proxied), proxied.proxies[0]
    topic = partner.topics.race_status
    publish(proxied, partner, 10)
    fields = {
        "bootstrap_servers": [f"localhost:{free_port()}", proxied.bootstrap],
        "connect_timeout": 30.0 if round_trip <= 1.2 else CONNECT * round_trip,
    }
    known = status_config(proxied, partner, group_id=f"{partner.group_prefix}known", **fields)
    new = status_config(proxied, partner, group_id=f"{partner.group_prefix}new", **fields)
    with Feed(known) as feed:
        assert feed.poll(10) is not None
    proxy.delay(round_trip / 2)
    limit = 5 + (CONNECT + READ) * round_trip
    try:
        with Member(known) as member, Member(new) as other:
            wait_for(lambda: len(member.seen) == 9, "the known group reads on", limit)
            wait_for(lambda: len(other.seen) == 10, "the new group reads", limit)
            publish(proxied, partner, 1)
            began = time.monotonic()
            wait_for(lambda: len(member.seen) == 10, "it flows", 8 + 3 * round_trip)
            print(f"round trip {round_trip} s: a record arrives after {time.monotonic() - began:.2f} s")
            wait_for(lambda: len(other.seen) == 11, "it flows in the other group", 8 + 3 * round_trip)
    finally:
        proxy.reset()
    assert member.closed_in < 10, "it leaves within close_timeout"
    assert other.closed_in < 10
    assert proxied.committed(known.group_id, topic) == proxied.committed(new.group_id, topic) == {0: 11}


@pytest.mark.parametrize("round_trip", ROUND_TRIPS)
def test_a_refused_password_is_detected_over_a_slow_network(
    proxied: KafkaCluster, make_partner: MakePartner, round_trip: float
) -> None:
    partner, proxy = make_partner(proxied), proxied.proxies[0]
    before = proxy.connections
    proxy.delay(round_trip / 2)
    try:
        began = time.monotonic()
        with (
            pytest.raises(AuthenticationError),
            Feed(status_config(proxied, partner, password="wrong", connect_timeout=90)),
        ):
            pass
        assert time.monotonic() - began < 8 + 10 * round_trip
        assert proxy.connections - before <= 3
    finally:
        proxy.reset()
