"""Handlers that wait 5 ms, as for a database: many at once against one after the other.

As a program: the job's `mode` says which feed, and how many handlers run at once.
"""

from __future__ import annotations

import asyncio
import time

from rbhq_stream import AsyncFeed, Feed, PriceEvent, PriceUpdate, encode
from tests.bench.contenders.feed import config_for
from tests.bench.figures import Figure, Goal, ratios
from tests.bench.processes import Outcome
from tests.bench.work import Job, Stopwatch, report

AT_ONCE = 64
WAIT = 0.005
ONE_BY_ONE, MANY = 400, 20_000
"""How many events are handled in a round."""
RACES = 500
GOAL = 50.0
MODES = tuple(f"{feed} {at_once}" for feed in ("Feed", "AsyncFeed") for at_once in (1, AT_ONCE))


def many_races(count: int) -> list[tuple[bytes, bytes]]:
    """Prices of many races in turn, so that no race is what the others wait for."""
    events = [PriceEvent(1397808, race, (PriceUpdate(4, "ep", 12, "4.4"),)) for race in range(1, RACES + 1)]
    records = [(str(event.race_id).encode(), encode(event)) for event in events]
    return [records[number % RACES] for number in range(count)]


def run(job: Job, at_once: int) -> None:
    watch, feed = Stopwatch(), Feed(config_for(job))

    @feed.on(PriceEvent)
    def handle(event: PriceEvent) -> None:
        time.sleep(WAIT)
        if watch.lap(1) == job.count:
            feed.stop()

    feed.run(workers=at_once)
    report(watch.result())


def run_async(job: Job, at_once: int) -> None:
    watch, feed = Stopwatch(), AsyncFeed(config_for(job))

    @feed.on(PriceEvent)
    async def handle(event: PriceEvent) -> None:
        await asyncio.sleep(WAIT)
        if watch.lap(1) == job.count:
            feed.stop()

    asyncio.run(feed.run(concurrency=at_once))
    report(watch.result())


def count_of(mode: str) -> int:
    """How many events are handled in this mode."""
    return ONE_BY_ONE if mode.endswith(" 1") else MANY


def figures(outcomes: dict[str, list[Outcome]]) -> list[Figure]:
    """The figures, from the outcomes by mode."""
    found = []
    rates = {
        mode: tuple(outcome["events_per_second"] for outcome in outcomes.get(f"concurrency {mode}", ()))
        for mode in MODES
    }
    for mode, values in rates.items():
        found.append(Figure("concurrency", f"handlers that wait 5 ms, {mode} at once", "events/s", values))
    for feed in ("Feed", "AsyncFeed"):
        values = ratios(rates[f"{feed} {AT_ONCE}"], rates[f"{feed} 1"])
        name = f"{feed}, {AT_ONCE} handlers at once ÷ one"
        found.append(Figure("concurrency", name, "ratio", values, Goal(GOAL), f"{RACES} races in turn"))
    return found


if __name__ == "__main__":
    given = Job.given()
    which, number = given.mode.split()
    {"Feed": run, "AsyncFeed": run_async}[which](given, int(number))
