"""An application that keeps a book from a feed; `test_kept_book` kills it again and again.

`python -m tests.reliability.book_app CONFIG FOLDER`, and a line on the standard input for each start, with the number
of workers.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from rbhq_stream import Feed, FeedConfig, PriceChanged, RaceBook
from tests.reliability.forking import fork_for_each_line

SAVE_EVERY = 0.02
SNAPSHOT = "book.json"
CHANGES = "changes.txt"


def load(folder: Path) -> RaceBook:
    """Returns the book that was saved, or a new one."""
    path = folder / SNAPSHOT
    return RaceBook.load(path) if path.exists() else RaceBook()


def line(change: PriceChanged) -> str:
    """A change as text, with the record that it came from."""
    assert change.recorded is not None
    where = " ".join(map(str, change.recorded.coordinates))
    return f"{where} {change.runner_number} {change.price_type} {change.before} {change.after}"


def run(config: FeedConfig, folder: Path, workers: int) -> None:
    """Follows the feed for ever, and notes each change of a price when it has been dealt with."""
    book = load(folder)
    feed = Feed(config, positions=book.positions)
    notes = os.open(folder / CHANGES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @book.on(PriceChanged)
    def note(change: PriceChanged) -> None:
        if random.random() < 0.03 * workers:
            time.sleep(random.random() * 0.1)  # room for a kill, and for other workers to save the book
        os.write(notes, f"{line(change)}\n".encode())

    book.follow(feed, save_to=folder / SNAPSHOT, save_every=SAVE_EVERY)
    feed.run(workers=workers)


def main(config_file: str, folder: str) -> None:
    config = FeedConfig.from_toml(config_file, group_id=None)
    fork_for_each_line(lambda workers: run(config, Path(folder), int(workers)))


if __name__ == "__main__":
    main(*sys.argv[1:])
