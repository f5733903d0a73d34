"""aiokafka and pydantic: `getmany`, which its documentation has for throughput, and `model_validate_json`."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka import AIOKafkaConsumer

from tests.bench.contenders.models import PriceEvent, add
from tests.bench.work import BATCH, Checksum, Job, Stopwatch, report


def security(job: Job) -> dict[str, Any]:
    if job.username is None:
        return {}
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": job.username,
        "sasl_plain_password": job.password,
        "ssl_context": ssl.create_default_context(cafile=job.ca_file),
    }


async def main(job: Job) -> None:
    consumer = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.bootstrap,
        group_id=job.group,
        auto_offset_reset="earliest",
        **security(job),
    )
    await consumer.start()
    watch, checksum = Stopwatch(), Checksum()
    done = 0
    while done < job.count:
        batches = await consumer.getmany(timeout_ms=100, max_records=BATCH)
        events = 0
        for messages in batches.values():
            for message in messages:
                event = PriceEvent.model_validate_json(message.value)
                watch.prices += len(event.price_updates)
                if job.check:
                    add(checksum, event)
            events += len(messages)
        if events:
            done = watch.lap(events)
    report(checksum.result() if job.check else watch.result())


if __name__ == "__main__":
    asyncio.run(main(Job.given()))
