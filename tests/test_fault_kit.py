"""The fault kit for users' tests: good applications survive, the usual mistakes are found, and the plugin is there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import accumulate, groupby
from random import Random
from typing import Any

import pytest

from rbhq_stream import (
    DataLossError,
    Event,
    HealthChanged,
    PartitionsLost,
    PartitionsRevoked,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceBook,
    RaceEvent,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Scratching,
    Signal,
)
from rbhq_stream.testing import Application, Simulator, TimedEvent, assert_idempotent, assert_survives, faults
from rbhq_stream.testing.faults import DayRecord, Fault

pytest_plugins = ["pytester"]

SCRATCHING_LAST = 4
"""A seed by which the scratching of `ONE_RACE` comes after its result."""
ONE_RACE = (
    PriceEvent(1, 7, (PriceUpdate(1, PriceType.WIN, 12, Decimal("2.00")),)),
    PriceEvent(1, 7, scratchings=(Scratching(3),)),
    RaceStatusEvent(1, 7, status=RaceStatus.FINAL),
    RaceResultEvent(1, 7, status=RaceStatus.FINAL),
)
"""One race, of which each event is a second later than the one before it."""
DAY = tuple(Simulator(seed=1, meetings=2, races=3, price_records=20).events())


class Board:
    """Keeps the newest price of each runner: a good application."""

    def __init__(self) -> None:
        self.prices: dict[tuple[RaceId, int, str], Decimal | None] = {}

    def handle(self, event: RaceEvent) -> None:
        if isinstance(event, PriceEvent):
            for update in event.price_updates:
                self.prices[event.race_id, update.runner_number, update.price_type] = update.price

    def state(self) -> object:
        return self.prices

    def resynchronise(self, _loss: DataLossError, missed: Sequence[Event]) -> None:
        for event in missed:
            Board.handle(self, event)


class AsyncBoard(Board):
    async def handle(self, event: RaceEvent) -> None:  # type: ignore[override]  # awaited by an AsyncFeed
        super().handle(event)

    async def resynchronise(self, loss: DataLossError, missed: Sequence[Event]) -> None:  # type: ignore[override]  # as above
        super().resynchronise(loss, missed)


class Counting:
    """Counts events, as if none came twice."""

    def __init__(self) -> None:
        self.count = 0

    def handle(self, _event: RaceEvent) -> None:
        self.count += 1

    def state(self) -> object:
        return self.count


class Deducting:
    """Adds up deductions when they come, although they are repeated."""

    def __init__(self) -> None:
        self.total = Decimal(0)

    def handle(self, event: RaceEvent) -> None:
        if isinstance(event, PriceEvent):
            self.total += sum((s.win_deduction or 0 for s in event.scratchings), Decimal(0))

    def state(self) -> object:
        return self.total


class Settling:
    """Settles with the deductions that were known when the FINAL came, as if topics were ordered."""

    def __init__(self) -> None:
        self.scratched: dict[RaceId, set[int]] = {}
        self.settled: dict[RaceId, frozenset[int]] = {}

    def handle(self, event: RaceEvent) -> None:
        if isinstance(event, PriceEvent):
            self.scratched.setdefault(event.race_id, set()).update(s.runner_number for s in event.scratchings)
        elif isinstance(event, RaceResultEvent) and event.status is RaceStatus.FINAL:
            self.settled[event.race_id] = frozenset(self.scratched.get(event.race_id, ()))

    def state(self) -> object:
        return self.settled


class Booking:
    """A race book."""

    def __init__(self) -> None:
        self.book = RaceBook()

    def handle(self, event: Any) -> None:
        self.book.apply(event)

    def state(self) -> object:
        return {
            race.race_id: (race.status, race.finality, {k: p.value for k, p in race.prices.items()})
            for race in self.book.races()
        }


class ExpectingEveryOffset:
    """Takes a gap in the offsets for a lost event."""

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}
        self.gaps = 0

    def handle(self, event: RaceEvent) -> None:
        record = event.require_record()
        self.gaps += record.offset > self.newest.get(record.topic, -1) + 1
        self.newest[record.topic] = record.offset

    def state(self) -> object:
        return self.gaps > 0


class TimingArrivals:
    """Takes the time between two arrivals for the time between two events."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.longest = 0.0

    def handle(self, _event: RaceEvent) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now

    def state(self) -> object:
        return self.longest > LONG


