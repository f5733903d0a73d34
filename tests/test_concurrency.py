"""`Feed.run(workers=n)` and `AsyncFeed.run(concurrency=n)`: one suite for both, on records from memory."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from rbhq_stream import (
    AsyncFeed,
    DecodeError,
    Event,
    Feed,
    FeedClosedError,
    ForkedFeedError,
    PartitionsLost,
    PriceEvent,
    RaceEvent,
    RaceStatusEvent,
    Retry,
    UnreachableError,
)
from rbhq_stream._engine.async_feed import EVENTS_PER_TURN
from rbhq_stream._engine.concurrent_driver import Run
from rbhq_stream.testing import MemorySource
from tests.facades import AsyncFacade, Facade, SyncFacade
from tests.memory_feeds import BAD, PRICES, STATUS, TOPICS, TWO, memory_config, price, status
from tests.waiting import wait_for


def number(event: RaceEvent) -> int:
    """What the tests name an event by."""
    return event.event_number


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # the conditions are set from other threads
        await asyncio.sleep(0.001)


class Stage:
    """A facade on records from memory, with a handler whose every step the test decides."""

    def __init__(self, facade: Callable[..., Any], **options: Any) -> None:
        self.source: MemorySource = options.pop("source", None) or MemorySource(TOPICS)
        config = memory_config(**options.pop("fields", {}))
        self.driven: Facade = facade(config, source=self.source, **options)
        self.feed = self.driven.feed
        self.begun: list[int] = []
        self.done: list[int] = []
        self.held: set[int] = set()
        """Whose handlers don't return yet."""
        self.errors: dict[int, list[BaseException]] = {}
        """What handlers raise in the end, one at each call."""
        self.then: Callable[[RaceEvent], object] = lambda event: None
        """Called by the handler before it returns."""
        self.handles(RaceEvent)
        self.outcome: BaseException | None = None
        self._thread: threading.Thread | None = None

    def handles(self, kind: type[RaceEvent]) -> None:
        if isinstance(self.feed, Feed):

            @self.feed.on(kind)
            def handle(event: RaceEvent) -> None:
                self.begun.append(number(event))
                while number(event) in self.held:
                    time.sleep(0.001)
                self._return(event)

        else:

            @self.async_feed.on(kind)
            async def handle_async(event: RaceEvent) -> None:
                self.begun.append(number(event))
                await until(lambda: number(event) not in self.held)
                self._return(event)

    @property
    def async_feed(self) -> AsyncFeed:
        assert isinstance(self.feed, AsyncFeed)
        return self.feed

    def _return(self, event: RaceEvent) -> None:
        errors = self.errors.get(number(event))
        if errors:
            raise errors.pop(0)
        self.done.append(number(event))
        self.then(event)

    @property
    def current_run(self) -> Run:
        """The run that is going on."""
        run: Run | None = self.feed._current_run
        assert run is not None
        return run

    def stop_after(self, count: int) -> None:
        """The handler stops the feed when it was called for so many events."""

        def stop(event: RaceEvent) -> None:
            if len(self.done) >= count:
                self.feed.stop()

        self.then = stop

    def start(self, at_once: int = 4, **options: Any) -> None:
        """Runs on a thread of its own."""

        def run() -> None:
            try:
                self.driven.run(at_once=at_once, **options)
            except BaseException as error:  # noqa: BLE001  # a thread has no caller: the test looks at it
                self.outcome = error

        self.outcome = None
        self._thread = threading.Thread(target=run, name="runs the feed")
        self._thread.start()

    def end(self) -> BaseException | None:
        """What the run raised."""
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.outcome

    def stop(self) -> None:
        self.feed.stop()
        assert self.end() is None

    def close(self) -> None:
        self.held.clear()
        if self._thread is not None and self._thread.is_alive():
            self.feed.stop()
            self._thread.join(20)
        self.driven.finish()


MakeStage = Callable[..., Stage]


@pytest.fixture(params=[SyncFacade, AsyncFacade], ids=["Feed", "AsyncFeed"])
def make_stage(request: pytest.FixtureRequest) -> Iterator[MakeStage]:
    stages: list[Stage] = []

    def make(**options: Any) -> Stage:
        stages.append(Stage(request.param, **options))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage()


