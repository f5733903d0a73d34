"""`rbhq_stream.Feed` as in `feed`, with every event applied to a `RaceBook`: how fast a book catches up."""

from __future__ import annotations

from rbhq_stream import Feed, PriceEvent, RaceBook
from tests.bench.contenders.feed import check, config_for
from tests.bench.work import Job, Stopwatch, report


def read(job: Job) -> None:
    watch, book = Stopwatch(), RaceBook()
    with Feed(config_for(job)) as feed:
        book.apply(next(feed))
        watch.start(1)
        events, prices = 1, 0
        for event in feed:
            if isinstance(event, PriceEvent):
                events += 1
                prices += len(event.price_updates)
                book.apply(event)
                if events == job.count:
                    break
        watch.events = events
        watch.prices = prices
        result = watch.result()
    report(result)


if __name__ == "__main__":
    given = Job.given()
    (check if given.check else read)(given)
