"""An `AsyncFeed` is not bound to an event loop: it may be read in one after the other, and closed in any."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from rbhq_stream import AsyncFeed, Event, FeedClosedError, FeedInUseError, PartitionsLost, PriceEvent
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import PRICES, memory_config, price, prices
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def feed(memory_source: MemorySource) -> Iterator[AsyncFeed]:
    feed = AsyncFeed(memory_config(), source=memory_source)
    yield feed
    asyncio.run(feed.close())


async def wait_a_moment(feed: AsyncFeed) -> None:
    """Waits in this event loop, so that the feed has a waiter that is bound to it."""
    assert await feed.poll(0.01) is None


async def take(feed: AsyncFeed, count: int) -> list[Event]:
    return [await feed.__anext__() for _ in range(count)]


def test_it_is_read_in_one_event_loop_after_the_other(feed: AsyncFeed, memory_source: MemorySource) -> None:
    """Each waits for what is published while it waits. Nothing is lost or handed over twice in between."""

    async def wait_and_take(numbers: list[Event]) -> list[Event]:
        await wait_a_moment(feed)
        memory_source.publish(*numbers)
        return await take(feed, len(numbers))

    everything = prices(9)
    got: list[Event] = []
    for start in (0, 3, 6):
        got += asyncio.run(wait_and_take(everything[start : start + 3]))
    assert got == everything
    asyncio.run(feed.close())
    assert memory_source.committed[PRICES] == 9


@pytest.mark.parametrize("waited", [False, True])
def test_it_is_closed_in_another_event_loop(memory_source: MemorySource, waited: bool) -> None:
    memory_source.publish(*prices(2))
    feed = AsyncFeed(memory_config(), source=memory_source)

    async def enter_and_take() -> None:
        await feed.__aenter__()
        await take(feed, 2)
        if waited:
            await wait_a_moment(feed)

    asyncio.run(enter_and_take())
    asyncio.run(feed.close())
    assert memory_source.committed[PRICES] == 2
    assert memory_source.closed_in is not None
    asyncio.run(feed.close())
    with pytest.raises(FeedClosedError):
        asyncio.run(take(feed, 1))


def test_a_with_block_may_end_in_another_event_loop(feed: AsyncFeed, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(2))
    asyncio.run(feed.__aenter__())
    asyncio.run(take(feed, 2))
    asyncio.run(feed.__aexit__(ValueError, ValueError(), None))
    assert memory_source.committed[PRICES] == 1, "the current event was not processed"


def test_run_continues_in_another_event_loop(feed: AsyncFeed, memory_source: MemorySource) -> None:
    seen: list[int] = []

    @feed.on(PriceEvent)
    async def handle(event: PriceEvent) -> None:
        await asyncio.sleep(0)
        seen.append(event.event_number)
        if event.event_number == 2:
            feed.stop()

    async def run_for_a_while() -> None:
        await feed.__aenter__()
        run = asyncio.create_task(feed.run())
        while not seen:  # noqa: ASYNC110  # the handler is the application's
            await asyncio.sleep(0.01)
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run

    memory_source.publish(price(1))
    asyncio.run(run_for_a_while())
    assert seen == [1]
    memory_source.publish(price(2))
    asyncio.run(feed.run())
    assert seen == [1, 2]


def test_batches_continue_in_another_event_loop(feed: AsyncFeed, memory_source: MemorySource) -> None:
    batches = feed.batches(2, 0.05)

    async def next_batch() -> list[Event]:
        await asyncio.sleep(0)
        return await batches.__anext__()

    async def next_batch_of_what_comes() -> list[Event]:
        batch = asyncio.create_task(next_batch())
        await asyncio.sleep(0.05)  # it waits by then
        memory_source.publish(*prices(3))
        return await batch

    assert asyncio.run(next_batch_of_what_comes()) == prices(3)[:2]
    assert asyncio.run(next_batch()) == prices(3)[2:]


def test_a_wait_that_ended_with_its_event_loop_loses_no_event(feed: AsyncFeed, memory_source: MemorySource) -> None:
    async def leave_a_task_behind() -> None:
        task = asyncio.create_task(take(feed, 1))
        await asyncio.sleep(0.05)
        assert not task.done()  # asyncio.run cancels it

    asyncio.run(leave_a_task_behind())
    memory_source.publish(price(1))
    assert asyncio.run(take(feed, 1)) == [price(1)]


def test_an_event_loop_that_stopped_during_a_wait_does_no_harm(feed: AsyncFeed, memory_source: MemorySource) -> None:
    """Its task waits for ever without being cancelled, as after `loop.stop()` and in notebooks."""
    stopped = asyncio.new_event_loop()
    task = stopped.create_task(take(feed, 1))
    stopped.run_until_complete(asyncio.sleep(0.05))
    memory_source.publish(price(1), price(2))
    assert asyncio.run(take(feed, 1)) == [price(1)]
    asyncio.run(feed.close())
    task.cancel()
    with suppress(asyncio.CancelledError):
        stopped.run_until_complete(task)
    stopped.close()
    assert memory_source.committed[PRICES] == 1


def test_an_event_loop_that_was_closed_during_a_wait_does_no_harm(feed: AsyncFeed, memory_source: MemorySource) -> None:
    closed = asyncio.new_event_loop()
    waiting = feed.__anext__()
    task: asyncio.Task[Any] = closed.create_task(_awaited(waiting))
    closed.run_until_complete(asyncio.sleep(0.05))
    closed.close()
    memory_source.publish(price(1))
    assert asyncio.run(take(feed, 1)) == [price(1)]
    feed.stop()
    asyncio.run(feed.close())
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is what is tested
    waiting.close()


async def _awaited(awaitable: Awaitable[Event]) -> Event:
    return await awaitable


def in_a_thread_of_its_own(feed: AsyncFeed, use: Callable[[AsyncFeed], Awaitable[object]]) -> Any:
    async def main() -> object:
        return await use(feed)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, main()).result()


def test_two_event_loops_cannot_read_it_at_once(feed: AsyncFeed, memory_source: MemorySource) -> None:
    """Each would acknowledge the other's current event."""

    async def read_twice() -> list[Event]:
        first = asyncio.create_task(take(feed, 1))
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        with pytest.raises(FeedInUseError, match=r"another event loop.*one task at a time"):
            await loop.run_in_executor(None, in_a_thread_of_its_own, feed, lambda feed: take(feed, 1))
        memory_source.publish(price(1))
        return await first

    assert asyncio.run(read_twice()) == [price(1)]