# --- what is handled when


def test_events_of_different_races_are_handled_at_once(stage: Stage) -> None:
    stage.source.publish(price(1), price(2), price(3))
    stage.held = {1, 2, 3}
    stage.start(at_once=3)
    wait_for(lambda: len(stage.begun) == 3, "all three have begun")
    assert stage.done == []
    stage.held.clear()
    wait_for(lambda: len(stage.done) == 3, "all three are done")
    stage.stop()


def test_no_more_events_are_handled_at_once_than_was_asked_for(stage: Stage) -> None:
    stage.source.publish(*[price(race) for race in range(1, 6)])
    stage.held = {1, 2, 3, 4, 5}
    stage.start(at_once=2)
    wait_for(lambda: len(stage.begun) == 2, "two have begun")
    time.sleep(0.05)
    assert sorted(stage.begun) == [1, 2]
    stage.held = {2, 3, 4, 5}
    wait_for(lambda: sorted(stage.begun) == [1, 2, 3], "another one has begun")
    stage.held.clear()
    wait_for(lambda: len(stage.done) == 5, "all are done")
    stage.stop()


def test_the_events_of_a_race_are_handled_in_order_and_never_two_at_once(stage: Stage) -> None:
    chance = random.Random(4)
    counts: dict[int, int] = defaultdict(int)
    for _ in range(600):
        race = chance.randrange(20)
        counts[race] += 1
        stage.source.publish(RaceStatusEvent(1, race, "OPEN", runner_number=counts[race]))
    seen: dict[int, list[int | None]] = defaultdict(list)
    busy: set[int] = set()
    most = 0

    def begin(event: RaceStatusEvent) -> None:
        nonlocal most
        assert event.event_number not in busy, "two events of one race at once"
        busy.add(event.event_number)
        most = max(most, len(busy))

    def finish(event: RaceStatusEvent) -> None:
        seen[event.event_number].append(event.runner_number)
        busy.discard(event.event_number)
        if sum(map(len, seen.values())) == 600:
            stage.feed.stop()

    if isinstance(stage.feed, Feed):

        @stage.feed.on(RaceStatusEvent)
        def takes_its_time(event: RaceStatusEvent) -> None:
            begin(event)
            time.sleep(random.random() * 0.002)
            finish(event)

    else:

        @stage.async_feed.on(RaceStatusEvent)
        async def takes_its_time_async(event: RaceStatusEvent) -> None:
            begin(event)
            await asyncio.sleep(random.random() * 0.002)
            finish(event)

    stage.driven.run(at_once=8)
    assert seen == {race: list(range(1, count + 1)) for race, count in counts.items()}
    assert most > 4, "different races at the same time"
    assert stage.source.committed[STATUS] == 600
    assert stage.feed.stats.events == 600


def test_events_of_one_race_in_several_topics_are_handled_one_after_the_other(stage: Stage) -> None:
    stage.source.publish(price(1), status(1), status(2))
    stage.held = {1}
    stage.start()
    wait_for(lambda: stage.done == [2] and len(stage.begun) == 2, "the other race is done")
    assert sorted(stage.begun) == [1, 2]
    stage.held.clear()
    wait_for(lambda: sorted(stage.begun) == [1, 1, 2], "then the second event of the race")
    stage.stop()


# --- what is committed


def test_only_what_is_done_without_a_gap_is_committed(stage: Stage) -> None:
    stage.source.publish(price(1), price(2), price(3), price(4), price(5))
    stage.held = {2, 4}
    stage.start(at_once=5)
    wait_for(lambda: sorted(stage.done) == [1, 3, 5], "what is not held is done")
    wait_for(lambda: stage.source.committed.get(PRICES) == 1, "the first one is committed")
    time.sleep(0.1)
    assert stage.source.committed[PRICES] == 1
    stage.held = {4}
    wait_for(lambda: stage.source.committed[PRICES] == 3, "up to the next that is not done")
    stage.held = set()
    wait_for(lambda: stage.source.committed[PRICES] == 5, "all of it")
    assert stage.feed.stats.events == 5
    stage.stop()


