"""What a book that follows a feed saves and when it counts as complete, by a feed that the test plays."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rbhq_stream import (
    Change,
    Event,
    FeedConfig,
    Finality,
    Health,
    HealthChanged,
    HealthFigures,
    HealthReason,
    PartitionHealth,
    PartitionsAssigned,
    PartitionsRevoked,
    PriceChanged,
    PriceType,
    RaceBook,
    RaceId,
    TopicPartition,
)
from rbhq_stream._book import autosave
from rbhq_stream.signals import Signal
from tests.memory_feeds import memory_config
from tests.race_books import RACE, Topics, win

NOW = datetime(2026, 11, 3, tzinfo=timezone.utc)
OTHER = RaceId(1397808, 8)
PRICES, STATUS = TopicPartition("prices", 0), TopicPartition("status", 0)
ALWAYS = 1e-9


class PlayedFeed:
    """A feed whose handlers the test calls, in whatever order handlers of different races may be called."""

    def __init__(self, *, may_await: bool = False, **config: Any) -> None:
        self.config: FeedConfig = memory_config(**{"group_id": None, **config})
        self.may_await = may_await
        self.processed: dict[TopicPartition, int | None] = {}
        self._handlers: list[tuple[type[Any], Callable[[Any], Any]]] = []

    def on(self, kind: type[Any]) -> Callable[[Any], Any]:
        return lambda handler: self._handlers.append((kind, handler))

    @property
    def health(self) -> Health:
        figures = HealthFigures(partitions={p: PartitionHealth(processed=at) for p, at in self.processed.items()})
        return Health(reason=HealthReason.UP_TO_DATE, detail="", since=NOW, at=NOW, figures=figures)

    def deliver(self, item: Event | Signal) -> list[Any]:
        """Calls the handlers, and returns what is to be awaited."""
        returned = [handler(item) for kind, handler in self._handlers if isinstance(item, kind)]
        return [one for one in returned if one is not None]

    def change_health(self, reason: HealthReason, *caught_up: bool) -> None:
        """The health changes; of each partition is given whether it is caught up with."""
        partitions = {
            TopicPartition("prices", number): PartitionHealth(is_caught_up=is_caught_up)
            for number, is_caught_up in enumerate(caught_up or (True,))
        }
        figures = HealthFigures(partitions=partitions)
        health = Health(reason=reason, detail="", since=NOW, at=NOW, figures=figures)
        self.deliver(HealthChanged(at=NOW, health=health, previous=self.health))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "book.json"


@pytest.fixture
def topics() -> Topics:
    return Topics()


def played_on(path: Path, *events: Event) -> list[Change]:
    """What the saved book reports of events that come after it was loaded."""
    book = RaceBook.load(path)
    return [change for event in events for change in book.apply(event)]


# changes that are not handled


def test_a_race_is_saved_without_a_change_that_another_thread_is_still_handling(path: Path, topics: Topics) -> None:
    book, feed = RaceBook(), PlayedFeed()
    first, slow = topics.prices(win(3, "4.40"), at=0), topics.prices(win(3, "4.20"), at=1)
    other = topics.prices(win(1, "2"), at=2, race_id=OTHER)
    is_saved_meanwhile = False

    @book.on(PriceChanged)
    def handle(change: PriceChanged) -> None:
        nonlocal is_saved_meanwhile
        if change.after == Decimal("4.20"):
            feed.deliver(other)  # as another worker would
            loaded = RaceBook.load(path)
            assert loaded[OTHER].price(1, PriceType.WIN) == 2
            assert loaded[RACE].price(3, PriceType.WIN) == Decimal("4.40")
            assert [type(one) for one in played_on(path, slow, other)] == [PriceChanged]
            is_saved_meanwhile = True

    book.follow(feed, save_to=path, save_every=ALWAYS)
    feed.deliver(first)
    feed.deliver(slow)
    assert is_saved_meanwhile
    assert played_on(path, first, slow, other) == []


def test_a_race_whose_first_change_is_still_handled_is_not_saved_at_all(path: Path, topics: Topics) -> None:
    book, feed = RaceBook(), PlayedFeed()
    slow, other = topics.prices(win(3, "4.40")), topics.prices(win(1, "2"), race_id=OTHER)

    @book.on(PriceChanged)
    def handle(change: PriceChanged) -> None:
        if change.race_id == RACE:
            feed.deliver(other)
            assert list(RaceBook.load(path)) == [OTHER]

    book.follow(feed, save_to=path, save_every=ALWAYS)
    feed.deliver(slow)
    assert list(RaceBook.load(path)) == [RACE, OTHER]


def test_a_change_whose_handler_raised_is_not_saved_before_it_is_handled(path: Path, topics: Topics) -> None:
    book, feed = RaceBook(), PlayedFeed()
    event = topics.prices(win(3, "4.40"))
    is_away = True

    @book.on(PriceChanged)
    def handle(_: PriceChanged) -> None:
        if is_away:
            raise ConnectionError("the database is away")

    book.follow(feed, save_to=path, save_every=ALWAYS)
    with pytest.raises(ConnectionError):
        feed.deliver(event)
    feed.change_health(HealthReason.UP_TO_DATE)  # what the next run delivers before the event
    assert [type(change) for change in played_on(path, event)] == [PriceChanged]
    is_away = False
    feed.deliver(event)
    assert played_on(path, event) == []


def test_a_change_that_is_being_awaited_is_not_saved_before_it_is_handled(path: Path, topics: Topics) -> None:
    book, feed = RaceBook(), PlayedFeed(may_await=True)
    slow, other = topics.prices(win(3, "4.40")), topics.prices(win(1, "2"), race_id=OTHER)

    @book.on(PriceChanged)
    async def handle(_: PriceChanged) -> None: ...

    async def play() -> None:
        [first] = feed.deliver(slow)
        [second] = feed.deliver(other)
        await second
        assert list(RaceBook.load(path)) == [OTHER]
        await first

    book.follow(feed, save_to=path, save_every=ALWAYS)
    asyncio.run(play())
    assert list(RaceBook.load(path)) == [RACE, OTHER]


# positions


def test_a_partition_of_which_nothing_is_processed_yet_keeps_the_position_that_was_loaded(
    path: Path, topics: Topics
) -> None:
    book, feed = RaceBook(), PlayedFeed()
    book.apply(topics.prices(win(3, "4.40"), offset=41))
    book.apply(topics.status("OPEN", offset=7))
    book.follow(feed, save_to=path, save_every=ALWAYS)
    feed.change_health(HealthReason.CONNECTING)
    assert RaceBook.load(path).positions == {PRICES: 42, STATUS: 8}
    feed.processed = {PRICES: 50, STATUS: None}
    feed.change_health(HealthReason.CATCHING_UP)
    assert RaceBook.load(path).positions == {PRICES: 50, STATUS: 8}
    feed.deliver(PartitionsRevoked(at=NOW, partitions=(STATUS,)))
    feed.processed = {PRICES: 51}
    feed.change_health(HealthReason.UP_TO_DATE)
    assert RaceBook.load(path).positions == {PRICES: 51}


def test_no_position_is_saved_for_a_partition_whose_races_have_left_the_book(path: Path, topics: Topics) -> None:
    book, feed = RaceBook(), PlayedFeed()
    book.follow(feed, save_to=path, save_every=ALWAYS)
    feed.processed = {PRICES: 5, STATUS: 7}  # the health still has both after the revocation
    feed.deliver(PartitionsRevoked(at=NOW, partitions=(STATUS,)))
    feed.deliver(topics.prices(win(1, "2"), at=0))
    assert RaceBook.load(path).positions == {PRICES: 5}
    feed.deliver(PartitionsAssigned(at=NOW, partitions=(STATUS,)))
    feed.deliver(topics.prices(win(1, "3"), at=1))
    assert RaceBook.load(path).positions == {PRICES: 5, STATUS: 7}


def test_a_book_is_saved_once_in_each_interval(path: Path, topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(autosave, "time", SimpleNamespace(monotonic=lambda: now))
    book, feed = RaceBook(), PlayedFeed()
    book.follow(feed, save_to=path, save_every=60)
    saved_at = []
    for now in range(100, 300, 20):
        feed.deliver(topics.prices(win(3, str(now))))
        if path.exists():
            saved_at.append(now)
            path.unlink()
    assert saved_at == [160, 220, 280]


# a disk that is full


def test_a_book_that_can_not_be_saved_is_kept_nevertheless_and_that_is_logged_once(
    path: Path, topics: Topics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    book, feed = RaceBook(), PlayedFeed()
    book.follow(feed, save_to=path, save_every=ALWAYS)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        feed.deliver(topics.prices(win(3, "4.40")))
        feed.deliver(topics.prices(win(3, "4.20")))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No space left" in caplog.text
    assert str(book[RACE].price(3, PriceType.WIN)) == "4.20"
    feed.deliver(topics.prices(win(3, "4")))
    assert RaceBook.load(path).races()[0].prices == book[RACE].prices
    assert list(path.parent.iterdir()) == [path]


def test_a_logging_handler_that_raises_does_not_end_the_feed(path: Path, topics: Topics) -> None:
    book, feed = RaceBook(), PlayedFeed()
    book.follow(feed, save_to=path / "no folder", save_every=ALWAYS)

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError

    broken = Broken()
    logging.getLogger("rbhq_stream").addHandler(broken)
    try:
        feed.deliver(topics.prices(win(3, "4.40")))
    finally:
        logging.getLogger("rbhq_stream").removeHandler(broken)
    assert RACE in book


# when the book is complete


def settled(topics: Topics) -> Iterator[Event]:
    yield topics.status("FINAL", at=0)
    yield topics.result("FINAL", at=1)


@pytest.mark.parametrize(
    ("reason", "caught_up", "is_complete"),
    [
        (HealthReason.UP_TO_DATE, (True, True), True),
        (HealthReason.TOPIC_SILENT, (True, True), True),
        (HealthReason.HANDLER_SLOW, (True, True), True),
        (HealthReason.UP_TO_DATE, (True,), False),
        (HealthReason.HANDLER_STUCK, (True, False), False),
        (HealthReason.CATCHING_UP, (True, True), False),
        (HealthReason.EVICTED, (True, True), False),
    ],
)
def test_a_book_is_complete_if_all_that_is_assigned_is_caught_up_with(
    reason: HealthReason, caught_up: tuple[bool, ...], is_complete: bool
) -> None:
    book, feed = RaceBook(), PlayedFeed()
    book.follow(feed)
    first, second = TopicPartition("prices", 0), TopicPartition("prices", 1)
    feed.deliver(PartitionsAssigned(at=NOW, partitions=(first,)))
    feed.change_health(HealthReason.UP_TO_DATE)
    assert book.is_complete
    feed.deliver(PartitionsAssigned(at=NOW, partitions=(second,)))
    assert not book.is_complete
    feed.change_health(reason, *caught_up)
    assert book.is_complete is is_complete
    feed.change_health(HealthReason.CLOSED)
    assert book.is_complete is is_complete


@pytest.mark.parametrize(
    ("config", "options", "finality"),
    [
        ({}, {}, Finality.FINAL),
        ({"start": NOW}, {}, Finality.FINAL),
        ({"start": "latest"}, {}, Finality.PROVISIONAL),
        ({"group_id": "g"}, {}, Finality.PROVISIONAL),
        ({"group_id": "g"}, {"is_whole": True}, Finality.FINAL),
        ({}, {"is_whole": False}, Finality.PROVISIONAL),
    ],
)
def test_a_book_is_never_complete_if_its_feed_meets_races_in_the_middle(
    topics: Topics,
    caplog: pytest.LogCaptureFixture,
    config: dict[str, Any],
    options: dict[str, Any],
    finality: Finality,
) -> None:
    book, feed = RaceBook(), PlayedFeed(**config)
    book.follow(feed, **options)
    for event in settled(topics):
        feed.deliver(event)
    feed.change_health(HealthReason.UP_TO_DATE)
    assert book[RACE].finality is finality
    assert book.is_complete is (finality is Finality.FINAL)
    is_surprising = finality is not Finality.FINAL and not options
    assert ("never complete" in caplog.text) is is_surprising