def test_immediate_handlers_stay_in_the_event_loop_that_reads_the_feed(
    feed: AsyncFeed, memory_source: MemorySource
) -> None:
    """A second one that is refused, and ends, must not take them with it."""
    loops: list[asyncio.AbstractEventLoop] = []
    feed.on(PartitionsLost, immediately=True)(lambda _signal: loops.append(asyncio.get_running_loop()))

    async def read() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        reader = asyncio.create_task(feed.run())
        await asyncio.sleep(0.05)
        with pytest.raises(FeedInUseError):
            await loop.run_in_executor(None, in_a_thread_of_its_own, feed, lambda feed: take(feed, 1))
        memory_source.lose("prices")
        await loop.run_in_executor(None, wait_for, lambda: loops, "the handler is called", 20)
        feed.stop()
        await reader
        return loop

    loop = asyncio.run(read())
    assert loops == [loop]


def test_closing_in_a_second_event_loop_ends_the_first_ones_iteration(
    feed: AsyncFeed, memory_source: MemorySource
) -> None:
    memory_source.publish(price(1))
    got: list[Event] = []

    async def read() -> None:
        async with feed:
            got.append(await feed.__anext__())
            await feed.__anext__()

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(asyncio.run, read())
        wait_for(lambda: got == [price(1)], "the event is handed over")
        asyncio.run(feed.close())
        with pytest.raises(FeedClosedError):
            reader.result(20)
    assert memory_source.committed[PRICES] == 1


def test_many_short_event_loops_miss_no_wake_up(feed: AsyncFeed, memory_source: MemorySource) -> None:
    """A program that calls `asyncio.run` for each event, while another thread publishes."""
    count = 100

    def publish() -> None:
        for number in range(1, count + 1):
            wait_for(lambda number=number: feed.stats.events >= number - 1, "the event before it was read")  # type: ignore[misc]
            memory_source.publish(price(number))

    publisher = threading.Thread(target=publish)
    publisher.start()
    got = [event for _ in range(count) for event in asyncio.run(take(feed, 1))]
    publisher.join()
    assert got == prices(count)
