"""KeyboardInterrupt strikes inside the library's code, everywhere: what was not handed over is handed over next.

Records from memory, so that it can be done thousands of times. `RBHQ_LONG=1` gives the storms their long form.
"""

from __future__ import annotations

import contextlib
import itertools
import linecache
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest
from typing_extensions import Self

import rbhq_stream
from rbhq_stream import DecodeError, Feed, RaceStatusEvent, Topics
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import BAD, STATUS, TWO, memory_config, poll_threads, status
from tests.reliability.flow import LONG
from tests.waiting import wait_for

LIBRARY = os.path.dirname(rbhq_stream.__file__) + os.sep  # noqa: PTH120  # frames have texts, not paths


Step = Callable[[], None]


def by_next(feed: Feed, got: list[int]) -> Step:
    return lambda: got.append(next(feed).event_number)


def by_poll(feed: Feed, got: list[int]) -> Step:
    def step() -> None:
        event = feed.poll(0.01)
        if event is not None:
            got.append(event.event_number)

    return step


def by_batch(feed: Feed, got: list[int]) -> Step:
    def step() -> None:
        got.extend([event.event_number for event in next(feed.batches(3, 0.002))])

    return step


def by_run(feed: Feed, got: list[int]) -> Step:
    feed.on(RaceStatusEvent)(lambda event: got.append(event.event_number))
    return feed.run


WAYS = pytest.mark.parametrize("way", [by_next, by_poll, by_batch])
Way = Callable[[Feed, list[int]], Step]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbhq_stream._engine.poll_thread.POLL_TIMEOUT", 0.002)


class Interrupter:
    """Raises KeyboardInterrupt at the nth line or return of the engine's code that this thread comes to.

    But not between the assignment by which an event is handed over and the `return` behind it, nor the `raise`, nor
    while an exception passes an `except` for another one, nor between `__enter__` and the `with` block: Python looks
    for signals at calls and backward jumps only.
    """

    ENGINE = frozenset(
        f"{LIBRARY}_engine{os.sep}{name}.py"
        for name in (
            "feed",
            "driver",
            "session",
            "cursor",
            "buffer",
            "poll_thread",
            "concurrent_driver",
            "scheduler",
            "worker_threads",
        )
    )
    HANDED_OVER = (
        "return event", "return events", "raise error", "return self", "except StopIteration as end:", "raise",
        "except BaseException as error:",
    )  # fmt: skip

    def __init__(self, nth: int) -> None:
        self.left = nth
        self._unwinding: set[FrameType] = set()

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code.co_filename not in self.ENGINE or self.left <= 0:
            return None
        if event == "exception":
            self._unwinding.add(frame)
        elif event in ("line", "return") and not self._is_exempt(frame, event):
            self._unwinding.discard(frame)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._trace

    def _is_exempt(self, frame: FrameType, event: str) -> bool:
        if event == "return" and frame.f_code.co_name == "refuse":
            return True
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "return" and frame in self._unwinding:
            self._unwinding.discard(frame)
            return True
        return line in self.HANDED_OVER and frame.f_code.co_name in (
            "__next__",
            "poll",
            "batch",
            "_perform",
            "_handle_bad",
            "_run",
            "__enter__",
        )


def publish_all_kinds(source: MemorySource, first: int) -> list[int]:
    """Events, a document of two, a tombstone and a bad record; returns the numbers of the events, 0 for the bad one."""
    source.publish(status(first), status(first + 1))
    source.publish_raw("status", TWO % (first + 2, first + 3))
    source.publish_raw("status", None)
    source.publish_raw("status", BAD)
    source.publish(status(first + 4))
    return [first, first + 1, first + 2, first + 3, 0, first + 4]


def until_done(step: Step, got: list[int], done: Callable[[], bool]) -> None:
    while not done():
        try:
            step()
        except KeyboardInterrupt:
            continue
        except DecodeError:
            got.append(0)