def test_a_record_of_several_events_is_committed_when_all_of_them_are_done(stage: Stage) -> None:
    stage.source.publish_raw("status", TWO % (1, 2))
    stage.source.publish_raw("status", TWO % (3, 4))
    stage.held = {2, 3}
    stage.start()
    wait_for(lambda: sorted(stage.done) == [1, 4], "one event of each is done")
    time.sleep(0.05)
    assert stage.source.committed.get(STATUS, 0) == 0
    stage.held = {3}
    wait_for(lambda: stage.source.committed.get(STATUS) == 1, "the first record is done")
    stage.held = set()
    wait_for(lambda: stage.source.committed.get(STATUS) == 2, "both are")
    stage.stop()


def test_records_without_events_are_committed_with_those_before_them(stage: Stage) -> None:
    stage.source.publish_raw("prices", None)
    stage.source.publish(price(1))
    stage.source.publish_raw("prices", None)
    stage.held = {1}
    stage.start()
    wait_for(lambda: stage.source.committed.get(PRICES) == 1, "the first one is committed")
    stage.held = set()
    wait_for(lambda: stage.source.committed.get(PRICES) == 3, "all three are")
    assert stage.feed.stats.empty_records == 2
    stage.stop()


def test_ack_works_as_ever(make_stage: MakeStage) -> None:
    stage = make_stage(commit="manual")
    kept: list[RaceEvent] = []

    def ack(event: RaceEvent) -> None:
        if number(event) == 1:
            kept.append(event)
        else:
            stage.feed.ack(event)

    stage.then = ack
    stage.source.publish(price(1), price(2), price(3))
    stage.start()
    wait_for(lambda: len(stage.done) == 3, "all are handled")
    time.sleep(0.05)
    assert stage.source.committed.get(PRICES, 0) == 0
    stage.feed.ack(kept[0])
    wait_for(lambda: stage.source.committed.get(PRICES) == 3, "all are acknowledged")
    stage.stop()


# --- bounds


def test_a_stuck_race_does_not_block_the_others(make_stage: MakeStage) -> None:
    stage = make_stage(fields={"buffer_records": 500})
    stage.source.publish(price(1), price(1), price(1), *[price(race) for race in range(2, 302)])
    stage.held = {1}
    stage.start(at_once=2)
    wait_for(lambda: len(stage.done) == 300, "all the others are done")
    assert stage.begun.count(1) == 1
    assert stage.feed.stats.waiting_records == 303, "what is behind the stuck one is not committed"
    stage.held = set()
    wait_for(lambda: stage.source.committed.get(PRICES) == 303, "all is done")
    stage.stop()


def test_what_is_taken_from_the_buffer_and_not_done_is_bounded(stage: Stage) -> None:
    stage.source.publish(*[price(1)] * 5, price(2))
    stage.held = {1}
    stage.start(at_once=2, max_in_flight=5)
    wait_for(lambda: stage.begun == [1], "the first one has begun")
    time.sleep(0.05)
    assert stage.begun == [1], "five events of the race are in flight, so race 2 is not reached"
    stage.held = set()
    wait_for(lambda: len(stage.done) == 6, "all is done")
    stage.stop()


def test_a_stuck_race_stops_the_reading_when_the_buffer_is_full(make_stage: MakeStage) -> None:
    stage = make_stage(fields={"buffer_records": 20})
    stage.source.publish(price(1))
    stage.held = {1}
    stage.start()
    wait_for(lambda: stage.begun == [1], "it has begun")

    def is_read(race: int) -> bool:
        return stage.source._next[PRICES] == race or stage.source._paused

    for race in range(2, 42):  # one by one, so that a slow poll thread does not get all of them at once
        stage.source.publish(price(race))
        wait_for(partial(is_read, race), "it is read")
    wait_for(lambda: stage.source._paused, "reading is paused")
    assert len(stage.done) < 40
    stage.held = set()
    wait_for(lambda: len(stage.done) == 41, "reading went on")
    stage.stop()


# --- handlers that raise


