"""What the two FastStream contenders share: a handler of batches, typed by the model, as its documentation shows."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from faststream.security import SASLScram512

from tests.bench.contenders.models import PriceEvent, add
from tests.bench.work import Checksum, Job, Stopwatch, report


def security(job: Job, **options: Any) -> SASLScram512 | None:
    if job.username is None:
        return None
    return SASLScram512(username=job.username, password=job.password or "", use_ssl=True, **options)


def handler(job: Job) -> Callable[[list[PriceEvent]], Coroutine[Any, Any, None]]:
    watch, checksum = Stopwatch(), Checksum()

    async def handle(events: list[PriceEvent]) -> None:
        for event in events:
            watch.prices += len(event.price_updates)
            if job.check:
                add(checksum, event)
        if watch.lap(len(events)) >= job.count:
            report(checksum.result() if job.check else watch.result())

    # FastStream finds the model in the annotation, which `from __future__` has made a text
    handle.__annotations__ = {"events": list[PriceEvent], "return": None}
    return handle