class ForgettingRevoked(Board):
    """Forgets what it knows when it no longer gets the prices, although they may come back without the old ones."""

    def handle_signal(self, signal: Signal) -> None:
        if isinstance(signal, PartitionsRevoked):
            self.prices.clear()


class NotResynchronising(Board):
    """Ignores that events are missing."""

    def resynchronise(self, _loss: DataLossError, missed: Sequence[Event]) -> None:
        assert missed


class Collecting:
    """Keeps all events."""

    def __init__(self) -> None:
        self.handled: list[Event] = []
        self.missed: list[Event] = []

    def handle(self, event: Event) -> object:
        self.handled.append(event)
        return None

    def resynchronise(self, _loss: DataLossError, missed: Sequence[Event]) -> object:
        self.missed += missed
        return None

    def state(self) -> object:
        return len(self.handled) + len(self.missed)


class AsyncCollecting(Collecting):
    async def handle(self, event: Event) -> None:
        super().handle(event)

    async def resynchronise(self, loss: DataLossError, missed: Sequence[Event]) -> None:
        super().resynchronise(loss, missed)


class Trading:
    """Suspends betting while the feed can't be trusted."""

    def __init__(self) -> None:
        self.is_open = False
        self.suspensions = 0

    def handle(self, _event: RaceEvent) -> None:
        pass

    def handle_signal(self, signal: Signal) -> None:
        if isinstance(signal, HealthChanged):
            self.suspensions += self.is_open and not signal.health.ok
            self.is_open = signal.health.ok

    def state(self) -> object:
        return self.is_open


class TradingNoMore(Trading):
    """Suspends betting, and does not resume it."""

    def state(self) -> object:
        return self.suspensions == 0


LONG = 1.2  # more than a busy machine lets an application wait on a good day
LONGER = 1.5
LATE = timedelta(seconds=10)
EACH_FAULT: dict[str, tuple[Fault, Callable[[], Application], Callable[[], Application]]] = {
    "duplicates": (faults.duplicates(), Counting, Board),
    "late_records": (faults.late_records(0.5, LATE), Settling, Booking),
    "topics_out_of_order": (faults.topics_out_of_order(), Settling, Booking),
    "bad_records": (faults.bad_records(), ExpectingEveryOffset, Board),
    "oversized_records": (faults.oversized_records(), ExpectingEveryOffset, Board),
    "tombstones": (faults.tombstones(), ExpectingEveryOffset, Board),
    "outages": (faults.outages(1, seconds=LONGER), TimingArrivals, Board),
    "silences": (faults.silences(1, seconds=LONGER), TimingArrivals, Board),
    "slow_broker": (faults.slow_broker(1, responses=1, seconds=LONGER), TimingArrivals, Board),
    "evictions": (faults.evictions(), Counting, Board),
    "rebalances": (faults.rebalances(), ForgettingRevoked, Board),
    "expired_records": (faults.expired_records(), NotResynchronising, Board),
}
"""For each fault, an application that fails because of it, and one that survives it."""


def test_every_fault_is_among_those_that_are_tested() -> None:
    public = {name for name in faults.__all__ if name[0].islower()}
    assert public == set(EACH_FAULT)


@pytest.mark.parametrize("name", EACH_FAULT)
def test_an_application_that_ignores_a_fault_fails_and_a_right_one_survives_it(name: str) -> None:
    fault, wrong, right = EACH_FAULT[name]
    day = ONE_RACE if wrong is Settling else DAY
    with pytest.raises(AssertionError, match="the state differs from that after a day without faults"):
        assert_survives(wrong, day, [fault], seed=SCRATCHING_LAST)
    assert_survives(right, day, [fault], seed=SCRATCHING_LAST)


def test_all_faults_together_are_survived() -> None:
    lasting = [faults.outages(), faults.silences(), faults.slow_broker()]  # short here
    others = [fault for fault, wrong, _ in EACH_FAULT.values() if wrong is not TimingArrivals]
    assert_survives(Board, DAY, [*lasting, *others])


