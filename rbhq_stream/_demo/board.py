"""What the demo knows of the race day: folded from the feed's events, and the notable ones put in words."""

from __future__ import annotations

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
# so long, of the simulated day, a race stays in the picture after its last bets
_LINGERS = timedelta(seconds=50)
_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th"}


@frozen
class Notice:
    """Something that happened, in words."""

    at: datetime
    what: str
    """One word: a race's new status, or `SCRATCHED`, `REINSTATED`, `DEDUCTION`, `RE-OPENED`, `RESULT`, `AMENDED`."""
    race: str
    text: str = ""


@define
class RunnerView:
    """A runner's line in the market."""

    number: int
    name: str
    price: Decimal | None = None
    opened_at: Decimal | None = None
    """The first price that was seen."""
    place: Decimal | None = None
    history: deque[Decimal] = field(factory=lambda: deque(maxlen=_HISTORY))
    moved: datetime | None = None
    is_scratched: bool = False
    deduction: Decimal | None = None

    @property
    def trend(self) -> int:
        """-1: a firmer, shorter than at the opening of the market. 1: a drifter. 0: neither."""
        if self.price is None or self.opened_at is None or self.is_scratched:
            return 0
        return (self.price > self.opened_at) - (self.price < self.opened_at)

    def show(self, update: PriceUpdate, now: datetime) -> None:
        """Takes a new price."""
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
    """One race, as far as the feed has told it."""

    race: Race
    venue: str
    code: str
    runners: dict[int, RunnerView]
    status: RaceStatus | None = None
    shut_at: datetime | None = None
    """When it took no more bets; `None` while it does."""
    placed: tuple[str, ...] = ()
    is_final: bool = False

    @property
    def label(self) -> str:
        return f"{self.venue} R{self.race.race_id.event_number}"

    def name_of(self, number: int) -> str:
        runner = self.runners.get(number)
        return f"{number} {runner.name}" if runner else str(number)

    def is_over(self, now: datetime) -> bool:
        """Whether nobody watches its market any more."""
        return self.shut_at is not None and now - self.shut_at > _LINGERS


class Board:
    """Every race of the day. `apply` each event of the feed; it says what is worth telling."""

    def __init__(self, meetings: Iterable[Meeting]) -> None:
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
        """The race to watch: the first that takes bets or has just closed; at the end of the day the last one."""
        return next((view for view in self._order if not view.is_over(now)), self._order[-1])

    def in_order(self) -> list[RaceView]:
        """All races by the time of their jump."""
        return self._order

    def apply(self, event: Event, now: datetime) -> list[Notice]:
        """Takes an event in; returns what is notable about it, in words: nothing for a mere move of a price."""
        view = self.races[event.race_id]
        if isinstance(event, PriceEvent):
            said = list(self._prices(view, event, now))
        elif isinstance(event, RaceStatusEvent):
            said = [self._status(view, event.status, now)]
        else:
            said = [self._result(view, event)]
        return [Notice(now, what, view.label, text) for what, text in said]

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
    """`Decimal("0.07")` as `7c`."""
    return "?" if deduction is None else f"{deduction * 100:.0f}c"


def dollars(price: Decimal | None) -> str:
    """A price as a bookmaker's board shows it: `4.40`, `11`, `101`."""
    if price is None:
        return "-"
    return f"{price:.0f}" if price >= 10 else f"{price:.2f}"


def _placing(view: RaceView, result: RunnerResult, starting_price: Decimal | None) -> str:
    where = _ORDINALS.get(result.final_position or 0, f"{result.final_position}th")
    paid = f" ${dollars(starting_price)}" if starting_price is not None else ""
    factor = result.payout_factors.win
    shared = f" (dead heat: {factor})" if factor is not None and factor < 1 else ""
    return f"{where} {view.name_of(result.runner_number)}{paid}{shared}"
