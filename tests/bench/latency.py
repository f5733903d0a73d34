"""From publishing to the handler: a paced publisher in one process, a reader in another, on the clock that both share.

As a program: the job's `mode` selects its role. The first records are not counted: connections warm up.
"""

from __future__ import annotations

import time
from random import Random
from statistics import quantiles
from typing import Any

from confluent_kafka import Message, Producer

from rbhq_stream import Feed
from rbhq_stream.events import Event
from tests.bench.contenders.feed import config_for
from tests.bench.contenders.loop import open_consumer
from tests.bench.work import Job, report

PER_SECOND = 500
WARM_UP = PER_SECOND * 2
HEADER = "sent"
_VALUE = (
    b'{"meetingId":1397808,"eventNumber":7,"eventId":"1397808-7","priceUpdates":[{"runnerNumber":4,"property":"ep",'
    b'"propertyId":12,"price":"4.4"}],"scratchings":[],"unscratchings":[]}'
)


def publish(job: Job) -> None:
    """Not in step with anything: the pauses are drawn at random."""
    consuming = "group.id", "auto.offset.reset"
    properties = {name: value for name, value in job.confluent().items() if name not in consuming}
    producer = Producer({**properties, "linger.ms": 0, "acks": 1})
    producer.list_topics(job.topic, timeout=30)
    rng = Random(1)
    due = time.monotonic()
    for _ in range(job.count):
        due += rng.uniform(0.5, 1.5) / PER_SECOND
        time.sleep(max(0, due - time.monotonic()))
        sent = str(time.monotonic_ns()).encode()
        producer.produce(job.topic, _VALUE, headers={HEADER: sent})
        producer.poll(0)
    producer.flush(30)
    report({"published": job.count})


def poll(job: Job) -> None:
    """The bare loop, not even parsing."""
    consumer = open_consumer(job)
    seen = list[tuple[int, Message]]()
    while len(seen) < job.count:
        message = consumer.poll(1.0)
        if message is not None:
            seen.append((time.monotonic_ns(), message))
    _report([(at, _sent(message.headers())) for at, message in seen])


def feed(job: Job) -> None:
    seen = list[tuple[int, Event]]()
    with Feed(config_for(job)) as open_feed:
        for event in open_feed:
            seen.append((time.monotonic_ns(), event))
            if len(seen) == job.count:
                break
        times = [(at, _sent(event.record.headers)) for at, event in seen if event.record]
    _report(times)


def _sent(headers: Any) -> int:
    return int(dict(headers or ())[HEADER] or 0)


def _report(seen: list[tuple[int, int]]) -> None:
    """When it was handled and when it was sent, for each."""
    waits = [(handled - sent) / 1e6 for handled, sent in seen[WARM_UP:]]
    percentiles = quantiles(waits, n=100)
    report({"p50_ms": percentiles[49], "p99_ms": percentiles[98], "max_ms": max(waits), "samples": len(waits)})


if __name__ == "__main__":
    given = Job.given()
    {"publish": publish, "poll": poll, "feed": feed}[given.mode](given)
