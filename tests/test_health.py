"""The state machine of the feed's health, on a clock of its own: each reason and transition, and what always holds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import (
    AuthenticationError,
    DataLossError,
    HealthChanged,
    HealthReason,
    HealthRules,
    HealthState,
    PartitionEnd,
    PriceEvent,
    RaceStatusEvent,
    SourceStatus,
    TopicPartition,
    UnreachableError,
)
from rbhq_stream._health.arrivals import SCHEDULE_TIMEOUT
from rbhq_stream._health.lag import RESOLUTION, Lag
from rbhq_stream._health.machine import (
    LIVE_AGAIN_AFTER,
    NOT_POLLING_AFTER,
    UNREACHABLE_GRACE,
    HealthMachine,
)
from rbhq_stream._health.observation import Arrival, Membership, Observation, PartitionProgress, Progress, ScheduleReply
from rbhq_stream._health.standstill import SUSPENDED_AFTER, Clocks

START = datetime(2026, 11, 28, 3, 0, tzinfo=timezone.utc)
PRICES, STATUS = TopicPartition("prices", 0), TopicPartition("status", 0)
KINDS = {"prices": PriceEvent, "status": RaceStatusEvent}
STEP = 0.2
R = HealthReason


class World:
    """A feed as the machine sees it. A test changes what is observed; `run` lets time pass."""

    def __init__(self, **rules: Any) -> None:
        self.now = 1000.0
        self.clock_error = 0.0  # seconds by which this host's clock is wrong
        self.suspended = 0.0  # seconds in which the host was suspended and the monotonic clock did not run
        self.machine = HealthMachine(HealthRules(**rules), KINDS, self.clocks, self.wall)
        self.signals: list[HealthChanged] = []
        self.feed: dict[str, Any] = {"is_open": False}
        self.membership = Membership.JOINING
        self.assigned: dict[TopicPartition, float] = {}
        self.read: dict[TopicPartition, int] = {}
        self.processed: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.unreachable: dict[TopicPartition, str] = {}
        self.member_until: float | None = None
        self.evictions = 0
        self.arrivals: dict[str, Arrival] = {}
        self.is_polling = True
        self.progress: Progress | None = None

    @property
    def wall(self) -> datetime:
        return START + timedelta(seconds=self.now - 1000 + self.clock_error)

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.now, self.wall.timestamp(), self.now + self.suspended)

    def live(self) -> World:
        """Connects, is assigned both partitions, and is caught up."""
        self.feed["is_open"] = True
        self.run()
        self.assign(PRICES, STATUS)
        self.run(2)
        assert self.machine.current.ok
        self.signals.clear()
        return self

    def assign(self, *partitions: TopicPartition, at: int = 0) -> None:
        self.membership = Membership.MEMBER
        for partition in partitions:
            self.assigned[partition] = self.now
            self.read[partition] = self.processed[partition] = self.ends[partition] = at

    def remove(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            del self.assigned[partition]

    def publish(self, partition: TopicPartition, count: int = 1) -> None:
        self.ends[partition] += count

    def arrive(self, partition: TopicPartition, age: float = 0.01) -> None:
        """All that was published is read."""
        self.read[partition] = self.ends[partition]
        self.arrivals[partition.topic] = Arrival(self.now, self.wall - timedelta(seconds=age), age)

    def process(self, partition: TopicPartition) -> None:
        self.processed[partition] = self.read[partition]

    def flow(self, partition: TopicPartition = PRICES, age: float = 0.01) -> None:
        """A record is published, read and processed."""
        self.publish(partition)
        self.arrive(partition, age)
        self.process(partition)

    def observe(self) -> None:
        if self.is_polling:
            reachable = [partition for partition in self.assigned if partition not in self.unreachable]
            self.progress = Progress(
                self.now,
                self.membership,
                {p: PartitionProgress(at, self.read[p], self.processed[p]) for p, at in self.assigned.items()},
                SourceStatus(
                    brokers_known=1,
                    brokers_up=1,
                    ends={p: PartitionEnd(self.ends[p], self.now) for p in reachable},
                    unreachable=self.unreachable,
                    member_until=self.member_until,
                ),
                dict(self.arrivals),
                evictions=self.evictions,
            )
        changed = self.machine.step(
            Observation(clocks=self.clocks, wall=self.wall, progress=self.progress, **self.feed)
        )
        if changed is not None:
            self.signals.append(changed)

    def run(self, seconds: float = STEP) -> HealthReason:
        """Observes at intervals."""
        for _ in range(max(1, round(seconds / STEP))):
            self.now += STEP
            self.observe()
        return self.machine.current.reason

    def jump(self, seconds: float) -> HealthReason:
        """Nobody observes anything for so long."""
        self.now += seconds
        self.observe()
        return self.machine.current.reason

    @property
    def reasons(self) -> list[HealthReason]:
        return [signal.health.reason for signal in self.signals]


def test_from_the_start_to_live() -> None:
    world = World()
    assert world.machine.current.reason is R.NOT_STARTED
    world.run()
    world.feed["is_open"] = True
    world.run()
    world.assign(PRICES, at=5)
    world.publish(PRICES, 3)
    world.run(3)
    world.arrive(PRICES)
    world.process(PRICES)
    world.run()
    assert world.reasons == [R.CONNECTING, R.JOINING_GROUP, R.CATCHING_UP, R.UP_TO_DATE]
    assert [s.previous.reason for s in world.signals] == [R.NOT_STARTED, R.CONNECTING, R.JOINING_GROUP, R.CATCHING_UP]
    assert world.signals[-1].gap is None, "it was not live before"


def test_it_is_not_live_before_the_end_is_known() -> None:
    world = World()
    world.feed["is_open"] = True
    world.membership = Membership.MEMBER
    world.assign(PRICES)
    del world.ends[PRICES]
    world.unreachable = {PRICES: "no end yet"}  # within the grace
    world.run(0.4)
    assert world.machine.current.reason is R.CATCHING_UP
    assert "where these partitions end" in world.machine.current.detail


def test_it_is_not_live_before_what_was_published_is_processed() -> None:
    world = World()
    world.feed["is_open"] = True
    world.assign(PRICES)
    world.publish(PRICES, 10)
    world.run(2)
    world.read[PRICES] = 10
    for processed in range(10):
        world.processed[PRICES] = processed
        assert world.run() is R.CATCHING_UP
    world.processed[PRICES] = 10
    assert world.run() is R.UP_TO_DATE


def test_records_that_come_after_the_start_need_not_be_processed_to_be_live() -> None:
    world = World()
    world.feed["is_open"] = True
    world.assign(PRICES)
    world.publish(PRICES, 10)
    world.run()
    world.publish(PRICES, 5)
    world.run()
    world.read[PRICES] = world.processed[PRICES] = 10
    assert world.run() is R.UP_TO_DATE
    assert world.machine.current.figures.lag == 5


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AuthenticationError("refused"), R.CREDENTIALS_REFUSED),
        (DataLossError("prices", 0, 5, 9), R.DATA_LOST),
        (UnreachableError("down"), R.FAILED),
        (RuntimeError("a defect"), R.FAILED),
    ],
)
def test_an_error_that_ends_the_feed_is_a_reason_until_it_is_closed(error: Exception, reason: HealthReason) -> None:
    world = World().live()
    world.feed["failure"] = error
    assert world.run() is reason
    assert type(error).__name__ in world.machine.current.detail
    assert world.run(60) is reason
    world.feed["is_closed"] = True
    assert world.run() is R.CLOSED
    assert world.reasons == [reason, R.CLOSED]


@pytest.mark.parametrize(
    ("partitions", "reason"), [([PRICES, STATUS], R.BROKERS_UNREACHABLE), ([STATUS], R.PARTITIONS_UNREACHABLE)]
)
def test_unreachable_partitions_are_down_after_the_grace(
    partitions: list[TopicPartition], reason: HealthReason
) -> None:
    world = World().live()
    world.unreachable = dict.fromkeys(partitions, "the broker is dead")
    assert world.run(UNREACHABLE_GRACE) is R.UP_TO_DATE
    assert world.run() is reason
    assert "the broker is dead" in world.machine.current.detail
    world.unreachable = {}
    assert world.run() is R.CATCHING_UP
    world.run(2)
    assert world.reasons == [reason, R.CATCHING_UP, R.UP_TO_DATE]


@pytest.mark.parametrize(("count", "rest"), [(3, ""), (4, " and 1 more")])
def test_the_detail_names_three_partitions_and_counts_the_others(count: int, rest: str) -> None:
    world = World().live()
    partitions = [TopicPartition("prices", number) for number in range(count)]
    world.assign(*partitions, STATUS)
    world.unreachable = dict.fromkeys(partitions, "dead")
    world.run(UNREACHABLE_GRACE + STEP)
    named = "prices[0]: dead, prices[1]: dead, prices[2]: dead"
    assert world.machine.current.detail == f"{count} of {count + 1} partitions can't be read: {named}{rest}"


def test_a_partition_that_changes_its_leader_is_no_alarm() -> None:
    world = World().live()
    for _ in range(10):
        world.unreachable = {PRICES: "it has no leader"}
        world.run(UNREACHABLE_GRACE - STEP)
        world.unreachable = {}
        world.run(1)
    assert world.reasons == []


def test_after_an_outage_it_is_live_when_what_was_published_meanwhile_is_processed() -> None:
    world = World().live()
    world.unreachable = {PRICES: "dead", STATUS: "dead"}
    world.run(5)
    world.publish(PRICES, 7)
    world.unreachable = {}
    assert world.run(4) is R.CATCHING_UP
    world.arrive(PRICES)
    world.process(PRICES)
    assert world.run() is R.UP_TO_DATE
    gap = world.signals[-1].gap
    assert gap is not None
    assert gap.records == {PRICES: 7, STATUS: 0}
    assert gap.began == world.signals[0].at
    assert gap.ended == world.signals[-1].at


def test_a_gap_does_not_shrink_when_the_clock_is_set_back_during_it() -> None:
    world = World().live()
    world.unreachable = {PRICES: "no leader"}
    world.run(5)
    world.clock_error = -3600
    world.unreachable = {}
    world.run(5)
    gap = world.signals[-1].gap
    assert gap is not None
    assert gap.ended == world.signals[-1].at
    assert (gap.ended - gap.began).total_seconds() >= 4


def test_a_feed_is_live_again_when_a_recreated_topic_is_read_up_to_its_own_end() -> None:
    world = World().live()
    for _ in range(20):
        world.flow()
    world.publish(PRICES, 5)  # which nobody will ever read
    world.run(1)
    world.ends[PRICES] = world.read[PRICES] = world.processed[PRICES] = 0
    world.run()
    world.publish(PRICES, 2)
    world.run(1)
    assert world.machine.current.figures.lag == 2
    world.arrive(PRICES)
    world.process(PRICES)
    assert world.run(60) is R.UP_TO_DATE
    assert world.machine.current.figures.delay == 0


def test_a_process_that_was_evicted_and_returned_stores_each_event_once() -> None:
    world = World().live()
    world.remove(PRICES, STATUS)
    world.membership = Membership.EVICTED
    assert world.run(10) is R.EVICTED
    world.assign(PRICES, at=3)
    assert world.run() is R.CATCHING_UP
    assert world.run() is R.UP_TO_DATE


def test_an_eviction_that_is_over_before_anybody_looks_is_reported() -> None:
    world = World().live()
    world.evictions = 1
    world.remove(PRICES, STATUS)
    world.assign(PRICES, at=3)
    assert world.run() is R.EVICTED
    assert world.run() is R.CATCHING_UP
    assert world.run(60) is R.UP_TO_DATE
    assert world.reasons == [R.EVICTED, R.CATCHING_UP, R.UP_TO_DATE]


def test_an_eviction_while_the_process_stood_still_is_reported_after_it() -> None:
    world = World().live()
    world.evictions = 1
    world.jump(60)
    world.run(2)
    assert world.reasons == [R.SUSPENDED, R.EVICTED, R.CATCHING_UP, R.UP_TO_DATE]


def test_a_member_that_may_have_been_evicted_without_knowing_is_not_live() -> None:
    world = World().live()
    world.member_until = world.now + 1
    assert world.run(0.8) is R.UP_TO_DATE
    assert world.run(0.4) is R.CATCHING_UP
    world.member_until = world.now + 10
    assert world.run(2) is R.UP_TO_DATE


def test_a_member_without_partitions_is_stale() -> None:
    world = World().live()
    world.remove(PRICES, STATUS)
    assert world.run() is R.NO_PARTITIONS


def test_another_partition_has_to_be_caught_up_with() -> None:
    world = World().live()
    other = TopicPartition("prices", 1)
    world.assign(other)
    world.publish(other, 2)
    assert world.run(3) is R.CATCHING_UP
    world.arrive(other)
    world.process(other)
    assert world.run() is R.UP_TO_DATE


def test_another_partition_is_reported_as_to_be_caught_up_with_even_if_it_is_empty() -> None:
    world = World().live()
    world.assign(TopicPartition("prices", 1))
    assert world.run() is R.CATCHING_UP
    assert world.run(2) is R.UP_TO_DATE


def test_a_partition_is_caught_up_with_when_what_was_published_before_is_processed_whatever_the_state() -> None:
    world = World(max_delay=5).live()
    world.feed["handler_running"] = 9.0
    other = TopicPartition("prices", 1)
    world.assign(other)
    world.publish(other)
    assert world.run() is R.HANDLER_STUCK
    partitions = world.machine.current.figures.partitions
    assert [partitions[p].is_caught_up for p in (PRICES, STATUS, other)] == [True, True, False]
    world.arrive(other)
    world.process(other)
    world.run()
    assert world.machine.current.figures.partitions[other].is_caught_up


def test_a_partition_that_comes_back_has_to_be_caught_up_with_again() -> None:
    world = World().live()
    world.remove(PRICES)
    world.run()
    world.assign(PRICES, at=9)
    world.publish(PRICES)
    assert world.run(2) is R.CATCHING_UP


def test_a_process_that_stood_still_has_to_catch_up() -> None:
    world = World().live()
    assert world.jump(SUSPENDED_AFTER - 0.1) is R.UP_TO_DATE
    assert world.jump(SUSPENDED_AFTER + 0.1) is R.SUSPENDED
    assert world.run() is R.CATCHING_UP
    assert world.run(2) is R.UP_TO_DATE
    assert world.signals[-1].gap is not None


def test_a_gap_by_a_standstill_began_when_the_feed_was_last_observed() -> None:
    world = World().live()
    last = world.wall
    world.jump(60)
    world.publish(PRICES, 4)
    assert world.signals[-1].health.since == last
    world.arrive(PRICES)
    world.process(PRICES)
    world.run(2)
    gap = world.signals[-1].gap
    assert gap is not None
    assert gap.began == last
    assert gap.ended == world.signals[-1].at
    assert gap.records == {PRICES: 4, STATUS: 0}


@pytest.mark.parametrize(
    ("clock", "text"),
    [("suspended", "the host was suspended for 3.3 s"), ("clock_error", "the host's clock went forward by 3.1 s")],
)
def test_a_host_that_stood_still_has_to_catch_up_although_its_monotonic_clock_stood_still_too(
    clock: str, text: str
) -> None:
    world = World().live()
    setattr(world, clock, SUSPENDED_AFTER - 0.3)
    assert world.run() is R.UP_TO_DATE
    setattr(world, clock, 2 * SUSPENDED_AFTER - 0.2)
    assert world.run() is R.SUSPENDED
    assert text in world.machine.current.detail
    assert world.run() is R.CATCHING_UP
    assert world.run(2) is R.UP_TO_DATE


def test_small_corrections_of_the_clock_and_one_that_sets_it_back_are_no_standstill() -> None:
    world = World().live()
    for error in (1.0, 3.5, -3600.0):
        world.clock_error = error
        assert world.run(1) is R.UP_TO_DATE
    for _ in range(100):  # a clock that is slewed for a long time
        world.clock_error += 0.1
        assert world.run() is R.UP_TO_DATE


def test_the_clock_of_a_host_that_is_only_connecting_may_be_set() -> None:
    world = World()
    world.run()
    world.clock_error = 3600
    assert world.run() is R.CONNECTING


def test_a_poll_thread_that_does_not_poll_is_down() -> None:
    world = World().live()
    world.is_polling = False
    assert world.run(NOT_POLLING_AFTER - STEP) is R.UP_TO_DATE
    assert world.run(2 * STEP) is R.NOT_POLLING
    world.is_polling = True
    assert world.run() is R.CATCHING_UP


def test_one_event_that_takes_too_long_is_a_delay() -> None:
    world = World(max_delay=5).live()
    world.feed["handler_running"] = 5.1
    assert world.run() is R.HANDLER_STUCK
    world.feed["handler_running"] = 0.0
    assert world.run(2) is R.UP_TO_DATE


def test_a_handler_that_falls_behind_is_a_delay_until_half_of_the_limit() -> None:
    world = World(max_delay=4).live()
    for _ in range(25):
        world.publish(PRICES)
        world.run()
    assert world.machine.current.reason is R.HANDLER_SLOW
    assert "25 records wait for the application" in world.machine.current.detail
    world.arrive(PRICES)
    world.processed[PRICES] = 10  # the oldest that waits is 3 s old
    assert world.run() is R.HANDLER_SLOW
    world.process(PRICES)
    assert world.run(2) is R.UP_TO_DATE


def test_a_silent_topic_is_stale_by_its_own_limit() -> None:
    world = World(max_silence={PriceEvent: 60}).live()
    world.run(30)
    world.flow(PRICES)
    assert world.run(59) is R.UP_TO_DATE
    assert world.run(2) is R.TOPIC_SILENT
    assert "'prices'" in world.machine.current.detail
    world.flow(PRICES)
    assert world.run() is R.UP_TO_DATE


def test_silence_at_night_is_normal_and_silence_before_a_jump_is_not() -> None:
    jump = START + timedelta(minutes=30)
    world = World()
    world.feed["schedule"] = ScheduleReply(jumps=(START, jump))
    world.live()
    world.run(30 * 60 - (world.now - 1000) - 121)
    assert world.reasons == [], "nothing came for half an hour"
    assert world.run(10) is R.SILENT_BEFORE_JUMP
    assert "03:30:00" in world.machine.current.detail
    world.flow(PRICES)
    assert world.run(2) is R.UP_TO_DATE
    assert world.run(31) is R.SILENT_BEFORE_JUMP
    assert world.run(120) is R.UP_TO_DATE, "the race has jumped"


def test_a_schedule_that_fails_is_a_reason_by_itself() -> None:
    world = World()
    world.feed["schedule"] = ScheduleReply(failure="the schedule raised ConnectionError: the card server is down")
    world.feed["is_open"] = True
    world.assign(PRICES)
    world.run(2)
    assert world.machine.current.reason is R.SCHEDULE_FAILED
    assert "ConnectionError: the card server is down" in world.machine.current.detail
    world.feed["schedule"] = ScheduleReply(jumps=(START + timedelta(days=1),))
    assert world.run(6) is R.UP_TO_DATE


def test_a_schedule_that_does_not_return_is_a_failure_after_a_time() -> None:
    world = World().live()
    world.feed["schedule"] = ScheduleReply(called_at=world.now)
    assert world.run(SCHEDULE_TIMEOUT - STEP) is R.UP_TO_DATE, "what it returned last is good enough meanwhile"
    assert world.run(2 * STEP) is R.SCHEDULE_FAILED
    assert "has not returned for 3 s" in world.machine.current.detail
    world.feed["schedule"] = ScheduleReply()
    assert world.run(2) is R.UP_TO_DATE


@pytest.mark.parametrize("seconds", [0, -1, True, "120", float("nan"), 86_401, float("inf")])
def test_before_jump_is_a_positive_number_of_seconds_and_at_most_a_day(seconds: Any) -> None:
    assert HealthRules(before_jump=86_400).before_jump == 86_400
    with pytest.raises(ValueError, match=r"before_jump=.*: expected"):
        HealthRules(before_jump=seconds)


@pytest.mark.parametrize("age", [15.0, -15.0])
def test_a_clock_that_disagrees_is_noticed_by_three_records(age: float) -> None:
    world = World().live()
    for _ in range(2):
        world.flow(age=age)
        assert world.run() is R.UP_TO_DATE
    world.flow(age=age)
    assert world.run() is R.CLOCK_DISAGREES
    world.run(60)
    assert world.machine.current.reason is R.CLOCK_DISAGREES, "silence is no proof of the contrary"
    world.flow(age=0.1)
    assert world.run() is R.UP_TO_DATE


def test_old_records_are_no_sign_of_a_wrong_clock_while_catching_up() -> None:
    world = World()
    world.feed["is_open"] = True
    world.assign(PRICES)
    world.publish(PRICES, 100)
    for _ in range(5):
        world.arrive(PRICES, age=3600)
        assert world.run() is R.CATCHING_UP
    world.process(PRICES)
    assert world.run(10) is R.UP_TO_DATE


def test_closed_is_final() -> None:
    world = World().live()
    world.feed["is_closed"] = True
    world.run(3)
    world.feed["failure"] = RuntimeError("late")
    assert world.run() is R.CLOSED
    assert world.reasons == [R.CLOSED]


def test_the_figures_are_those_observed() -> None:
    world = World().live()
    world.publish(PRICES, 4)
    world.arrive(PRICES, age=0.5)
    world.run(1)
    figures = world.machine.current.figures
    assert figures.partitions[PRICES].lag == figures.lag == 4
    assert figures.partitions[PRICES].end == 4
    assert figures.delay == pytest.approx(0.8)
    assert figures.topics["prices"].newest == world.arrivals["prices"].timestamp
    assert figures.topics["prices"].silent_for == pytest.approx(1.0)
    assert figures.topics["status"].newest is None


def test_every_reason_has_a_state_and_says_what_clears_it() -> None:
    assert {reason.state for reason in R} == set(HealthState)
    assert all(reason.clears_when for reason in R)
    assert len({reason.value for reason in R}) == len(R)


@given(st.lists(st.tuples(st.floats(0.1, 1000), st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=300))
def test_the_delay_is_never_understated_and_overstated_by_a_small_part(steps: list[tuple[float, int, float]]) -> None:
    lag = Lag(0.0)
    now, end, processed, longest = 0.0, 0, 0, 0.0
    known: list[float] = []  # when each offset was first known to exist
    for seconds, more, share in steps:
        now += seconds
        known += [now] * more
        end += more
        processed += int((end - processed) * share)
        lag.update(PartitionProgress(0.0, end, processed), PartitionEnd(end, now), now)
        exact = now - known[processed] if processed < end else 0.0
        longest = max(longest, exact)
        assert exact <= lag.delay(now) <= exact + longest / RESOLUTION + 1e-6


@pytest.mark.parametrize(
    ("read", "end", "known"),
    [(None, None, None), (3, None, 3), (None, PartitionEnd(5, 1.0), 5), (7, PartitionEnd(5, 1.0), 7)],
)
def test_the_end_is_the_furthest_that_is_known(read: int | None, end: PartitionEnd | None, known: int | None) -> None:
    lag = Lag(0.0)
    lag.update(PartitionProgress(0.0, read, None), end, 1.0)
    assert lag.end == known
    assert lag.records is None


def test_an_empty_partition_has_no_delay() -> None:
    lag = Lag(0.0)
    lag.update(PartitionProgress(0.0, None, None), PartitionEnd(0, 1.0), 1.0)
    assert lag.delay(100.0) == 0.0


def test_the_marks_of_a_long_delay_take_little_memory() -> None:
    lag = Lag(0.0)
    for number in range(1, 100_000):
        lag.update(PartitionProgress(0.0, 0, 0), PartitionEnd(number, number / 5), number / 5)
    assert len(lag._marks) < 10 * RESOLUTION


# laws

ACTIONS = st.sampled_from(
    "outage partial reach evict assign revoke publish read process freeze stuck unstuck stall_polls poll".split()  # noqa: SIM905
)


def act(world: World, action: str) -> None:
    """Changes what is observed."""
    if action == "outage":
        world.unreachable = dict.fromkeys(world.assigned, "dead")
    elif action == "partial":
        world.unreachable = dict.fromkeys(list(world.assigned)[:1], "dead")
    elif action == "reach":
        world.unreachable = {}
    elif action == "evict":
        world.remove(*list(world.assigned))
        world.membership = Membership.EVICTED
    elif action == "assign":
        world.assign(*(p for p in (PRICES, STATUS) if p not in world.assigned), at=world.ends.get(PRICES, 0))
    elif action == "revoke":
        world.remove(*list(world.assigned)[:1])
    elif action == "publish":
        for partition in world.assigned:
            world.publish(partition, 3)
    elif action == "read":
        for partition in world.assigned:
            if partition not in world.unreachable:
                world.arrive(partition)
    elif action == "process":
        for partition in world.assigned:
            world.process(partition)
    elif action == "stuck":
        world.feed["handler_running"] = 9.0
    elif action == "unstuck":
        world.feed["handler_running"] = 0.0
    elif action == "stall_polls":
        world.is_polling = False
    elif action == "poll":
        world.is_polling = True


@given(st.lists(st.tuples(ACTIONS, st.integers(1, 40)), max_size=30))
def test_whatever_happens_the_rules_hold(steps: list[tuple[str, int]]) -> None:
    world = World().live()
    live_left = float("-inf")
    was_live = True
    for action, ticks in steps:
        act(world, action)
        if action == "freeze":
            world.jump(SUSPENDED_AFTER + ticks)
            assert not world.machine.current.ok
            live_left, was_live = (world.now if was_live else live_left), False
        for _ in range(ticks):
            world.run()
            health = world.machine.current
            if health.ok:
                assert world.progress is not None
                assert world.progress.partitions
                assert not world.feed.get("handler_running")
                if not was_live:
                    assert world.now >= live_left + LIVE_AGAIN_AFTER, "no flapping"
            elif was_live:
                live_left = world.now
            was_live = health.ok
    order = [(s.previous.state, s.health.state) for s in world.signals]
    for before, after in order:
        if before is HealthState.DOWN:
            assert after in (HealthState.CATCHING_UP, HealthState.CONNECTING, HealthState.DOWN, HealthState.CLOSED)
    chain = [world.signals[0].previous, *(s.health for s in world.signals)] if world.signals else []
    assert all(s.previous.reason is before.reason for s, before in zip(world.signals, chain, strict=False))


@given(st.lists(ACTIONS, max_size=20), st.integers(1, 10))
def test_an_outage_is_never_reported_late_and_is_over_only_when_caught_up(actions: list[str], backlog: int) -> None:
    world = World().live()
    for action in actions:
        act(world, action)
        world.run()
    if not world.assigned:
        world.assign(PRICES)
    world.is_polling = True
    world.unreachable = dict.fromkeys(world.assigned, "dead")
    world.run(UNREACHABLE_GRACE + STEP)
    assert world.machine.current.state is HealthState.DOWN
    world.unreachable = {}
    for partition in world.assigned:
        world.publish(partition, backlog)
    world.feed["handler_running"] = 0.0
    for _ in range(5):
        world.run()
        assert not world.machine.current.ok
    for partition in world.assigned:
        world.arrive(partition)
        world.process(partition)
    world.run(6)
    assert world.machine.current.ok
