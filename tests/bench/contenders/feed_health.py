"""`rbhq_stream.Feed`, whose health another thread reads a hundred times a second, as a web server would."""

from __future__ import annotations

import threading

from rbhq_stream import Feed
from tests.bench.contenders.feed import check, config_for, measure
from tests.bench.work import Job, report


def read(job: Job) -> None:
    over = threading.Event()
    with Feed(config_for(job)) as feed:

        def look() -> None:
            while not over.wait(0.01):
                if feed.health.figures.lag < 0:
                    raise AssertionError

        threading.Thread(target=look, daemon=True).start()
        result = measure(iter(feed), job.count)
        over.set()
    report(result)


if __name__ == "__main__":
    given = Job.given()
    (check if given.check else read)(given)
