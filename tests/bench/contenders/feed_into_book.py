"""`rbhq_stream.Feed` as in `feed`, with every event applied to a `RaceBook`: how fast a book catches up."""

from __future__ import annotations

from collections.abc import Iterator

from rbhq_stream import Event, Feed, RaceBook
from tests.bench.contenders.feed import check, config_for, measure
from tests.bench.work import Job, report


def applied(feed: Feed, book: RaceBook) -> Iterator[Event]:
    for event in feed:
        book.apply(event)
        yield event


def read(job: Job) -> None:
    with Feed(config_for(job)) as feed:
        result = measure(applied(feed, RaceBook()), job.count)
    report(result)


if __name__ == "__main__":
    given = Job.given()
    (check if given.check else read)(given)
