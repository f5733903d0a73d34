"""`DaySource`: when it takes the steps of a day, and when the day is over."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from rbhq_stream import RaceStatus, RaceStatusEvent, TopicPartition, encode
from rbhq_stream.testing import MemorySource
from rbhq_stream.testing._day_source import DaySource
from rbhq_stream.testing.faults import Action, DayRecord, Step
from tests.memory_feeds import STATUS
from tests.owners import AnyOwner

RECORD = DayRecord("status", encode(RaceStatusEvent(1, 7, RaceStatus.OPEN)), b"1-7", 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the source, in seconds."""
    now = [100.0]
    monkeypatch.setattr("rbhq_stream.testing._day_source.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


class Day(DaySource):
    """A day whose actions do nothing else than appear in `happened`."""

    def __init__(self, *steps: Step | str, after: float = 0.0, once_handled: bool = False, live: bool = True) -> None:
        self.happened: list[str] = []
        self.is_over = False
        plan: list[Step] = [
            Action(step, self._happens(step), after=after, once_handled=once_handled) if isinstance(step, str) else step
            for step in steps
        ]
        super().__init__(plan, must_be_live=not live)
        self.when_handled = self._end
        self.open(AnyOwner())

    def polled(self) -> int:
        """How many records the next poll returns."""
        return len(self.poll(0))

    def commit_all(self) -> None:
        self.commit(dict(self._next))

    def _happens(self, name: str) -> Callable[[MemorySource], None]:
        def do(_source: MemorySource) -> None:
            self.happened.append(name)

        return do

    def _end(self) -> None:
        self.is_over = True


def test_twenty_records_are_published_at_once_and_an_action_waits_until_they_have_been_polled() -> None:
    day = Day(*[RECORD] * 23, "action", RECORD)
    assert day.has_steps
    assert (day.polled(), day.polled()) == (20, 3)
    assert not day.happened
    assert day.polled() == 1
    assert day.happened == ["action"]


def test_an_action_waits_for_as_long_as_it_says_since_the_step_before(clock: list[float]) -> None:
    day = Day("first", "second", after=5.0)
    for now, happened in ((104.9, []), (105.0, ["first"]), (109.9, ["first"]), (110.0, ["first", "second"])):
        clock[0] = now
        day.polled()
        day.polled()
        assert day.happened == happened


def test_an_action_that_waits_for_the_application_happens_once_everything_is_committed() -> None:
    day = Day(RECORD, RECORD, "action", once_handled=True)
    assert day.polled() == 2
    day.polled()
    day.commit({STATUS: 1})
    day.polled()
    assert not day.happened
    day.commit({STATUS: 2})
    day.polled()
    assert day.happened == ["action"]


def test_the_day_is_over_when_everything_is_committed() -> None:
    day = Day(RECORD)
    assert (day.polled(), day.polled()) == (1, 0)
    assert not day.is_over
    day.commit_all()
    day.polled()
    assert day.is_over


def test_an_application_that_is_notified_of_the_health_gets_ten_seconds_until_it_is_live(clock: list[float]) -> None:
    day = Day(RECORD, live=False)
    day.polled()
    day.commit_all()
    clock[0] = 110.0
    day.polled()
    assert not day.is_over
    clock[0] = 110.1
    day.polled()
    assert day.is_over


def test_outages_may_overlap_and_the_last_one_need_not_end() -> None:
    day = Day(RECORD, "action")
    for _ in range(2):
        day.cut_off()
    day.reconnect()
    assert STATUS in day.status().unreachable
    day.reconnect()
    assert not day.status().unreachable
    day.cut_off("status")
    day.reconnect()
    assert not day.status().unreachable
    day.cut_off()
    assert (day.polled(), day.polled()) == (0, 0)
    assert day.polled() == 1, "the day has no more steps, so everything can be read"
    assert not day.status().unreachable


def test_a_day_without_steps_has_none() -> None:
    assert not Day().has_steps
    assert set(Day().status().ends) == {TopicPartition(name, 0) for name in ("prices", "status", "results")}
