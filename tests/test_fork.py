"""A feed belongs to the process that entered it: in a forked child each use raises at once, and the parent continues.

Run as a program, this module is an application that forks while it reads from a broker.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import pytest

from rbhq_stream import (
    DeadLetterTopic,
    DecodeError,
    Event,
    Fault,
    Feed,
    FeedClosedError,
    FeedConfig,
    ForkedFeedError,
    PriceEvent,
    RaceStatusEvent,
    Record,
    Topics,
)
from rbhq_stream.testing import EmbeddedBroker, MemorySource
from tests import ROOT
from tests.facades import Facade
from tests.memory_feeds import PRICES, TOPICS, MakeFacade, memory_config, price, prices, status
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

AT_ONCE = 8.0
"""Seconds. Waiting for a thread that the child doesn't have takes longer, or for ever."""
ENDS_WITHIN = 30.0
"""Seconds. A child that waits for such a thread does not end at all."""


def outcome_in_child(action: Callable[[], object]) -> str:
    """Runs the action in a forked child; returns its result, or its exception as a line of text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outcome = repr(action())
        except BaseException as error:  # noqa: BLE001  # the parent looks at it
            outcome = f"{type(error).__name__}: {error}"
        os.write(write, outcome.encode())
        os._exit(0)
    os.close(write)
    try:
        ready, _, _ = select.select([read], [], [], 5 * AT_ONCE)
        assert ready, "the child hangs"
        return os.read(read, 10_000).decode()
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def took(action: Callable[[], object]) -> Callable[[], object]:
    def timed() -> object:
        began = time.monotonic()
        try:
            return action()
        finally:
            assert time.monotonic() - began < AT_ONCE

    return timed


USES: dict[str, Callable[[Facade], object]] = {
    "iterate": lambda facade: facade.next(),
    "poll": lambda facade: facade.poll(30),
    "poll without waiting": lambda facade: facade.poll(0),
    "batches": lambda facade: facade.batches(2, 30)(),
    "run": lambda facade: facade.run(),
    "enter": lambda facade: facade.enter(),
    "leave": lambda facade: facade.leave(),
    "close": lambda facade: facade.finish(),
    "stop": lambda facade: facade.feed.stop(),
    "stats": lambda facade: facade.feed.stats,
    "on": lambda facade: facade.feed.on(PriceEvent),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_each_use_in_a_child_raises_at_once(
    make_facade: MakeFacade, memory_source: MemorySource, use: Callable[[Facade], object]
) -> None:
    memory_source.publish(*prices(5))
    facade = make_facade(config=memory_config(close_timeout=30.0))
    facade.enter()
    assert facade.next() == price(1)  # there are more in the buffer
    outcome = outcome_in_child(took(lambda: use(facade)))
    assert outcome.startswith("ForkedFeedError: this feed was entered by process"), outcome
    assert f"process {os.getpid()}" in outcome
    assert "Make a new feed in this process" in outcome
    assert [facade.next() for _ in range(4)] == prices(5)[1:], "the parent is not disturbed"
    facade.leave()
    assert memory_source.committed[PRICES] == 5


def test_an_acknowledgement_in_a_child_raises(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(2))
    facade = make_facade(commit="manual")
    facade.enter()
    event = facade.next()
    assert outcome_in_child(lambda: facade.feed.ack(event)).startswith("ForkedFeedError")
    facade.leave()
    assert memory_source.committed.get(PRICES, 0) == 0


def test_batches_that_were_begun_raise_in_a_child(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(5))
    facade = make_facade()
    facade.enter()
    next_batch = facade.batches(2, 0.1)
    assert next_batch() == prices(2)
    assert outcome_in_child(took(next_batch)).startswith("ForkedFeedError")
    assert next_batch() == prices(4)[2:]


def test_a_feed_that_was_made_before_the_fork_and_not_entered_works_in_both(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()

    def use() -> object:
        facade.enter()
        got = [facade.next() for _ in range(3)]
        facade.leave()
        return got == prices(3) and memory_source.committed[PRICES]

    assert outcome_in_child(use) == "3"
    assert use() == 3


def test_a_feed_that_was_closed_before_the_fork_is_closed_in_a_child(make_facade: MakeFacade) -> None:
    facade = make_facade()
    facade.enter()
    facade.leave()
    assert outcome_in_child(facade.next).startswith(FeedClosedError.__name__)
    assert outcome_in_child(facade.leave) == "None"


def test_the_exception_that_ends_a_child_inside_the_with_block_is_not_replaced(make_facade: MakeFacade) -> None:
    """`sys.exit` in a child must exit with its status."""
    facade = make_facade()
    facade.enter()
    assert outcome_in_child(lambda: facade.leave(SystemExit(3))) == "None"


def test_its_repr_names_the_process_that_owns_it(make_facade: MakeFacade) -> None:
    facade = make_facade()
    facade.enter()
    assert f"of process {os.getpid()}" in outcome_in_child(lambda: repr(facade.feed))
    assert "of process" not in repr(facade.feed)


def test_a_fork_in_a_handler(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    """The child returns from the handler; no further handler is called there."""
    memory_source.publish(*prices(3))
    facade = make_facade()
    handled: list[Event] = []
    parent = os.getpid()
    read, write = os.pipe()

    @facade.feed.on(PriceEvent)
    def fork(event: PriceEvent) -> None:
        if event == price(2):
            os.fork()

    @facade.feed.on(PriceEvent)
    def handle(event: PriceEvent) -> None:
        handled.append(event)
        if event == price(3):
            facade.feed.stop()

    try:
        facade.run()
    except ForkedFeedError:
        if os.getpid() == parent:
            raise
        os.write(write, str(len(handled)).encode())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"1", "in the child"
    os.close(read)
    os.wait()
    assert handled == prices(3)
    assert memory_source.committed[PRICES] == 3


def test_a_fork_in_another_thread_while_the_feed_waits(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    facade.enter()
    outcomes: list[str] = []

    def fork() -> None:
        outcomes.append(outcome_in_child(took(lambda: facade.feed.stats)))
        memory_source.publish(price(1))

    thread = threading.Timer(0.1, fork)
    thread.start()
    assert facade.next() == price(1)
    thread.join()
    assert outcomes[0].startswith("ForkedFeedError")


def test_each_use_in_a_child_of_a_child_raises_too(make_facade: MakeFacade) -> None:
    facade = make_facade()
    facade.enter()
    assert "ForkedFeedError" in outcome_in_child(lambda: outcome_in_child(lambda: facade.poll(0)))


def test_watching_for_forks_does_not_keep_a_feed_in_memory() -> None:
    feed = Feed(memory_config(), source=MemorySource(TOPICS))
    with feed:
        pass
    remembered = weakref.ref(feed)
    del feed

    def is_gone() -> bool:
        gc.collect()
        return remembered() is None

    wait_for(is_gone, "its threads have ended, and nothing else keeps it")


# on a broker, in an application of its own


@contextmanager
def an_application(way: str, broker: EmbeddedBroker) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.test_fork", way, broker.bootstrap_servers, *broker.topics.names],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


COUNT = 200


@pytest.mark.parametrize(
    "way",
    [
        "exits",
        "collects",
        "leaves_the_with_block",
        "multiprocessing",
        "pool_in_a_handler",
        "new_feed",
        "dead_letter_topic",
        "under_flow",
    ],
)
def test_an_application_that_forks(way: str) -> None:
    """Prints a line for each child, and `ok` when the parent has read everything."""
    with EmbeddedBroker() as broker:
        broker.publish(*[status(number) for number in range(COUNT)])
        with an_application(way, broker) as process:
            out, err = process.communicate(timeout=100)
        assert (out.splitlines()[-1:], process.returncode) == (["ok"], 0), out + err


def _config(servers: str, topic: str, group: str = "parent") -> FeedConfig:
    return FeedConfig(
        bootstrap_servers=servers,
        group_id=group,
        topics=Topics(race_status=topic),
        security="PLAINTEXT",
        session_timeout=6,
        commit_interval=0.05,
    )


def _fork(child: Callable[[], object]) -> int:
    """Forks a child that ends normally, with its destructors. Returns its exit status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        child()
        sys.exit(0)
    return _status_of(pid)


