"""Signals: delivered in order with the events, by both facades, however they are read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from rbhq_stream import (
    AsyncFeed,
    DecodeError,
    PartitionsLost,
    PriceEvent,
    RaceStatusEvent,
    Retry,
    Signal,
    Topics,
)
from rbhq_stream._engine.async_feed import EVENTS_PER_TURN
from rbhq_stream.testing import MemorySource
from tests.facades import AsyncFacade, Facade, both_facades
from tests.memory_feeds import BAD, STATUS, TWO, memory_config, status
from tests.waiting import wait_for


class Stage:
    """A facade on records from memory, and everything that it delivered, in order."""

    def __init__(self, facade: Callable[..., Facade], **options: Any) -> None:
        self.source = MemorySource(Topics(race_status="status"))
        self.driven = facade(memory_config(commit_interval=60.0), source=self.source, **options)
        self.delivered: list[object] = []

    def next(self) -> None:
        event = self.driven.next()
        assert isinstance(event, RaceStatusEvent)
        self.delivered.append(event.event_number)

    def lose(self) -> None:
        """The partition is then assigned again, from the committed offset."""
        signals = self.driven.feed._session.signals

        def losses() -> int:
            return sum(isinstance(signal, PartitionsLost) for signal in tuple(signals))

        before = losses()
        self.source.lose("status")
        wait_for(lambda: losses() > before, "the loss is known")
        self.source.assign("status")


@pytest.fixture
def stage(facade: Callable[..., Facade]) -> Any:
    stage = Stage(facade)
    yield stage
    stage.driven.finish()


def wait_until_read(stage: Stage, count: int) -> None:
    wait_for(lambda: stage.driven.feed.stats.waiting_records >= count, "the records are read")


@both_facades
def test_a_loss_is_delivered_before_the_next_event(stage: Stage) -> None:
    stage.driven.feed.on(PartitionsLost)(stage.delivered.append)
    stage.source.publish(status(1), status(2), status(3))
    stage.driven.enter()
    began = datetime.now(timezone.utc)
    stage.next()
    stage.next()
    stage.lose()
    assert stage.delivered == [1, 2], "not before the current event is acknowledged"
    stage.next()
    signal = stage.delivered[2]
    assert isinstance(signal, PartitionsLost)
    assert signal.partitions == (STATUS,)
    assert signal.uncommitted == {STATUS: 1}, (
        "the second was the current event, the first was processed but not committed"
    )
    assert began <= signal.at <= datetime.now(timezone.utc)
    assert stage.delivered[3:] == [1], "what was not committed is delivered again"
    stage.next()
    assert stage.delivered[4:] == [2], "delivered once"
    assert hash(signal)


@both_facades
def test_a_loss_is_delivered_while_no_events_arrive(stage: Stage) -> None:
    stage.driven.feed.on(PartitionsLost)(stage.delivered.append)
    stage.driven.enter()
    stage.source.lose("status")
    for _ in range(100):
        assert stage.driven.poll(0.05) is None
        if stage.delivered:
            break
    assert [type(item) for item in stage.delivered] == [PartitionsLost]


@both_facades
@pytest.mark.parametrize("how", ["poll", "batches", "run"])
def test_signals_are_delivered_however_the_feed_is_read(stage: Stage, how: str) -> None:
    feed = stage.driven.feed
    feed.on(PartitionsLost)(stage.delivered.append)

    @feed.on(RaceStatusEvent)
    def handle(event: RaceStatusEvent) -> None:
        stage.delivered.append(event.event_number)
        if len(stage.delivered) == 1:
            stage.lose()
        else:
            feed.stop()

    stage.source.publish(status(1), status(2))
    stage.driven.enter()
    wait_until_read(stage, 2)
    if how == "run":
        stage.driven.run()
    elif how == "poll":
        for _ in range(2):
            event = stage.driven.poll(10)
            assert isinstance(event, RaceStatusEvent)
            handle(event)
    else:
        batches = stage.driven.batches(1, 0)
        for _ in range(2):
            [event] = batches()
            assert isinstance(event, RaceStatusEvent)
            handle(event)
    assert [getattr(item, "partitions", item) for item in stage.delivered] == [1, (STATUS,), 1]


@both_facades
def test_an_exception_of_a_handler_is_raised_to_the_caller_and_the_signal_is_delivered_again(stage: Stage) -> None:
    @stage.driven.feed.on(PartitionsLost)
    def handle(_signal: PartitionsLost) -> None:
        stage.delivered.append("lost")
        if len(stage.delivered) == 2:
            raise ZeroDivisionError

    stage.source.publish(status(1))
    stage.driven.enter()
    stage.next()
    stage.lose()
    with pytest.raises(ZeroDivisionError):
        stage.next()
    stage.next()
    assert stage.delivered == [1, "lost", "lost", 1]


@both_facades
def test_run_retries_handlers_of_signals_too(stage: Stage) -> None:
    feed = stage.driven.feed

    @feed.on(PartitionsLost)
    def handle(_signal: PartitionsLost) -> None:
        stage.delivered.append("lost")
        if len(stage.delivered) < 3:
            raise ZeroDivisionError
        feed.stop()

    stage.driven.enter()
    stage.lose()
    stage.driven.run(Retry(attempts=3, wait=0.001))
    assert stage.delivered == ["lost"] * 3


@both_facades
def test_a_loss_is_delivered_before_the_failure_that_followed_it(stage: Stage) -> None:
    stage.driven.feed.on(PartitionsLost)(stage.delivered.append)
    stage.driven.enter()
    stage.source.lose("status")
    stage.source.fail(ZeroDivisionError())
    wait_for(lambda: stage.driven.feed._session._buffer.failure is not None, "it failed")
    with pytest.raises(ZeroDivisionError):
        stage.next()
    assert [type(item) for item in stage.delivered] == [PartitionsLost]


@both_facades
def test_without_a_handler_the_feed_continues(stage: Stage) -> None:
    stage.source.publish(status(1))
    stage.driven.enter()
    stage.next()
    stage.lose()
    stage.next()
    assert stage.delivered == [1, 1]
    assert not stage.driven.feed._session.signals


@both_facades
def test_handlers_of_all_events_get_no_signals_and_handlers_of_all_signals_get_no_events(stage: Stage) -> None:
    feed = stage.driven.feed

    @feed.on(Signal)
    def note(signal: Signal) -> None:
        if isinstance(signal, PartitionsLost):
            stage.delivered.append(type(signal))

    @feed.on(RaceStatusEvent)
    def handle(event: RaceStatusEvent) -> None:
        stage.delivered.append(event.event_number)
        stage.source.lose("status")

    @feed.on(PartitionsLost)
    def stop(_signal: PartitionsLost) -> None:
        feed.stop()

    stage.source.publish(status(1))
    stage.driven.run()
    assert stage.delivered == [1, PartitionsLost]


@pytest.mark.parametrize("facade", [AsyncFacade])
def test_a_coroutine_may_handle_signals_and_its_thread_is_that_of_the_events(stage: Stage) -> None:
    @stage.driven.feed.on(PartitionsLost)
    async def handle(_signal: PartitionsLost) -> None:
        stage.delivered.append(threading.current_thread())

    stage.source.publish(status(1))
    stage.driven.enter()
    stage.next()
    stage.lose()
    stage.next()
    assert stage.delivered == [1, threading.main_thread(), 1]


@both_facades
def test_a_batch_is_not_collected_across_a_loss(stage: Stage) -> None:
    stage.driven.feed.on(PartitionsLost)(stage.delivered.append)
    stage.source.publish(status(1), status(2))
    stage.driven.enter()
    wait_until_read(stage, 2)

    def lose() -> None:
        stage.source.lose("status")
        stage.source.assign("status")
        stage.source.publish(status(3))

    threading.Timer(0.1, lose).start()
    collected = stage.driven.batches(3, 30)
    stage.delivered += [event.event_number for event in collected() if isinstance(event, RaceStatusEvent)]
    assert isinstance(stage.delivered[0], PartitionsLost), "nothing that was lost is handed over before it is delivered"
    assert stage.delivered[1:] == [1, 2, 3]


@both_facades
@pytest.mark.parametrize("manual", [False, True])
def test_the_rest_of_a_lost_record_is_not_handed_over(facade: Callable[..., Facade], manual: bool) -> None:
    stage = Stage(facade, commit="manual" if manual else "auto")
    stage.driven.feed.on(PartitionsLost)(lambda _: stage.delivered.append("lost"))
    stage.source.publish_raw("status", TWO % (1, 2))
    stage.driven.enter()
    stage.next()
    stage.lose()
    stage.next()
    stage.next()
    assert stage.delivered == [1, "lost", 1, 2]
    stage.driven.finish()


def test_events_lost_while_other_tasks_ran_are_not_handed_over() -> None:
    async def main() -> list[object]:
        source = MemorySource(Topics(race_status="status"))
        source.publish(*[status(number) for number in range(1, EVENTS_PER_TURN + 10)])
        got: list[object] = []
        async with AsyncFeed(memory_config(commit_interval=60.0), source=source) as feed:
            feed.on(PartitionsLost)(lambda _: got.append("lost"))

            async def lose() -> None:
                while len(got) < EVENTS_PER_TURN:  # noqa: ASYNC110  # its turn must come in that very pause
                    await asyncio.sleep(0)
                source.lose("status")
                wait_for(lambda: PartitionsLost in map(type, tuple(feed._session.signals)), "the loss is known")
                source.assign("status")

            losing = asyncio.create_task(lose())
            async for event in feed:
                assert isinstance(event, RaceStatusEvent)
                got.append(event.event_number)
                if "lost" in got:
                    break
            await losing
        return got

    got = asyncio.run(main())
    assert got[-2:] == ["lost", 1], got[-4:]


@both_facades
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_no_handler_of_signals_can_end_the_events(stage: Stage, kind: type[Exception]) -> None:
    def handle(_signal: PartitionsLost) -> None:
        raise kind

    stage.driven.feed.on(PartitionsLost)(handle)
    stage.driven.enter()
    stage.lose()
    with pytest.raises(RuntimeError, match=r"StopIteration|StopAsyncIteration"):
        stage.next()


@both_facades
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_no_sink_of_bad_records_can_end_the_events(facade: Callable[..., Facade], kind: type[Exception]) -> None:
    def sink(_error: DecodeError) -> None:
        raise kind

    stage = Stage(facade, on_bad_record=sink)
    stage.source.publish_raw("status", BAD)
    stage.driven.enter()
    with pytest.raises(RuntimeError, match="on_bad_record raised StopIteration"):
        stage.next()
    stage.driven.leave(ZeroDivisionError())
    stage.driven.finish()


@both_facades
def test_a_signal_comes_before_a_bad_record(stage: Stage) -> None:
    stage.driven.feed.on(PartitionsLost)(stage.delivered.append)
    stage.source.publish_raw("status", BAD)
    stage.driven.enter()
    wait_until_read(stage, 1)
    stage.lose()
    with pytest.raises(DecodeError):
        stage.next()
    assert len(stage.delivered) == 1


@both_facades
def test_a_handler_that_cannot_be_called_with_a_signal_is_refused(stage: Stage) -> None:
    with pytest.raises(TypeError, match=r"on\(PartitionsLost\): .* must be callable with a PartitionsLost"):
        stage.driven.feed.on(PartitionsLost)(lambda: None)  # type: ignore[arg-type, misc]
    stage.driven.feed.on(PriceEvent)(stage.delivered.append)
