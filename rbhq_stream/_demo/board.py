"""The state of the race day as the demo shows it, updated by the feed's events, and notices about notable changes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from attrs import define, field, frozen

from rbhq_stream import (
    Event,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
)
from rbhq_stream.testing import Meeting, Race

_HISTORY = 60
_LINGERS = timedelta(seconds=50)
"""How long, in simulated time, a race is shown after betting on it has ended."""
_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th"}


@frozen
class Notice:
    """A notable event in words."""

    at: datetime
    what: str
    """A race's new status, or `SCRATCHED`, `REINSTATED`, `DEDUCTION`, `RE-OPENED`, `RESULT`, `AMENDED`."""
    race: str
    text: str = ""


@define
class RunnerView:
    """A runner in the market."""

    number: int
    name: str
    price: Decimal | None = None
    opened_at: Decimal | None = None
    """Its first price."""
    place: Decimal | None = None
    history: deque[Decimal] = field(factory=lambda: deque(maxlen=_HISTORY))
    moved: datetime | None = None
    is_scratched: bool = False
    deduction: Decimal | None = None

    @property
    def trend(self) -> int:
        """-1 if its price is shorter than the first one, 1 if it is longer, else 0."""
        if self.price is None or self.opened_at is None or self.is_scratched:
            return 0
        return (self.price > self.opened_at) - (self.price < self.opened_at)

    def show(self, update: PriceUpdate, now: datetime) -> None:
        """Applies a new price."""
        if update.price_type is PriceType.PLACE:
            self.place = update.price
        elif update.price_type is PriceType.WIN:
            if update.price != self.price:
                self.moved = now
            self.price = update.price
            if update.price is not None:
                self.opened_at = self.opened_at or update.price
                self.history.append(update.price)


@define
class RaceView:
    """The state of one race."""

    race: Race
    venue: str
    code: str
    runners: dict[int, RunnerView]
    status: RaceStatus | None = None
    shut_at: datetime | None = None
    """When betting ended; `None` while it is open."""
    placed: tuple[str, ...] = ()
    is_final: bool = False

    @property
    def label(self) -> str:
        return f"{self.venue} R{self.race.race_id.event_number}"

    def name_of(self, number: int) -> str:
        runner = self.runners.get(number)
        return f"{number} {runner.name}" if runner else str(number)

    def is_over(self, now: datetime) -> bool:
        """Returns whether its market is no longer shown."""
        return self.shut_at is not None and now - self.shut_at > _LINGERS


class Board:
    """The state of every race of the day. Its lock is held while an event is applied."""

    def __init__(self, meetings: Iterable[Meeting]) -> None:
        self.lock = threading.Lock()
        self.races: dict[RaceId, RaceView] = {
            race.race_id: RaceView(
                race,
                meeting.venue,
                meeting.code.value,
                {runner.number: RunnerView(runner.number, runner.name) for runner in race.runners},
            )
            for meeting in meetings
            for race in meeting.races
        }
        self._order = sorted(self.races.values(), key=lambda view: view.race.jump)

    def next_to_jump(self, now: datetime) -> RaceView:
        """Returns the first race whose betting is open or has just ended, or else the last race of the day."""
        return next((view for view in self._order if not view.is_over(now)), self._order[-1])

    def in_order(self) -> list[RaceView]:
        """Returns all races by the time of their jump."""
        return self._order

    def apply(self, event: Event, now: datetime) -> list[Notice]:
        """Applies an event, and returns notices about notable changes. A price change is not one."""
        view = self.races[event.race_id]
        with self.lock:
            if isinstance(event, PriceEvent):
                notable = list(self._prices(view, event, now))
            elif isinstance(event, RaceStatusEvent):
                notable = [self._status(view, event.status, now)]
            else:
                notable = [self._result(view, event)]
        return [Notice(now, what, view.label, text) for what, text in notable]

    def _prices(self, view: RaceView, event: PriceEvent, now: datetime) -> Iterator[tuple[str, str]]:
        for update in event.price_updates:
            if update.runner_number in view.runners:
                view.runners[update.runner_number].show(update, now)
        for scratching in event.scratchings:
            yield from self._scratching(view, scratching)
        for unscratching in event.unscratchings:
            runner = view.runners[unscratching.runner_number]
            runner.is_scratched, runner.deduction = False, None
            yield "REINSTATED", f"{view.name_of(runner.number)}, scratched by mistake"

    def _scratching(self, view: RaceView, scratching: Scratching) -> Iterator[tuple[str, str]]:
        runner = view.runners[scratching.runner_number]
        old, new = runner.deduction, scratching.win_deduction
        was_scratched = runner.is_scratched
        runner.is_scratched, runner.deduction = True, new
        name = view.name_of(runner.number)
        if not was_scratched:
            yield "SCRATCHED", f"{name}, {cents(new)} off the win dollar"
        elif new != old:
            yield "DEDUCTION", f"{name}, now {cents(new)}, was {cents(old)}"

    def _status(self, view: RaceView, status: RaceStatus, now: datetime) -> tuple[str, str]:
        before, view.status = view.status, status
        view.shut_at = None if status is RaceStatus.OPEN else view.shut_at or now
        if status is RaceStatus.OPEN:
            return ("RE-OPENED", "betting goes on") if before is RaceStatus.CLOSED else ("OPEN", f"{view.code}")
        return status.value, {
            RaceStatus.CLOSED: "no more bets",
            RaceStatus.INTERIM: "placings are semi-official",
            RaceStatus.PROTEST: "placings may change",
            RaceStatus.FINAL: "all clear",
            RaceStatus.ABANDONED: "will not be run",
        }.get(status, "")

    def _result(self, view: RaceView, event: RaceResultEvent) -> tuple[str, str]:
        starting = {
            pool.selections: pool.amount
            for dividend in event.dividends
            if dividend.wagering_product == "SP"
            for pool in dividend.pool_dividends
        }
        is_amended = view.is_final
        view.is_final = view.is_final or event.status is RaceStatus.FINAL
        view.placed = tuple(
            _placing(view, result, starting.get((result.runner_number,))) for result in event.results[:4]
        )
        return "AMENDED" if is_amended else "RESULT", ", ".join(view.placed[:3])


def cents(deduction: Decimal | None) -> str:
    """Returns `Decimal("0.07")` as `7c`."""
    return "?" if deduction is None else f"{deduction * 100:.0f}c"


def dollars(price: Decimal | None) -> str:
    """Returns a price as a bookmaker's board shows it: `4.40`, `11`, `101`."""
    if price is None:
        return "-"
    return f"{price:.0f}" if price >= 10 else f"{price:.2f}"


def _placing(view: RaceView, result: RunnerResult, starting_price: Decimal | None) -> str:
    where = _ORDINALS.get(result.final_position or 0, f"{result.final_position}th")
    paid = f" ${dollars(starting_price)}" if starting_price is not None else ""
    factor = result.payout_factors.win
    shared = f" (dead heat: {factor})" if factor is not None and factor < 1 else ""
    return f"{where} {view.name_of(result.runner_number)}{paid}{shared}"