def close(feed: Feed) -> None:
    while True:
        try:
            feed.close()
        except KeyboardInterrupt:
            continue
        return


def steps(is_through: Callable[[Interrupter], None]) -> int:
    """Interrupts it at its first step, then once more from the beginning at its second, until it gets through.

    In a thread of its own: Python may forget to end the handling of an exception when a trace function raises, and all
    later exceptions of the thread would show it as their context.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_steps, is_through).result()


def _steps(is_through: Callable[[Interrupter], None]) -> int:
    for nth in itertools.count(1):
        interrupter = Interrupter(nth)
        is_through(interrupter)
        if interrupter.left > 0:
            return nth
    raise AssertionError("there is an end")


@pytest.mark.parametrize(
    ("way", "manual"),
    [(by_next, False), (by_next, True), (by_poll, False), (by_batch, False), *([(by_batch, True)] if LONG else [])],
)
def test_an_interrupt_at_each_line_loses_nothing(way: Way, manual: bool, quick: None) -> None:
    def once(interrupter: Interrupter) -> None:
        step_to_strike = interrupter.left
        source = MemorySource(Topics(race_status="status"))
        expected = publish_all_kinds(source, 1)
        got: list[int] = []
        feed = Feed(memory_config(), source=source, commit="manual" if manual else "auto")
        step = way(feed, got)
        with interrupter:
            until_done(step, got, lambda: len(got) >= 3)
        expected += publish_all_kinds(source, 6)  # another chunk
        with interrupter:
            until_done(step, got, lambda: got[-1:] == [10])
            close(feed)
        assert got == expected, f"interrupted at step {step_to_strike}"
        assert manual or source.committed[STATUS] == 12, f"interrupted at step {step_to_strike}"
        assert source.closed_in is not None

    assert steps(once) > 200
    wait_for(lambda: not poll_threads(), "no thread is left")


def test_an_interrupt_at_each_line_of_run_loses_nothing(quick: None) -> None:
    def once(interrupter: Interrupter) -> None:
        step_to_strike = interrupter.left
        source = MemorySource(Topics(race_status="status"))
        expected = publish_all_kinds(source, 1)
        got: list[int] = []
        feed = Feed(memory_config(), source=source)
        feed._is_entered = True  # so that a failing run doesn't close it
        step = by_run(feed, got)

        @feed.on(RaceStatusEvent)
        def stop(event: RaceStatusEvent) -> None:
            if event.event_number == 5:
                feed.stop()

        with interrupter:
            until_done(step, got, lambda: feed._session.is_stopped)
            close(feed)
        assert list(dict.fromkeys(got)) == expected, f"interrupted at step {step_to_strike}"
        assert len(got) <= len(expected) + 1
        assert source.committed[STATUS] >= 5

    assert steps(once) > 100


def test_an_interrupt_at_each_line_of_run_with_workers_loses_nothing(quick: None) -> None:
    def once(interrupter: Interrupter) -> None:
        step_to_strike = interrupter.left
        source = MemorySource(Topics(race_status="status"))
        expected = publish_all_kinds(source, 1)
        got: list[int] = []
        feed = Feed(memory_config(), source=source)
        feed._is_entered = True  # so that a failing run doesn't close it

        @feed.on(RaceStatusEvent)
        def handle(event: RaceStatusEvent) -> None:
            got.append(event.event_number)
            if event.event_number == 5:
                feed.stop()

        with interrupter:
            until_done(lambda: feed.run(workers=2), got, lambda: feed._session.is_stopped)
            close(feed)
        assert sorted(set(got)) == sorted(expected), f"interrupted at step {step_to_strike}"
        assert len(got) <= len(expected) + 4, "at most the four before the bad record are handled twice"
        assert source.committed[STATUS] >= 5

    assert steps(once) > 200
    wait_for(lambda: not any("rbhq_stream" in thread.name for thread in threading.enumerate()), "no thread is left")


def test_an_interrupt_at_each_line_of_entering_leaves_nothing_behind(quick: None) -> None:
    entered = False

    def once(interrupter: Interrupter) -> None:
        nonlocal entered
        entered = False
        step_to_strike = interrupter.left
        source = MemorySource(Topics(race_status="status"))
        publish_all_kinds(source, 1)
        with interrupter:
            try:
                with Feed(memory_config(), source=source) as feed:
                    entered = True
                    sys.settrace(None)
                    assert next(feed).event_number == 1
            except KeyboardInterrupt:
                assert not entered
        wait_for(lambda: not poll_threads(), f"no thread is left, interrupted at step {step_to_strike}")

    assert steps(once) > 20
    assert entered


class Storm:
    """Signals to the main thread, as fast as a thread can send them; each that finds it in the library interrupts."""

    _PLACES = (LIBRARY, contextlib.__file__)

    def __init__(self, seed: int) -> None:
        self.sent = self.struck = 0
        self._chance = random.Random(seed)
        self._main = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, name="storm")

    def __enter__(self) -> Self:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        self._before = signal.signal(signal.SIGUSR1, self._strike)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)
        sys.setswitchinterval(self._interval)

    def _send(self) -> None:
        while not self._over.is_set():
            signal.pthread_kill(self._main, signal.SIGUSR1)
            self.sent += 1
            time.sleep(self._chance.choice([0, 0, 1e-6, 1e-5, 1e-4, 1e-3]) * self._chance.random())

    def _strike(self, _number: int, frame: FrameType | None) -> None:
        # not deeper: what is raised in a callback of the garbage collector is swallowed
        if frame is not None and not self._over.is_set() and frame.f_code.co_filename.startswith(self._PLACES):
            self.struck += 1
            raise KeyboardInterrupt


@pytest.fixture
def published() -> Iterator[tuple[MemorySource, int]]:
    """A source to which events are published all the time, and how many in all."""
    source = MemorySource(Topics(race_status="status"))
    count = 1_000_000 if LONG else 15_000
    chance = random.Random(5)

    def go() -> None:
        number = 0
        while number < count:
            number += 1
            source.publish(*[status(number)])
            if chance.random() < 0.02:
                time.sleep(chance.random() * 0.003)

    publisher = threading.Thread(target=go)
    publisher.start()
    yield source, count
    publisher.join()


@WAYS
@pytest.mark.parametrize("buffer_records", [10, 10_000])
@pytest.mark.timeout(600)
def test_a_storm_of_interrupts_loses_no_event(
    way: Way, buffer_records: int, published: tuple[MemorySource, int]
) -> None:
    source, count = published
    got: list[int] = []
    feed = Feed(memory_config(buffer_records=buffer_records), source=source)
    step = way(feed, got)
    with Storm(buffer_records) as storm:
        until_done(step, got, lambda: got[-1:] == [count])
        close(feed)
    assert got == list(range(1, count + 1)), "nothing missed, nothing twice"
    assert source.committed[STATUS] == count
    assert storm.struck > 100
    print(f"{way.__name__}: {storm.sent} signals, {storm.struck} struck in the library, {count} events")


def test_a_storm_of_stops_loses_no_event(published: tuple[MemorySource, int]) -> None:
    """A signal handler that stops the feed, at any moment; each process continues where the last one ended."""
    source, count = published
    got: list[int] = []
    over = threading.Event()
    lives = 0
    main = threading.get_ident()

    def send() -> None:
        chance = random.Random(6)
        while not over.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)
            time.sleep(chance.random() * 0.002)

    feed = Feed(memory_config(), source=source)
    before = signal.signal(signal.SIGUSR1, lambda *_: feed.stop())
    sender = threading.Thread(target=send)
    sender.start()
    try:
        while got[-1:] != [count] and (LONG or lives < 40):
            with Feed(memory_config(), source=source) as feed:
                by_run(feed, got)()
            lives += 1
            assert got == list(range(1, len(got) + 1))
            assert source.committed.get(STATUS, 0) == len(got), "the last completed + 1"
    finally:
        over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert got
