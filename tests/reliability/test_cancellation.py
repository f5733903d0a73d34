"""Whatever waits in an `AsyncFeed` is cancelled, thousands of times: nothing is lost, and the order stays.

`RBHQ_LONG=1` gives the storms their long form.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from rbhq_stream import AsyncFeed, FeedClosedError, RaceEvent, Topics
from rbhq_stream.source import TopicPartition
from rbhq_stream.testing import MemorySource
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.memory_feeds import BAD, STATUS, memory_config, poll_threads, status
from tests.reliability import flow
from tests.reliability.flow import LONG
from tests.waiting import wait_for

Step = Callable[[], Awaitable[None]]
Way = Callable[[AsyncFeed, list[RaceEvent]], Step]


def by_next(feed: AsyncFeed, got: list[RaceEvent]) -> Step:
    async def step() -> None:
        got.append(await feed.__anext__())

    return step


def by_poll(feed: AsyncFeed, got: list[RaceEvent]) -> Step:
    async def step() -> None:
        event = await feed.poll(0.002)
        if event is not None:
            got.append(event)

    return step


def by_batch(feed: AsyncFeed, got: list[RaceEvent]) -> Step:
    batches = feed.batches(7, 0.001)

    async def step() -> None:
        got.extend(await batches.__anext__())

    return step


WAYS = pytest.mark.parametrize("way", [by_next, by_poll, by_batch])


CUTS = 30_000 if LONG else 1000


class Publisher(threading.Thread):
    """Publishes until it is left."""

    def __init__(self, publish: Callable[[int], object], pause: float) -> None:
        super().__init__(name="publisher")
        self.published = 0
        self._publish, self._pause = publish, pause
        self._over = threading.Event()

    def run(self) -> None:
        chance = random.Random(7)
        while not self._over.is_set():
            self.published += 1
            self._publish(self.published)
            if chance.random() < 0.1:
                self._over.wait(chance.random() * self._pause)

    def leave(self) -> None:
        self._over.set()
        self.join()


async def storm(step: Step, cuts: int, seed: int) -> None:
    """Does the steps until so many were cut short, one way or another."""
    chance = random.Random(seed)
    while cuts > 0:
        how = chance.random()
        if how < 0.4:
            try:
                await asyncio.wait_for(step(), chance.choice([0, 0, 1e-5, 1e-4, 0.002]) * chance.random())
            except asyncio.TimeoutError:  # another class on 3.10
                cuts -= 1
        elif how < 0.8:
            task = asyncio.ensure_future(step())
            for _ in range(chance.choice([0, 1, 1, 2, 3])):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.001)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cuts -= 1
        else:
            for _ in range(chance.randrange(20)):
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(step(), 0.05)


@WAYS
@pytest.mark.timeout(300)
def test_a_storm_of_cancellations_loses_no_event(way: Way) -> None:
    source = MemorySource(Topics(race_status="status"))

    async def main() -> None:
        got: list[RaceEvent] = []
        publisher = Publisher(lambda number: source.publish(status(number)), 0.002)
        publisher.start()
        async with AsyncFeed(memory_config(buffer_records=500), source=source) as feed:
            step = way(feed, got)
            try:
                await storm(step, CUTS, seed=1)
            finally:
                publisher.leave()
            while len(got) < publisher.published:
                await step()
        assert [event.event_number for event in got] == list(range(1, publisher.published + 1))
        assert source.committed[STATUS] == publisher.published
        print(f"{way.__name__}: {CUTS} cancellations, {len(got)} events")

    asyncio.run(main())


def test_a_storm_of_cancelled_runs_loses_no_event() -> None:
    """The event of a cancelled handler is not acknowledged: it is delivered again, and no event is skipped."""
    count = 3000
    source = MemorySource(Topics(race_status="status"))
    source.publish(*[status(number) for number in range(1, count + 1)])

    async def main() -> None:
        chance = random.Random(3)
        begun: list[int] = []
        done: list[int] = []
        async with AsyncFeed(memory_config(), source=source) as feed:

            @feed.on(RaceEvent)
            async def handler(event: RaceEvent) -> None:
                begun.append(event.event_number)
                if event.event_number % 10 == 0:
                    await asyncio.sleep(0)
                done.append(event.event_number)

            while len(set(done)) < count:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(feed.run(), chance.random() * 0.003)
        assert list(dict.fromkeys(done)) == list(range(1, count + 1))
        assert source.committed[STATUS] == count
        assert begun == sorted(begun), "an event is delivered again before the next one"

    asyncio.run(main())


def test_a_storm_of_cancellations_on_a_real_broker_loses_no_event(kafka: KafkaCluster, partner: Partner) -> None:
    async def main() -> None:
        got: list[RaceEvent] = []
        publisher = Publisher(lambda _number: flow.publish(kafka, partner, 10), 0.05)
        publisher.start()
        async with AsyncFeed(flow.status_config(kafka, partner)) as feed:
            steps = [way(feed, got) for way in (by_next, by_poll, by_batch)]
            chance = random.Random(4)

            async def step() -> None:
                await chance.choice(steps)()

            try:
                await storm(step, CUTS // 2, seed=2)
            finally:
                publisher.leave()
            count = publisher.published * 10
            while len(got) < count:
                await step()
        assert [event.record and event.record.offset for event in got] == list(range(count))
        assert kafka.committed(f"{partner.group_prefix}app", partner.topics.race_status) == {0: count}
        print(f"{CUTS // 2} cancellations, {count} events")

    asyncio.run(main())


def test_a_batch_that_is_cancelled_does_not_store_a_bad_record_again_and_again() -> None:
    source = MemorySource(Topics(race_status="status"))
    stored: list[object] = []

    async def main() -> None:
        async with AsyncFeed(memory_config(), source=source, on_bad_record=stored.append) as feed:
            source.publish(status(1))
            source.publish_raw("status", BAD)
            source.publish(status(3))
            batches = feed.batches(10, 60)
            for _ in range(20):
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(batches.__anext__(), 0.001)
                    break
            assert not stored, "it is behind an event that was not handed over"

    asyncio.run(main())


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Another task of the application, and how long it had to wait for its turns."""
    gaps: list[float] = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    task = asyncio.ensure_future(tick())
    try:
        yield gaps
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("way", ["next", "poll", "batches", "run"])
def test_other_tasks_run_while_there_is_a_backlog(way: str) -> None:
    count = 5000
    source = MemorySource(Topics(race_status="status"))
    source.publish(*[status(number) for number in range(1, count + 1)])

    async def main() -> None:
        feed = AsyncFeed(memory_config(), source=source)
        seen = 0

        @feed.on(RaceEvent)
        def handler(event: RaceEvent) -> None:
            nonlocal seen
            seen += 1
            if seen == count:
                feed.stop()

        async with feed, ticking() as gaps:
            while not feed.stats.waiting_records:  # noqa: ASYNC110  # there is no notification
                await asyncio.sleep(0.001)
            gaps.clear()
            if way == "run":
                await feed.run()
            elif way == "batches":
                async for batch in feed.batches(50, 0):
                    seen += len(batch)
                    if seen == count:
                        break
            else:
                while seen < count:
                    seen += await (feed.__anext__() if way == "next" else feed.poll(1)) is not None
        assert len(gaps) >= count / 100, "in each hundred events a turn"

    asyncio.run(main())


