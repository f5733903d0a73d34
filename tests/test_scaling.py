"""The claims of docs/scaling.md: threads by race keep the order and lose nothing; long handlers; static members."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from rbhq_stream import Event, Feed, FeedConfig, RaceStatus, RaceStatusEvent, RbhqStreamError, Topics, encode
from rbhq_stream.testing import MemorySource
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.memory_feeds import STATUS, memory_config
from tests.pages import run_example
from tests.partner_configs import partner_config
from tests.waiting import wait_for

TOPICS = Topics(race_status="status")
RACES = 40


def workers(feed: Feed, handle: Callable[[Event], object], **options: int) -> Any:
    """The page's `RaceWorkers`."""
    space: dict[str, Any] = {}
    run_example("scaling.md", 1, space)
    return space["RaceWorkers"](feed, handle, **options)


@pytest.fixture
def source() -> MemorySource:
    """A thousand events of forty races; the runner number counts the events of a race."""
    source = MemorySource(TOPICS)
    chance = random.Random(4)
    counts: dict[int, int] = defaultdict(int)
    for _ in range(1000):
        race = chance.randrange(RACES)
        source.publish(RaceStatusEvent(1, race, RaceStatus.OPEN, runner_number=counts[race]))
        counts[race] += 1
    return source


class Handled:
    """A slow handler that records what it has handled, and how many threads handled events at once."""

    def __init__(self, stop_after: int, pause: float = 0.001) -> None:
        self.feed: Feed | None = None
        self.events: list[Event] = []
        self.most_at_once = 0
        self.fail_at: tuple[int, int] | None = None  # race and its event
        self._pause = pause
        self._stop_after = stop_after
        self._busy: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        assert isinstance(event, RaceStatusEvent)
        with self._lock:
            assert event.event_number not in self._busy, "two events of one race at once"
            self._busy.add(event.event_number)
            self.most_at_once = max(self.most_at_once, len(self._busy))
        try:
            time.sleep(random.random() * 2 * self._pause)
            if (event.event_number, event.runner_number) == self.fail_at:
                self.fail_at = None
                raise ZeroDivisionError("mine")
            with self._lock:
                self.events.append(event)
                if len(self.events) == self._stop_after and self.feed is not None:
                    self.feed.stop()
        finally:
            with self._lock:
                self._busy.discard(event.event_number)

    def by_race(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for event in self.events:
            assert isinstance(event, RaceStatusEvent)
            assert event.runner_number is not None
            found.setdefault(event.event_number, []).append(event.runner_number)
        return found


# --- threads by race


def test_threads_keep_the_order_of_each_race(source: MemorySource) -> None:
    handled = Handled(stop_after=1000)
    with Feed(memory_config(topics=TOPICS), source=source, commit="manual") as feed:
        handled.feed = feed
        workers(feed, handled, workers=8).run()
    assert len(handled.events) == 1000
    assert handled.by_race() == {race: list(range(len(seen))) for race, seen in handled.by_race().items()}
    assert handled.most_at_once > 4, "different races at the same time"
    assert source.committed[STATUS] == 1000


def test_an_exception_in_a_thread_loses_nothing(source: MemorySource) -> None:
    first = Handled(stop_after=0)
    first.fail_at = (7, 3)
    with (
        pytest.raises(ZeroDivisionError, match="mine"),
        Feed(memory_config(topics=TOPICS), source=source, commit="manual") as feed,
    ):
        workers(feed, first, workers=8).run()
    again = source.committed[STATUS]
    failed = next(
        offset
        for offset, (_, record) in enumerate(source._logs[STATUS])
        if b'"eventNumber":7,' in (record.value() or b"") and b'"runnerNumber":3' in (record.value() or b"")
    )
    assert again <= failed, "it was not done"
    assert first.by_race()[7] == [0, 1, 2], "nothing of that race after the one that failed"
    second = Handled(stop_after=1000 - again)
    with Feed(memory_config(topics=TOPICS), source=source, commit="manual") as feed:
        second.feed = feed
        workers(feed, second, workers=8).run()
    assert {*first.events, *second.events} == {
        RaceStatusEvent(1, race, RaceStatus.OPEN, runner_number=number)
        for race, numbers in second.by_race().items()
        for number in range(numbers[-1] + 1)
    }
    assert len({*first.events, *second.events}) == 1000, "every one"
    for seen in (first, second):
        for numbers in seen.by_race().values():
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "in order, none left out"
    assert source.committed[STATUS] == 1000


def test_slow_threads_make_the_feed_wait(source: MemorySource) -> None:
    gate = threading.Event()
    done: list[Event] = []

    def slow(event: Event) -> None:
        gate.wait(20)
        done.append(event)
        if len(done) == 1000:
            feed.stop()

    with Feed(memory_config(topics=TOPICS, buffer_records=50), source=source, commit="manual") as feed:
        pool = workers(feed, slow, workers=2, waiting=5)
        runner = threading.Thread(target=pool.run)
        runner.start()
        time.sleep(1)
        assert feed.stats.events <= 2 * (5 + 1) + 1, "the feed handed over no more events than fit into the queues"
        assert source._paused
        gate.set()
        runner.join(20)
    assert len(done) == 1000


def test_a_stop_lets_the_threads_finish(source: MemorySource) -> None:
    handled = Handled(stop_after=100, pause=0.003)
    with Feed(memory_config(topics=TOPICS), source=source, commit="manual") as feed:
        handled.feed = feed
        workers(feed, handled, workers=4).run()
        taken = feed.stats.events
    assert len(handled.events) >= taken - 1, "the one after stop() may have been shown and not taken"
    assert source.committed[STATUS] == len(handled.events)


# --- on the real broker


def publish(kafka: KafkaCluster, topic: str, races: range, partition: int = 0) -> None:
    events = [RaceStatusEvent(1, race, RaceStatus.OPEN) for race in races]
    kafka.publish(topic, [(b"k", encode(event)) for event in events], partition=partition)


def test_a_handler_longer_than_every_timeout_keeps_its_partitions(
    kafka: KafkaCluster, partner: Partner, caplog: pytest.LogCaptureFixture
) -> None:
    topic = partner.topics.race_status
    publish(kafka, topic, range(2000))
    config = partner_config(
        kafka,
        partner,
        topics=Topics(race_status=topic),
        session_timeout=1.0,
        max_poll_interval=1.5,
        buffer_records=100,
        commit_interval=0.1,
    )
    got: list[int] = []
    with caplog.at_level(logging.INFO, "rbhq_stream"), Feed(config) as feed:
        for event in feed:
            got.append(event.event_number)
            if len(got) == 10:
                time.sleep(4)
            if len(got) == 2000:
                break
    assert got == list(range(2000)), "nothing came again, so nothing was lost on the way"
    changes = [r.getMessage() for r in caplog.records if r.getMessage().startswith(("assigned", "revoked", "lost"))]
    assert [change.split(":")[0] for change in changes] in (["assigned"], ["assigned", "revoked"]), changes


class Member:
    """A named member of a group in a thread of its own, and the partitions of what it read."""

    def __init__(self, config: FeedConfig) -> None:
        self.partitions: list[int] = []
        self.error: BaseException | None = None
        self.feed = Feed(config)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.feed:
                for event in self.feed:
                    assert event.record is not None
                    self.partitions.append(event.record.partition)
        except RbhqStreamError as error:
            self.error = error

    def stop(self) -> None:
        self.feed.stop()
        self._thread.join(20)


def test_a_named_member_gets_its_partitions_back_after_a_restart(
    kafka: KafkaCluster, make_partner: MakePartner
) -> None:
    partner = make_partner(partitions=2)
    topic = partner.topics.race_status

    def member(name: str) -> Member:
        return Member(
            partner_config(kafka, partner, topics=Topics(race_status=topic), group_instance_id=name, session_timeout=10)
        )

    members = [member("a"), member("b")]
    try:

        def shared() -> bool:
            for each in members:
                each.partitions.clear()
            for partition in (0, 1):
                publish(kafka, topic, range(1), partition)
            time.sleep(0.2)
            a, b = (set(each.partitions) for each in members)
            return a | b == {0, 1} and bool(a) and bool(b) and not a & b

        wait_for(shared, "the partitions are shared")
        [of_a], [of_b] = (set(each.partitions) for each in members)
        members[0].stop()
        for partition in (0, 1):
            publish(kafka, topic, range(10), partition)
        time.sleep(1.5)
        assert set(members[1].partitions) == {of_b}, "nobody else got them meanwhile"
        members[0] = member("a")
        wait_for(lambda: len(members[0].partitions) >= 10, "the partitions are shared")
        assert members[0].partitions == [of_a] * 10, "it continues where it was"
        assert set(members[1].partitions) == {of_b}
        # two of one name: the newer one wins
        older = members[0]
        members.append(member("a"))
        wait_for(lambda: older.error, "the older one has failed")
        assert "fenced" in str(older.error).lower(), older.error
    finally:
        for each in members:
            each.stop()
