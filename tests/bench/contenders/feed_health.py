"""`rbhq_stream.Feed`, whose health another thread reads a hundred times a second, as a web server would."""

from __future__ import annotations

import threading

from rbhq_stream import Feed, PriceEvent
from tests.bench.contenders.feed import check, config_for
from tests.bench.work import Job, Stopwatch, report


def read(job: Job) -> None:
    watch = Stopwatch()
    over = threading.Event()
    with Feed(config_for(job)) as feed:

        def look() -> None:
            while not over.wait(0.01):
                if feed.health.figures.lag < 0:
                    raise AssertionError

        threading.Thread(target=look, daemon=True).start()
        next(feed)
        watch.start(1)
        events, prices = 1, 0
        for event in feed:
            if isinstance(event, PriceEvent):
                events += 1
                prices += len(event.price_updates)
                if events == job.count:
                    break
        watch.events = events
        watch.prices = prices
        result = watch.result()
        over.set()
    report(result)


if __name__ == "__main__":
    given = Job.given()
    (check if given.check else read)(given)
