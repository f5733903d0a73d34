"""`rbhq_stream.Feed` that a `RaceBook` follows, as its page shows it: how fast a book catches up with a day."""

from __future__ import annotations

from rbhq_stream import Feed, PriceEvent, RaceBook
from tests.bench.contenders.feed import check, config_for
from tests.bench.work import Job, Stopwatch, report


def read(job: Job) -> None:
    """The book handles each event before the handler that counts it. The first event starts the time, as in `feed`."""
    watch, results = Stopwatch(), list[dict[str, float]]()
    feed, book = Feed(config_for(job)), RaceBook()
    book.follow(feed, is_whole=True)

    @feed.on(PriceEvent)
    def count(_: PriceEvent) -> None:
        if watch.lap(1) == job.count:
            results.append(watch.result())
            feed.stop()

    feed.run()
    assert sum(len(race.prices) for race in book.races()), "it has folded them"
    report(results[0])


if __name__ == "__main__":
    given = Job.given()
    (check if given.check else read)(given)
