"""One simulated race, from the opening of its market to its last result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from operator import itemgetter
from random import Random
from typing import Any

import attrs
from attrs import frozen

from rbhq_stream.events import (
    Event,
    PriceEvent,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Scratching,
    Unscratching,
)
from rbhq_stream.testing._market import Market, deductions, places_paid
from rbhq_stream.testing._outcome import Placings, Settlement, dead_heat, disqualify, run_race, swap_first_two
from rbhq_stream.testing._racecard import Code, Meeting, Race
from rbhq_stream.testing._truth import RaceTruth


class Happening(str, Enum):
    """Something that most races don't have, and that an application must handle correctly."""

    REVISED_DEDUCTION = "revised deduction"
    """A second scratching repeats the first one with another deduction."""
    UNSCRATCHING = "unscratching"
    """A runner is scratched by mistake and reinstated."""
    REOPENED = "re-opened"
    """The race is CLOSED and then OPEN again."""
    PROTEST = "protest"
    """The status PROTEST comes between INTERIM and FINAL; some protests are upheld."""
    DEAD_HEAT = "dead heat"
    """Two runners share a finishing position and its payout: factors of 0.5."""
    AMENDED = "amended"
    """The result changes after FINAL."""
    ABANDONED = "abandoned"
    """The race is abandoned, and has no result."""


@frozen
class TimedEvent:
    """An event and its time."""

    at: datetime
    """When RBHQ would publish the event (aware, UTC)."""
    event: Event
    """The event."""


# the part of the records that have ten prices or more
_LARGE_RECORDS = 0.1
_RUN_SECONDS = {Code.GALLOPS: 85, Code.GREYHOUNDS: 31, Code.HARNESS: 130}
_NUMBERS_SCRATCHED = {Code.GALLOPS: (0, 0, 1, 1, 2, 3), Code.GREYHOUNDS: (0, 0, 1, 2), Code.HARNESS: (0, 0, 1, 2)}
_Step = Callable[[datetime], Sequence[Event]]


