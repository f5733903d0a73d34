"""The health of a feed and the signals about it, for both facades over records from memory."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from rbhq_stream import (
    AsyncFeed,
    ConfigError,
    Feed,
    FeedClosedError,
    HealthChanged,
    HealthReason,
    HealthRules,
    HealthState,
    PartitionsAssigned,
    PartitionsLost,
    PartitionsRevoked,
    PriceEvent,
    RaceStatusEvent,
    Signal,
    TopicPartition,
    Topics,
    UnreachableError,
)
from rbhq_stream._engine.schedule_thread import SCHEDULE_INTERVAL, ScheduleThread
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import PRICES, MakeFacade, memory_config, price, prices
from tests.waiting import wait_for

R = HealthReason
NOON = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed waits for its health thread and for immediate handlers, but only for a moment. Here it waits for longer,
    because the machine may not run these threads for that long."""
    monkeypatch.setattr("rbhq_stream._engine.driver.LAST_SIGNALS_TIMEOUT", 20.0)
    monkeypatch.setattr("rbhq_stream._engine.health_watch.REPLY_TIMEOUT", 20.0)


def read_until(facade: Any, condition: Callable[[], object], what: str) -> None:
    """Reads until the condition holds; there must be no events."""

    def holds() -> object:
        return condition() or (facade.poll(0.05) is not None and pytest.fail("an event"))

    wait_for(holds, what)


def wait_until_live(facade: Any) -> None:
    """Reads until the feed is live, but maybe not until it has delivered the signal; there must be no events."""
    read_until(facade, lambda: facade.feed.health.ok, "it is live")


def wait_for_reason(facade: Any, reason: HealthReason) -> None:
    read_until(facade, lambda: facade.feed.health.reason is reason, reason.value)


def test_a_feed_that_is_made_entered_and_closed(make_facade: MakeFacade) -> None:
    facade = make_facade()
    assert facade.feed.health.reason is R.NOT_STARTED
    facade.enter()
    wait_until_live(facade)
    facade.leave()
    assert facade.feed.health.state is HealthState.CLOSED


