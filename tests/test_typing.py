"""Users' code has the expected types. Checked by `make types` (mypy and pyright); here it only has to run.

A line that must be refused carries a `type: ignore`, which mypy reports when it is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from confluent_kafka import Message
from typing_extensions import assert_never, assert_type

from rbhq_stream import (
    AsyncFeed,
    Event,
    Feed,
    FeedConfig,
    Gap,
    Health,
    HealthChanged,
    HealthReason,
    HealthState,
    PartitionsLost,
    PayoutFactors,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceEvent,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RawRecord,
    Record,
    Retry,
    RunnerResult,
    Scratching,
    Signal,
    TopicPartition,
    Topics,
    Unscratching,
    decode,
    encode,
    to_dict,
)


def iterate(config: FeedConfig) -> None:
    with Feed(config) as feed:
        assert_type(feed, Feed)
        for event in feed:
            assert_type(event, Event)
            assert_type(event.race_id, RaceId)
            assert_type(event.record, Record | None)
            assert_type(event.require_record().offset, int)
            meeting_id, event_number = event.race_id
            assert_type((meeting_id, event_number), tuple[int, int])
            match event:
                case PriceEvent():
                    assert_type(event, PriceEvent)
                    assert_type(event.price_updates, tuple[PriceUpdate, ...])
                    assert_type(event.scratchings, tuple[Scratching, ...])
                    assert_type(event.price_updates[0].price, Decimal | None)
                    assert_type(event.price_updates[0].price_type, PriceType)
                    assert_type(event.scratchings[0].scratch_time, datetime | None)
                case RaceStatusEvent():
                    assert_type(event.status, RaceStatus)
                    assert_type(event.runner_number, int | None)
                case RaceResultEvent(results=results):
                    assert_type(results, tuple[RunnerResult, ...])
                    assert_type(results[0].payout_factors, PayoutFactors)
                case _:
                    assert_never(event)
        assert_type(feed.poll(1.0), Event | None)
        for batch in feed.batches(100, 0.5):
            assert_type(batch, list[Event])


async def iterate_async(config: FeedConfig) -> None:
    async with AsyncFeed(config) as feed:
        assert_type(feed, AsyncFeed)
        async for event in feed:
            assert_type(event, Event)
        assert_type(await feed.poll(1.0), Event | None)
        async for batch in feed.batches():
            assert_type(batch, list[Event])


def handlers(feed: Feed) -> None:
    @feed.on(PriceEvent)
    def prices(event: PriceEvent) -> int:
        return event.event_number

    @feed.on(Scratching)
    def scratched(scratching: Scratching) -> None: ...

    @feed.on(Scratching)
    def scratched_in(scratching: Scratching, event: PriceEvent) -> None: ...

    @feed.on(Unscratching)
    def reinstated(unscratching: Unscratching, event: PriceEvent) -> None: ...

    @feed.on(RunnerResult)
    def placed(result: RunnerResult, event: RaceResultEvent) -> None: ...

    @feed.on(RaceEvent)
    def every(event: RaceEvent) -> None: ...

    @feed.on(PartitionsLost)
    def lost(signal: PartitionsLost) -> int:
        assert_type(signal.partitions, tuple[TopicPartition, ...])
        assert_type(signal.uncommitted, Mapping[TopicPartition, int])
        assert_type(signal.at, datetime)
        return len(signal.partitions)

    @feed.on(HealthChanged, immediately=True)
    def health(signal: HealthChanged) -> bool:
        assert_type(signal.health, Health)
        assert_type(signal.health.state, HealthState)
        assert_type(signal.health.reason, HealthReason)
        assert_type(signal.gap, Gap | None)
        return signal.health.ok

    assert_type(health, Callable[[HealthChanged], bool])
    assert_type(feed.health, Health)

    @feed.on(Signal)
    def every_signal(signal: Signal) -> None: ...

    assert_type(lost, Callable[[PartitionsLost], int])

    assert_type(prices, Callable[[PriceEvent], int])
    assert_type(scratched, Callable[[Scratching], None])
    assert_type(scratched_in, Callable[[Scratching, PriceEvent], None])

    @feed.on(Scratching)  # type: ignore[arg-type]
    def wrong_part(update: PriceUpdate) -> None: ...

    @feed.on(PriceEvent)  # type: ignore[arg-type]
    def wrong_event(event: RaceStatusEvent) -> None: ...

    @feed.on(PartitionsLost)  # type: ignore[arg-type]
    def wrong_signal(event: PriceEvent) -> None: ...

    @feed.on(RunnerResult)  # type: ignore[arg-type]
    def wrong_parent(result: RunnerResult, event: PriceEvent) -> None: ...


def handlers_async(feed: AsyncFeed) -> None:
    @feed.on(RaceStatusEvent)
    async def status(event: RaceStatusEvent) -> None: ...

    @feed.on(PriceUpdate)
    def update(update: PriceUpdate) -> None: ...

    assert_type(update, Callable[[PriceUpdate], None])


def run(feed: Feed) -> None:
    feed.run()
    feed.run(retry=Retry(), workers=16, max_in_flight=100, drain_timeout=2.5)
    feed.run(concurrency=16)  # type: ignore[call-arg]
    feed.run(workers=2.5)  # type: ignore[arg-type]


async def run_async(feed: AsyncFeed) -> None:
    await feed.run()
    await feed.run(retry=Retry(), concurrency=64, max_in_flight=None, drain_timeout=0)
    await feed.run(workers=16)  # type: ignore[call-arg]
    feed.run(concurrency=2)  # type: ignore[unused-coroutine]


def by_itself(raw: bytes) -> None:
    assert_type(decode(PriceEvent, raw), tuple[PriceEvent, ...])
    assert_type(decode(RaceResultEvent, raw), tuple[RaceResultEvent, ...])
    for event in decode(RaceStatusEvent, raw):
        assert_type(encode(event), bytes)
    decode(int, raw)  # type: ignore[type-var]


def made_by_hand(raw: RawRecord, message: Message) -> None:
    update = PriceUpdate(3, "ep", price="4.40", extra={"new": 1})
    assert_type(update.price_type, PriceType)
    assert_type(update.price, Decimal | None)
    PriceUpdate(3, PriceType.WIN, price=4)
    PriceUpdate(3, PriceType.WIN, price=4.4)  # type: ignore[arg-type]
    RaceStatusEvent(1, 2, "OPEN", record=raw)
    RaceStatusEvent(1, 2, 7)  # type: ignore[arg-type]
    PriceEvent(1, 2, [update])  # type: ignore[arg-type]
    update.extra["new"] = 2
    assert_type(to_dict(update), dict[str, Any])
    to_dict(7)  # type: ignore[arg-type]
    assert_type(json.dumps(update, default=to_dict), str)
    assert_type(Record.of(message), Record)


def configured() -> None:
    config = FeedConfig(bootstrap_servers="a", topics=Topics(prices="p"), group_id="g", security="PLAINTEXT")
    assert_type(config.bootstrap_servers, tuple[str, ...])
    FeedConfig(bootstrap_servers="a", topics=Topics(prices="p"), group_id="g", security="TLS")  # type: ignore[arg-type]
    config.group_id = "other"  # type: ignore[misc]


def test_the_parts_of_the_type_tests_that_run_pass() -> None:
    """The rest is only for the type checkers."""
    assert assert_type(PriceType("ep"), PriceType) is PriceType.WIN