@pytest.mark.parametrize("seed", [3, 7])
def test_records_that_expire_before_anything_was_committed_are_passed_to_resynchronise(seed: int) -> None:
    assert_survives(Board, DAY, [faults.evictions(), faults.rebalances(), faults.expired_records()], seed=seed)


def test_an_application_is_notified_of_signals_and_the_day_ends_when_the_feed_is_live() -> None:
    outage = faults.outages(1, seconds=2.5)  # more than the second after which the health is DOWN
    with pytest.raises(AssertionError, match=r"1 outage of 2\.5 s"):
        assert_survives(TradingNoMore, DAY, [outage])
    assert_survives(Trading, DAY, [outage])


def test_signals_are_handled_by_coroutines_too() -> None:
    signals: list[Signal] = []

    class Noting(AsyncBoard):
        async def handle_signal(self, signal: Signal) -> None:
            signals.append(signal)

    assert_survives(Noting, DAY, [faults.evictions(1)])
    assert {PartitionsLost, HealthChanged} <= {type(signal) for signal in signals}


def test_signals_of_the_group_are_among_them() -> None:
    lost: list[PartitionsLost] = []

    class Noting(Board):
        def handle_signal(self, signal: Signal) -> None:
            if isinstance(signal, PartitionsLost):
                lost.append(signal)

    assert_survives(Noting, DAY, [faults.evictions(2)])
    assert len(lost) == 2
    assert any(signal.uncommitted for signal in lost)


def test_without_resynchronise_lost_records_fail_the_test_and_it_says_why() -> None:
    with pytest.raises(AssertionError, match=r"no method resynchronise\(loss, missed\): .*expire.*seed=4") as failed:
        assert_survives(Counting, DAY, [faults.expired_records()], seed=4)
    assert isinstance(failed.value.__cause__, DataLossError)


@pytest.mark.parametrize("kind", [Collecting, AsyncCollecting])
def test_each_event_is_either_handled_or_passed_to_resynchronise(kind: type[Collecting]) -> None:
    made: list[Collecting] = []

    def make() -> Collecting:
        made.append(kind())
        return made[-1]

    assert_survives(make, DAY, [faults.expired_records(2)])
    good, bad = [application for application in made if application.handled]
    assert bad.missed
    assert not good.missed
    assert sorted(map(str, bad.handled + bad.missed)) == sorted(map(str, good.handled))


@pytest.mark.parametrize("application", [Board, AsyncBoard, Booking])
def test_a_good_application_survives_a_bad_day(application: Any) -> None:
    assert_survives(application, DAY)
    assert_idempotent(application, DAY)


def test_a_race_book_survives_topics_out_of_order() -> None:
    assert_survives(Booking, DAY, [faults.topics_out_of_order()])


@pytest.mark.parametrize("application", [Counting, Deducting])
def test_an_application_that_counts_twice_is_found(application: Any) -> None:
    with pytest.raises(AssertionError, match="every record was delivered twice"):
        assert_idempotent(application, DAY)
    with pytest.raises(AssertionError, match="seed=5"):
        assert_survives(application, DAY, [faults.duplicates(0.9)], seed=5)


@pytest.mark.parametrize("seed", range(10))
def test_a_few_duplicates_have_one_of_each_kind(seed: int) -> None:
    with pytest.raises(AssertionError, match="the state differs"):
        assert_survives(Deducting, DAY, [faults.duplicates(0.001)], seed=seed)


@pytest.mark.parametrize("seed", range(10))
def test_records_expire_whatever_outage_ends_before(seed: int) -> None:
    with pytest.raises(AssertionError, match="no method resynchronise"):
        assert_survives(Counting, DAY, [faults.outages(1), faults.expired_records()], seed=seed)


def test_an_application_that_relies_on_the_order_of_topics_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError, match="one topic comes after the other") as failed:
        assert_survives(Settling, ONE_RACE, [faults.topics_out_of_order()], seed=SCRATCHING_LAST)
    assert "event_number=7" in str(failed.value)
    assert "seed=" in capsys.readouterr().out


def test_what_the_application_raises_is_not_hidden() -> None:
    class Failing(Board):
        def handle(self, event: RaceEvent) -> None:
            raise KeyError(str(event.race_id))

    with pytest.raises(KeyError):
        assert_survives(Failing, DAY)