def test_health_signals_come_in_line_with_the_events(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()
    received: list[object] = []
    facade.feed.on(HealthChanged)(lambda signal: received.append(signal.health.state))
    facade.enter()
    for _ in range(3):
        received += [facade.next()]
    read_until(facade, lambda: received[-1] is HealthState.LIVE, "it is live")
    assert [item for item in received if isinstance(item, PriceEvent)] == prices(3)
    assert received.index(HealthState.LIVE) > received.index(price(3)), "live comes after what had to be caught up with"


def test_an_outage_is_down_then_caught_up_with_then_live(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    signals: list[HealthChanged] = []
    facade.feed.on(HealthChanged)(signals.append)
    facade.enter()
    read_until(facade, lambda: signals and signals[-1].health.ok, "it is live")
    signals.clear()
    memory_source.cut_off()
    wait_for_reason(facade, R.BROKERS_UNREACHABLE)
    memory_source.publish(*prices(2))
    memory_source.reconnect()
    assert [facade.next(), facade.next()] == prices(2)
    read_until(facade, lambda: signals and signals[-1].health.ok, "it is live again")
    assert [signal.health.reason for signal in signals] == [R.BROKERS_UNREACHABLE, R.CATCHING_UP, R.UP_TO_DATE]
    gap = signals[-1].gap
    assert gap is not None
    assert gap.records[PRICES] == 2


def test_one_topic_that_is_cut_off_is_told_apart_from_an_outage(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    facade = make_facade()
    facade.enter()
    wait_until_live(facade)
    memory_source.cut_off("status")
    wait_for_reason(facade, R.PARTITIONS_UNREACHABLE)
    assert "status[0]" in facade.feed.health.detail


@pytest.mark.usefixtures("patient")
def test_an_immediate_handler_hears_of_a_stuck_handler_while_it_is_stuck(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(price(1))
    facade = make_facade(health=HealthRules(max_delay=0.3))
    reasons: list[HealthReason] = []
    heard = threading.Event()

    @facade.feed.on(HealthChanged, immediately=True)
    def suspend(signal: HealthChanged) -> None:
        reasons.append(signal.health.reason)
        if signal.health.reason is R.HANDLER_STUCK:
            heard.set()

    heard_in_time: list[bool] = []
    if isinstance(facade.feed, AsyncFeed):

        @facade.feed.on(PriceEvent)
        async def handle_async(_event: PriceEvent) -> None:
            deadline = time.monotonic() + 10
            while not heard.is_set() and time.monotonic() < deadline:  # noqa: ASYNC110  # as the other facade's
                await asyncio.sleep(0.01)
            heard_in_time.append(heard.is_set())
            facade.feed.stop()

    else:

        @facade.feed.on(PriceEvent)
        def handle(_event: PriceEvent) -> None:
            heard_in_time.append(heard.wait(10))
            facade.feed.stop()

    facade.run()
    assert heard_in_time == [True]
    assert reasons[-1] is R.CLOSED, "closing waits for the last signal"


def test_one_stuck_handler_of_many_is_noticed_while_the_others_go_on(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(20))
    facade = make_facade(health=HealthRules(max_delay=0.3))
    stuck, told_in_line = threading.Event(), threading.Event()
    others: list[int] = []

    def may_return() -> bool:
        """Whether the handler of race 3 has been stuck for long enough. It takes a while if something is wrong."""
        is_over = stuck.is_set() and told_in_line.is_set() and len(others) == 19
        return is_over or time.monotonic() > began + 20

    @facade.feed.on(HealthChanged, immediately=True)
    def note(signal: HealthChanged) -> None:
        if signal.health.reason is R.HANDLER_STUCK:
            stuck.set()

    if isinstance(facade.feed, AsyncFeed):

        @facade.feed.on(PriceEvent)
        async def handle_async(event: PriceEvent) -> None:
            while event == price(3) and not may_return():  # noqa: ASYNC110  # as the other facade's
                await asyncio.sleep(0.01)
            others.append(event.event_number)

    else:

        @facade.feed.on(PriceEvent)
        def handle(event: PriceEvent) -> None:
            while event == price(3) and not may_return():
                time.sleep(0.01)
            others.append(event.event_number)

    delays: list[bool] = []

    @facade.feed.on(HealthChanged)
    def in_line(signal: HealthChanged) -> None:
        if signal.health.reason is R.HANDLER_STUCK:
            delays.append(3 in others)
            told_in_line.set()
        if signal.health.ok:
            facade.feed.stop()

    began = time.monotonic()
    facade.run(at_once=4)
    assert stuck.is_set()
    assert delays[:1] == [False], "also in line it is not delivered after the handler that it is about"
    assert others[-1] == 3, "the others were handled meanwhile"
    assert sorted(others) == list(range(1, 21))


def test_an_error_of_an_immediate_handler_reaches_the_application(
    make_facade: MakeFacade, caplog: pytest.LogCaptureFixture
) -> None:
    facade = make_facade()

    @facade.feed.on(HealthChanged, immediately=True)
    def fail(signal: HealthChanged) -> None:
        if signal.health.ok:
            raise ValueError("the board is gone")

    facade.enter()
    with pytest.raises(ValueError, match="the board is gone"):
        facade.next()
    assert any("immediate handler" in record.getMessage() for record in caplog.records)
    caplog.clear()
    assert facade.poll(0.01) is None, "it is raised once"


def test_an_immediate_handler_that_exits_ends_the_application_and_the_next_signals_are_handled(
    memory_source: MemorySource,
) -> None:
    states: list[HealthState] = []
    with Feed(memory_config(), source=memory_source) as feed:

        @feed.on(HealthChanged, immediately=True)
        def leave(signal: HealthChanged) -> None:
            states.append(signal.health.state)
            if signal.health.ok:
                sys.exit("the board is gone")

        with pytest.raises(SystemExit, match="the board is gone"):
            next(feed)
        memory_source.cut_off()
        wait_for(lambda: HealthState.DOWN in states, "the handler is called again")


@pytest.mark.usefixtures("patient")
def test_a_coroutine_function_is_an_immediate_handler_of_an_async_feed(memory_source: MemorySource) -> None:
    async def main() -> list[HealthState]:
        states: list[HealthState] = []
        feed = AsyncFeed(memory_config(), source=memory_source)

        @feed.on(HealthChanged, immediately=True)
        async def note(signal: HealthChanged) -> None:
            await asyncio.sleep(0)
            states.append(signal.health.state)
            if signal.health.ok:
                feed.stop()

        await feed.run()
        return states

    states = asyncio.run(main())
    assert states[-2:] == [HealthState.LIVE, HealthState.CLOSED]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("awaits", [False, True], ids=["function", "coroutine function"])
def test_an_immediate_handler_that_raises_cancelled_error_does_not_stall_the_next_signals(
    memory_source: MemorySource, awaits: bool
) -> None:
    states: list[HealthState] = []
    errors: set[str] = set()

    async def cancelled(_signal: HealthChanged) -> None:
        waited_for = asyncio.get_running_loop().create_future()
        waited_for.cancel()
        await waited_for

    def cancels(_signal: HealthChanged) -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        async with AsyncFeed(memory_config(), source=memory_source) as feed:
            feed.on(HealthChanged, immediately=True)(cancelled if awaits else cancels)
            feed.on(HealthChanged, immediately=True)(lambda signal: states.append(signal.health.state))
            deadline = time.monotonic() + 10
            while HealthState.LIVE not in states and time.monotonic() < deadline:
                try:
                    await feed.poll(0.05)
                except RuntimeError as error:
                    errors.add(str(error))

    asyncio.run(main())
    assert states[-2:] == [HealthState.LIVE, HealthState.CLOSED]
    assert errors == {"an immediate handler of HealthChanged raised CancelledError"}


def test_signals_whose_handlers_were_cancelled_are_handled_when_the_feed_is_read_again(
    memory_source: MemorySource,
) -> None:
    async def main() -> None:
        handled = asyncio.Event()
        is_first = True
        async with AsyncFeed(memory_config(), source=memory_source) as feed:

            @feed.on(HealthChanged, immediately=True)
            async def handle(signal: HealthChanged) -> None:
                nonlocal is_first
                if signal.health.ok and is_first:
                    is_first = False
                    for task in asyncio.all_tasks() - {reader}:
                        task.cancel()
                    await asyncio.sleep(60)
                elif signal.health.ok:
                    handled.set()

            reader = asyncio.current_task()
            deadline = time.monotonic() + 10
            while not handled.is_set() and time.monotonic() < deadline:
                await feed.poll(0.05)
            assert handled.is_set()

    asyncio.run(main())


def test_immediate_handlers_are_kept_from_one_event_loop_to_the_next(memory_source: MemorySource) -> None:
    states: list[HealthState] = []
    feed = AsyncFeed(memory_config(), source=memory_source)
    feed.on(HealthChanged, immediately=True)(lambda signal: states.append(signal.health.state))

    async def read_until(state: HealthState) -> None:
        deadline = time.monotonic() + 10
        while state not in states and time.monotonic() < deadline:
            await feed.poll(0.05)
        assert state in states

    asyncio.run(read_until(HealthState.LIVE))
    memory_source.cut_off()
    wait_for(lambda: feed.health.state is HealthState.DOWN, "the feed is down")
    asyncio.run(read_until(HealthState.DOWN))
    asyncio.run(feed.close())


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (
            HealthRules(max_silence={RaceStatusEvent: 60.0}),
            r"health: max_silence.* RaceStatusEvent.*topics\.race_s",
        ),
        (HealthRules(schedule=lambda _since, _until: ()), r"health: schedule.*PriceEvent.*topics\.prices"),
    ],
)
def test_a_limit_for_the_silence_of_a_topic_that_is_not_read_is_refused(rules: HealthRules, problem: str) -> None:
    config = memory_config(topics=Topics(race_results="results"))
    for facade in Feed, AsyncFeed:
        with pytest.raises(ConfigError, match=problem):
            facade(config, source=MemorySource(config.topics), health=rules)


def test_a_schedule_that_exits_does_not_end_the_health(make_facade: MakeFacade) -> None:
    def schedule(_since: datetime, _until: datetime) -> list[datetime]:
        sys.exit("no card")

    facade = make_facade(health=HealthRules(schedule=schedule))
    wait_for_reason(facade, R.SCHEDULE_FAILED)


def test_a_schedule_that_blocks_delays_no_report(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    unblock = threading.Event()

    def schedule(_since: datetime, _until: datetime) -> list[datetime]:
        unblock.wait(30)
        return []

    facade = make_facade(health=HealthRules(schedule=schedule))
    reasons: list[HealthReason] = []
    facade.feed.on(HealthChanged, immediately=True)(lambda signal: reasons.append(signal.health.reason))
    facade.enter()
    wait_for_reason(facade, R.SCHEDULE_FAILED)
    assert "has not returned" in facade.feed.health.detail
    memory_source.cut_off()
    cut_off_at = time.monotonic()
    read_until(facade, lambda: reasons and reasons[-1] is R.BROKERS_UNREACHABLE, "it is reported")
    assert time.monotonic() - cut_off_at < 10
    memory_source.reconnect()
    unblock.set()
    wait_until_live(facade)


def test_the_schedule_is_called_at_intervals_for_a_period_that_has_all_jumps_that_matter() -> None:
    periods: list[tuple[datetime, datetime]] = []
    may_return = threading.Event()

    def schedule(since: datetime, until: datetime) -> list[datetime]:
        periods.append((since, until))
        assert may_return.wait(10)
        return [until, NOON, until + timedelta(seconds=1), since - timedelta(seconds=1)]

    def answered() -> bool:
        return thread.reply(0.0, NOON).called_at is None

    thread = ScheduleThread(schedule, before_jump=120)
    thread.start()
    first = thread.reply(0.0, NOON)
    assert first.failure == "the schedule has not returned yet"
    assert thread.reply(20.0, NOON).called_at == first.called_at == 0.0, "it is not called again before it has returned"
    may_return.set()
    wait_for(answered, "the schedule has returned")
    assert periods == [(NOON, NOON + timedelta(seconds=130))]
    assert thread.reply(1.0, NOON + timedelta(seconds=1)).jumps == (NOON, NOON + timedelta(seconds=130))
    assert thread.reply(SCHEDULE_INTERVAL, NOON + timedelta(seconds=5)).called_at == SCHEDULE_INTERVAL
    wait_for(answered, "the schedule has returned")
    assert thread.reply(6.0, NOON + timedelta(seconds=30)).called_at == 6.0, "a fast replay has left the period"
    thread.end()


@pytest.mark.timeout(30)
def test_a_run_ends_when_an_immediate_handler_closes_the_feed_although_it_must_not(memory_source: MemorySource) -> None:
    feed = Feed(memory_config(), source=memory_source)
    feed.on(HealthChanged, immediately=True)(lambda signal: feed.close() if signal.health.ok else None)
    with pytest.raises(FeedClosedError):
        feed.run()


def test_only_signals_are_handled_immediately(make_facade: MakeFacade) -> None:
    with pytest.raises(TypeError, match="only signals are handled immediately"):
        make_facade().feed.on(PriceEvent, immediately=True)(print)


def test_a_handler_of_every_signal_may_be_immediate(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    kinds: list[type[Signal]] = []
    facade.feed.on(Signal, immediately=True)(lambda signal: kinds.append(type(signal)))
    facade.enter()
    wait_until_live(facade)
    memory_source.lose("status")
    wait_for_reason(facade, R.EVICTED)
    facade.leave()
    assert {PartitionsAssigned, HealthChanged, PartitionsLost} <= set(kinds)


def test_the_changes_of_the_assignment_are_told(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    changes: list[object] = []
    facade.feed.on(PartitionsAssigned)(lambda signal: changes.append(("assigned", signal.partitions)))
    facade.feed.on(PartitionsRevoked)(lambda signal: changes.append(("revoked", signal.partitions)))
    facade.enter()
    memory_source.revoke("status")
    memory_source.assign("status")
    while len(changes) < 3:
        facade.poll(0.05)
    status = TopicPartition("status", 0)
    assert changes[0] == ("assigned", (PRICES, TopicPartition("results", 0), status))
    assert changes[1:] == [("revoked", (status,)), ("assigned", (status,))]


@pytest.mark.usefixtures("patient")
def test_down_is_told_before_the_error_that_ends_the_feed(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    reasons: list[HealthReason] = []
    facade.feed.on(HealthChanged)(lambda signal: reasons.append(signal.health.reason))
    facade.enter()
    wait_until_live(facade)
    memory_source.fail(UnreachableError("nobody is there"))
    with pytest.raises(UnreachableError):
        facade.next()
    assert reasons[-1] is R.FAILED
    assert "nobody is there" in facade.feed.health.detail


def test_a_feed_whose_health_can_not_be_determined_any_more_fails(
    make_facade: MakeFacade, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    facade = make_facade()
    reasons: list[HealthReason] = []
    at_once: list[HealthReason] = []
    facade.feed.on(HealthChanged)(lambda signal: reasons.append(signal.health.reason))
    facade.feed.on(HealthChanged, immediately=True)(lambda signal: at_once.append(signal.health.reason))
    facade.enter()
    wait_until_live(facade)

    def step(*_: object) -> None:
        raise ZeroDivisionError("a defect in the health")

    monkeypatch.setattr("rbhq_stream._engine.health_watch.HealthMachine.step", step)
    with pytest.raises(ZeroDivisionError, match="a defect in the health"):
        facade.next()
    assert facade.feed.health.state is HealthState.DOWN
    assert "a defect in the health" in facade.feed.health.detail
    assert not facade.feed.health.is_alive()
    assert reasons[-1] is R.FAILED
    wait_for(lambda: at_once[-1] is R.FAILED, "the immediate handler has been called")
    wait_for(lambda: "can't be determined any more" in caplog.text, "it is logged")
    facade.leave()
    wait_for(lambda: facade.feed.health.state is HealthState.CLOSED, "it is closed")


def test_a_feed_fails_if_there_is_no_thread_for_its_health(
    make_facade: MakeFacade, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "rbhq_stream health":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_others)
    facade = make_facade()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        facade.enter()
    assert not facade.feed.health.ok


def test_a_health_that_is_not_renewed_is_not_believed(make_facade: MakeFacade, monkeypatch: pytest.MonkeyPatch) -> None:
    facade = make_facade()
    facade.enter()
    wait_until_live(facade)
    later = time.monotonic() + 60
    monkeypatch.setattr("rbhq_stream._engine.health_watch.time.monotonic", lambda: later)
    # the thread may look at any time, on the same clock: then it reports the same
    assert facade.feed.health.reason is R.SUSPENDED
    monkeypatch.undo()


def test_a_host_that_was_suspended_is_noticed_although_its_monotonic_clock_stood_still(
    make_facade: MakeFacade, monkeypatch: pytest.MonkeyPatch
) -> None:
    facade = make_facade()
    facade.enter()
    wait_until_live(facade)
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + 60
    monkeypatch.setattr("rbhq_stream._engine.health_watch.time.clock_gettime", lambda _: later)
    # the thread may look at any time, on the same clock: then it reports the same
    assert facade.feed.health.reason is R.SUSPENDED
    monkeypatch.undo()


def test_the_health_of_a_feed_that_keeps_up_is_never_delayed_by_a_batch(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    facade = make_facade()
    reasons: list[HealthReason] = []
    facade.feed.on(HealthChanged)(lambda signal: reasons.append(signal.health.reason))
    facade.enter()
    read_until(facade, lambda: reasons and reasons[-1] is R.UP_TO_DATE, "it is live")
    reasons.clear()
    for _ in range(20):
        memory_source.publish(*prices(50))
        for _ in range(50):
            facade.next()
        time.sleep(0.02)
    assert reasons == []


def test_feed_and_async_feed_take_rules() -> None:
    for feed in (Feed, AsyncFeed):
        assert feed(memory_config(), health=HealthRules(max_delay=1)).health.reason is R.NOT_STARTED
