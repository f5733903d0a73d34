"""An application that keeps the feed in SQLite, exactly once; `test_exactly_once` runs it, kills it and runs it again.

`python -m tests.reliability.sql_app CONFIG DATABASE` loads all it needs and then, for each line on its standard input,
starts the application as a process of its own by a fork, as the member of the group that the line names, and says
its process id: sooner than a new Python could.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing
from functools import partial

from rbhq_stream import Feed, FeedConfig
from rbhq_stream.offsets import SqlOffsets


def connect(database: str) -> sqlite3.Connection:
    connection = sqlite3.connect(database, timeout=30)
    connection.execute("PRAGMA synchronous = OFF")  # a process that is killed needs no fsync, and it takes long
    return connection


def create(database: str) -> None:
    SqlOffsets(partial(connect, database)).create()
    with closing(connect(database)) as db, db:
        # no unique key: what came twice would be there twice
        db.execute(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, topic TEXT, kafka_partition INT, kafka_offset INT, part INT,"
            " race TEXT, process INT)"
        )
        db.execute("CREATE TABLE skipped (topic TEXT, kafka_partition INT, kafka_offset INT, process INT)")


def run(config: FeedConfig, database: str) -> None:
    """The application: each event and where it stood, in one transaction."""
    offsets = SqlOffsets(partial(connect, database))
    with (
        closing(connect(database)) as db,
        Feed(config, positions=offsets.positions, on_bad_record="skip") as feed,
    ):
        for event in feed:
            record = event.record
            assert record is not None
            time.sleep(random.random() * 0.002)  # room for a kill
            with db:
                if offsets.advance(db, record):
                    time.sleep(random.random() * 0.002)
                    row = *record.place, record.part, str(event.race_id), os.getpid()
                    db.execute("INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)
                    time.sleep(random.random() * 0.002)
                else:
                    db.execute("INSERT INTO skipped VALUES (?, ?, ?, ?)", (*record.place, os.getpid()))


def main(config_file: str, database: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever was killed is forgotten
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                run(FeedConfig.from_toml(config_file, group_instance_id=line.strip()), database)
            finally:
                os._exit(1)  # it only ends by being killed
        print(pid, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
