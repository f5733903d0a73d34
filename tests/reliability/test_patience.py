"""Handlers that take their time, feeds that are closed at any time, and what is left behind: bounded, all of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import attrs
import pytest
from confluent_kafka import Consumer, KafkaError

from rbhq_stream import ConnectError, Event, Feed, FeedClosedError, FeedConfig, PartitionsLost, TopicPartition, Topics
from rbhq_stream._kafka import KafkaSource
from rbhq_stream.record import RawRecord
from rbhq_stream.testing import MemorySource
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.broker.ports import free_port
from tests.facades import Facade, both_facades
from tests.memory_feeds import STATUS, memory_config, poll_threads, status
from tests.reliability import flow
from tests.waiting import wait_for

INTERVAL = 2.0
"""Seconds: the longest a client may go without a poll, and so its session."""
BATCH = 500
"""Most records that are taken from the client at once."""


def evicted(kafka: KafkaCluster, partner: Partner, found: list[int]) -> None:
    """The error that an equally slow loop with the bare client gets."""
    consumer = Consumer(
        {
            **kafka.client_settings(partner.username, partner.password),
            "group.id": f"{partner.group_prefix}by-hand",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": int(INTERVAL * 1000),
            "max.poll.interval.ms": int(INTERVAL * 1000),
        }
    )
    consumer.subscribe([partner.topics.race_status])
    assert consumer.poll(20) is not None
    time.sleep(2 * INTERVAL)
    deadline = time.monotonic() + 5
    while not found and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        error = None if message is None else message.error()
        if error is not None:
            found.append(error.code())
    consumer.close()


@both_facades
def test_a_handler_slower_than_the_poll_interval_keeps_its_partitions(
    facade: Callable[..., Facade], kafka: KafkaCluster, partner: Partner, caplog: pytest.LogCaptureFixture
) -> None:
    """No eviction, a bounded buffer, and then it goes on as if nothing had been."""
    count = 4000
    flow.publish(kafka, partner, count)
    control: list[int] = []
    by_hand = threading.Thread(target=evicted, args=(kafka, partner, control))
    by_hand.start()
    config = flow.status_config(
        kafka, partner, session_timeout=INTERVAL, max_poll_interval=INTERVAL, buffer_records=100, commit_interval=0.1
    )
    driven = facade(config)
    with caplog.at_level(logging.INFO, "rbhq_stream"), flow.CommitWatch(kafka, partner, config.group_id):
        driven.enter()
        got = [driven.next()]
        deadline = time.monotonic() + 2 * INTERVAL + 0.5
        most = 0
        while time.monotonic() < deadline:
            time.sleep(0.01)  # the handler, which blocks
            most = max(most, driven.feed.stats.waiting_records)
        got += [driven.next() for _ in range(count - 1)]
        driven.leave()
        driven.finish()
    by_hand.join()
    assert control == [KafkaError._MAX_POLL_EXCEEDED], "by hand it is evicted"
    assert [event.record and event.record.offset for event in got] == list(range(count)), "no gap, none twice"
    assert most < config.buffer_records + BATCH
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("assigned") for line in lines) == 1, lines
    assert not any(line.startswith("lost") for line in lines), lines
    assert kafka.committed(config.group_id, partner.topics.race_status) == {0: count}


class Freezing(flow.CountingSource):
    """The poll thread hangs when the test asks for it, as if the process were suspended."""

    def __init__(self, config: FeedConfig) -> None:
        super().__init__(config)
        self.goes_on = threading.Event()
        self.goes_on.set()

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        if not self.goes_on.is_set():
            self.goes_on.wait(60)
            return ()  # what happened meanwhile is heard by the next call
        return super().poll(timeout)


@both_facades
def test_an_eviction_is_signalled_and_nothing_is_committed_for_lost_partitions(
    facade: Callable[..., Facade], kafka: KafkaCluster, partner: Partner
) -> None:
    count, handled = 1000, 10
    topic = TopicPartition(partner.topics.race_status, 0)
    flow.publish(kafka, partner, count)
    # the only commits are those at a change of hands and at the end
    config = flow.status_config(
        kafka, partner, session_timeout=INTERVAL, max_poll_interval=INTERVAL, commit_interval=60.0
    )
    source = Freezing(config)
    driven = facade(config, source=source)
    lost: list[PartitionsLost] = []
    driven.feed.on(PartitionsLost)(lost.append)
    with flow.CommitWatch(kafka, partner, config.group_id) as watch:
        driven.enter()
        for _ in range(handled):
            driven.next()
        source.goes_on.clear()
        with flow.Member(attrs.evolve(config, commit_interval=0.1)) as successor:
            wait_for(lambda: len(successor.seen) >= count, "another member handles all of it")
            assert successor.seen[0] == (0, 0), "nothing was committed"
            wait_for(lambda: watch.highest == {0: count}, "and commits it")
            assert not lost, "it can't know yet"
            source.goes_on.set()
            signals = driven.feed._session.signals
            wait_for(lambda: any(isinstance(signal, PartitionsLost) for signal in signals), "it hears of its loss")
            assert driven.poll(0) is None, "what it had read is not its any more"
            [signal] = lost
            assert signal.partitions == (topic,)
            assert signal.uncommitted == {topic: handled - 1}, "the last one was the current event"
            assert driven.feed.stats.waiting_records == 0
            driven.leave()
        driven.finish()
    assert kafka.committed(config.group_id, topic.topic) == {0: count}
    assert len(lost) == 1


def test_an_evicted_member_that_closes_commits_nothing_even_if_it_gets_the_partition_back(
    kafka: KafkaCluster, partner: Partner
) -> None:
    """It hears of its loss only while it closes, by the refusal of its last commit; it joins again at once, alone."""
    topic = partner.topics.race_status
    flow.publish(kafka, partner, 100)
    config = flow.status_config(
        kafka, partner, session_timeout=INTERVAL, max_poll_interval=INTERVAL, commit_interval=60.0
    )
    source = Freezing(config)
    with flow.CommitWatch(kafka, partner, config.group_id) as watch:
        feed = Feed(config, source=source)
        feed.__enter__()
        for _ in range(10):
            next(feed)
        source.goes_on.clear()
        with flow.Member(attrs.evolve(config, commit_interval=0.1)) as successor:
            wait_for(lambda: len(successor.seen) >= 100, "another member handles all of it")
        wait_for(lambda: watch.highest == {0: 100}, "and commits it, and leaves")
        threading.Timer(0.1, source.goes_on.set).start()
        feed.close()
    assert kafka.committed(config.group_id, topic) == {0: 100}


class Stuck(MemorySource):
    """It hangs in the method that the test names."""

    def __init__(self, where: str) -> None:
        super().__init__(Topics(race_status="status"))
        self._where = where
        self.hangs, self.release = threading.Event(), threading.Event()

    def _hang(self, where: str) -> None:
        if where == self._where:
            self.hangs.set()
            self.release.wait(30)

    def open(self, owner: Any) -> None:
        super().open(owner)
        self._hang("open")

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        self._hang("poll")
        return super().poll(timeout)

    def close(self, offsets: Any, timeout: float) -> None:
        self._hang("close")
        super().close(offsets, timeout)


@both_facades
def test_stop_ends_a_feed_that_is_connecting(facade: Callable[..., Facade]) -> None:
    """A container that is to end while the brokers are away doesn't wait for `connect_timeout`."""
    source = Stuck("open")
    driven = facade(memory_config(close_timeout=0.3), source=source)
    try:
        threading.Timer(0.2, driven.feed.stop).start()
        began = time.monotonic()
        driven.enter()
        assert time.monotonic() - began < 5
        with pytest.raises(StopIteration):
            driven.next()
        driven.leave()
    finally:
        source.release.set()
        driven.finish()


