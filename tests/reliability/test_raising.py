"""Whatever the application gives the feed to call raises: no gap, and the error is seen where it is promised."""

from __future__ import annotations

import io
import logging
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rbhq_stream import DecodeError, Feed, RaceEvent, RaceStatusEvent, Retry, Topics
from rbhq_stream.testing import MemorySource
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.facades import AsyncFacade, Facade, SyncFacade
from tests.memory_feeds import BAD, STATUS, memory_config, poll_threads, status
from tests.reliability import flow
from tests.waiting import wait_for


class BoomError(Exception):
    """What the application raises."""


@pytest.fixture
def source() -> MemorySource:
    return MemorySource(Topics(race_status="status"))


@pytest.fixture(params=[SyncFacade, AsyncFacade], ids=["Feed", "AsyncFeed"])
def facade(request: pytest.FixtureRequest) -> Iterator[Callable[..., Facade]]:
    """Makes facades, and closes them and their event loops at the end."""
    made: list[Facade] = []

    def make(*arguments: Any, **options: Any) -> Facade:
        made.append(request.param(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.finish()


@pytest.mark.parametrize("error", [BoomError, SystemExit, KeyboardInterrupt, StopIteration, StopAsyncIteration])
def test_an_exception_of_a_handler_reaches_the_application_and_loses_nothing(
    facade: Callable[..., Facade], source: MemorySource, error: type[BaseException]
) -> None:
    """`run` raises it to its caller, and the event is delivered again."""
    count = 300
    source.publish(*[status(number) for number in range(1, count + 1)])
    chance = random.Random(1)
    begun: list[int] = []
    done: list[int] = []
    driven = facade(memory_config(), source=source)
    if isinstance(driven, AsyncFacade) and not issubclass(error, BoomError):
        return  # these have a meaning of their own in a coroutine

    @driven.feed.on(RaceStatusEvent)
    def first(event: RaceStatusEvent) -> None:
        begun.append(event.event_number)
        if chance.random() < 0.2:
            raise error

    @driven.feed.on(RaceEvent)
    def second(event: RaceEvent) -> None:
        if chance.random() < 0.1:
            driven.feed.stop()
            driven.feed._session.is_stopped = event.event_number == count  # as if it were run again
        if chance.random() < 0.2:
            raise error
        done.append(event.event_number)
        if event.event_number == count:
            driven.feed.stop()

    driven.enter()
    seen = 0
    while done[-1:] != [count]:
        try:
            driven.run()
        except error:
            seen += 1
    driven.leave()
    assert done == list(range(1, count + 1)), "each is done once, and none before it is begun again"
    assert list(dict.fromkeys(begun)) == done
    assert seen > 20
    assert source.committed[STATUS] == count


def test_an_exception_of_a_sink_reaches_the_application_and_loses_nothing(
    facade: Callable[..., Facade], source: MemorySource
) -> None:
    """It is raised to the caller who requested the next event, and the record is delivered again."""
    for number in range(1, 101):
        source.publish(status(number))
        source.publish_raw("status", BAD)
    chance = random.Random(2)
    called: list[int] = []
    stored: list[int] = []

    def sink(error: DecodeError) -> None:
        assert error.record is not None
        called.append(error.record.offset)
        if chance.random() < 0.5:
            raise BoomError
        stored.append(error.record.offset)

    driven = facade(memory_config(), source=source, on_bad_record=sink)
    driven.enter()
    got: list[int] = []
    seen = 0
    while len(stored) < 100:
        try:
            event = driven.poll(0.01)
        except BoomError:
            seen += 1
            continue
        if event is not None:
            got.append(event.event_number)
    driven.leave()
    assert got == list(range(1, 101))
    assert stored == list(range(1, 200, 2))
    assert seen == len(called) - len(stored) > 0
    assert source.committed[STATUS] == 200


class Odd:
    """A handler that can't even be printed."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __repr__(self) -> str:
        raise BoomError

    __str__ = __repr__

    def __call__(self, event: RaceEvent) -> None:
        self.seen.append(event.event_number)
        if len(self.seen) == 1:
            raise OddError


class OddError(Exception):
    def __str__(self) -> str:
        raise BoomError

    __repr__ = __str__


@pytest.fixture
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The library's logs go nowhere but to the handlers of the test: pytest's own handlers raise by themselves."""
    tree = logging.getLogger("rbhq_stream")
    monkeypatch.setattr(tree, "propagate", False)
    monkeypatch.setattr(tree, "handlers", [])
    level = tree.level
    tree.setLevel(logging.DEBUG)
    yield tree
    tree.setLevel(level)


def test_objects_whose_repr_raises_lose_nothing(
    facade: Callable[..., Facade], source: MemorySource, own_logging: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    own_logging.handlers = [logging.StreamHandler(io.StringIO())]
    source.publish(status(1), status(2))
    driven = facade(memory_config(), source=source)
    odd = Odd()
    driven.feed.on(RaceEvent)(odd)

    @driven.feed.on(RaceStatusEvent)
    def stop(event: RaceStatusEvent) -> None:
        if event.event_number == 2:
            driven.feed.stop()

    driven.run(Retry(attempts=2, wait=0.001))
    assert odd.seen == [1, 1, 2]
    assert source.committed[STATUS] == 2
    assert "Logging error" in capsys.readouterr().err, "as the logging module does by itself"


class Raising(logging.Handler):
    """Raises on the lines that a predicate selects."""

    def __init__(self, on: Callable[[logging.LogRecord], bool]) -> None:
        super().__init__()
        self._on = on
        self.raised: list[str] = []
        """The threads in which it did."""

    def handle(self, record: logging.LogRecord) -> bool:
        if self._on(record):
            self.raised.append(threading.current_thread().name)
            raise BoomError(record.getMessage())
        return True


def test_a_log_handler_that_raises_in_the_applications_thread_loses_nothing(
    facade: Callable[..., Facade], source: MemorySource, own_logging: logging.Logger
) -> None:
    """It is raised to the caller who requested the next event, and the record that was logged is delivered again."""
    source.publish_raw("status", BAD)
    source.publish(status(2))
    handler = Raising(lambda record: len(handler.raised) < 2 and "skipped" in record.getMessage())
    own_logging.addHandler(handler)
    driven = facade(memory_config(), source=source, on_bad_record="skip")
    driven.enter()
    for _ in range(2):
        with pytest.raises(BoomError, match="skipped a bad record"):
            driven.next()
    assert driven.next() == status(2)
    driven.leave()
    assert source.committed[STATUS] == 2


def test_a_log_handler_that_raises_on_the_poll_thread_loses_nothing(
    facade: Callable[..., Facade], kafka: KafkaCluster, partner: Partner, own_logging: logging.Logger
) -> None:
    """It ends the feed like any failure, and the next feed continues where this one ended."""
    flow.publish(kafka, partner, 100)
    handler = Raising(lambda record: len(handler.raised) < 3 and record.getMessage().startswith("assigned"))
    own_logging.addHandler(handler)
    config = flow.status_config(kafka, partner, buffer_records=10)
    got: list[int] = []
    seen = 0
    while len(got) < 100:
        driven = facade(config)
        try:
            driven.enter()
            while len(got) < 100:
                record = driven.next().record
                assert record is not None
                got.append(record.offset)
        except BoomError:
            seen += 1
        driven.leave()
    assert got == list(range(100))
    assert seen == 3
    assert handler.raised == ["rbhq_stream poll"] * 3
    wait_for(lambda: not poll_threads(), "no thread is left")


def test_a_log_handler_that_raises_on_the_clients_reports_is_ignored(
    kafka: KafkaCluster, partner: Partner, own_logging: logging.Logger
) -> None:
    """In the client's callbacks it would destroy a record, so it is suppressed there, and the feed continues."""
    flow.publish(kafka, partner, 200)
    handler = Raising(lambda record: record.module == "limited_log")
    own_logging.addHandler(handler)
    config = flow.status_config(kafka, partner, kafka={"debug": "cgrp,topic,fetch"})
    with Feed(config) as feed:
        got = [event.record and event.record.offset for _, event in zip(range(200), feed)]  # noqa: B905  # on purpose
    assert got == list(range(200))
    assert len(handler.raised) > 10
    assert set(handler.raised) == {"rbhq_stream poll"}


def test_a_log_handler_that_always_raises_loses_nothing(
    kafka: KafkaCluster, partner: Partner, own_logging: logging.Logger
) -> None:
    """The feed can't work then, and raises an error. Its current event is delivered again."""
    flow.publish(kafka, partner, 10)
    config = flow.status_config(kafka, partner)
    handler = Raising(lambda record: True)
    own_logging.addHandler(handler)

    def read(count: int) -> list[object]:
        with Feed(config) as feed:
            return [event.record and event.record.offset for _, event in zip(range(count), feed)]  # noqa: B905  # ditto

    with pytest.raises(BoomError):
        read(10)
    own_logging.removeHandler(handler)
    assert read(10) == list(range(10))
