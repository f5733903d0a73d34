"""The race book: updates folded against a bare dictionary, a whole day caught up, and a snapshot saved and loaded.

Run as a program with the number of updates of the day, and the path of a file for the snapshot. The day has 300 races,
3,000 runners and 5 types of prices; nine of ten records have one price, the tenth has ten, and a few scratch a runner.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from time import perf_counter, thread_time
from typing import Any

from rbhq_stream import PriceEvent, RaceBook, decode, encode
from rbhq_stream._wire.lenient import PROPERTY_IDS
from rbhq_stream.testing import MemoryRecord, Simulator
from tests.bench.memory import resident
from tests.bench.work import report

RACES, RUNNERS, MEETING = 300, 10, 1_400_000
LARGE_EVERY, LARGE_PRICES, SCRATCHING_EVERY = 10, 10, 8_000
BLOCKS = 10
MIB = 1024 * 1024
_START = 1_780_000_000.0
_DAY = 12 * 3600.0

_SCRATCHING = (
    '{"runnerNumber":RUNNER,"winDeduction":0.07,"placeDeduction":0.07,"twoPlaceDeduction":0.07,'
    '"threePlaceDeduction":0.07,"fourPlaceDeduction":0.04,"scratchType":1,'
    '"scratchTime":"2026-05-28T20:26:40.4400201Z"}'
)


def simulated(events: int) -> list[PriceEvent]:
    """Events of simulated days as a feed decodes them."""
    found: list[PriceEvent] = []
    seed = 0
    while len(found) < events:
        seed += 1
        for timed in Simulator(seed, meetings=3).events():
            if isinstance(timed.event, PriceEvent):
                raw = encode(timed.event)
                record = MemoryRecord("prices", 0, len(found), raw, None, timed.at.timestamp())
                found += decode(PriceEvent, raw, record=record)
    return found[:events]


def seconds(apply: Callable[[PriceEvent], object], events: Sequence[PriceEvent]) -> float:
    """Of processor time."""
    began = thread_time()
    for event in events:
        apply(event)
    return thread_time() - began


def against_a_dictionary(events: Sequence[PriceEvent]) -> dict[str, Any]:
    """Folds the same updates into a book and into a dictionary, in blocks that take turns."""
    prices: dict[tuple[int, int, int, str], Any] = {}

    def bare(event: PriceEvent) -> None:
        meeting, number = event.meeting_id, event.event_number
        for update in event.price_updates:
            prices[meeting, number, update.runner_number, update.price_type] = update.price

    size = len(events) // BLOCKS
    book, folded, rates, ratios = RaceBook(), 0, [], []
    gc.collect()
    for at in range(0, size * BLOCKS, size):
        block = events[at : at + size]
        updates = sum(len(event.price_updates) for event in block)
        folded += updates
        theirs = seconds(bare, block)
        ours = seconds(book.apply, block)
        rates.append(updates / ours)
        ratios.append(ours / theirs)
    return {"updates_per_second": rates, "ratios": ratios, "updates_per_event": folded / (size * BLOCKS)}


def day(updates: int) -> Iterator[tuple[bytes, float]]:
    """The documents of a day with so many updates, in time order."""
    rng = Random(1)
    types = [f'"property":"{kind.value}","propertyId":{number}' for number, kind in sorted(PROPERTY_IDS.items())]
    odds = [f"{1 + n / 20:.2f}" for n in range(1, 400)]
    parts = [
        f'{{"runnerNumber":{rng.randint(1, RUNNERS)},{rng.choice(types)},"price":"{rng.choice(odds)}"}}'
        for _ in range(50_021)
    ]
    made = number = 0
    while made < updates:
        number += 1
        size = LARGE_PRICES if number % LARGE_EVERY == 0 else 1
        listed = ",".join(parts[(made + n) % len(parts)] for n in range(size))
        scratching = ""
        if number % SCRATCHING_EVERY == 0:
            scratching = _SCRATCHING.replace("RUNNER", str(rng.randint(1, RUNNERS)))
        made += size
        document = (
            f'{{"meetingId":{MEETING + number % RACES // 10},"eventNumber":{number % 10 + 1},'
            f'"priceUpdates":[{listed}],"scratchings":[{scratching}],"unscratchings":[]}}'
        )
        yield document.encode(), _START + _DAY * made / updates


def catch_up(updates: int) -> tuple[RaceBook, dict[str, Any]]:
    """Applies a day from its documents. Only applying is timed."""
    book = RaceBook()
    before, spent, events, batch = resident(), 0.0, 0, list[PriceEvent]()
    for offset, (raw, time) in enumerate(day(updates)):
        batch += decode(PriceEvent, raw, record=MemoryRecord("prices", 0, offset, raw, None, time))
        events += 1
        if len(batch) == 5_000:
            spent += seconds(book.apply, batch)
            batch.clear()
    spent += seconds(book.apply, batch)
    batch.clear()
    gc.collect()
    size = resident()
    return book, {
        "events": events,
        "seconds": spent,
        "races": len(book),
        "runners": len({(race.race_id, runner) for race in book.races() for runner, _ in race.prices}),
        "resident": size,
        "growth": size - before,
    }


def past_and_present(book: RaceBook) -> float:
    """Returns the milliseconds of one `as_of` at the end of the day."""
    race_id, newest = next(iter(book)), book.newest_at
    assert newest is not None
    began = thread_time()
    assert book.as_of(race_id, newest) == book[race_id]
    return 1000 * (thread_time() - began)


def keep(book: RaceBook, path: Path) -> dict[str, Any]:
    """Saves and loads the book."""
    began = perf_counter()
    book.save(path)
    saved = perf_counter()
    loaded = RaceBook.load(path)
    ended = perf_counter()
    loaded.caught_up()
    assert loaded.races() == book.races()
    return {"save": saved - began, "load": ended - saved, "bytes": path.stat().st_size}


def main(updates: int, path: Path) -> None:
    outcome: dict[str, Any] = {"fold": against_a_dictionary(simulated(max(1_000, min(60_000, updates // 20))))}
    book, outcome["day"] = catch_up(updates)
    outcome["as_of_ms"] = past_and_present(book)
    outcome["snapshot"] = keep(book, path)
    report(outcome)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