PLAN: faults.Plan = [
    DayRecord(topic, b"%d" % n, b"%d" % (n % 7), float(n)) for topic in ("prices", "status") for n in range(500)
]
"""A day of 500 records in each of two topics, first those of the one."""
each_fault = pytest.mark.parametrize("fault", [fault for fault, _, _ in EACH_FAULT.values()], ids=str)


@each_fault
def test_each_fault_changes_the_day_and_the_same_seed_changes_it_the_same_way(fault: Fault) -> None:
    changed = [[_comparable(step) for step in fault.change(list(PLAN), Random(3))] for _ in range(2)]
    assert changed[0] == changed[1]
    assert changed[0] != [_comparable(step) for step in PLAN]


def _comparable(step: object) -> object:
    return step if isinstance(step, DayRecord) else str(getattr(step, "name", step))


@each_fault
def test_no_fault_leaves_out_a_record_whichever_came_before(fault: Fault) -> None:
    for before, _, _ in EACH_FAULT.values():
        plan = before.change([*PLAN], Random(3))
        assert not Counter(PLAN) - Counter(fault.change(plan, Random(4)))


def test_rebalances_take_the_topics_away_in_turn() -> None:
    names = Counter(_comparable(step) for step in faults.rebalances(4).change([*PLAN], Random(3)))
    assert (names["rebalance (prices)"], names["rebalance (status)"]) == (2, 2)


def test_a_slow_broker_is_slow_for_as_many_records_as_there_are_slow_responses() -> None:
    begins, lengths = set(), set()
    for seed in range(30):
        plan = faults.slow_broker(responses=10).change(PLAN[:20], Random(seed))
        names = [getattr(step, "name", "") for step in plan]
        begins.add(names.index("slow broker"))
        lengths.add(names.index("end of the slow broker") - names.index("slow broker") - 1)
    assert (min(lengths), max(begins)) == (10, 10)
    assert min(begins) == 0
    assert len(faults.slow_broker(responses=10).change(PLAN[:5], Random(3))) == 5 + 2, "the day has no more records"


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_as_many_records_come_twice_in_a_row_as_the_share_says(share: float) -> None:
    changed = faults.duplicates(share).change(PLAN, Random(3))
    assert len(changed) - len(PLAN) == pytest.approx(share * len(PLAN), rel=0.2)
    assert [step for step, _ in groupby(changed)] == PLAN


def test_as_many_records_are_late_as_the_share_says_and_by_that_much() -> None:
    races = [DayRecord("prices", b"", b"%d" % n, float(n)) for n in range(1000)]
    changed = faults.late_records(0.1, timedelta(seconds=10)).change([*races], Random(3))
    times = [step.at for step in changed if isinstance(step, DayRecord)]
    late = {time for time, latest in zip(times, accumulate(times, max), strict=True) if time < latest}
    assert len(late) == pytest.approx(0.1 * len(races), rel=0.2)
    on_time = set(times) - late
    assert all(times.index(time) > times.index(time + 9) for time in late if time + 9 in on_time)
    assert all(times.index(time) < times.index(time + 11) for time in late if time + 11 in on_time)


@pytest.mark.parametrize(
    ("fault", "happenings"),
    [
        (faults.outages(3), ["outage", "end of the outage"] * 3),
        (faults.expired_records(2), ["outage", "retention", "end of the outage"] * 2),
        (faults.silences(4), ["silence"] * 4),
        (faults.slow_broker(2), ["slow broker", "end of the slow broker"] * 2),
        (faults.evictions(1), ["no commits", "eviction"]),
        (faults.rebalances(1), ["rebalance (prices)"]),
        (faults.bad_records(9), [None] * 9),
        (faults.oversized_records(2), [None] * 2),
        (faults.tombstones(7), [None] * 7),
    ],
    ids=str,
)
def test_a_fault_happens_as_often_as_it_was_asked_for(fault: Fault, happenings: list[str | None]) -> None:
    plan = PLAN[:500]
    added = [step for step in fault.change(plan, Random(3)) if step not in plan]
    assert sorted(getattr(step, "name", "a record") for step in added) == sorted(
        "a record" if name is None else name for name in happenings
    )


