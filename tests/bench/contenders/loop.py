"""The loop that people write by hand: `poll()`, `json.loads`, a dictionary. Nothing is typed, nothing is checked."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from confluent_kafka import Consumer

from tests.bench.work import Checksum, Job, Stopwatch, report


def open_consumer(job: Job) -> Consumer:
    consumer = Consumer(job.confluent())
    consumer.subscribe([job.topic])
    return consumer


def read(job: Job) -> None:
    consumer = open_consumer(job)
    watch = Stopwatch()
    events = prices = 0
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise RuntimeError(message.error())
        event = json.loads(message.value())  # type: ignore[arg-type]  # it may be None, but is not here
        events += 1
        prices += len(event["priceUpdates"])
        if events == 1:
            watch.start(1)
        if events == job.count:
            break
    watch.events = events
    watch.prices = prices
    report(watch.result())


def check(job: Job) -> None:
    consumer = open_consumer(job)
    checksum = Checksum()
    while checksum.events < job.count:
        message = consumer.poll(1.0)
        if message is not None:
            assert not message.error()
            _add(checksum, json.loads(message.value()))  # type: ignore[arg-type]  # as above
    report(checksum.result())


def _add(checksum: Checksum, event: dict[str, Any]) -> None:
    """What the loop above leaves to whoever uses its dictionaries."""
    checksum.add(
        (event["meetingId"], event["eventNumber"]),
        ((u["runnerNumber"], u["property"], u["propertyId"], Decimal(str(u["price"]))) for u in event["priceUpdates"]),
        (
            tuple(
                datetime.fromisoformat(value.replace("Z", "+00:00"))
                if name == "scratchTime"
                else Decimal(str(value))
                if name.endswith("Deduction")
                else value
                for name, value in s.items()
            )
            for s in event["scratchings"]
        ),
        (
            (u["runnerNumber"], datetime.fromisoformat(u["unscratchTime"].replace("Z", "+00:00")))
            for u in event["unscratchings"]
        ),
    )


if __name__ == "__main__":
    given = Job.given()
    (check if given.check else read)(given)
