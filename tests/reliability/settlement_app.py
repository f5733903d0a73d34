"""An application that pays bets by a race book, each exactly once; `test_settlement_example` kills it again and again.

`python -m tests.reliability.settlement_app CONFIG DATABASE`, and a line on the standard input for each start.

It keeps no offsets and no events. Whenever it starts it reads the topics from their beginning, folds them into a book,
and pays nothing before it has caught up. What it has paid is in the database alone, so a payment that was committed is
found again, and one that was not is made again: there is nothing to keep in step.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from contextlib import closing
from datetime import datetime

from rbhq_stream import Feed, FeedConfig, PriceType, RaceBook, RaceId, RaceState, SettlementRules
from tests.reliability.forking import fork_for_each_line

RULES = SettlementRules(quantum="0.01")
# no unique key: a bet that is paid twice is there twice
_CREATE = """
    CREATE TABLE bets (id INTEGER PRIMARY KEY, race TEXT, runner INT, price_type TEXT, price TEXT, struck_at TEXT,
        stake TEXT);
    CREATE TABLE payments (id INTEGER PRIMARY KEY, bet INT, cents INT, outcome TEXT, process INT);
    CREATE INDEX bets_of_a_race ON bets (race);
    CREATE INDEX payments_of_a_bet ON payments (bet);
"""


def connect(database: str) -> sqlite3.Connection:
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")  # a process that is killed needs no fsync, and it takes long
    return connection


def create(database: str) -> None:
    with closing(connect(database)) as db:
        db.executescript(_CREATE)


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


def settle(db: sqlite3.Connection, race: RaceState) -> None:
    """Pays each bet of a race that can be settled, or corrects what was paid for it."""
    bets = db.execute(
        "SELECT id, runner, price_type, price, struck_at, stake FROM bets WHERE race = ?", [str(race.race_id)]
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
            pay(db, bet, int(payout.amount * 100), payout.outcome.value)


def pay(db: sqlite3.Connection, bet: int, cents: int, outcome: str) -> None:
    """Makes what was paid for a bet in all the right amount, in one transaction, with room for a kill everywhere."""
    pause()
    db.execute("BEGIN IMMEDIATE")
    payments, paid = db.execute("SELECT count(*), total(cents) FROM payments WHERE bet = ?", [bet]).fetchone()
    pause()
    if payments == 0 or paid != cents:
        row = bet, cents - int(paid), outcome, os.getpid()
        db.execute("INSERT INTO payments (bet, cents, outcome, process) VALUES (?, ?, ?, ?)", row)
    pause()
    db.execute("COMMIT")


def pause() -> None:
    time.sleep(random.random() * 0.02)


def main(config_file: str, database: str) -> None:
    fork_for_each_line(lambda _: run(FeedConfig.from_toml(config_file, group_id=None), database))


if __name__ == "__main__":
    main(*sys.argv[1:])
