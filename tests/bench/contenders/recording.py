"""`rbhq_stream.Feed` that records what it reads (mode `record FOLDER`) or replays it (`replay FOLDER`)."""

from __future__ import annotations

from pathlib import Path

from rbhq_stream import Feed, Recording
from tests.bench.contenders.feed import config_for, measure
from tests.bench.work import Job, report


def read(job: Job) -> None:
    mode, _, folder = job.mode.partition(" ")
    config = config_for(job)
    feed = Feed(config, record_to=folder) if mode == "record" else Feed(config, source=Recording(folder).at())
    with feed:
        result = measure(iter(feed), job.count)
    report({**result, "bytes": sum(path.stat().st_size for path in Path(folder).iterdir())})


if __name__ == "__main__":
    read(Job.given())
