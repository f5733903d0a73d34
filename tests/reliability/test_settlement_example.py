"""Every bet of a simulated day is paid once and right, by an application that is killed again and again.

The day has dead heats, reinstated runners, revised deductions, protests, abandoned races and an amended result. What is
right is computed from what happened in the simulation, in fractions, and not from the events.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

from rbhq_stream import Event, RaceResultEvent, RaceStatus
from rbhq_stream.testing import Happening, Simulator
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.reliability import settlement_app
from tests.reliability.day_topics import DayTopics
from tests.reliability.forking import Starter
from tests.simulated_bets import Bet, bets_on, cents
from tests.waiting import wait_for

SEED = 20261128
KILLS = 10


def chapters(simulator: Simulator) -> list[list[Event]]:
    """The events of the day, in parts that end with a final result each, and the rest."""
    parts: list[list[Event]] = [[]]
    for timed in simulator.events():
        parts[-1].append(timed.event)
        if isinstance(timed.event, RaceResultEvent) and timed.event.status is RaceStatus.FINAL:
            parts.append([])
    return parts


class Application:
    """`settlement_app` in processes of its own, and its database: an SQLite file or PostgreSQL's connection string."""

    def __init__(
        self, kafka: KafkaCluster, partner: Partner, folder: Path, bets: list[Bet], database: str | None = None
    ) -> None:
        self._database = database or str(folder / "bets.db")
        settlement_app.create(self._database)
        with closing(settlement_app.connect(self._database)) as db:
            for bet in bets:
                settlement_app.execute(db, "INSERT INTO bets VALUES (?, ?, ?, ?, ?, ?, ?)", *bet.row())
        config = folder / "rbhq.toml"
        config.write_text(DayTopics(kafka, partner).toml())
        self._starter = Starter(settlement_app.__name__, str(config), self._database, log=folder / "app.log")
        self.kill = self._starter.kill
        self.end = self._starter.end

    def start(self, line: str = "") -> int:
        return self._starter.start(line)

    def payments(self) -> list[tuple[int, int, int]]:
        """Bet, cents and process of each payment, in order."""
        return self._ask("SELECT bet, cents, process FROM payments ORDER BY id")

    def _ask(self, sql: str) -> list[tuple[int, int, int]]:
        with closing(settlement_app.connect(self._database)) as db:
            rows: list[tuple[int, int, int]] = db.execute(sql).fetchall()
            return rows

    def has_paid_more_than(self, payments: int) -> bool:
        return len(self.payments()) > payments

    def paid(self) -> dict[int, int]:
        paid: dict[int, int] = {}
        for bet, amount, _ in self.payments():
            paid[bet] = paid.get(bet, 0) + amount
        return paid

    def is_in_a_transaction(self, process: int) -> bool:
        """Whether the process, which was just suspended, is in a transaction that pays a bet."""
        if settlement_app.is_postgres(self._database):
            begun = f"application_name = '{process}' AND xact_start < now()"
            return bool(self._ask(f"SELECT 1 FROM pg_stat_activity WHERE {begun}"))
        with closing(sqlite3.connect(self._database, timeout=0)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(SEED, meetings=3, races=4, price_records=20)


@pytest.fixture
def bets(simulator: Simulator) -> list[Bet]:
    return bets_on(simulator, simulator.truth(), SEED)


@pytest.fixture
def application(kafka: KafkaCluster, partner: Partner, tmp_path: Path, bets: list[Bet]) -> Iterator[Application]:
    application = Application(kafka, partner, tmp_path, bets)
    yield application
    application.end()


def test_every_bet_is_paid_once_and_right_through_ten_kills(
    kafka: KafkaCluster, partner: Partner, simulator: Simulator, bets: list[Bet], application: Application
) -> None:
    truth, topics = simulator.truth(), DayTopics(kafka, partner)
    expected = {bet.number: cents(bet, truth[bet.race_id]) for bet in bets}
    [amended] = (race_id for race_id, of_race in simulator.happenings.items() if Happening.AMENDED in of_race)
    to_be_corrected = {bet.number for bet in bets if bet.race_id == amended}
    chance, in_a_transaction, kills = random.Random(SEED), 0, 0
    for part in chapters(simulator):
        before = len(application.payments())
        process = application.start()
        topics.publish(part)
        if part and part[-1].race_id == amended:
            wait_for(lambda: to_be_corrected <= application.paid().keys(), "the bets of the race are paid")
        elif kills % 4:
            wait_for(partial(application.has_paid_more_than, before), "another bet is paid")
        time.sleep(chance.uniform(0, 0.05))
        os.kill(process, signal.SIGSTOP)
        in_a_transaction += application.is_in_a_transaction(process)
        application.kill(process)
        kills += 1
    application.start()
    wait_for(lambda: application.paid() == expected, "every bet is paid")
    time.sleep(0.5)  # for one payment too many
    check_payments(application, expected, to_be_corrected)
    assert kills >= 10
    assert len({process for *_, process in application.payments()}) > kills / 2, "most kills came too soon"
    assert in_a_transaction


def check_payments(application: Application, expected: dict[int, int], to_be_corrected: set[int]) -> None:
    """Each bet is paid right, and once; what was paid by a result that was amended is corrected once."""
    payments = application.payments()
    assert application.paid() == expected
    made = {number: [amount for bet, amount, _ in payments if bet == number] for number in expected}
    corrected = {number for number, amounts in made.items() if len(amounts) > 1}
    lives = {process for *_, process in payments}
    print(f"seed {SEED}: {len(payments)} payments by {len(lives)} lives, {len(corrected)} of them corrections")
    assert corrected
    assert corrected <= to_be_corrected
    assert all(len(amounts) <= 2 for amounts in made.values())


def test_bets_are_paid_while_a_feed_in_time_order_catches_up_and_none_is_corrected_unless_its_result_was(
    kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path, dsn: str
) -> None:
    """On PostgreSQL, through ten kills. Each life reads the day from its beginning, and pays as it goes."""
    partner = make_partner(partitions=3)
    began = datetime.now(timezone.utc) - timedelta(hours=10)
    simulator = Simulator(SEED, meetings=3, races=4, price_records=20, start=began)
    truth, topics = simulator.truth(), DayTopics(kafka, partner)
    bets = bets_on(simulator, truth, SEED)
    expected = {bet.number: cents(bet, truth[bet.race_id]) for bet in bets}
    [amended] = (race_id for race_id, of_race in simulator.happenings.items() if Happening.AMENDED in of_race)
    day = list(simulator.events())
    assert day[-1].at < datetime.now(timezone.utc)
    topics.publish_dated(day)
    application = Application(kafka, partner, tmp_path, bets, dsn)
    try:
        chance, in_a_transaction = random.Random(SEED), 0
        for _ in range(KILLS):
            before = len(application.payments())
            process = application.start(settlement_app.IN_TIME_ORDER)
            wait_for(partial(application.has_paid_more_than, before + 3), "more bets are paid")
            time.sleep(chance.uniform(0, 0.05))
            os.kill(process, signal.SIGSTOP)
            in_a_transaction += application.is_in_a_transaction(process)
            application.kill(process)
        application.start(settlement_app.IN_TIME_ORDER)
        wait_for(lambda: application.paid() == expected, "every bet is paid")
        time.sleep(0.5)  # for one payment too many
        check_payments(application, expected, {bet.number for bet in bets if bet.race_id == amended})
    finally:
        application.end()
    assert in_a_transaction
