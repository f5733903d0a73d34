"""Memory of the feed and, to compare, of the bare loop: while the handler stands still, and over a long run.

As a program: `mode` of the job is `stalled feed` or `stalled poll`, for `count` tenths of a second, or `long feed`.
Sizes are of the whole process, in bytes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from rbhq_stream import Feed
from tests.bench.contenders.feed import config_for
from tests.bench.contenders.loop import open_consumer
from tests.bench.work import Job, report

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def stalled_feed(job: Job) -> None:
    before = resident()
    with Feed(config_for(job)) as feed:
        next(feed)
        sizes = _stall(job)
        stats, config = feed.stats, config_for(job)
        report(
            {
                "before": before,
                "sizes": sizes,
                "waiting": stats.waiting_records,
                "waiting_bytes": stats.waiting_bytes,
                "buffer_records": config.buffer_records,
                "buffer_bytes": config.buffer_bytes,
            }
        )


def stalled_poll(job: Job) -> None:
    before = resident()
    consumer = open_consumer(job)
    while consumer.poll(1.0) is None:
        pass
    report({"before": before, "sizes": _stall(job)})


def _stall(job: Job) -> list[int]:
    sizes = []
    for _ in range(job.count):
        time.sleep(0.1)
        sizes.append(resident())
    return sizes


def long_feed(job: Job) -> None:
    """The size after each twentieth of the run."""
    sizes = []
    step = max(1, job.count // 20)
    with Feed(config_for(job)) as feed:
        for number, _ in enumerate(feed, 1):
            if number % step == 0:
                sizes.append(resident())
            if number == job.count:
                break
    report({"sizes": sizes})


if __name__ == "__main__":
    given = Job.given()
    {"stalled feed": stalled_feed, "stalled poll": stalled_poll, "long feed": long_feed}[given.mode](given)