@pytest.mark.parametrize("fault", [faults.late_records(0.2), faults.duplicates(0.2)], ids=str)
def test_the_order_of_a_race_in_its_topic_is_kept(fault: Fault) -> None:
    seen: dict[bytes, list[int]] = {}
    for step in fault.change(PLAN[:500], Random(3)):
        assert isinstance(step, DayRecord)
        assert step.value is not None
        if int(step.value) not in seen.setdefault(step.key, []):
            seen[step.key].append(int(step.value))
    assert all(values == sorted(values) for values in seen.values())


def test_the_plugin_has_fixtures_for_a_test_of_ten_lines(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from rbhq_stream.testing import assert_survives

        class Deducting:
            total = 0
            def handle(self, event):
                for scratching in getattr(event, "scratchings", ()):
                    self.total += scratching.win_deduction or 0
            def state(self):
                return self.total

        def test_a_good_day(rbhq_day, rbhq_source, rbhq_feed):
            rbhq_source.publish(*[timed.event for timed in rbhq_day])
            feed = rbhq_feed()
            assert next(feed) == rbhq_day[0].event

        def test_a_bad_day(rbhq_day):
            assert_survives(Deducting, rbhq_day, seed=3)

        def test_with_a_broker(rbhq_broker):
            assert rbhq_broker.bootstrap_servers
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*the state differs from that after a day without faults*seed=*"])


class SharingState(Board):
    prices: dict[tuple[RaceId, int, str], Decimal | None] = {}  # noqa: RUF012  # the mistake that is to be found

    def __init__(self) -> None:
        pass


def test_applications_that_share_their_state_are_refused_because_it_could_not_differ() -> None:
    one = Board()
    with pytest.raises(ValueError, match="the same application twice: return a new one"):
        assert_survives(lambda: one, ONE_RACE)
    with pytest.raises(ValueError, match="share their state"):
        assert_idempotent(SharingState, ONE_RACE)


def test_equal_states_that_are_one_object_but_can_not_change_are_fine() -> None:
    class KnowingWhetherAny(Board):
        def state(self) -> object:
            return bool(self.prices)

    assert_survives(KnowingWhetherAny, ONE_RACE, [faults.duplicates(1)])


def test_a_day_without_events_is_refused_because_it_shows_nothing() -> None:
    day = Simulator(seed=1, meetings=1, races=1, price_records=5).events()
    assert_survives(Board, day)
    with pytest.raises(ValueError, match=r"no events. An iterator can be used only once: pass tuple"):
        assert_survives(Board, day)


@pytest.mark.parametrize(
    ("given", "said"),
    [(faults.duplicates(), "^faults=.*: expected a sequence"), ([faults.duplicates], "is not a fault: call its")],
)
def test_what_is_not_a_list_of_faults_is_refused(given: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        assert_survives(Board, ONE_RACE, given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.duplicates(0),
        lambda: faults.duplicates(10),
        lambda: faults.late_records(-0.1),
        lambda: faults.late_records(by=timedelta(0)),
        lambda: faults.bad_records(0),
        lambda: faults.oversized_records(0),
        lambda: faults.oversized_records(size=16 * 1024 * 1024),
        lambda: faults.tombstones(-1),
        lambda: faults.outages(0),
        lambda: faults.outages(seconds=-1),
        lambda: faults.evictions(0),
        lambda: faults.rebalances(0),
        lambda: faults.silences(0),
        lambda: faults.silences(seconds=0),
        lambda: faults.slow_broker(0),
        lambda: faults.slow_broker(responses=0),
        lambda: faults.slow_broker(seconds=float("nan")),
        lambda: faults.expired_records(0),
    ],
)
def test_a_fault_that_could_not_happen_is_refused(make: Callable[[], Fault]) -> None:
    with pytest.raises(ValueError, match=r"=.*: expected a"):
        make()


def test_a_day_of_timed_events_keeps_their_times() -> None:
    times: list[float] = []

    class Timing(Board):
        def handle(self, event: RaceEvent) -> None:
            timestamp = event.require_record().timestamp
            assert timestamp is not None
            times.append(timestamp.timestamp())

    few = DAY[:50]
    assert all(isinstance(timed, TimedEvent) for timed in few)
    assert_idempotent(Timing, few)
    assert times[:50] == [round(timed.at.timestamp(), 3) for timed in few]
