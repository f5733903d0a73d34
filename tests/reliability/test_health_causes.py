"""Each cause of a feed that can't be trusted, on the real broker: its reason, within its limit, and the recovery.

`RBHQ_LONG=1` makes the normal flow, in which there must be no alarm, ten minutes long.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from confluent_kafka import KafkaException
from typing_extensions import Self

from rbhq_stream import (
    AuthenticationError,
    FeedConfig,
    HealthChanged,
    HealthReason,
    HealthRules,
    HealthState,
    RaceStatusEvent,
    TopicPartition,
    Topics,
)
from tests import ROOT
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.broker.node import BrokerError
from tests.facades import Facade, SyncFacade, both_facades
from tests.reliability.flow import LONG, VALUE, publish, status_config
from tests.waiting import wait_for

R = HealthReason
PRICES = b'{"meetingId":1,"eventNumber":2,"priceUpdates":[]}'
UNREACHABLE_WITHIN = {"killed": 6.0, "paused": 8.0, "blackhole": 8.0}
"""Seconds, as docs/health.md says, and four for the test on a busy machine."""


class Watched(threading.Thread):
    """A feed read on a thread of its own, whose signals are kept with the times at which they came."""

    def __init__(self, facade: Callable[..., Any], config: FeedConfig, rules: HealthRules | None = None) -> None:
        super().__init__(name="watched")
        self._make: Callable[[], Facade] = partial(facade, config, health=rules)
        self.signals: list[tuple[float, HealthChanged]] = []
        self.immediate: list[tuple[float, HealthReason]] = []
        self.count = 0
        self.error: BaseException | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._over = threading.Event()
        self.driven: Facade | None = None

    def run(self) -> None:
        driven = self._make()
        driven.feed.on(HealthChanged)(lambda signal: self.signals.append((time.monotonic(), signal)))
        driven.feed.on(HealthChanged, immediately=True)(
            lambda signal: self.immediate.append((time.monotonic(), signal.health.reason))
        )
        try:
            driven.enter()
            self.driven = driven
            while not self._over.is_set():
                self.count += driven.poll(0.05) is not None
                self.may_go_on.wait(60)
        except BaseException as error:  # noqa: BLE001  # a thread has no caller: the test looks at it
            self.error = error
        driven.finish()

    @property
    def reason(self) -> HealthReason | None:
        return None if self.driven is None else self.driven.feed.health.reason

    def becomes(self, reason: HealthReason, timeout: float = 60) -> float:
        return wait_for(lambda: self.reason is reason, f"the health is {reason!r}, not {self.reason!r}", timeout)

    def reasons_since(self, began: float) -> list[HealthReason]:
        return [signal.health.reason for at, signal in self.signals if at >= began]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.may_go_on.set()
        self.join()


def is_up_to_date(watched: Watched, began: float) -> bool:
    return watched.reasons_since(began)[-1:] == [R.UP_TO_DATE]


@contextmanager
def outage(cluster: KafkaCluster, how: str) -> Iterator[None]:
    node, proxy = cluster.nodes[0], cluster.proxies[0]
    begin, end = {
        "killed": (node.kill, node.start),
        "paused": (node.pause, node.resume),
        "blackhole": (proxy.blackhole, proxy.resume),
    }[how]
    begin()
    try:
        yield
    finally:
        end()


@pytest.mark.timeout(180)
@both_facades
def test_each_cause_has_its_reason_within_its_limit_and_the_feed_recovers(
    proxied: KafkaCluster, make_partner: MakePartner, facade: Callable[..., Any]
) -> None:
    partner = make_partner(proxied)
    publish(proxied, partner, 100)
    rules = HealthRules(max_delay=1.0, max_silence={RaceStatusEvent: 1e6})
    with Watched(facade, status_config(proxied, partner, session_timeout=45.0), rules) as watched:
        took = watched.becomes(R.UP_TO_DATE)
        print(f"live after {took:.1f} s")
        assert watched.count == 100, "and not before"
        wait_for(partial(is_up_to_date, watched, 0.0), "the signal that the feed is live")
        for how, limit in UNREACHABLE_WITHIN.items():
            if (how == "paused") == (facade is SyncFacade) and not LONG:
                continue  # they take long, and the engine is the same: each is tried with one of the two
            began = time.monotonic()
            with outage(proxied, how):
                took = watched.becomes(R.BROKERS_UNREACHABLE, limit)
                print(f"{how}: down after {took:.1f} s")
            publish(proxied, partner, 50)
            before = watched.count
            took = watched.becomes(R.UP_TO_DATE)
            print(f"{how}: live again after {took:.1f} s")
            assert watched.count >= before, "what was published meanwhile is processed"
            wait_for(partial(is_up_to_date, watched, began), "the signal that the feed is live again")
            reasons = watched.reasons_since(began)
            assert reasons[0] is R.BROKERS_UNREACHABLE, "down is reported before any recovery"
            assert set(reasons[1:-1]) <= {R.CATCHING_UP, R.BROKERS_UNREACHABLE, R.NOT_POLLING}
            assert reasons[-2] is R.CATCHING_UP
            gap = watched.signals[-1][1].gap
            assert gap is not None
            assert list(gap.records.values()) == [50], "the gap and what filled it"

        watched.may_go_on.clear()  # a handler is stuck
        publish(proxied, partner, 5)
        began = time.monotonic()
        watched.becomes(R.HANDLER_STUCK, 10)
        assert watched.reasons_since(began) == [], "in line it can't be delivered"
        if facade is SyncFacade:  # a blocked event loop runs no task
            # on a busy machine the recovery before it may be reported that late, too
            wait_for(lambda: watched.immediate[-1][1] is R.HANDLER_STUCK, "it was delivered on another thread")
            assert watched.immediate[-1][0] >= began
        watched.may_go_on.set()
        watched.becomes(R.UP_TO_DATE)


def test_a_silent_publisher_is_stale_by_the_limit_or_by_the_schedule(
    proxied: KafkaCluster, make_partner: MakePartner
) -> None:
    partner = make_partner(proxied)
    jumps: list[datetime] = []
    rules = HealthRules(
        max_silence={RaceStatusEvent: 2.0}, schedule=lambda _since, _until: jumps, max_silence_before_jump=1.0
    )
    topics = Topics(prices=partner.topics.prices, race_status=partner.topics.race_status)
    with Watched(SyncFacade, status_config(proxied, partner, topics=topics), rules) as watched:
        watched.becomes(R.UP_TO_DATE)
        watched.becomes(R.TOPIC_SILENT, 10)

        def becomes_while_statuses_flow(reason: HealthReason, *, with_prices: bool) -> bool:
            publish(proxied, partner)
            if with_prices:
                proxied.publish(partner.topics.prices, [(b"k", PRICES)])
            return watched.reason is reason

        flowing = partial(becomes_while_statuses_flow, R.UP_TO_DATE, with_prices=True)
        wait_for(flowing, "the silence has ended")
        jumps.append(datetime.now(timezone.utc) + timedelta(seconds=60))
        without_prices = partial(becomes_while_statuses_flow, R.SILENT_BEFORE_JUMP, with_prices=False)
        wait_for(without_prices, "silence counts before a jump")
        wait_for(flowing, "the prices are back")


def test_one_of_three_partitions_stalls_while_the_others_flow(kafka3: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(kafka3)
    topic = f"{partner.topics.race_status}-3"
    kafka3.create_topic(topic, 3, replicas=1)  # so that no other broker can take over
    kafka3.allow_read(partner.username, topic)
    config = status_config(kafka3, partner, session_timeout=45.0, topics=Topics(race_status=topic))
    leaders = [kafka3.partition_leader(topic, number) for number in range(3)]
    coordinator = kafka3.group_coordinator(config.group_id)
    stalled = next(number for number in range(3) if leaders[number] != coordinator)
    others = [number for number in range(3) if leaders[number] != leaders[stalled]]
    for number in range(3):  # also so that the producer knows where the partitions are
        kafka3.publish(topic, [(b"k", VALUE)], partition=number)
    with Watched(SyncFacade, config) as watched:
        watched.becomes(R.UP_TO_DATE)
        kafka3.nodes[leaders[stalled] - 1].pause()
        try:
            took = watched.becomes(R.PARTITIONS_UNREACHABLE, UNREACHABLE_WITHIN["paused"])
            print(f"stalled: noticed after {took:.1f} s")
            assert watched.driven is not None
            assert f"{topic}[{stalled}]" in watched.driven.feed.health.detail
            before = watched.count

            def others_flow() -> bool:
                with suppress(BrokerError, KafkaException):  # the paused broker may have been the controller
                    for number in others:
                        kafka3.publish(topic, [(b"k", VALUE)], partition=number)
                return watched.count > before

            wait_for(others_flow, "the others flow")
            health = watched.driven.feed.health
            assert health.state is HealthState.DOWN
            assert health.figures.partitions[TopicPartition(topic, stalled)].unreachable
        finally:
            kafka3.nodes[leaders[stalled] - 1].resume()
        took = watched.becomes(R.UP_TO_DATE)
        print(f"stalled: live again after {took:.1f} s")


def test_refused_credentials_are_a_reason_and_an_error(proxied: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(proxied)
    with Watched(SyncFacade, status_config(proxied, partner)) as watched:
        watched.becomes(R.UP_TO_DATE)
        proxied.set_password(partner.username, "an0ther-one")
        began = time.monotonic()
        proxied.proxies[0].cut()
        wait_for(lambda: watched.error is not None, "it ends")
    assert isinstance(watched.error, AuthenticationError)
    assert R.CREDENTIALS_REFUSED in watched.reasons_since(began)
    assert watched.driven is not None
    assert watched.driven.feed.health.state is HealthState.CLOSED


APPLICATION = """
import json, sys, time
from rbhq_stream import Feed, FeedConfig, HealthChanged, Topics
config = FeedConfig(**json.load(sys.stdin))
feed = Feed(config)

