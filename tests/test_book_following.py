"""A book that follows a feed, for both facades over records from memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream import (
    AsyncFeed,
    Change,
    Feed,
    Finality,
    FinalityChanged,
    HealthChanged,
    HealthRules,
    HealthState,
    PartitionsAssigned,
    PriceChanged,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceBook,
    RaceId,
    RaceLeft,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Retry,
    RunnerResult,
    StatusChanged,
)
from rbhq_stream.testing import MemorySource
from tests.facades import Facade
from tests.memory_feeds import MakeFacade, memory_config

RACE = RaceId(1, 7)
WHOLE = memory_config(group_id=None)
"""Of a feed that reads everything."""


def of_race(race_id: RaceId, value: str, runner: int = 3) -> PriceEvent:
    meeting_id, number = race_id
    return PriceEvent(meeting_id, number, (PriceUpdate(runner, PriceType.WIN, 12, Decimal(value)),))


def price(value: str, runner: int = 3) -> PriceEvent:
    return of_race(RACE, value, runner)


def status(value: str) -> RaceStatusEvent:
    return RaceStatusEvent(RACE.meeting_id, RACE.event_number, RaceStatus(value))


def result(value: str) -> RaceResultEvent:
    results = (RunnerResult(3, final_position=1),)
    return RaceResultEvent(RACE.meeting_id, RACE.event_number, RaceStatus(value), results=results)


def run_until_live(facade: Facade, **options: Any) -> None:
    """Runs the feed until it has caught up."""

    @facade.feed.on(HealthChanged)
    def stop(signal: HealthChanged) -> None:
        if signal.health.ok:
            facade.feed.stop()

    facade.run(**options)


def test_a_book_that_follows_a_feed_holds_what_the_feed_delivered(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(status("OPEN"), price("4.40"), price("4.20"))
    book, facade = RaceBook(), make_facade(config=WHOLE)
    changes: list[Change] = []
    book.on(Change)(changes.append)
    prices: list[PriceChanged] = []
    book.on(PriceChanged)(prices.append)
    book.follow(facade.feed)
    assert not book.is_complete
    run_until_live(facade)
    assert book.is_complete
    assert book[RACE].is_open
    assert str(book[RACE].price(3, PriceType.WIN)) == "4.20"
    assert [type(change) for change in changes] == [StatusChanged, PriceChanged, PriceChanged]
    assert prices == changes[1:]


def test_no_result_is_final_before_the_feed_has_caught_up(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(status("FINAL"), result("FINAL"))
    book, facade = RaceBook(), make_facade(config=WHOLE)
    seen: list[Finality] = []
    facade.feed.on(RaceResultEvent)(lambda _event: None)
    book.follow(facade.feed)
    facade.feed.on(RaceResultEvent)(lambda event: seen.append(book[event.race_id].finality))
    changes: list[FinalityChanged] = []
    book.on(FinalityChanged)(changes.append)
    run_until_live(facade)
    assert seen == [Finality.PROVISIONAL]
    assert changes[-1].after is Finality.FINAL
    assert book[RACE].finality is Finality.FINAL


def test_an_outage_makes_the_book_incomplete_until_the_feed_has_caught_up(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    book, facade = RaceBook(), make_facade(config=WHOLE)
    book.follow(facade.feed)
    complete: list[bool] = []
    facade.feed.on(HealthChanged)(lambda _signal: complete.append(book.is_complete))
    facade.enter()
    while not complete or not complete[-1]:
        facade.poll(0.05)
    memory_source.cut_off()
    while complete[-1]:
        facade.poll(0.05)
    memory_source.reconnect()
    while not complete[-1]:
        facade.poll(0.05)


def test_a_partition_that_is_added_makes_the_book_incomplete_before_its_first_record(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(status("FINAL"), result("FINAL"))
    book, facade = RaceBook(), make_facade(config=WHOLE)
    book.follow(facade.feed)
    finalities: list[Finality] = []

    @book.on(FinalityChanged)
    def note(change: FinalityChanged) -> None:
        finalities.append(change.after)
        if change.after is Finality.FINAL and finalities.count(Finality.FINAL) == 2:
            facade.feed.stop()

    @facade.feed.on(HealthChanged)
    def add_a_partition(signal: HealthChanged) -> None:
        if signal.health.ok and finalities.count(Finality.FINAL) == 1:
            memory_source.assign("results")

    @facade.feed.on(PartitionsAssigned)
    def when_assigned(_signal: PartitionsAssigned) -> None:
        assert not book.is_complete

    facade.run()
    assert finalities[-3:] == [Finality.FINAL, Finality.PROVISIONAL, Finality.FINAL]


def test_a_book_is_complete_when_a_feed_that_is_stale_from_the_start_has_caught_up(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    def schedule(_since: datetime, _until: datetime) -> list[datetime]:
        raise ConnectionError("no card")

    memory_source.publish(status("FINAL"), result("FINAL"))
    book, facade = RaceBook(), make_facade(config=WHOLE, health=HealthRules(schedule=schedule))
    book.follow(facade.feed)

    @facade.feed.on(HealthChanged)
    def stop(signal: HealthChanged) -> None:
        if signal.health.state is HealthState.STALE:
            facade.feed.stop()

    facade.run()
    assert book.is_complete
    assert book[RACE].finality is Finality.FINAL


def test_a_change_whose_handler_raised_is_handled_again(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(price("4.40"))
    book, facade = RaceBook(), make_facade(config=WHOLE)
    tried: list[Change] = []
    after: list[Change] = []

    @book.on(PriceChanged)
    def fail_once(change: PriceChanged) -> None:
        tried.append(change)
        if len(tried) == 1:
            raise ConnectionError("the database is away")

    book.on(PriceChanged)(after.append)
    book.follow(facade.feed)
    run_until_live(facade, retry=Retry(attempts=2, wait=0.001))
    assert len(tried) == 2
    assert tried[0] is tried[1]
    assert after == tried[1:]


def test_a_change_whose_handler_raised_is_handled_by_the_next_run(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(price("4.40"), price("4.60"))
    book, facade = RaceBook(), make_facade(config=WHOLE)
    handled: list[str] = []
    is_away = True

    @book.on(PriceChanged)
    def handle(change: PriceChanged) -> None:
        if is_away:
            raise ConnectionError("the database is away")
        handled.append(str(change.after))

    book.follow(facade.feed)
    facade.enter()
    with pytest.raises(ConnectionError):
        facade.run()
    is_away = False
    run_until_live(facade)
    assert handled == ["4.40", "4.60"]


def test_handlers_of_changes_may_be_coroutine_functions_of_an_async_feed(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(price("4.40"), price("4.60"))
    book, facade = RaceBook(), make_facade(config=WHOLE)
    handled: list[tuple[int, str]] = []

    @book.on(PriceChanged)
    async def first(change: PriceChanged) -> None:
        handled.append((1, str(change.after)))

    @book.on(PriceChanged)
    def second(change: PriceChanged) -> None:
        handled.append((2, str(change.after)))

    book.on(PriceChanged)(first)
    if isinstance(facade.feed, AsyncFeed):
        book.follow(facade.feed)
        run_until_live(facade)
        assert handled == [(n, p) for p in ("4.40", "4.60") for n in (1, 2, 1)]
    else:
        with pytest.raises(TypeError, match="only an AsyncFeed can call it"):
            book.follow(facade.feed)


def test_races_of_partitions_that_are_revoked_leave_the_book(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(status("OPEN"), price("4.40"))
    book, facade = RaceBook(), make_facade(config=WHOLE)
    left: list[RaceLeft] = []
    book.follow(facade.feed)

    @book.on(RaceLeft)
    def stop(change: RaceLeft) -> None:
        left.append(change)
        facade.feed.stop()

    facade.feed.on(PriceEvent)(lambda _event: memory_source.revoke("status"))
    facade.run()
    assert [change.race_id for change in left] == [RACE]
    assert RACE not in book


def test_a_saved_book_goes_on_where_it_was(
    make_facade: MakeFacade, memory_source: MemorySource, tmp_path: Path
) -> None:
    path = tmp_path / "book.json"
    memory_source.publish(status("OPEN"), *[price(f"{n}.00") for n in range(2, 50)])
    book, facade = RaceBook(), make_facade(config=WHOLE)
    book.follow(facade.feed, save_to=path, save_every=1e-9)
    run_until_live(facade)
    memory_source.publish(price("99.00"))
    memory_source.committed.clear()
    loaded = RaceBook.load(path)
    assert not loaded.is_complete
    applied: list[object] = []
    again = make_facade(config=WHOLE, positions=loaded.positions)
    loaded.follow(again.feed)
    again.feed.on(PriceEvent)(applied.append)
    run_until_live(again)
    assert loaded.is_complete
    assert loaded[RACE].is_open, "from the file"
    assert str(loaded[RACE].price(3, PriceType.WIN)) == "99.00"
    assert len(applied) < 30, "and not from the start of the topics"


def test_with_workers_a_saved_book_misses_nothing(memory_source: MemorySource, tmp_path: Path) -> None:

    path = tmp_path / "book.json"
    races = [RaceId(1, number) for number in range(1, 21)]
    for turn in range(10):
        for race in races:
            memory_source.publish(of_race(race, f"{turn + 2}.00"))
    book, feed = RaceBook(), Feed(WHOLE, source=memory_source)
    book.follow(feed, save_to=path, save_every=1e-9)

    @feed.on(HealthChanged)
    def stop(signal: HealthChanged) -> None:
        if signal.health.ok:
            feed.stop()

    feed.run(workers=4)
    loaded = RaceBook.load(path)
    again = Feed(WHOLE, source=memory_source, positions=loaded.positions)
    loaded.follow(again)

    @again.on(HealthChanged)
    def stop_again(signal: HealthChanged) -> None:
        if signal.health.ok:
            again.stop()

    again.run()
    assert [str(loaded[race].price(3, PriceType.WIN)) for race in races] == ["11.00"] * 20


@pytest.mark.parametrize(
    ("use", "match"),
    [
        (lambda book, feed: book.on(PriceEvent), "the class of a change"),
        (lambda book, feed: book.on(Change)(3), "can't be called"),
        (lambda book, feed: book.follow(feed, save_every=0), "positive"),
        (lambda book, feed: [book.follow(feed), book.follow(feed)], "follows a feed already"),
    ],
)
def test_wrong_uses_are_refused(make_facade: MakeFacade, use: Callable[..., object], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        use(RaceBook(), make_facade().feed)
