"""confluent-kafka's batches and pydantic by hand: no framework at all, so the least that a typed peer can cost."""

from __future__ import annotations

from confluent_kafka import Consumer

from tests.bench.contenders.models import PriceEvent, add
from tests.bench.work import BATCH, Checksum, Job, Stopwatch, report


def main(job: Job) -> None:
    consumer = Consumer(job.confluent())
    consumer.subscribe([job.topic])
    watch, checksum = Stopwatch(), Checksum()
    done = 0
    while done < job.count:
        messages = consumer.consume(BATCH, 0.1)
        for message in messages:
            if message.error():
                raise RuntimeError(message.error())
            event = PriceEvent.model_validate_json(message.value() or b"")
            watch.prices += len(event.price_updates)
            if job.check:
                add(checksum, event)
        if messages:
            done = watch.lap(len(messages))
    report(checksum.result() if job.check else watch.result())


if __name__ == "__main__":
    main(Job.given())
