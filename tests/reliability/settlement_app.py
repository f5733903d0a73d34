"""An application that pays bets by a race book, each exactly once; `test_settlement_example` kills it again and again.

`python -m tests.reliability.settlement_app CONFIG DATABASE`, and a line on the standard input for each start. DATABASE
is an SQLite file or PostgreSQL's connection string.

It keeps no offsets and no events. Whenever it starts it reads the topics from their beginning and folds them into a
book. What it has paid is in the database alone, so a payment that was committed is found again, and one that was not is
made again: there is nothing to keep in step.

It pays nothing before it has caught up. If the line is `in time order`, it pays while it is catching up as well, each
bet when the result is final: what was published before a result comes before it, in each life.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from contextlib import closing
from datetime import datetime
from typing import Any

import psycopg

from rbhq_stream import (
    Feed,
    FeedConfig,
    FinalityChanged,
    PriceType,
    RaceBook,
    RaceId,
    RaceState,
    ResultAmended,
    SettlementRules,
)
from tests.reliability.forking import fork_for_each_line

RULES = SettlementRules(quantum="0.01")
# no unique key: a bet that is paid twice is there twice
_CREATE = (
    """CREATE TABLE bets (id INTEGER PRIMARY KEY, race TEXT, runner INT, price_type TEXT, price TEXT, struck_at TEXT,
        stake TEXT)""",
    """CREATE TABLE payments (id {serial} PRIMARY KEY, bet INT, cents INT, outcome TEXT, revision INT,
        process INT)""",
    "CREATE INDEX bets_of_a_race ON bets (race)",
    "CREATE INDEX payments_of_a_bet ON payments (bet)",
)
IN_TIME_ORDER = "in time order"


def is_postgres(database: str) -> bool:
    return database.startswith("host=")


def connect(database: str) -> Any:
    """Opens a connection that begins no transaction by itself."""
    if is_postgres(database):
        return psycopg.connect(database, autocommit=True, application_name=str(os.getpid()))
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")  # a process that is killed needs no fsync, and it takes long
    return connection


def execute(db: Any, sql: str, *parameters: object) -> Any:
    return db.execute(sql.replace("?", "%s") if isinstance(db, psycopg.Connection) else sql, parameters)


def create(database: str) -> None:
    serial = "SERIAL" if is_postgres(database) else "INTEGER"
    with closing(connect(database)) as db:
        for statement in _CREATE:
            execute(db, statement.format(serial=serial))


def run(config: FeedConfig, database: str) -> None:
    """Reads the feed for ever, and settles the races that changed whenever it has nothing else to do."""
    book, changed = RaceBook(), set[RaceId]()
    book.begin_catching_up()
    with closing(connect(database)) as db, Feed(config) as feed:
        while True:
            event = feed.poll(0.03)
            if event is not None:
                changed.update(change.race_id for change in book.apply(event))
                continue
            if not feed.health.ok:
                book.begin_catching_up()
                continue
            changed.update(change.race_id for change in book.caught_up())
            while changed:
                settle(db, book[changed.pop()])


def run_in_time_order(config: FeedConfig, database: str) -> None:
    """Reads the feed for ever, and settles each race as soon as its result is final, also while catching up."""
    book = RaceBook()
    with closing(connect(database)) as db, Feed(config, order="time") as feed:
        for event in feed:
            for change in book.apply(event):
                if isinstance(change, (FinalityChanged, ResultAmended)):
                    settle(db, book[change.race_id])


def settle(db: Any, race: RaceState) -> None:
    """Pays each bet of a race that can be settled, or corrects what was paid for it."""
    revision = race.posted[-1].revision if race.posted else 0
    bets = execute(
        db, "SELECT id, runner, price_type, price, struck_at, stake FROM bets WHERE race = ?", str(race.race_id)
    )
    for bet, runner, price_type, price, struck_at, stake in bets.fetchall():
        payout = race.payout(
            runner,
            PriceType(price_type),
            price=price,
            struck_at=datetime.fromisoformat(struck_at),
            stake=stake,
            rules=RULES,
        )
        if payout.is_safe_to_settle:
            pay(db, bet, int(payout.amount * 100), payout.outcome.value, revision)


def pay(db: Any, bet: int, cents: int, outcome: str, revision: int) -> None:
    """Makes what was paid for a bet in all the right amount, in one transaction, with room for a kill everywhere.

    What was paid by a newer revision of the result, in an earlier life, stays.
    """
    pause()
    if isinstance(db, psycopg.Connection):
        db.execute("BEGIN")
        # waits for the transaction of a process that was killed, which the server may be committing at this moment
        execute(db, "SELECT id FROM bets WHERE id = ? FOR UPDATE", bet)
    else:
        db.execute("BEGIN IMMEDIATE")
    paid_for = "SELECT count(*), coalesce(sum(cents), 0), coalesce(max(revision), 0) FROM payments WHERE bet = ?"
    payments, paid, newest = execute(db, paid_for, bet).fetchone()
    pause()
    if payments == 0 or (paid != cents and revision >= newest):
        row = bet, cents - int(paid), outcome, revision, os.getpid()
        execute(db, "INSERT INTO payments (bet, cents, outcome, revision, process) VALUES (?, ?, ?, ?, ?)", *row)
    pause()
    db.execute("COMMIT")


def pause() -> None:
    time.sleep(random.random() * 0.008)


def main(config_file: str, database: str) -> None:
    config = FeedConfig.from_toml(config_file, group_id=None)
    fork_for_each_line(lambda line: (run_in_time_order if line == IN_TIME_ORDER else run)(config, database))


if __name__ == "__main__":
    main(*sys.argv[1:])
