"""`rbhq_stream.AsyncFeed`, as its first page shows it."""

from __future__ import annotations

import asyncio

from rbhq_stream import AsyncFeed, PriceEvent
from tests.bench.contenders.feed import check, config_for
from tests.bench.work import Job, Stopwatch, report


async def read(job: Job) -> None:
    watch = Stopwatch()
    async with AsyncFeed(config_for(job)) as feed:
        await feed.__anext__()
        watch.start(1)
        events, prices = 1, 0
        async for event in feed:
            if isinstance(event, PriceEvent):
                events += 1
                prices += len(event.price_updates)
                if events == job.count:
                    break
        watch.events = events
        watch.prices = prices
        result = watch.result()
    report(result)


if __name__ == "__main__":
    given = Job.given()
    if given.check:
        check(given)
    else:
        asyncio.run(read(given))
