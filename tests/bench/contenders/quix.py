"""Quix Streams and pydantic: a StreamingDataFrame that parses bytes into the model. It has no batches."""

from __future__ import annotations

from quixstreams import Application
from quixstreams.kafka import ConnectionConfig

from tests.bench.contenders.models import PriceEvent, add
from tests.bench.work import Checksum, Job, Stopwatch, report


def connection(job: Job) -> ConnectionConfig:
    if job.username is None:
        return ConnectionConfig(bootstrap_servers=job.bootstrap)
    return ConnectionConfig(
        bootstrap_servers=job.bootstrap,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=job.username,
        sasl_password=job.password,
        ssl_ca_location=job.ca_file,
    )


def main(job: Job) -> None:
    app = Application(
        broker_address=connection(job),
        consumer_group=job.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="WARNING",
    )
    watch, checksum = Stopwatch(), Checksum()

    def handle(event: PriceEvent) -> None:
        watch.prices += len(event.price_updates)
        if job.check:
            add(checksum, event)
        if watch.lap(1) >= job.count:
            report(checksum.result() if job.check else watch.result())

    events = app.dataframe(app.topic(job.topic, value_deserializer="bytes"))
    events.apply(PriceEvent.model_validate_json).update(handle)
    app.run()


if __name__ == "__main__":
    main(Job.given())
