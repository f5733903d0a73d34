"""The driver's decisions: its steps are performed by the test, with a simulated clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from rbhq_stream import PriceEvent, Retry
from rbhq_stream._engine.driver import Driver
from rbhq_stream._engine.immediate import ImmediateThread
from rbhq_stream._engine.steps import Call, LetOthersRun, Raise, Steps, Wait
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import PRICES, memory_config, prices
from tests.waiting import wait_for

NEVER = 86_400


class ByHand(Driver):
    """Performs steps: a `Wait` advances the clock, a `Call` calls the handler."""

    def __init__(self, source: MemorySource, **options: Any) -> None:
        self.now = 100.0
        self.waits: list[float | None] = []
        self._immediate = ImmediateThread(self._note_failed_handler)
        super().__init__(
            memory_config(),
            **{
                "commit": "auto",
                "on_bad_record": "raise",
                "source": source,
                "record_to": None,
                "positions": None,
                "health": None,
                "order": "arrival",
                "may_await": False,
                "wake": lambda: None,
                "clock": lambda: self.now,
                **options,
            },
        )

    def perform(self, steps: Steps[Any], on_wait: Callable[[], object] = lambda: None) -> Any:
        outcome: Exception | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value
            outcome = None
            if isinstance(step, Call):
                try:
                    step.handler(*step.arguments)
                except Exception as error:  # noqa: BLE001  # as a facade does
                    outcome = error
            elif isinstance(step, Raise):
                raise step.error
            elif isinstance(step, Wait):
                self.waits.append(step.timeout)
                self.now += step.timeout or 0
                on_wait()
            else:
                assert isinstance(step, LetOthersRun)
                self.waits.append(None)

    def filled(self, count: int) -> ByHand:
        """A driver that is connected, with so many records in the buffer."""
        self.perform(self._connect(), lambda: wait_for(self._session.is_connected, "it is connected"))
        wait_for(lambda: self.stats.waiting_records == count, "the buffer is filled")
        self.waits.clear()
        return self

    def take(self, deadline: float | None = None) -> int | None:
        event = self.perform(self._next_event(deadline))
        self._handed_over = event
        return None if event is None else event.event_number

    def end(self) -> None:
        self.perform(self._close(is_normal=True), lambda: wait_for(lambda: self._session.time_to_close == 0, "closed"))


@pytest.fixture
def driver(memory_source: MemorySource, request: pytest.FixtureRequest) -> Any:
    made: list[ByHand] = []

    def make(count: int, **options: Any) -> ByHand:
        memory_source.publish(*prices(count))
        made.append(ByHand(memory_source, **options))
        return made[-1].filled(count)

    yield make
    for one in made:
        one.end()


def test_events_that_wait_are_returned_without_a_step(driver: Any) -> None:
    one = driver(3)
    assert [one.take() for _ in range(3)] == [1, 2, 3]
    assert one.waits == []


def test_it_waits_until_the_deadline_and_no_longer(driver: Any) -> None:
    one = driver(0)
    assert one.take(one.now + 7.5) is None
    assert one.waits == [7.5]


@pytest.mark.parametrize("past", [0.0, -3.0, float("nan")])
def test_a_deadline_that_has_passed_needs_no_wait(driver: Any, past: float) -> None:
    one = driver(0)
    assert one.take(one.now + past) is None
    assert one.waits == []


def test_an_event_that_was_not_handed_over_is_returned_again(driver: Any) -> None:
    one = driver(2)
    shown = one.perform(one._next_event(None))
    again = one.perform(one._next_event(None))
    assert shown == again
    assert shown.event_number == 1
    one._handed_over = again
    assert one.take() == 2


def test_an_event_from_before_the_last_interrupt_settles_nothing(driver: Any) -> None:
    """Only the event that was shown last counts as handed over, not an equal one from before an interrupt."""
    one = driver(2)
    interrupted = one.perform(one._next_event(None))
    one.perform(one._next_event(None))
    one._handed_over = interrupted
    assert one.take() == 1


def test_a_handler_is_called_again_after_the_waits_of_retry(driver: Any) -> None:
    one = driver(1)
    calls: list[float] = []

    @one.on(PriceEvent)  # type: ignore[untyped-decorator]
    def fails_twice(event: PriceEvent) -> None:
        calls.append(one.now)
        if len(calls) < 3:
            raise OSError
        one.stop()

    one.perform(one._handle_all(Retry(attempts=3, wait=2, factor=3)))
    assert calls == [100, 102, 108]


def test_the_last_failure_is_raised_and_the_event_is_not_processed(driver: Any, memory_source: MemorySource) -> None:
    one = driver(1)

    @one.on(PriceEvent)  # type: ignore[untyped-decorator]
    def fails(event: PriceEvent) -> None:
        raise StopIteration("an ordinary error here")

    with pytest.raises(StopIteration, match="an ordinary error"):
        one.perform(one._handle_all(Retry(attempts=2, wait=1)))
    assert one.waits == [1]
    one.end()
    assert memory_source.committed[PRICES] == 0


def test_a_stop_ends_the_wait_for_a_retry(driver: Any) -> None:
    one = driver(1)

    @one.on(PriceEvent)  # type: ignore[untyped-decorator]
    def fails(event: PriceEvent) -> None:
        raise OSError

    one.perform(one._handle_all(Retry(attempts=5, wait=NEVER, max_wait=NEVER)), one.stop)
    assert one.stats.events == 0


def test_a_batch_is_full_or_its_time_is_over(driver: Any) -> None:
    one = driver(5)
    full = one.perform(one._next_batch(3, 2.0))
    assert [event.event_number for event in full] == [1, 2, 3]
    assert one.waits == []
    one._handed_over = full[-1]
    rest = one.perform(one._next_batch(3, 2.0))
    assert [event.event_number for event in rest] == [4, 5]
    assert one.waits == [2.0]


def test_a_failure_is_raised_after_the_records_before_it_and_without_a_wait(
    driver: Any, memory_source: MemorySource
) -> None:
    one = driver(2)
    memory_source.fail(OSError("the disk is full"))
    wait_for(lambda: one._session._buffer.failure is not None, "it has failed")
    assert [one.take() for _ in range(2)] == [1, 2]
    with pytest.raises(OSError, match="the disk is full"):
        one.take()
    assert one.waits == []


def test_what_is_processed_after_a_failure_is_still_committed(driver: Any, memory_source: MemorySource) -> None:
    one = driver(2)
    memory_source.fail(OSError("the disk is full"))
    wait_for(lambda: one._session._buffer.failure is not None, "it has failed")
    assert [one.take() for _ in range(2)] == [1, 2]
    one.end()
    assert memory_source.committed[PRICES] == 2


def test_no_poll_thread_is_left_when_closing_returns(driver: Any) -> None:
    one = driver(1)
    one.end()
    assert not [thread for thread in threading.enumerate() if thread.name == "rbhq_stream poll"]


def test_other_tasks_run_after_a_number_of_events(driver: Any, memory_source: MemorySource) -> None:
    one = driver(5, events_per_turn=2)
    assert [one.take() for _ in range(2)] == [1, 2]
    assert one.waits == []
    assert one.take() == 3
    assert one.waits == [None]
    assert one.stats.events == 3