def closed_in(driven: Facade) -> float:
    began = time.monotonic()
    driven.leave()
    return time.monotonic() - began


@both_facades
@pytest.mark.parametrize("where", ["open", "poll", "close"])
def test_close_keeps_its_deadline_whatever_hangs(
    facade: Callable[..., Facade], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = Stuck(where)
    driven = facade(memory_config(close_timeout=0.5), source=source)
    try:
        if where == "open":
            assert driven.poll(0.05) is None
        else:
            driven.enter()
        if where != "close":
            assert source.hangs.wait(10)
        took = closed_in(driven)
        assert 0.45 < took < 10
        assert "could not be closed within 0.5 s" in caplog.text
        caplog.clear()
        assert closed_in(driven) < 0.45, "the deadline was that of the first time"
    finally:
        source.release.set()
        wait_for(lambda: not poll_threads(), "no thread is left")
        driven.finish()


@both_facades
@pytest.mark.parametrize(
    "state", ["new", "connecting", "unreachable", "idle", "backlog", "paused", "stopped", "failed", "closed"]
)
def test_close_is_prompt_in_every_state(facade: Callable[..., Facade], state: str) -> None:
    source = MemorySource(Topics(race_status="status"))
    options: dict[str, Any] = {"source": source}
    config = memory_config(buffer_records=10)
    if state in ("connecting", "unreachable"):
        options = {}
        config = FeedConfig(
            bootstrap_servers=f"localhost:{free_port()}", group_id="g", topics=Topics(race_status="status"),
            security="PLAINTEXT", connect_timeout=0.5 if state == "unreachable" else 30, close_timeout=3,
        )  # fmt: skip
    if state in ("backlog", "paused"):
        source.publish(*[status(number) for number in range(1, 1000)])
    driven = facade(config, **options)
    if state == "connecting":
        assert driven.poll(0.1) is None
    elif state == "unreachable":
        with pytest.raises(ConnectError):
            driven.enter()
    elif state != "new":
        driven.enter()
    if state in ("backlog", "paused"):
        assert driven.next() == status(1)
    if state == "paused":
        wait_for(lambda: source._paused, "it is paused")
    if state == "stopped":
        driven.feed.stop()
        for _ in range(3):  # again is harmless
            with pytest.raises(StopIteration):
                driven.next()
    if state == "failed":
        source.fail(OSError("gone"))
        for _ in range(3):
            with pytest.raises(OSError, match="gone"):
                driven.next()
    if state == "closed":
        driven.leave()
    assert closed_in(driven) < 2.5
    with pytest.raises(FeedClosedError):
        driven.next()
    driven.finish()
    wait_for(lambda: not poll_threads(), "no thread is left")
    if state in ("backlog", "paused"):
        assert source.committed[STATUS] == 1


def test_a_failure_that_is_raised_again_and_again_does_not_grow() -> None:
    source = MemorySource(Topics(race_status="status"))
    depths = set()
    with Feed(memory_config(), source=source) as feed:
        source.fail(OSError("gone"))
        for _ in range(50):
            with pytest.raises(OSError, match="gone") as raised:
                next(feed)
            depths.add(len(raised.traceback))
    assert len(depths) <= 2, depths


def test_feeds_run_in_other_threads_and_two_in_one_process(kafka: KafkaCluster, make_partner: MakePartner) -> None:
    partners = [make_partner(), make_partner()]
    got: list[list[Event]] = [[], []]

    def consume(number: int) -> None:
        with Feed(flow.status_config(kafka, partners[number])) as feed:
            for event in feed:
                got[number].append(event)
                if len(got[number]) == 500:
                    break

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(2)]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join, 30)
        for _ in range(50):
            for partner in partners:
                flow.publish(kafka, partner, 10)
    for events in got:
        assert [event.record and event.record.offset for event in events] == list(range(500))
    for partner in partners:
        assert kafka.committed(f"{partner.group_prefix}app", partner.topics.race_status) == {0: 500}
    assert not poll_threads()


