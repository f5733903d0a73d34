"""`rbhq_stream.Feed`, as its first page shows it: everything on, nothing tuned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from rbhq_stream import Event, Feed, FeedConfig, PriceEvent, Scratching, Topics
from tests.bench.work import Checksum, Job, Stopwatch, report

_SCRATCHING = [a.name for a in attrs.fields(Scratching) if a.name != "extra"]


def config_for(job: Job) -> FeedConfig:
    return FeedConfig(
        bootstrap_servers=job.bootstrap,
        security="PLAINTEXT" if job.username is None else "SASL_SSL",
        username=job.username,
        password=job.password,
        ca_file=None if job.ca_file is None else Path(job.ca_file),
        group_id=job.group,
        topics=Topics(prices=job.topic),
    )


def measure(events: Iterator[Event], count: int) -> dict[str, float]:
    """Reads until so many price events have come. The first one starts the time."""
    watch = Stopwatch()
    next(events)
    watch.start(1)
    seen, prices = 1, 0
    for event in events:
        if isinstance(event, PriceEvent):
            seen += 1
            prices += len(event.price_updates)
            if seen == count:
                break
    watch.events = seen
    watch.prices = prices
    return watch.result()


def read(job: Job) -> None:
    with Feed(config_for(job)) as feed:
        result = measure(iter(feed), job.count)
    report(result)


def check(job: Job) -> None:
    checksum = Checksum()
    with Feed(config_for(job)) as feed:
        for event in feed:
            assert isinstance(event, PriceEvent)
            checksum.add(
                (event.meeting_id, event.event_number),
                ((u.runner_number, u.price_type.value, u.property_id, u.price) for u in event.price_updates),
                (tuple(getattr(s, name) for name in _SCRATCHING) for s in event.scratchings),
                ((u.runner_number, u.unscratch_time) for u in event.unscratchings),
            )
            if checksum.events == job.count:
                break
    report(checksum.result())


if __name__ == "__main__":
    given = Job.given()
    (check if given.check else read)(given)
