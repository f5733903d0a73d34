"""Events as the three topics would have them, each in a record with the next offset, for tests of the race book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from rbhq_stream import (
    Anomaly,
    AnomalyKind,
    Change,
    Event,
    PayoutFactors,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceBook,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Record,
    RunnerResult,
    Scratching,
    Unscratching,
)

RACE = RaceId(1397808, 7)
IDS = 1397808, 7
"""The same for the constructors of events."""
START = datetime(2026, 11, 3, tzinfo=timezone.utc)


def after(seconds: float) -> datetime:
    """So long after the start of the day."""
    return START + timedelta(seconds=seconds)


def win(runner: int, price: str | None) -> PriceUpdate:
    return PriceUpdate(runner, PriceType.WIN, 12, None if price is None else Decimal(price))


def scratching(runner: int, deduction: str = "0.10", *, at: float | None = None) -> Scratching:
    cents = Decimal(deduction)
    return Scratching(
        runner,
        win_deduction=cents,
        place_deduction=cents,
        two_place_deduction=cents,
        three_place_deduction=cents,
        four_place_deduction=cents,
        scratch_type=1,
        scratch_time=None if at is None else after(at),
    )


def placings(*runners: int) -> tuple[RunnerResult, ...]:
    """The runners that finished first, second and so on."""
    return tuple(
        RunnerResult(
            runner,
            final_position=position,
            payout_factors=PayoutFactors(win=Decimal(1) if position == 1 else None, place3=Decimal(1)),
        )
        for position, runner in enumerate(runners, 1)
    )


class Topics:
    """Writes events: each comes in a record of its topic with the next offset."""

    def __init__(self) -> None:
        self._offsets: Counter[tuple[str, int]] = Counter()

    def prices(
        self,
        *updates: PriceUpdate,
        at: float | None = None,
        scratchings: Iterable[Scratching] = (),
        reinstated: Iterable[int] = (),
        race_id: RaceId = RACE,
        **where: Any,
    ) -> PriceEvent:
        unscratchings = tuple(Unscratching(runner, None if at is None else after(at)) for runner in reinstated)
        record = self._record("prices", at, **where)
        return PriceEvent(
            race_id.meeting_id, race_id.event_number, updates, tuple(scratchings), unscratchings, record=record
        )

    def status(
        self,
        status: RaceStatus | str,
        *,
        at: float | None = None,
        runner: int | None = None,
        race_id: RaceId = RACE,
        **where: Any,
    ) -> RaceStatusEvent:
        return RaceStatusEvent(
            race_id.meeting_id, race_id.event_number, status, runner, record=self._record("status", at, **where)
        )

    def result(
        self,
        status: RaceStatus | str,
        *runners: int,
        at: float | None = None,
        results: Sequence[RunnerResult] | None = None,
        created: float | None = None,
        race_id: RaceId = RACE,
        **where: Any,
    ) -> RaceResultEvent:
        listed = placings(*(runners or (1, 2, 3))) if results is None else tuple(results)
        return RaceResultEvent(
            race_id.meeting_id,
            race_id.event_number,
            status=RaceStatus(status),
            date_created=None if created is None else after(created),
            results=listed,
            record=self._record("results", at, **where),
        )

    def _record(
        self,
        topic: str,
        at: float | None,
        *,
        partition: int = 0,
        offset: int | None = None,
        part: int = 0,
        parts: int = 1,
    ) -> Record:
        if offset is not None:
            self._offsets[topic, partition] = offset
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += part + 1 == parts
        time = None if at is None else after(at)
        return Record(topic, partition, offset, time, part=part, parts=parts)


def apply(book: RaceBook, *events: Event) -> list[Change]:
    """Applies events, and returns all that they changed."""
    return [change for event in events for change in book.apply(event)]


def anomalies(changes: Iterable[Change]) -> list[tuple[AnomalyKind, int | None]]:
    """The kinds of the anomalies among the changes, each with its runner."""
    return [(change.kind, change.runner_number) for change in changes if isinstance(change, Anomaly)]


def without_anomalies(changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if not isinstance(change, Anomaly)]


def given_prices(*prices: tuple[int, str], at: float = 0) -> tuple[RaceBook, Topics]:
    """A book with win prices of runners."""
    book, topics = RaceBook(), Topics()
    book.apply(topics.prices(*(win(*price) for price in prices), at=at))
    return book, topics
