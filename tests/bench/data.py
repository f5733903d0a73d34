"""The records: days at the races from the library's own simulator, as RBHQ would write them.

Nine in ten have one price. The tenth has ten prices and two scratchings: of those one is new and one came before, as
RBHQ repeats what it has said of a race when a runner is scratched. Each day has its own seed, so what repeats, repeats
as it does in a market: the same runner at the same price.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from random import Random

import attrs

from rbhq_stream import PriceEvent, PriceUpdate, Scratching, decode, encode
from rbhq_stream._wire.lenient import PROPERTY_IDS
from rbhq_stream.events import RaceId
from rbhq_stream.testing import Simulator

LARGE_EVERY = 10
LARGE_PRICES = 10
_TICK = timedelta(microseconds=1237)


def realistic(records: int) -> list[tuple[bytes, bytes]]:
    """Keys and values, in time order."""
    return [(str(event.race_id).encode(), encode(event)) for event in islice(_days(), records)]


def small_and_large(records: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    small, large = list[bytes](), list[bytes]()
    for record in records:
        (large if record.count(b'"price"') > 1 else small).append(record)
    return small, large


def cold(records: int, prices: Sequence[Decimal], *, large: bool) -> Iterator[bytes]:
    """Documents at the start of a day: no scratching comes twice; single prices and deductions do, as in any market."""
    rng = Random(1)
    at = datetime(2026, 11, 3, tzinfo=timezone.utc)
    types = sorted(PROPERTY_IDS.items())
    for _ in range(records):
        updates = []
        for _ in range(LARGE_PRICES if large else 1):
            property_id, price_type = rng.choice(types)
            updates.append(PriceUpdate(rng.randint(1, 24), price_type, property_id, rng.choice(prices)))
        scratchings = tuple(
            _scratched(rng.randint(1, 24), [Decimal(rng.randint(1, 60)).scaleb(-2) for _ in range(5)], at + n * _TICK)
            for n in range(2 if large else 0)
        )
        at += 2 * _TICK
        yield encode(PriceEvent(rng.randint(1_300_000, 1_400_000), rng.randint(1, 12), tuple(updates), scratchings))


def prices_in(records: Sequence[bytes]) -> list[Decimal]:
    """All prices of a market, each as often as it comes."""
    events = (event for record in records for event in decode(PriceEvent, record))
    return [update.price for event in events for update in event.price_updates if update.price is not None]


def huge(records: int) -> list[tuple[bytes, bytes]]:
    """Documents of 900 kB, close to the most that a broker takes by default."""
    filler = "x" * 900_000
    return [
        (b"1-%d" % number, json.dumps({"meetingId": 1, "eventNumber": number, "note": filler}).encode())
        for number in range(1, records + 1)
    ]


def repetition(records: Sequence[bytes]) -> dict[str, float]:
    """The share of the prices, of the scratchings and of the documents that had come before, written the same."""
    read = [json.loads(record) for record in records]
    written = {
        "price": [update["price"] for document in read for update in document["priceUpdates"]],
        "scratchings": [json.dumps(one) for document in read for one in document["scratchings"]],
        "documents": list(records),
    }
    return {name: 1 - len(set(items)) / max(1, len(items)) for name, items in written.items()}


def save(records: Sequence[bytes], path: Path) -> None:
    path.write_bytes(b"\n".join(records))


def load(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")


def _days() -> Iterator[PriceEvent]:
    for day in count(1):
        rng = Random(day)
        scratched: dict[RaceId, Scratching] = {}
        repriced: dict[RaceId, tuple[PriceUpdate, ...]] = {}
        made = 0
        for event in (timed.event for timed in Simulator(day).events()):
            if not isinstance(event, PriceEvent):
                continue
            race = event.race_id
            if len(event.price_updates) >= LARGE_PRICES:
                repriced[race] = event.price_updates[:LARGE_PRICES]
            if len(event.price_updates) != 1:
                continue
            made += 1
            yield event
            if made % (LARGE_EVERY - 1) == 0:
                before = scratched.get(race) or _scratching(rng, day)
                scratched[race] = _scratching(rng, day)
                latest = _with(repriced[race], event.price_updates[0])
                yield attrs.evolve(event, price_updates=latest, scratchings=(before, scratched[race]))


def _with(prices: tuple[PriceUpdate, ...], newest: PriceUpdate) -> tuple[PriceUpdate, ...]:
    """The market's prices as they are now: those of its last large record, and the one that just moved."""
    moved = newest.runner_number, newest.price_type
    return (newest, *(p for p in prices if (p.runner_number, p.price_type) != moved))[:LARGE_PRICES]


def _scratching(rng: Random, day: int) -> Scratching:
    win = rng.randint(2, 60)
    cents = (win, win // 2, win * 2 // 3, win // 2, win // 3)
    at = datetime(2026, 11, 3, tzinfo=timezone.utc) + timedelta(days=day, microseconds=rng.randrange(36_000_000_000))
    return _scratched(rng.randint(1, 24), [Decimal(c).scaleb(-2) for c in cents], at)


def _scratched(runner: int, deductions: Sequence[Decimal], at: datetime) -> Scratching:
    win, place, two, three, four = deductions
    return Scratching(runner, win, place, two, three, four, 1, at)
