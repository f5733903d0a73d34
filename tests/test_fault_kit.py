"""The fault kit for users' tests: good applications survive, the usual mistakes are found, and the plugin is there."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from rbhq_stream import (
    Event,
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
)
from rbhq_stream.testing import Simulator, TimedEvent, assert_idempotent, assert_survives, faults
from rbhq_stream.testing.faults import DayRecord, Fault

pytest_plugins = ["pytester"]

RESULTS_FIRST = 0
"""A seed by which the topic of results comes before that of prices."""
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


class AsyncBoard(Board):
    async def handle(self, event: RaceEvent) -> None:  # type: ignore[override]  # awaited by an AsyncFeed
        super().handle(event)


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


def test_an_application_that_relies_on_the_order_of_topics_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    day: list[Event] = [
        PriceEvent(1, 7, (PriceUpdate(1, PriceType.WIN, 12, Decimal("2.00")),)),
        PriceEvent(1, 7, scratchings=(Scratching(3),)),
        RaceStatusEvent(1, 7, status=RaceStatus.FINAL),
        RaceResultEvent(1, 7, status=RaceStatus.FINAL),
    ]
    with pytest.raises(AssertionError, match="one topic comes after the other") as failed:
        assert_survives(Settling, day, [faults.topics_out_of_order()], seed=RESULTS_FIRST)
    assert "event_number=7" in str(failed.value)
    assert "seed=" in capsys.readouterr().out


def test_what_the_application_raises_is_not_hidden() -> None:
    class Failing(Board):
        def handle(self, event: RaceEvent) -> None:
            raise KeyError(str(event.race_id))

    with pytest.raises(KeyError):
        assert_survives(Failing, DAY)


@pytest.mark.parametrize(
    "fault",
    [*faults.ALL, faults.topics_out_of_order(), faults.silences(1, 0.05), faults.oversized_records(1)],
    ids=str,
)
def test_each_fault_changes_the_day_and_the_same_seed_changes_it_the_same_way(fault: Fault) -> None:
    plan: faults.Plan = [DayRecord("prices", b"%d" % n, b"%d" % (n % 7), float(n)) for n in range(500)]
    plan += [DayRecord("status", b"%d" % n, b"%d" % (n % 7), float(n)) for n in range(500)]
    changed = [[_comparable(step) for step in fault.change(list(plan), Random(3))] for _ in range(2)]
    assert changed[0] == changed[1]
    assert changed[0] != [_comparable(step) for step in plan]
    assert_survives(Board, DAY, [fault])


def _comparable(step: object) -> object:
    return step if isinstance(step, DayRecord) else str(getattr(step, "name", step))


@pytest.mark.parametrize("fault", [faults.late_records(0.2), faults.duplicates(0.2)], ids=str)
def test_the_order_of_a_race_in_its_topic_is_kept(fault: Fault) -> None:
    plan: faults.Plan = [DayRecord("prices", b"%d" % n, b"%d" % (n % 7), float(n)) for n in range(500)]
    seen: dict[bytes, list[int]] = {}
    for step in fault.change(plan, Random(3)):
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
