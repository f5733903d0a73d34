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
from functools import partial
from pathlib import Path

import pytest

from rbhq_stream import Event, RaceResultEvent, RaceStatus
from rbhq_stream.testing import Happening, Simulator
from tests.broker.fixtures import Partner
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
    """`settlement_app` in processes of its own, and its database."""

    def __init__(self, kafka: KafkaCluster, partner: Partner, folder: Path, bets: list[Bet]) -> None:
        self._database = str(folder / "bets.db")
        settlement_app.create(self._database)
        with closing(settlement_app.connect(self._database)) as db, db:
            db.executemany("INSERT INTO bets VALUES (?, ?, ?, ?, ?, ?, ?)", [bet.row() for bet in bets])
        config = folder / "rbhq.toml"
        config.write_text(DayTopics(kafka, partner).toml())
        self._starter = Starter(settlement_app.__name__, str(config), self._database, log=folder / "app.log")
        self.kill = self._starter.kill
        self.end = self._starter.end

    def start(self) -> int:
        return self._starter.start("")

    def payments(self) -> list[tuple[int, int, int]]:
        """Bet, cents and process of each payment, in order."""
        with closing(settlement_app.connect(self._database)) as db:
            return db.execute("SELECT bet, cents, process FROM payments ORDER BY id").fetchall()

    def has_paid_more_than(self, payments: int) -> bool:
        return len(self.payments()) > payments

    def paid(self) -> dict[int, int]:
        paid: dict[int, int] = {}
        for bet, amount, _ in self.payments():
            paid[bet] = paid.get(bet, 0) + amount
        return paid

    def is_in_a_transaction(self) -> bool:
        """Whether the process, which was just suspended, is in a transaction that pays a bet."""
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
        in_a_transaction += application.is_in_a_transaction()
        application.kill(process)
        kills += 1
    application.start()
    wait_for(lambda: application.paid() == expected, "every bet is paid")
    time.sleep(0.5)  # for one payment too many
    payments = application.payments()
    assert application.paid() == expected
    made = {bet.number: [amount for number, amount, _ in payments if number == bet.number] for bet in bets}
    corrected = {number for number, amounts in made.items() if len(amounts) > 1}
    lives = {process for *_, process in payments}
    print(f"seed {SEED}: {len(bets)} bets, {len(payments)} payments by {len(lives)} lives, {len(corrected)} of them"
          f" corrections, {in_a_transaction} of {kills} kills in a transaction")  # fmt: skip
    # what was paid by the first result is corrected once, and no other bet is
    assert corrected
    assert corrected <= to_be_corrected
    assert all(len(amounts) <= 2 for amounts in made.values())
    assert kills >= 10
    assert len(lives) > kills / 2, "most kills came before there was anything to break"
    assert in_a_transaction