@feed.on(HealthChanged, immediately=True)
def note(signal):
    print(signal.health.reason.value, flush=True)

with feed:
    while True:
        feed.poll(0.1)
"""


@pytest.mark.parametrize(
    ("seconds", "session_timeout", "reasons"),
    [(3.5, 10.0, ["suspended", "catching_up", "up_to_date"]), (4.5, 3.0, ["suspended", "evicted", "up_to_date"])],
)
def test_a_suspended_process_knows_when_it_goes_on(
    proxied: KafkaCluster, make_partner: MakePartner, seconds: float, session_timeout: float, reasons: list[str]
) -> None:
    partner = make_partner(proxied)
    config = {
        "bootstrap_servers": proxied.bootstrap,
        "username": partner.username,
        "password": partner.password,
        "ca_file": str(proxied.ca_file),
        "group_id": f"{partner.group_prefix}app",
        "topics": {"race_status": partner.topics.race_status},
        "session_timeout": session_timeout,
    }
    with subprocess.Popen(
        [sys.executable, "-c", APPLICATION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(config))
            process.stdin.close()
            lines = iter(process.stdout.readline, "")
            assert any(line == "up_to_date\n" for line in lines)
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGCONT)
            lines_read: list[str] = []
            for line in lines:
                lines_read.append(line.strip())
                if lines_read[-1] == "up_to_date":
                    break
            assert [reason for reason in lines_read if reason in reasons] == reasons, lines_read
        finally:
            process.kill()


@pytest.mark.timeout(900)
def test_normal_flow_with_bursts_and_quiet_spells_raises_no_alarm(
    proxied: KafkaCluster, make_partner: MakePartner
) -> None:
    partner = make_partner(proxied)
    chance = random.Random(20261128)
    with Watched(SyncFacade, status_config(proxied, partner)) as watched:
        watched.becomes(R.UP_TO_DATE)
        wait_for(lambda: watched.signals and watched.signals[-1][1].health.ok, "the signal that the feed is live")
        began = time.monotonic()
        published = 0
        while time.monotonic() < began + (600 if LONG else 6):
            count = chance.choice([1, 5, 50, 2000, 20_000])
            publish(proxied, partner, count)
            published += count
            time.sleep(chance.choice([0.0, 0.1, 1.0, 3.0]))
        wait_for(lambda: watched.count == published, "all is read")
        assert watched.reasons_since(began) == [], "no alarm"