def test_what_a_handler_raises_ends_the_run_when_the_others_have_returned(stage: Stage) -> None:
    stage.source.publish(price(1), price(2), price(3), price(2), price(4))
    stage.held = {1, 2, 3}
    stage.errors = {2: [ZeroDivisionError("mine")]}
    stage.driven.enter()
    stage.start(at_once=3)
    wait_for(lambda: len(stage.begun) == 3, "three have begun")
    stage.held = {1, 3}
    time.sleep(0.05)
    assert stage.outcome is None, "it waits for the others"
    stage.held = set()
    assert isinstance(stage.end(), ZeroDivisionError)
    assert sorted(stage.done) == [1, 3]
    assert sorted(stage.begun) == [1, 2, 3], "nothing is begun after the failure"
    wait_for(lambda: stage.source.committed.get(PRICES) == 1, "what is before the failed one is committed")
    stage.start(at_once=3)
    wait_for(lambda: sorted(stage.done) == [1, 2, 2, 3, 3, 4], "it goes on with the failed one")
    stage.stop()
    wait_for(lambda: stage.source.committed.get(PRICES) == 5, "all is committed")


def test_a_failure_of_a_feed_that_was_not_entered_closes_it(stage: Stage) -> None:
    stage.source.publish(price(1), price(2))
    stage.errors = {2: [ZeroDivisionError("mine")]}
    with pytest.raises(ZeroDivisionError):
        stage.driven.run(at_once=2)
    assert stage.source.closed_in is not None
    assert stage.source.committed[PRICES] <= 1
    with pytest.raises(FeedClosedError):
        stage.driven.run(at_once=2)


