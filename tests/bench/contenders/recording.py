"""`rbhq_stream.Feed` that records what it reads (mode `record FOLDER`) or replays it (`replay FOLDER`)."""

from __future__ import annotations

from pathlib import Path

from rbhq_stream import Feed, PriceEvent, Recording
from tests.bench.contenders.feed import config_for
from tests.bench.work import Job, Stopwatch, report


def read(job: Job) -> None:
    mode, _, folder = job.mode.partition(" ")
    config = config_for(job)
    feed = Feed(config, record_to=folder) if mode == "record" else Feed(config, source=Recording(folder).at())
    watch = Stopwatch()
    with feed:
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
    report({**result, "bytes": sum(path.stat().st_size for path in Path(folder).iterdir())})


if __name__ == "__main__":
    read(Job.given())