def _status_of(pid: int) -> int:
    deadline = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < deadline:
        done, how = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(how)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child did not end")


def _expect_error(use: Callable[[], object]) -> None:
    began = time.monotonic()
    try:
        use()
    except ForkedFeedError:
        assert time.monotonic() - began < AT_ONCE
    else:
        raise AssertionError("no error")


class Application:
    """Reads everything, and forks when it has read half of it."""

    def __init__(self, servers: str, other_topic: str, topic: str) -> None:
        self.servers = servers
        self.other_topic = other_topic
        self.topic = topic
        self.seen: set[int] = set()

    def take(self, feed: Feed, count: int) -> None:
        while len(self.seen) < count:
            event = next(feed)
            assert isinstance(event, RaceStatusEvent)
            assert event.event_number not in self.seen, "nothing comes twice"
            self.seen.add(event.event_number)

    def exits(self, feed: Feed) -> None:
        self.take(feed, COUNT // 2)
        assert _fork(lambda: _expect_error(lambda: next(feed))) == 0

    def collects(self, feed: Feed) -> None:
        """The child drops its references to a feed. Closing the Kafka client there would abort the process."""
        others = [Feed(_config(self.servers, self.topic, "other"))]
        others[0].__enter__()
        next(others[0])

        def forget() -> None:
            others.clear()
            gc.collect()

        assert _fork(forget) == 0
        others[0].close()

    def leaves_the_with_block(self, feed: Feed) -> None:
        self.take(feed, COUNT // 2)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        assert _status_of(pid) == 7
        pid = os.fork()
        if pid == 0:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  # the traceback of what follows
            next(feed)
        assert _status_of(pid) == 1

    def multiprocessing(self, feed: Feed) -> None:
        chld: list[int] = []
        signal.signal(signal.SIGCHLD, lambda number, frame: chld.append(number))
        context = multiprocessing.get_context("fork")
        self.take(feed, COUNT // 2)
        process = context.Process(target=_expect_error, args=(lambda: feed.poll(0),))
        process.start()
        self.take(feed, COUNT * 3 // 4)
        process.join(ENDS_WITHIN)
        assert process.exitcode == 0
        assert chld

    def pool_in_a_handler(self, feed: Feed) -> None:
        context = multiprocessing.get_context("fork")

        @feed.on(RaceStatusEvent)
        def handle(event: RaceStatusEvent) -> None:
            if len(self.seen) == COUNT // 2:
                with ProcessPoolExecutor(2, mp_context=context) as pool:
                    assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]
            self.seen.add(event.event_number)
            if len(self.seen) == COUNT:
                feed.stop()

        feed.run()

    def new_feed(self, feed: Feed) -> None:
        self.take(feed, COUNT // 2)

        def read() -> None:
            with Feed(_config(self.servers, self.topic, "child")) as mine:
                assert mine.poll(10) is not None

        assert _fork(read) == 0

    def dead_letter_topic(self, feed: Feed) -> None:
        """The child's sink connects by itself."""
        self.take(feed, COUNT // 2)
        sink = DeadLetterTopic(self.other_topic, {"bootstrap.servers": self.servers}, timeout=10)
        error = DecodeError("PriceEvent", [Fault("$", "[]", "an object")], record=Record("prices", 0, 0, value=b"[]"))
        sink(error)

        def store() -> None:
            began = time.monotonic()
            sink(error)
            sink.close()
            sink(error)
            assert time.monotonic() - began < AT_ONCE

        assert _fork(store) == 0
        sink(error)
        sink.close()

    def under_flow(self, feed: Feed) -> None:
        """Forks at many moments, whatever locks the poll thread may hold."""

        def expect_errors() -> None:
            for use in (lambda: feed.stats, feed.close, lambda: next(feed)):
                _expect_error(use)

        for number in range(1, 11):
            self.take(feed, number * COUNT // 10)
            assert _fork(expect_errors) == 0


def main(way: str, servers: str, other_topic: str, topic: str, _results: str) -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    application = Application(servers, other_topic, topic)
    with Feed(_config(servers, topic)) as feed:
        getattr(application, way)(feed)
        application.take(feed, COUNT)
    again = Feed(_config(servers, topic))
    assert again.poll(0.5) is None, "everything is committed"
    again.close()
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