def test_memory_is_released_as_events_are_handled() -> None:
    """However long the time between two commits, what is done is not kept."""
    source = MemorySource(Topics(race_status="status"))
    with Feed(memory_config(commit_interval=3600.0, buffer_records=100), source=source) as feed:
        for number in range(1, 2001):
            source.publish(status(number))
            assert next(feed) == status(number)
        chunk, chunks = feed._session._buffer._counting, 0
        while chunk.next is not None:
            chunk, chunks = chunk.next, chunks + 1
        assert chunks <= 2, "only the current chunk and the next one"


def test_a_partition_that_was_revoked_while_paused_is_read_when_it_is_assigned_again(
    kafka: KafkaCluster, make_partner: MakePartner
) -> None:
    """The Kafka client would silently keep it paused for ever, unless it is resumed."""
    partner = make_partner(partitions=2)
    for partition in range(2):
        flow.publish(kafka, partner, 1500, partition)
    config = flow.status_config(kafka, partner, buffer_records=100, kafka={"heartbeat.interval.ms": 100})
    source = KafkaSource(config)
    with Feed(config, source=source) as feed:
        seen = {place_of(next(feed))}
        wait_for(lambda: source._pauses.is_paused, "the handler takes its time")
        with flow.Member(config, pace=0.01) as other:
            wait_for(lambda: bool(other.seen), "another member has a partition")
            while source._pauses.is_paused:
                seen.add(place_of(next(feed)))
        missing = flow.everything(kafka, partner) - set(other.seen) - seen
        while missing:
            event = feed.poll(10)
            assert event is not None, f"{len(missing)} records don't come"
            missing.discard(place_of(event))


def place_of(event: Event) -> tuple[int, int]:
    record = event.record
    assert record is not None
    return record.partition, record.offset