def test_the_first_of_several_failures_is_raised_and_the_others_are_logged(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.source.publish(price(1), price(2))
    stage.held = {1, 2}
    stage.errors = {1: [ZeroDivisionError("late")], 2: [ZeroDivisionError("early")]}
    stage.start()
    wait_for(lambda: len(stage.begun) == 2, "both have begun")
    stage.held = {1}
    wait_for(lambda: stage.current_run.failure, "the first failure is noted")
    stage.held = set()
    assert str(stage.end()) == "early"
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "ZeroDivisionError('late')" in line
    assert "PriceEvent of race 1-1" in line


def test_a_failure_after_a_stop_is_raised_too(stage: Stage) -> None:
    stage.source.publish(price(1), price(2))
    stage.held = {1}
    stage.errors = {1: [ZeroDivisionError("mine")]}
    stage.stop_after(1)
    stage.start()
    wait_for(lambda: stage.done == [2], "the feed is stopped")
    stage.held = set()
    assert isinstance(stage.end(), ZeroDivisionError)


def test_a_retry_holds_up_its_own_race_only(stage: Stage) -> None:
    stage.source.publish(price(1), price(1), price(2), *[price(race) for race in range(3, 13)])
    stage.errors = {1: [OSError()], 2: [OSError()]}
    stage.start(at_once=2, retry=Retry(attempts=3, wait=60, max_wait=60))
    wait_for(lambda: len(stage.done) == 10, "the other races are done")
    assert stage.begun.count(1) == stage.begun.count(2) == 1, "and meanwhile they wait, without taking anybody's turn"
    stage.stop()
    assert stage.source.committed.get(PRICES, 0) == 0


def test_the_next_event_of_a_race_is_handled_after_the_retries_of_the_one_before_it(stage: Stage) -> None:
    stage.source.publish(price(1), price(1), price(2))
    stage.errors = {1: [OSError(), OSError()]}
    stage.start(at_once=2, retry=Retry(attempts=3, wait=0.01, factor=1))
    wait_for(lambda: sorted(stage.done) == [1, 1, 2], "all are done")
    assert stage.begun.count(1) == 4
    stage.stop()
    assert stage.source.committed[PRICES] == 3


def test_the_last_failure_of_a_retry_ends_the_run(stage: Stage) -> None:
    stage.source.publish(price(1))
    stage.errors = {1: [OSError("one"), OSError("two"), OSError("three")]}
    with pytest.raises(OSError, match="two"):
        stage.driven.run(at_once=2, retry=Retry(attempts=2, wait=0.001))
    assert stage.source.committed.get(PRICES, 0) == 0


def test_a_stop_ends_the_wait_for_a_retry(stage: Stage) -> None:
    stage.source.publish(price(1))
    stage.errors = {1: [OSError()]}
    stage.start(retry=Retry(wait=60, max_wait=60))
    wait_for(lambda: stage.begun == [1], "it has failed")
    stage.stop()
    assert stage.source.committed.get(PRICES, 0) == 0


def test_a_handler_that_did_not_run_ends_the_run(stage: Stage) -> None:
    stage.source.publish(price(1))
    stage.feed.on(PriceEvent)(lambda event: (None for _ in [event]))
    with pytest.raises(TypeError, match="has not run"):
        stage.driven.run(at_once=2, retry=Retry(wait=0.001))
    assert stage.source.committed.get(PRICES, 0) == 0


def test_a_stop_iteration_of_a_handler_is_an_error_like_any_other(stage: Stage) -> None:
    stage.source.publish(price(1))
    stage.errors = {1: [StopIteration("mine")]}
    with pytest.raises((StopIteration, RuntimeError), match=r"mine|StopIteration"):
        stage.driven.run(at_once=2)
    assert stage.source.committed.get(PRICES, 0) == 0


# --- bad records and failing sources


@pytest.mark.parametrize("before", [0, 2])
def test_a_bad_record_is_raised_when_everything_before_it_is_done(stage: Stage, before: int) -> None:
    stage.source.publish(*[price(race + 1) for race in range(before)])
    stage.source.publish_raw("prices", BAD)
    stage.source.publish(price(7))
    stage.held = {1}
    stage.driven.enter()
    stage.start()
    if before:
        wait_for(lambda: stage.done == [2], "the second one is done")
        time.sleep(0.02)
        assert stage.outcome is None
        stage.held = set()
    assert isinstance(stage.end(), DecodeError)
    assert 7 not in stage.begun, "nothing behind it"
    wait_for(lambda: stage.source.committed.get(PRICES) == before, "the bad record is not processed")
    stage.start()
    wait_for(lambda: 7 in stage.done, "the next run goes on behind it")
    stage.stop()
    wait_for(lambda: stage.source.committed.get(PRICES) == before + 2, "all is committed")


def test_a_bad_record_that_is_skipped_holds_nothing_up(make_stage: MakeStage) -> None:
    stage = make_stage(on_bad_record="skip")
    stage.source.publish(price(1))
    stage.source.publish_raw("prices", BAD)
    stage.source.publish(price(2))
    stage.source.publish_raw("prices", BAD)
    stage.held = {1}
    stage.start()
    wait_for(lambda: stage.done == [2], "what is behind it is done")
    stage.held = set()
    wait_for(lambda: stage.source.committed.get(PRICES) == 4, "all is committed")
    assert stage.feed.stats.bad_records == 2
    stage.stop()


def test_a_bad_record_is_given_to_the_sink_once(make_stage: MakeStage) -> None:
    letters: list[DecodeError] = []
    stage = make_stage(on_bad_record=letters.append)
    stage.source.publish(price(1))
    stage.source.publish_raw("prices", BAD)
    stage.source.publish(price(2))
    stage.source.publish_raw("prices", BAD)
    stage.held = {1}
    stage.start()
    wait_for(lambda: len(letters) == 2, "both are stored")
    time.sleep(0.05)
    assert stage.source.committed.get(PRICES, 0) == 0, "not before the first event is done"
    stage.held = set()
    wait_for(lambda: stage.source.committed.get(PRICES) == 4, "all is committed")
    stage.stop()
    assert len(letters) == 2


def test_a_sink_that_fails_ends_the_run_and_gets_the_record_again(make_stage: MakeStage) -> None:
    calls: list[DecodeError] = []

    def sink(error: DecodeError) -> None:
        calls.append(error)
        if len(calls) == 1:
            raise OSError("the disk is full")

    stage = make_stage(on_bad_record=sink)
    stage.source.publish(price(1))
    stage.held = {1}
    stage.driven.enter()
    stage.start()
    wait_for(lambda: stage.begun == [1], "it has begun")
    stage.source.publish_raw("prices", BAD)
    wait_for(lambda: len(calls) == 1, "the sink has failed")
    stage.held = set()
    assert isinstance(stage.end(), OSError)
    wait_for(lambda: stage.source.committed.get(PRICES) == 1, "what was before it is done")
    stage.start()
    wait_for(lambda: stage.source.committed.get(PRICES) == 2, "the sink has stored it")
    stage.stop()
    assert len(calls) == 2


def test_a_failure_of_the_source_is_raised_when_everything_before_it_is_done(stage: Stage) -> None:
    stage.source.publish(price(1), price(2), price(3))
    stage.held = {2}
    stage.start(at_once=2)
    wait_for(lambda: stage.feed._session._buffer.is_open and stage.begun, "it is connected")
    stage.source.fail(UnreachableError("gone"))
    wait_for(lambda: sorted(stage.done) == [1, 3], "the others are done")
    stage.held = set()
    assert isinstance(stage.end(), UnreachableError)
    assert sorted(stage.done) == [1, 2, 3]
    assert stage.source.committed[PRICES] == 3


# --- stopping


def test_a_stop_lets_running_handlers_finish_and_starts_no_more(stage: Stage) -> None:
    stage.source.publish(price(1), price(2), price(1), price(2))
    stage.held = {1, 2}
    stage.start(at_once=2)
    wait_for(lambda: len(stage.begun) == 2, "two have begun")
    stage.feed.stop()
    time.sleep(0.05)
    stage.held = set()
    assert stage.end() is None
    assert sorted(stage.done) == [1, 2]
    assert stage.source.committed[PRICES] == 2


def test_a_handler_may_stop_the_feed(stage: Stage) -> None:
    stage.source.publish(*[price(race) for race in range(1, 100)])
    stage.stop_after(10)
    stage.driven.run(at_once=4)
    assert 10 <= len(stage.done) < 20
    assert stage.source.committed[PRICES] == len(stage.done)


def test_what_has_not_returned_in_time_is_given_up_and_not_acknowledged(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.source.publish(price(1), price(2), price(3))
    stage.held = {2}
    stage.start(drain_timeout=0.05)
    wait_for(lambda: stage.feed.stats.events == 2, "two are done")
    stage.stop()
    assert sorted(stage.done) == [1, 3]
    assert stage.source.committed[PRICES] == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.endswith("again: PriceEvent of race 1-2")
    assert stage.feed._oldest_start is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"at_once": 0}, r"=0: expected at least 1"),
        ({"at_once": 3, "max_in_flight": 2}, r"max_in_flight=2: expected at least \w+=3"),
        ({"at_once": 2, "drain_timeout": -1}, "drain_timeout=-1: expected seconds"),
        ({"at_once": 2, "drain_timeout": float("nan")}, "drain_timeout=nan: expected seconds"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(stage: Stage, given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        stage.driven.run(**given)


def test_since_when_the_oldest_handler_is_running_is_known(stage: Stage) -> None:
    began = time.monotonic()
    stage.source.publish(price(1))
    stage.held = {1}
    stage.start()
    wait_for(lambda: stage.begun, "it has begun")
    assert stage.feed._oldest_start is not None
    assert began <= stage.feed._oldest_start <= time.monotonic()
    stage.held = set()
    wait_for(lambda: stage.source.committed.get(PRICES) == 1, "it is done")
    assert stage.feed._oldest_start is None
    stage.stop()


# --- signals and rebalances


def test_a_signal_is_delivered_after_everything_before_it_and_before_anything_behind_it(stage: Stage) -> None:
    losses: list[object] = []
    stage.feed.on(PartitionsLost)(lambda signal: losses.append((signal.partitions, sorted(stage.done))))
    stage.source.publish(price(1), price(2), price(1), status(3))
    stage.held = {1}
    stage.start()
    wait_for(lambda: sorted(stage.done) == [2, 3], "the others are done")
    stage.source.lose("status")
    wait_for(lambda: PartitionsLost in map(type, tuple(stage.feed._session.signals)), "the loss is known")
    stage.source.publish(price(4))
    wait_for(lambda: stage.feed.stats.waiting_records == 5, "it is read")
    time.sleep(0.05)
    assert losses == []
    assert 4 not in stage.begun
    stage.held = set()
    wait_for(lambda: 4 in stage.done, "the feed went on")
    assert losses == [((STATUS,), [1, 1, 2, 3])]
    stage.stop()


def test_a_signal_that_nobody_handles_holds_nothing_up(stage: Stage) -> None:
    stage.source.publish(price(1))
    stage.held = {1}
    stage.start()
    wait_for(lambda: stage.begun, "it has begun")
    stage.source.lose("status")
    stage.source.publish(price(2))
    wait_for(lambda: stage.done == [2], "the next one is done")
    stage.stop_after(3)
    stage.held = set()
    stage.stop()


def test_events_of_lost_partitions_are_not_begun_and_running_ones_are_not_acknowledged(stage: Stage) -> None:
    stage.source.publish(status(1), status(1), status(2), price(3))
    stage.held = {1, 2, 3}
    stage.start(at_once=3)
    wait_for(lambda: sorted(stage.begun) == [1, 2, 3], "three have begun")
    stage.source.lose("status")
    wait_for(lambda: not stage.feed._session._buffer.ownership.includes(("status", 0), 99), "it is lost")
    stage.held = set()
    wait_for(lambda: stage.source.committed.get(PRICES) == 1, "the rest is committed")
    wait_for(lambda: stage.feed.stats.events == 3, "all have returned")
    assert sorted(stage.done) == [1, 2, 3], "the second event of race 1 was never begun"
    assert stage.source.committed.get(STATUS, 0) == 0
    stage.source.assign("status")
    wait_for(lambda: stage.source.committed.get(STATUS) == 3, "it is all handled again")
    assert sorted(stage.done) == [1, 1, 1, 2, 2, 3]
    stage.stop()


def test_a_race_whose_partition_came_back_is_not_handled_twice_at_once(stage: Stage) -> None:
    stage.source.publish(status(1))
    stage.held = {1}
    stage.start()
    wait_for(lambda: stage.begun == [1], "it has begun")
    stage.source.lose("status")
    stage.source.assign("status")
    wait_for(lambda: stage.feed.stats.waiting_records == 2, "it was read again")
    time.sleep(0.05)
    assert stage.begun == [1]
    stage.held = set()
    wait_for(lambda: stage.begun == [1, 1], "now it is handled again")
    wait_for(lambda: stage.source.committed.get(STATUS) == 1, "and committed")
    stage.stop()


# --- after a run


def test_iterating_after_a_run_that_failed_goes_on_behind_what_is_processed(stage: Stage) -> None:
    stage.source.publish(price(1), price(2), price(3))
    stage.held = {1}
    stage.errors = {2: [ZeroDivisionError("mine")]}
    stage.driven.enter()
    stage.start()
    wait_for(lambda: stage.done == [3], "the third one is done")
    stage.held = set()
    assert isinstance(stage.end(), ZeroDivisionError)
    events: list[Event] = [stage.driven.next(), stage.driven.next()]
    assert [number(event) for event in events] == [2, 3]
    stage.driven.leave()
    assert stage.source.committed[PRICES] == 3


def test_a_run_acknowledges_the_event_that_was_handed_over_before_it(stage: Stage) -> None:
    stage.source.publish(price(1), price(2), price(3))
    stage.driven.enter()
    assert number(stage.driven.next()) == 1
    stage.stop_after(2)
    stage.driven.run(at_once=2)
    assert sorted(stage.done) == [2, 3]
    stage.driven.leave()
    assert stage.source.committed[PRICES] == 3
    assert stage.feed.stats.events == 3
    wait_for(lambda: not [thread for thread in threading.enumerate() if "worker" in thread.name], "no thread is left")


# --- Feed's threads


@pytest.fixture
def threaded(request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage(SyncFacade)
    yield stage
    stage.close()


def interrupt_when(condition: Callable[[], object]) -> threading.Thread:
    """Ctrl-C, as soon as the condition holds."""

    def send() -> None:
        wait_for(condition, "the condition holds")
        time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_an_interrupt_ends_the_run_when_the_handlers_have_returned(threaded: Stage) -> None:
    threaded.source.publish(price(1), price(2))
    threaded.held = {1, 2}
    sender = interrupt_when(lambda: len(threaded.begun) == 2)
    opener = threading.Timer(0.2, threaded.held.clear)
    opener.start()
    with pytest.raises(KeyboardInterrupt):
        threaded.driven.run(at_once=2)
    sender.join()
    opener.join()
    assert sorted(threaded.done) == [1, 2]
    assert threaded.source.committed[PRICES] == 2


def test_a_second_interrupt_abandons_the_handlers(threaded: Stage) -> None:
    threaded.source.publish(price(1), price(2))
    threaded.held = {1, 2}
    first = interrupt_when(lambda: len(threaded.begun) == 2)
    # not before the first one has been raised: two that wait at the same time count as one
    second = interrupt_when(lambda: threaded.begun and threaded.current_run.is_ending)
    with pytest.raises(KeyboardInterrupt):
        threaded.driven.run(at_once=2)
    first.join()
    second.join()
    assert threaded.done == []
    assert threaded.source.committed.get(PRICES, 0) == 0


def test_a_handler_that_exits_ends_the_run(threaded: Stage) -> None:
    threaded.source.publish(price(1))
    threaded.errors = {1: [SystemExit(3)]}
    with pytest.raises(SystemExit):
        threaded.driven.run(at_once=2)
    assert threaded.source.committed.get(PRICES, 0) == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_a_handler_forks_ends_and_the_parent_goes_on(threaded: Stage) -> None:
    threaded.source.publish(price(1), price(2))
    children: list[int] = []
    read, write = os.pipe()

    def fork(event: RaceEvent) -> None:
        if number(event) == 1:
            child = os.fork()
            if child == 0:
                try:
                    threaded.feed.stop()
                except ForkedFeedError:
                    os.write(write, b"refused")
                os._exit(0)
            children.append(child)
        if len(threaded.done) == 2:
            threaded.feed.stop()

    threaded.then = fork
    threaded.driven.run(at_once=2)
    assert os.waitpid(children[0], 0)[1] == 0
    assert os.read(read, 100) == b"refused"
    assert threaded.source.committed[PRICES] == 2


# --- AsyncFeed's tasks


@pytest.fixture
def tasked() -> Iterator[Stage]:
    stage = Stage(AsyncFacade)
    yield stage
    stage.close()


def test_a_cancelled_run_cancels_its_handlers_and_acknowledges_nothing_half_done(tasked: Stage) -> None:
    tasked.source.publish(price(1), price(2), price(3))
    tasked.held = {2}

    async def main() -> None:
        run = asyncio.create_task(tasked.async_feed.run(concurrency=3))
        await until(lambda: sorted(tasked.done) == [1, 3])
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert tasked.source.committed[PRICES] == 1


def test_a_handler_that_returns_although_it_was_cancelled_counts(tasked: Stage) -> None:
    tasked.source.publish(status(1))
    begun = asyncio.Event()

    async def main() -> None:
        @tasked.async_feed.on(RaceStatusEvent)
        async def finishes_first(event: RaceStatusEvent) -> None:
            begun.set()
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                await asyncio.sleep(0.02)

        async with tasked.async_feed:
            run = asyncio.create_task(tasked.async_feed.run(concurrency=2))
            await begun.wait()
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run

    asyncio.run(main())
    assert tasked.source.committed[STATUS] == 1


def test_a_handler_that_cancels_itself_ends_the_run(tasked: Stage) -> None:
    tasked.source.publish(price(1))
    tasked.errors = {1: [asyncio.CancelledError()]}

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await tasked.async_feed.run(concurrency=2)

    asyncio.run(main())
    assert tasked.source.committed.get(PRICES, 0) == 0


def test_other_tasks_get_their_turn_while_plain_handlers_are_called(tasked: Stage) -> None:
    count = 20 * EVENTS_PER_TURN
    turns: list[int] = []
    handled = 0
    tasked.source.publish(*[status(race) for race in range(count)])

    @tasked.async_feed.on(RaceStatusEvent)
    def plain(event: RaceStatusEvent) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            tasked.feed.stop()

    async def main() -> None:
        async def other() -> None:
            while True:
                turns.append(handled)
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await tasked.async_feed.run(concurrency=8)
        task.cancel()

    asyncio.run(main())
    steps = [after - before for before, after in itertools.pairwise(turns)]
    assert max(steps) <= 3 * EVENTS_PER_TURN


def test_one_at_a_time_is_what_it_was(stage: Stage) -> None:
    stage.source.publish(*[price(race) for race in range(20)])
    names: set[str] = set()

    def note(event: RaceEvent) -> None:
        names.add(threading.current_thread().name)
        if len(stage.done) == 20:
            stage.feed.stop()

    stage.then = note
    stage.driven.run(at_once=1)
    assert stage.done == list(range(20))
    assert names == {threading.current_thread().name}, "in the caller's own thread"
