"""Merging by time: what leaves, in which order, what it waits for and how much it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream._engine.time_order import MAX_WAIT, TimeOrder, Window
from rbhq_stream.record import RawRecord
from rbhq_stream.source import PartitionEnd, SourceStatus, TopicPartition
from rbhq_stream.testing import MemoryRecord

PRICES, PRICES_1 = TopicPartition("prices", 0), TopicPartition("prices", 1)
STATUS, RESULTS = TopicPartition("status", 0), TopicPartition("results", 0)
TOPICS = ("prices", "status", "results")
Log = Sequence["int | None"]  # the times of a partition's records in milliseconds


@frozen
class Written(MemoryRecord):
    """A record that may have no time."""

    milliseconds: int | None = None

    def timestamp(self) -> tuple[int, int]:
        return (0, -1) if self.milliseconds is None else (1, self.milliseconds)


def written(partition: TopicPartition, log: Log, size: int = 1) -> list[RawRecord]:
    return [
        Written(*partition, offset, b"x" * size, milliseconds=milliseconds) for offset, milliseconds in enumerate(log)
    ]


@define
class World:
    """Partitions with their records, a `TimeOrder` that they are read into, and a clock."""

    order: TimeOrder
    logs: dict[TopicPartition, list[RawRecord]]
    read: dict[TopicPartition, int] = field(factory=dict)
    out: list[RawRecord] = field(factory=list)
    now: float = 100.0
    most: int = 0
    unreachable: dict[TopicPartition, str] = field(factory=dict)
    knows_ends: bool = True
    given_up: list[TopicPartition] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.read = dict.fromkeys(self.logs, 0)
        self.order.assign(list(self.logs), self.now)

    def deliver(self, partition: TopicPartition, count: int = 1) -> None:
        """Reads some records of a partition, as the source does."""
        begin = self.read[partition]
        batch = self.logs[partition][begin : begin + count]
        self.read[partition] = begin + len(batch)
        if self.order.is_live:
            self.out += batch
        else:
            self.order.add(batch, 1, self.now)

    def step(self, room: int = 10**6, seconds: float = 0.01) -> list[TopicPartition]:
        """Lets leave what can. Returns the partitions that are held back."""
        self.now += seconds
        ends = {p: PartitionEnd(len(log), self.now) for p, log in self.logs.items() if self.knows_ends}
        self.given_up += self.order.update(
            SourceStatus(ends=ends, unreachable=self.unreachable), lambda p: self.read[p], self.now
        )
        if not self.order.is_live:
            self.most = max(self.most, self.order.waiting_records)
            self.out += [record for _, run in self.order.take(room) for record in run]
        return self.order.held_back()

    def of(self, partition: TopicPartition) -> list[tuple[str, int]]:
        """What left of one partition."""
        return [
            (str(record.topic()), int(record.offset() or 0))
            for record in self.out
            if (record.topic(), record.partition()) == partition
        ]

    @property
    def left(self) -> list[tuple[str, int]]:
        """What left: the topic and the offset of each record."""
        return [(str(record.topic()), int(record.offset() or 0)) for record in self.out]


def world(logs: Mapping[TopicPartition, Log], *, max_records: int = 10**6, max_bytes: int = 10**9) -> World:
    order = TimeOrder(TOPICS, max_records=max_records, max_bytes=max_bytes, max_wait=MAX_WAIT)
    return World(order, {partition: written(partition, log) for partition, log in logs.items()})


def plain_sort(logs: Mapping[TopicPartition, Sequence[RawRecord]]) -> list[RawRecord]:
    """The records in the order that is promised: each at least as late as its predecessors in its partition."""
    keyed = []
    for partition, records in logs.items():
        times = [record.timestamp()[1] if record.timestamp()[0] else -(2**63) for record in records]
        rank = TOPICS.index(partition.topic), partition.partition
        keyed += list(zip(accumulate(times, max), [rank] * len(records), records, strict=True))
    return [record for _, _, record in sorted(keyed, key=lambda one: one[:2])]


times = st.integers(0, 30) | st.none()
partitions = st.sampled_from([PRICES, PRICES_1, STATUS, RESULTS])
logs_of_any_kind = st.dictionaries(partitions, st.lists(times, max_size=15), min_size=1)
monotone_logs = st.dictionaries(partitions, st.lists(st.integers(0, 30), max_size=15).map(sorted), min_size=1)


def run(scene: World, choices: st.DataObject, max_batch: int = 5) -> None:
    """Reads everything, in any order that a source may deliver it in."""
    held: list[TopicPartition] = []
    while True:
        ready = [p for p, log in scene.logs.items() if scene.read[p] < len(log) and p not in held]
        if not ready and scene.order.is_live:
            return
        if ready:
            partition = choices.draw(st.sampled_from(ready))
            scene.deliver(partition, choices.draw(st.integers(1, max_batch)))
        before = len(scene.out)
        held = scene.step(room=choices.draw(st.integers(1, 10)))
        assert ready or len(scene.out) > before or scene.order.is_live, "it waits for nothing"


@given(logs_of_any_kind, st.data())
def test_a_catch_up_equals_a_plain_stable_sort(logs: dict[TopicPartition, Log], data: st.DataObject) -> None:
    scene = world(logs)
    run(scene, data)
    assert scene.out == plain_sort(scene.logs)
    for partition, records in scene.logs.items():
        assert [r for r in scene.out if (r.topic(), r.partition()) == partition] == records


@given(monotone_logs, st.data())
def test_what_leaves_is_sorted_by_time(logs: dict[TopicPartition, Log], data: st.DataObject) -> None:
    scene = world(logs)
    run(scene, data)
    assert [r.timestamp()[1] for r in scene.out] == sorted(r.timestamp()[1] for log in scene.logs.values() for r in log)


@given(logs_of_any_kind, st.integers(1, 12), st.booleans(), st.data())
def test_memory_is_bounded_and_the_order_is_the_same(
    logs: dict[TopicPartition, Log], bound: int, in_bytes: bool, data: st.DataObject
) -> None:
    scene = world(logs, **{"max_bytes" if in_bytes else "max_records": bound})
    run(scene, data, max_batch=3)
    assert scene.out == plain_sort(scene.logs)
    assert scene.most <= bound + 3 * len(logs), "what comes at once may be too many"


def test_nothing_leaves_before_every_partition_has_been_heard() -> None:
    scene = world({PRICES: [10, 30], STATUS: [20]})
    scene.deliver(PRICES, 2)
    scene.step()
    assert scene.left == []
    scene.deliver(STATUS)
    scene.step()
    assert scene.left == [("prices", 0), ("status", 0), ("prices", 1)]


def test_an_empty_partition_holds_nobody_up() -> None:
    scene = world({PRICES: [10], STATUS: []})
    scene.deliver(PRICES)
    scene.step()
    assert scene.left == [("prices", 0)]
    assert not scene.given_up


def test_a_partition_that_delivers_nothing_is_waited_for_for_a_limited_time() -> None:
    scene = world({PRICES: [10, 40], STATUS: [20, 50]})
    scene.deliver(PRICES)
    scene.step(seconds=MAX_WAIT - 1)
    assert scene.left == []
    scene.deliver(PRICES)
    scene.step(seconds=1)
    assert scene.left == [("prices", 0), ("prices", 1)]
    assert scene.given_up == [STATUS]
    scene.deliver(STATUS)
    scene.step()
    assert scene.left[2:] == [("status", 0)], "what comes late leaves at once"
    assert not scene.order.is_live, "it is waited for again"
    scene.deliver(STATUS)
    scene.step()
    scene.step()
    assert scene.left[3:] == [("status", 1)]
    assert scene.order.is_live


def test_an_end_from_before_a_partition_was_read_says_nothing() -> None:
    order = TimeOrder(TOPICS, max_records=10, max_bytes=10, max_wait=MAX_WAIT)
    order.assign([PRICES, STATUS], 100.0)
    order.add(written(PRICES, [10]), 1, 100.1)
    ends = {PRICES: PartitionEnd(1, 100.1), STATUS: PartitionEnd(0, 99.9)}
    order.update(SourceStatus(ends=ends), {PRICES: 1, STATUS: 0}.get, 100.2)
    assert order.take(10) == []
    order.update(SourceStatus(ends={**ends, STATUS: PartitionEnd(0, 100.0)}), {PRICES: 1, STATUS: 0}.get, 100.3)
    assert len(order.take(10)) == 1


def test_what_is_written_during_the_catch_up_is_merged_too() -> None:
    scene = world({PRICES: [10, 20], STATUS: [15]})
    scene.deliver(STATUS)
    scene.deliver(PRICES)
    scene.logs[STATUS] += written(STATUS, [15, 40])[1:]
    scene.logs[PRICES] += written(PRICES, [10, 20, 30])[2:]
    scene.step()
    assert scene.left == [("prices", 0)]
    scene.deliver(STATUS)
    scene.step()
    assert not scene.order.is_live
    scene.deliver(PRICES, 2)
    scene.step()
    assert scene.left[1:] == [("status", 0), ("prices", 1), ("prices", 2), ("status", 1)]


def test_once_live_records_need_not_be_merged_until_the_next_assignment() -> None:
    scene = world({PRICES: [10], STATUS: []})
    scene.deliver(PRICES)
    scene.step()
    scene.step()
    assert scene.order.is_live
    scene.order.assign([RESULTS], scene.now)
    assert not scene.order.is_live


def test_the_order_of_a_tie_is_that_of_the_topics() -> None:
    scene = world({RESULTS: [10, 10], PRICES_1: [10], STATUS: [10], PRICES: [9, 10]})
    for partition in scene.logs:
        scene.deliver(partition, 2)
    scene.step()
    assert scene.left == [
        ("prices", 0), ("prices", 1), ("prices", 0), ("status", 0), ("results", 0), ("results", 1)
    ]  # fmt: skip


def test_a_record_without_a_time_or_with_an_earlier_one_follows_its_predecessor() -> None:
    scene = world({PRICES: [None, 10, None, 30, 5], STATUS: [10, 20, 40]})
    for partition in scene.logs:
        scene.deliver(partition, 5)
    scene.step()
    assert scene.left == [
        ("prices", 0), ("prices", 1), ("prices", 2), ("status", 0), ("status", 1), ("prices", 3), ("prices", 4),
        ("status", 2),
    ]  # fmt: skip


def test_a_time_that_no_datetime_can_represent_is_none() -> None:
    scene = world({PRICES: [10, 2**61, 20, -5], STATUS: [15, 25]})
    for partition in scene.logs:
        scene.deliver(partition, 4)
    scene.step()
    assert scene.left == [("prices", 0), ("prices", 1), ("status", 0), ("prices", 2), ("prices", 3), ("status", 1)]


def test_a_time_that_no_datetime_can_represent_does_not_end_a_time_range() -> None:
    window = Window(0, 100, margin=10)
    order = TimeOrder(TOPICS, max_records=100, max_bytes=10**6, max_wait=MAX_WAIT, window=window)
    scene = World(order, {PRICES: written(PRICES, [10, 2**61, 20, -5])})
    scene.deliver(PRICES, 4)
    scene.step()
    assert scene.left == [("prices", offset) for offset in range(4)]


def test_the_records_of_a_revoked_partition_are_dropped_and_nobody_waits_for_it() -> None:
    scene = world({PRICES: [10, 20], STATUS: [15, 25]})
    scene.deliver(PRICES, 2)
    scene.deliver(STATUS)
    scene.order.forget([STATUS])
    del scene.logs[STATUS]
    scene.step()
    assert scene.left == [("prices", 0), ("prices", 1)]
    assert scene.order.waiting_records == scene.order.waiting_bytes == 0


def test_each_run_has_the_epoch_in_which_it_was_read() -> None:
    order = TimeOrder(TOPICS, max_records=10, max_bytes=10, max_wait=MAX_WAIT)
    order.assign([PRICES, STATUS], 100.0)
    prices, status = written(PRICES, [10, 30]), written(STATUS, [20])
    order.add(prices[:1], 1, 100.0)
    order.add(status, 2, 100.0)
    order.add(prices[1:], 2, 100.0)
    ends = {PRICES: PartitionEnd(2, 100.0), STATUS: PartitionEnd(1, 100.0)}
    order.update(SourceStatus(ends=ends), {PRICES: 2, STATUS: 1}.get, 100.0)
    assert order.take(10) == [(1, prices[:1]), (2, [status[0], prices[1]])]


def test_a_partition_that_is_ahead_is_held_back_until_less_than_half_of_that_waits() -> None:
    scene = world({PRICES: list(range(10, 30)), STATUS: [9, 11, 13, 40]}, max_records=8)
    scene.deliver(PRICES, 3)
    assert scene.step() == []
    scene.deliver(PRICES, 2)
    assert scene.step() == [PRICES], "half of the bound is full"
    scene.deliver(STATUS, 2)
    assert scene.step() == [PRICES], "three wait"
    scene.deliver(STATUS, 1)
    assert scene.step() == [], "one waits"
    assert scene.left[-2:] == [("prices", 3), ("status", 2)]


def test_those_that_take_their_share_of_the_memory_are_held_back_and_not_the_one_that_is_waited_for() -> None:
    scene = world({PRICES: [10, 20, 30], STATUS: [11, 21, 31], RESULTS: [40]}, max_records=12)
    scene.deliver(PRICES, 3)
    scene.deliver(STATUS, 2)
    assert scene.step() == [], "less than half is full"
    scene.deliver(STATUS)
    assert scene.step() == [PRICES, STATUS]


def test_the_end_of_a_partition_that_could_not_be_reached_must_be_known_anew() -> None:
    order = TimeOrder(TOPICS, max_records=10, max_bytes=10, max_wait=MAX_WAIT)
    order.assign([PRICES, STATUS], 100.0)
    order.add(written(PRICES, [10]), 1, 100.0)
    expected = {PRICES: 1, STATUS: 0}.get

    def update(now: float, status_end: float, *unreachable: TopicPartition) -> int:
        ends = {PRICES: PartitionEnd(1, now), STATUS: PartitionEnd(0, status_end)}
        order.update(SourceStatus(ends=ends, unreachable=dict.fromkeys(unreachable, "down")), expected, now)
        return len(order.take(10))

    assert update(101.0, 100.5, STATUS) == 0
    assert update(102.0, 100.5) == 0, "meanwhile something may have been written"
    assert update(103.0, 101.0) == 1


def test_a_live_feed_whose_buffer_is_full_merges_again() -> None:
    scene = world({PRICES: [10]})
    scene.deliver(PRICES)
    scene.step()
    scene.step()
    assert scene.order.is_live
    scene.order.update(SourceStatus(), lambda _: None, scene.now, has_room=False)
    assert not scene.order.is_live


def test_the_end_of_a_partition_that_was_held_back_must_be_known_anew() -> None:
    order = TimeOrder(TOPICS, max_records=4, max_bytes=10**6, max_wait=MAX_WAIT)
    order.assign([PRICES, STATUS], 100.0)
    order.add(written(PRICES, [1, 2]), 1, 100.0)
    old = {PRICES: PartitionEnd(2, 100.0)}
    order.update(SourceStatus(ends=old), {PRICES: 2, STATUS: 0}.get, 100.0)
    assert order.held_back() == [PRICES]
    order.add(written(STATUS, [5]), 1, 101.0)
    order.update(SourceStatus(ends=old), {PRICES: 2, STATUS: 1}.get, 101.0)
    assert [len(run) for _, run in order.take(10)] == [2]
    assert order.held_back() == []
    order.update(SourceStatus(ends=old), {PRICES: 2, STATUS: 1}.get, 101.1)
    assert order.take(10) == [], "meanwhile something may have been written"
    order.update(SourceStatus(ends={PRICES: PartitionEnd(2, 101.0)}), {PRICES: 2, STATUS: 1}.get, 101.2)
    assert [len(run) for _, run in order.take(10)] == [1]


def test_an_interruption_begins_a_catch_up_in_which_nobody_waits_for_what_is_unreachable() -> None:
    scene = world({PRICES: [10], STATUS: [11]})
    for partition in scene.logs:
        scene.deliver(partition)
    scene.step()
    scene.step()
    assert scene.order.is_live
    scene.unreachable = {STATUS: "its broker is down"}
    scene.step()
    scene.logs[PRICES] += written(PRICES, [10, 30])[1:]
    scene.deliver(PRICES)
    scene.step()
    assert scene.left[2:] == [("prices", 1)], "it left at once"
    scene.step(seconds=100)
    assert not scene.order.is_live
    scene.unreachable = {}
    scene.logs[PRICES] += written(PRICES, [10, 30, 50])[2:]
    scene.logs[STATUS] += written(STATUS, [11, 20, 40])[1:]
    scene.deliver(STATUS)
    scene.deliver(PRICES)
    scene.step()
    assert scene.left[3:] == [("status", 1)], "from now on they are merged"
    scene.deliver(STATUS)
    scene.step()
    scene.step()
    assert scene.left[4:] == [("status", 2), ("prices", 2)]
    assert scene.order.is_live
    assert not scene.given_up


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_feed_is_not_live_while_a_record_waits(is_waiting: bool) -> None:
    scene = world({PRICES: [10]})
    scene.deliver(PRICES)
    scene.step(room=0 if is_waiting else 1)
    scene.step(room=0)
    assert scene.order.is_live is not is_waiting


# a time range


MARGIN = 3


def bounded(logs: Mapping[TopicPartition, Log], since: int, until: int) -> World:
    window = Window(since, until, margin=MARGIN)
    order = TimeOrder(TOPICS, max_records=10**6, max_bytes=10**9, max_wait=MAX_WAIT, window=window)
    return World(order, {partition: written(partition, log) for partition, log in logs.items()})


@given(logs_of_any_kind, st.integers(0, 31), st.integers(0, 31), st.data())
def test_a_time_range_equals_that_part_of_a_plain_sort(
    logs: dict[TopicPartition, Log], since: int, until: int, data: st.DataObject
) -> None:
    scene = bounded(logs, since, until)
    held: list[TopicPartition] = []
    while not scene.order.is_complete:
        ready = [p for p, log in scene.logs.items() if scene.read[p] < len(log) and p not in held]
        if ready:
            scene.deliver(data.draw(st.sampled_from(ready)), data.draw(st.integers(1, 5)))
        held = scene.step(room=data.draw(st.integers(1, 10)))
    inside = [scene.out.index(record) for record in plain_sort(scene.logs) if record in scene.out]
    assert inside == list(range(len(scene.out)))
    for partition, log in logs.items():
        latest = list(accumulate((-(2**63) if time is None else time for time in log), max))
        own = [before if time is None else time for time, before in zip(log, latest, strict=True)]
        read = [offset for offset, time in enumerate(latest) if time < until + MARGIN]
        assert [offset for _, offset in scene.of(partition)] == [o for o in read if since <= own[o] < until]


def test_a_partition_is_not_read_beyond_the_end_of_the_time_range() -> None:
    scene = bounded({PRICES: [10, 20 + MARGIN, 30], STATUS: [15]}, 10, 20)
    scene.deliver(PRICES, 2)
    assert scene.step() == [PRICES]
    assert not scene.order.is_complete
    scene.deliver(STATUS)
    scene.step()
    assert scene.left == [("prices", 0), ("status", 0)]
    assert scene.order.is_complete


def test_a_time_range_is_not_complete_before_a_partition_is_assigned() -> None:
    order = TimeOrder(TOPICS, max_records=9, max_bytes=9, max_wait=MAX_WAIT, window=Window(0, 9, margin=0))
    order.update(SourceStatus(), lambda _: None, 100.0)
    assert not order.is_complete
    assert not order.is_live