class SimulatedRace:
    """The events of one race, in order. It can be iterated only once, because each step changes the market."""

    def __init__(
        self,
        rng: Random,
        meeting: Meeting,
        race: Race,
        happenings: AbstractSet[Happening],
        *,
        opens: timedelta,
        price_records: int,
    ) -> None:
        self._rng = rng
        self._meeting = meeting
        self._race = race
        self._happenings = happenings
        self._opens = race.jump - opens
        # a race starts late, never early
        self._jump = race.jump + timedelta(seconds=rng.uniform(5, 0.03 * opens.total_seconds()))
        self._price_records = price_records
        self._market = Market(rng, race.starters)
        self._reserves = [runner.number for runner in race.runners if runner.is_reserve]
        self._field_size = len(race.starters)
        self._scratched: dict[int, Scratching] = {}
        self._placings: Placings = ()
        self._large = 0.0
        self._plan: list[tuple[datetime, _Step]] = []

    def __iter__(self) -> Iterator[TimedEvent]:
        self._plan_betting()
        if Happening.ABANDONED in self._happenings:
            end = self._opens + (self._jump - self._opens) * self._rng.uniform(0.75, 0.98)
            self._plan = [step for step in self._plan if step[0] < end]
            self._add(end, self._status(RaceStatus.ABANDONED))
        else:
            self._plan_finish()
        # steps at the same time stay in the order in which they were planned
        for at, step in sorted(self._plan, key=itemgetter(0)):
            for event in step(at):
                yield TimedEvent(at, event)

    def truth(self) -> RaceTruth:
        """Returns what happened in the race. It must have been iterated to its end."""
        is_abandoned = Happening.ABANDONED in self._happenings
        return RaceTruth(
            self._race.race_id,
            RaceStatus.ABANDONED if is_abandoned else RaceStatus.FINAL,
            tuple(sorted(self._market.runners)),
            tuple(self._scratched[runner] for runner in sorted(self._scratched)),
            self._placings,
            None if is_abandoned else self._jump,
        )

    def _add(self, at: datetime, step: _Step) -> None:
        self._plan.append((at, step))

    def _plan_betting(self) -> None:
        rng, opens, jump = self._rng, self._opens, self._jump
        span = jump - opens
        self._add(opens, self._status(RaceStatus.OPEN))
        self._add(opens, self._opening)
        closed: tuple[datetime, datetime] | None = None
        if Happening.REOPENED in self._happenings:
            closed = opens + span * rng.uniform(0.955, 0.965), opens + span * rng.uniform(0.975, 0.985)
            self._add(closed[0], self._status(RaceStatus.CLOSED))
            self._add(closed[1], self._status(RaceStatus.OPEN))
        self._add(jump, self._status(RaceStatus.CLOSED))
        scratchings = self._plan_scratchings()
        ticks = max(0, self._price_records - 2 - scratchings)
        # the opening and the scratchings make large records, so the other steps make fewer of them
        always_large = 2 + scratchings
        wanted = _LARGE_RECORDS * (ticks + always_large)
        self._large = max(0.0, (wanted - always_large) / ticks) if ticks else 0
        for _ in range(ticks):
            # increasingly often towards the start of the race
            at = jump - span * rng.random() ** 2.2
            if closed is None or not closed[0] <= at < closed[1]:
                self._add(at, self._price_move)

    def _plan_scratchings(self) -> int:
        """Plans the scratchings, and returns the number of records that they make."""
        rng, opens = self._rng, self._opens
        span = self._jump - opens
        real = rng.choice(_NUMBERS_SCRATCHED[self._meeting.code])
        if Happening.REVISED_DEDUCTION in self._happenings:
            real = max(2, real)
        wrong = 1 if Happening.UNSCRATCHING in self._happenings else 0
        # at least three runners stay in the race, and four run it
        real = min(real, self._field_size - 3 - wrong, self._field_size - 4)
        runners = rng.sample(self._race.starters, real + wrong)
        for runner in runners[wrong:]:
            self._add(opens + span * rng.uniform(0.1, 0.97), self._scratch(runner, is_mistake=False))
        for runner in runners[:wrong]:
            at = opens + span * rng.uniform(0.3, 0.85)
            self._add(at, self._scratch(runner, is_mistake=True))
            self._add(at + span * rng.uniform(0.03, 0.08), self._unscratch(runner))
        return real + 2 * wrong

    def _plan_finish(self) -> None:
        rng = self._rng
        run = _RUN_SECONDS[self._meeting.code] * rng.uniform(0.95, 1.05)
        at = self._jump + timedelta(seconds=run + rng.uniform(25, 60))
        self._add(at, self._judge)
        self._add(at, self._stage(RaceStatus.INTERIM))
        if Happening.PROTEST in self._happenings:
            at += timedelta(seconds=rng.uniform(40, 90))
            self._add(at, self._stage(RaceStatus.PROTEST))
            if rng.random() < 0.4:
                self._add(at, self._uphold)
        at += timedelta(seconds=rng.uniform(90, 210))
        self._add(at, self._stage(RaceStatus.FINAL))
        if Happening.AMENDED in self._happenings:
            self._add(at + timedelta(seconds=rng.uniform(200, 400)), self._amend)

    def _status(self, status: RaceStatus) -> _Step:
        def step(_: datetime) -> Sequence[Event]:
            return (RaceStatusEvent(*self._ids, status),)

        return step

    def _opening(self, _: datetime) -> Sequence[Event]:
        return [PriceEvent(*self._ids, updates) for updates in self._market.opening()]

    def _price_move(self, _: datetime) -> Sequence[Event]:
        is_large = self._rng.random() < self._large
        return (PriceEvent(*self._ids, self._market.reprice() if is_large else self._market.tick()),)

    def _scratch(self, runner: int, *, is_mistake: bool) -> _Step:
        def step(at: datetime) -> Sequence[Event]:
            self._revise()
            self._scratched[runner] = _scratching(
                runner, self._market.win_price(runner), self._field_size, self._ago(at)
            )
            self._market.withdraw(runner)
            if self._reserves and not is_mistake:
                self._market.admit(self._reserves.pop(0))
            return (PriceEvent(*self._ids, self._market.reprice(10), tuple(self._scratched.values())),)

        return step

    def _unscratch(self, runner: int) -> _Step:
        def step(at: datetime) -> Sequence[Event]:
            del self._scratched[runner]
            self._market.reinstate(runner)
            undone = (Unscratching(runner, self._ago(at)),)
            return (PriceEvent(*self._ids, self._market.reprice(10), unscratchings=undone),)

        return step

    def _revise(self) -> None:
        always = Happening.REVISED_DEDUCTION in self._happenings
        for runner, scratching in self._scratched.items():
            if always or self._rng.random() < 0.3:
                self._scratched[runner] = _revised(scratching, self._rng.choice((-2, -1, 1, 2)))

    def _judge(self, _: datetime) -> Sequence[Event]:
        """Draws the finishing order, from the market as it is at the close of betting. Publishes nothing."""
        rng = self._rng
        tote = rng.choice(("VIC Tote", "NSW Tote", "QLD Tote"))
        self._settlement = Settlement(self._meeting, self._race, self._market, self._field_size, tote)
        self._placings = run_race(rng, self._market)
        if Happening.DEAD_HEAT in self._happenings:
            # not for third place where only two places are paid: no payout would be shared
            self._placings = dead_heat(self._placings, rng.choice((1, 1, 2, 3) if self._field_size >= 6 else (1, 2)))
        return ()

    def _uphold(self, _: datetime) -> Sequence[Event]:
        self._placings = swap_first_two(self._placings)
        return ()

    def _stage(self, status: RaceStatus) -> _Step:
        def step(at: datetime) -> Sequence[Event]:
            return RaceStatusEvent(*self._ids, status), self._result(status, at)

        return step

    def _amend(self, at: datetime) -> Sequence[Event]:
        self._placings = disqualify(self._placings, self._rng.choice(self._placings[0] + self._placings[1]))
        return (self._result(RaceStatus.FINAL, at),)

    def _result(self, status: RaceStatus, at: datetime) -> RaceResultEvent:
        is_final = status is RaceStatus.FINAL
        return self._settlement.result(status, self._ago(at), self._placings, with_dividends=is_final)

    def _ago(self, at: datetime) -> datetime:
        """Returns a time shortly before: when RBHQ recorded what it publishes now."""
        return at - timedelta(microseconds=self._rng.randrange(50_000, 900_000))

    @property
    def _ids(self) -> tuple[int, int]:
        race_id = self._race.race_id
        return race_id.meeting_id, race_id.event_number


def _scratching(runner: int, win_price: Decimal, field_size: int, at: datetime) -> Scratching:
    of = deductions(win_price)
    return Scratching(
        runner,
        win_deduction=of[1],
        place_deduction=of[max(2, places_paid(field_size))],
        two_place_deduction=of[2],
        three_place_deduction=of[3],
        four_place_deduction=of[4],
        scratch_type=1,
        scratch_time=at,
    )


def _revised(scratching: Scratching, cents: int) -> Scratching:
    change = Decimal(cents).scaleb(-2)

    def moved(deduction: Decimal) -> Decimal:
        # a deduction is not negative, and a revision changes it
        return deduction + (change if deduction + change >= 0 else -change)

    names = [name for name in attrs.fields_dict(Scratching) if name.endswith("_deduction")]
    changes: dict[str, Any] = {name: moved(getattr(scratching, name)) for name in names}
    return attrs.evolve(scratching, **changes)
