"""FastStream on confluent-kafka, with pydantic: a batch subscriber."""

from __future__ import annotations

import asyncio
import logging

from faststream import FastStream
from faststream.confluent import KafkaBroker

from tests.bench.contenders.faststream_batches import handler, security
from tests.bench.work import BATCH, Job


def main(job: Job) -> None:
    config = {} if job.ca_file is None else {"ssl.ca.location": job.ca_file}
    broker = KafkaBroker(job.bootstrap, security=security(job), config=config, logger=None)
    subscribe = broker.subscriber(
        job.topic, group_id=job.group, auto_offset_reset="earliest", batch=True, max_records=BATCH
    )
    subscribe(handler(job))
    asyncio.run(FastStream(broker).run(log_level=logging.WARNING))


if __name__ == "__main__":
    main(Job.given())
