"""What the fault kit reports: which days were tried, with which seed, and how the states differ."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone

import pytest

from rbhq_stream import RaceEvent, RaceStatus, RaceStatusEvent
from rbhq_stream.testing import TimedEvent, assert_idempotent, assert_survives, faults
from rbhq_stream.testing.faults import Fault

DAY = [RaceStatusEvent(1, number, RaceStatus.OPEN) for number in range(1, 5)]
DIFFERS = "the state differs from that after a day without faults: "


class Collecting:
    """Keeps the events that it has handled. Its state is made of their number."""

    def __init__(self, state: Callable[[int], object]) -> None:
        self.handled: list[RaceEvent] = []
        self._state = state

    def handle(self, event: RaceEvent) -> None:
        self.handled.append(event)

    def state(self) -> object:
        return self._state(len(self.handled))


class Workshop:
    """Makes applications, and keeps them."""

    def __init__(self, state: Callable[[int], object] = bool) -> None:
        self.made: list[Collecting] = []
        self._state = state

    def __call__(self) -> Collecting:
        self.made.append(Collecting(self._state))
        return self.made[-1]

    def wrong_on_day(self, number: int) -> Callable[[], Collecting]:
        """As it is, but with another state after one of the days on which anything happened."""

        def state(handled: int) -> object:
            days = sum(bool(application.handled) for application in self.made)
            return "wrong" if handled and days == number else "right"

        self._state = state
        return self


def difference(state: Callable[[int], object]) -> str:
    """The text of the error when four events have become eight."""
    with pytest.raises(AssertionError) as failed:
        assert_survives(Workshop(state), DAY, [faults.duplicates(1)], seed=1)
    return str(failed.value)


def test_the_difference_is_shown_from_the_good_day_to_the_bad_one() -> None:
    assert difference(lambda handled: handled) == (
        f"{DIFFERS}{faults.duplicates(1)}; seed=1\n--- a good day\n+++ this day\n@@ -1 +1 @@\n-4\n+8"
    )


def test_states_that_differ_but_are_printed_in_the_same_way_are_reported_as_such() -> None:
    class Opaque:
        def __init__(self, handled: int) -> None:
            self.handled = handled

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Opaque) and self.handled == other.handled

        def __hash__(self) -> int:
            return self.handled

        def __repr__(self) -> str:
            return "Opaque"

    assert difference(Opaque).endswith("; seed=1\n(but both are printed in the same way)")


def test_forty_lines_of_the_difference_are_shown_and_the_others_are_counted() -> None:
    def lines(added: int) -> tuple[int, int | None]:
        shown = difference(lambda handled: ["x" * 80] * (4 if handled <= 4 else 4 + added)).splitlines()[1:]
        more = re.fullmatch(r"… and (\d+) more lines", shown[-1])
        return (len(shown) - 1, int(more[1])) if more else (len(shown), None)

    found = [lines(added) for added in range(32, 36)]
    assert found == [(39, None), (40, None), (40, 1), (40, 2)]


@pytest.mark.parametrize(
    ("day", "what"),
    [
        (2, "1 eviction"),
        (3, "1 rebalance"),
        (4, "all of these together: 1 eviction, 1 rebalance"),
    ],
)
def test_several_faults_are_tried_one_by_one_and_then_together(day: int, what: str) -> None:
    both = [faults.evictions(1), faults.rebalances(1)]
    with pytest.raises(AssertionError, match=f"^{DIFFERS}{what}; seed=3\n"):
        assert_survives(Workshop().wrong_on_day(day), DAY, both, seed=3)


@pytest.mark.parametrize(("given", "days"), [([], 2), ([faults.evictions(1)], 2), ([faults.evictions(1)] * 2, 4)])
def test_no_day_is_tried_twice(given: Sequence[Fault], days: int) -> None:
    make = Workshop()
    assert_survives(make, DAY, given)
    assert sum(bool(application.handled) for application in make.made) == days


def test_without_faults_an_application_that_is_not_deterministic_fails() -> None:
    with pytest.raises(AssertionError, match=f"^{DIFFERS}no faults; seed=3\n"):
        assert_survives(Workshop().wrong_on_day(2), DAY, [], seed=3)


def test_the_faults_and_the_seed_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert_survives(Workshop(), DAY, [faults.evictions(1), faults.tombstones(2)], seed=5)
    assert capsys.readouterr().out == "assert_survives: 1 eviction, 2 tombstones; seed=5\n"


def test_by_default_each_day_has_another_seed(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert_survives(Workshop(), DAY, [])
    one, other = re.findall(r"seed=(\d+)\n", capsys.readouterr().out)
    assert one != other


def test_an_error_on_the_good_day_has_a_note_that_there_were_no_faults() -> None:
    def fail(handled: int) -> object:
        return 1 // (handled == 0)

    with pytest.raises(ZeroDivisionError) as failed:
        assert_survives(Workshop(fail), DAY, [])
    notes = ["The application was run through this day: a day without faults"]
    assert getattr(failed.value, "__notes__", None) == (notes if sys.version_info >= (3, 11) else None)


def test_the_day_with_every_record_twice_has_ten_evictions_at_the_same_places_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans: list[faults.Plan] = []

    def state_after(_application: object, plan: faults.Plan, _what: str) -> object:
        plans.append(plan)
        return 0

    monkeypatch.setattr("rbhq_stream.testing._conformance.state_after", state_after)
    for _ in range(2):
        assert_idempotent(Workshop(), DAY * 100)
    first, second = (plan for plan in plans if not all(isinstance(step, faults.DayRecord) for step in plan))
    assert [step.name for step in first if isinstance(step, faults.Action)].count("eviction") == 10
    assert first == second


def test_events_without_times_are_a_second_later_than_the_event_before_them() -> None:
    at = datetime(2022, 11, 27, 20, 0, tzinfo=timezone.utc)
    make = Workshop()
    assert_survives(make, [DAY[0], DAY[1], TimedEvent(at, DAY[2]), DAY[3]], [])
    records = [event.require_record() for event in make.made[-1].handled]
    times = [record.timestamp for record in records]
    assert [record.key for record in records] == [b"1-1", b"1-2", b"1-3", b"1-4"]
    assert times[2:] == [at, at + timedelta(seconds=1)]
    assert times[0] is not None
    assert times[1] == times[0] + timedelta(seconds=1)
