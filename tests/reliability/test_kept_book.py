"""A book that follows a feed, in a process that is killed again and again, is what happened in the simulation.

The process keeps nothing but the book's own snapshot. Each life goes on from the last one's, and so does a book that
begins in the middle of the day.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from rbhq_stream import (
    Event,
    Feed,
    FeedConfig,
    Finality,
    HealthChanged,
    PriceChanged,
    PriceEvent,
    PriceType,
    RaceBook,
    RaceId,
    RaceStatus,
    SettlementRules,
)
from rbhq_stream.testing import RaceTruth, Simulator
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.reliability import book_app
from tests.reliability.day_topics import DayTopics
from tests.reliability.forking import Starter
from tests.simulated_bets import bets_on, cents
from tests.waiting import wait_for

SEED = 20261128
KILLS = 5
RULES = SettlementRules(quantum="0.01")


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SEED, meetings=3, races=4, price_records=40)


def last_prices(simulator: Simulator) -> dict[RaceId, dict[tuple[int, PriceType], Decimal]]:
    """The last price of each runner that is in the race in the end, by a loop over the raw events."""
    found: dict[RaceId, dict[tuple[int, PriceType], Decimal]] = {}
    for timed in simulator.events():
        if isinstance(timed.event, PriceEvent):
            prices = found.setdefault(timed.event.race_id, {})
            gone = {scratching.runner_number for scratching in timed.event.scratchings}
            for key in [key for key in prices if key[0] in gone]:
                del prices[key]
            for update in timed.event.price_updates:
                if update.price is not None and update.runner_number not in gone:
                    prices[update.runner_number, update.price_type] = update.price
    return found


def check_truth(book: RaceBook, simulator: Simulator) -> None:
    """The book is what happened in the simulation, and each bet is worth what it is worth there."""
    truth: Mapping[RaceId, RaceTruth] = simulator.truth()
    prices = last_prices(simulator)
    assert book.is_complete
    assert {race.race_id for race in book.races()} == truth.keys()
    for race in book.races():
        outcome = truth[race.race_id]
        assert race.status == outcome.status
        assert race.finality is (Finality.VOID if outcome.status == RaceStatus.ABANDONED else Finality.FINAL)
        assert race.scratched == {scratching.runner_number: scratching for scratching in outcome.scratchings}
        standing, position = dict[int, int | None](), 1
        for group in outcome.placings:
            standing |= dict.fromkeys(group, position) if position <= 4 else {}
            position += len(group)
        listed = race.result.results if race.result is not None else ()
        assert {runner.runner_number: runner.final_position for runner in listed} == standing
        assert {key: price.value for key, price in race.prices.items() if price.value} == prices[race.race_id]
    for bet in bets_on(simulator, truth, SEED):
        _, _, runner, price_type, price, _, stake = bet.row()
        payout = book[bet.race_id].payout(
            runner, price_type, price=price, struck_at=bet.struck_at, stake=stake, rules=RULES
        )
        assert payout.is_safe_to_settle
        assert payout.amount * 100 == cents(bet, truth[bet.race_id])


def caught_up(book: RaceBook, config: FeedConfig) -> list[PriceChanged]:
    """Has the book follow a feed until it has caught up, and returns the changes of prices."""
    changes: list[PriceChanged] = []
    feed = Feed(config, positions=book.positions)
    book.on(PriceChanged)(changes.append)
    book.follow(feed)

    @feed.on(HealthChanged)
    def stop(signal: HealthChanged) -> None:
        if signal.health.ok:
            feed.stop()

    feed.run()
    return changes


class Application:
    """`book_app` in processes of its own, and what it keeps."""

    def __init__(self, folder: Path, toml: str) -> None:
        self.folder = folder
        self.config = folder / "rbhq.toml"
        self.config.write_text(toml)
        self._starter = Starter(book_app.__name__, str(self.config), str(folder), log=folder / "app.log")
        self.kill = self._starter.kill
        self.end = self._starter.end

    def start(self, workers: int) -> int:
        return self._starter.start(str(workers))

    def reached(self) -> int:
        """How many offsets the snapshot is ahead of the beginning of the topics."""
        return sum(book_app.load(self.folder).positions.values())

    def has_reached(self, offsets: int) -> bool:
        return self.reached() >= offsets

    def noted(self) -> set[str]:
        return set((self.folder / book_app.CHANGES).read_text().splitlines())

    def log(self) -> str:
        return (self.folder / "app.log").read_text()


@pytest.fixture
def topics(kafka: KafkaCluster, make_partner: MakePartner) -> DayTopics:
    return DayTopics(kafka, make_partner(partitions=3))


@pytest.fixture
def application(topics: DayTopics, tmp_path: Path) -> Iterator[Application]:
    application = Application(tmp_path, topics.toml())
    yield application
    application.end()


def publish_slowly(topics: DayTopics, events: list[Event], over: threading.Event) -> None:
    for begin in range(0, len(events), 5):
        topics.publish(events[begin : begin + 5])
        over.wait(0.01)  # the rest comes without a pause


@pytest.mark.parametrize("workers", [1, 4])
def test_a_book_whose_process_is_killed_while_a_day_is_published_is_what_happened_on_that_day(
    topics: DayTopics, simulator: Simulator, application: Application, workers: int, tmp_path: Path
) -> None:
    events = [timed.event for timed in simulator.events()]
    chance, reached, middle = random.Random(SEED), 0, tmp_path / "middle.json"
    for life in range(KILLS):
        begin, end = (len(events) * part // (KILLS + 1) for part in (life, life + 1))
        over = threading.Event()
        publisher = threading.Thread(target=publish_slowly, args=(topics, events[begin:end], over))
        publisher.start()
        try:
            process = application.start(workers)
            wait_for(partial(application.has_reached, reached + 20), "the book is saved further on", timeout=20)
            over.wait(chance.uniform(0, 0.1))
            application.kill(process)
        finally:
            over.set()
            publisher.join()
        reached = application.reached()
        if life == KILLS // 2:
            shutil.copy(tmp_path / book_app.SNAPSHOT, middle)
    topics.publish(events[len(events) * KILLS // (KILLS + 1) :])
    config = FeedConfig.from_toml(application.config, group_id=None)
    last, from_the_middle, in_one_go = book_app.load(tmp_path), RaceBook.load(middle), RaceBook()
    last_changes = {book_app.line(change) for change in caught_up(last, config)}
    caught_up(from_the_middle, config)
    all_changes = {book_app.line(change) for change in caught_up(in_one_go, config)}
    for book in (last, from_the_middle, in_one_go):
        check_truth(book, simulator)
    assert last.races() == from_the_middle.races() == in_one_go.races()
    assert last.positions == from_the_middle.positions == in_one_go.positions
    print(f"seed {SEED}: {len(events)} events, {reached} of them before the last life")
    assert all_changes <= application.noted() | last_changes, "a change that nobody dealt with"
    assert not application.log()