class Reluctant(MemorySource):
    """It connects only when the test lets it."""

    def __init__(self) -> None:
        super().__init__(Topics(race_status="status"))
        self.go = threading.Event()

    def open(self, owner: Any) -> None:
        while owner.is_wanted() and not self.go.wait(0.005):
            pass
        if not owner.is_wanted():
            raise FeedClosedError("the feed was closed while it connected")
        super().open(owner)


def test_a_feed_that_is_cancelled_while_it_connects_leaves_nothing_behind() -> None:
    source = Reluctant()

    async def enter() -> None:
        async with AsyncFeed(memory_config(), source=source):
            raise AssertionError("it can't be connected")

    async def main() -> None:
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(enter(), 0.01)

    asyncio.run(main())
    wait_for(lambda: not poll_threads(), "no thread is left")


def test_close_ends_a_wait_in_another_task() -> None:
    source = MemorySource(Topics(race_status="status"))

    async def main() -> None:
        feed = await AsyncFeed(memory_config(), source=source).__aenter__()
        waiting = asyncio.ensure_future(feed.__anext__())
        await asyncio.sleep(0.01)
        await feed.close()
        with pytest.raises(FeedClosedError):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


def test_a_cancelled_close_continues_by_itself() -> None:
    source = MemorySource(Topics(race_status="status"))
    source.publish(status(1))

    async def main() -> None:
        feed = AsyncFeed(memory_config(commit_interval=60.0), source=source)
        await feed.__anext__()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(feed.close(), 1e-9)
        while poll_threads():  # noqa: ASYNC110  # there is no notification
            await asyncio.sleep(0.001)
        await feed.close()

    asyncio.run(main())
    assert source.committed == {TopicPartition("status", 0): 1}


def test_close_needs_none_of_the_loops_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may all be busy."""
    source = MemorySource(Topics(race_status="status"))

    async def main() -> None:
        async def none(*_: object, **__: object) -> None:
            raise AssertionError("a thread of the loop's was asked for")

        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", none)
        async with AsyncFeed(memory_config(), source=source):
            pass

    asyncio.run(main())
