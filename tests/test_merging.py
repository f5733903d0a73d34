"""Merging between a source and a buffer: when it looks at the source, and what it has the source hold back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from attrs import define, field

from rbhq_stream import UnreachableError
from rbhq_stream._engine.buffer import Buffer
from rbhq_stream._engine.merging import LIVE_STATUS_INTERVAL, STATUS_INTERVAL, Merging
from rbhq_stream._engine.time_order import TimeOrder, Window
from rbhq_stream.record import RawRecord
from rbhq_stream.source import PartitionEnd, SourceStatus, TopicPartition
from rbhq_stream.testing import MemoryRecord

PRICES, STATUS = TopicPartition("prices", 0), TopicPartition("status", 0)
MAX_WAIT = 10.0


@define
class Scene:
    """A `Merging` between a buffer and a source that has only a status. Records are added by the test."""

    max_records: int = 1000
    window: Window | None = None
    now: float = 100.0
    looks: int = 0
    ends: dict[TopicPartition, int] = field(factory=dict)
    unreachable: dict[TopicPartition, str] = field(factory=dict)
    held: list[list[TopicPartition]] = field(factory=list)
    read: dict[TopicPartition, int] = field(factory=lambda: {PRICES: 0, STATUS: 0})
    buffer: Buffer = field(init=False)
    merging: Merging = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.buffer = Buffer(max_records=self.max_records, max_bytes=10**6, wake_application=lambda: None)
        order = TimeOrder(["prices", "status"], max_records=10, max_bytes=10**6, max_wait=MAX_WAIT, window=self.window)
        source: Any = self  # of a source, `Merging` uses only `status` and `hold`
        self.merging = Merging(source, self.buffer, order, self.read.get)
        self.merging.assign([PRICES, STATUS], self.now)

    def status(self) -> SourceStatus:
        self.looks += 1
        ends = {partition: PartitionEnd(offset, self.now) for partition, offset in self.ends.items()}
        return SourceStatus(ends=ends, unreachable=self.unreachable)

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        self.held.append(list(partitions))

    def add(self, partition: TopicPartition, count: int) -> bool:
        first = self.read[partition]
        self.read[partition] = first + count
        records: list[RawRecord] = [MemoryRecord(*partition, offset, b"x") for offset in range(first, first + count)]
        return self.merging.add(records, 1, self.now)

    def step(self, seconds: float = 0.0) -> bool:
        self.now += seconds
        return self.merging.step(self.now)

    def catch_up(self) -> None:
        """Has it catch up with one record of each partition."""
        self.ends = {PRICES: 1, STATUS: 1}
        self.add(PRICES, 1)
        self.add(STATUS, 1)
        self.step()
        self.step()


def test_it_looks_at_the_source_at_intervals_and_after_an_assignment() -> None:
    scene = Scene()
    scene.step()
    scene.step(STATUS_INTERVAL * 0.9)
    assert scene.looks == 1
    scene.step(STATUS_INTERVAL * 0.2)
    assert scene.looks == 2
    scene.merging.assign([STATUS], scene.now)
    scene.step()
    assert scene.looks == 3


def test_once_live_it_looks_less_often_and_takes_in_nothing() -> None:
    scene = Scene()
    scene.catch_up()
    assert scene.add(PRICES, 1), "it need not be merged"
    scene.step(STATUS_INTERVAL)
    looks = scene.looks
    scene.step(LIVE_STATUS_INTERVAL * 0.9)
    assert scene.looks == looks
    scene.step(LIVE_STATUS_INTERVAL * 0.2)
    assert scene.looks == looks + 1


def test_there_is_more_only_if_it_has_filled_the_room_of_the_buffer() -> None:
    scene = Scene(max_records=2)
    scene.ends = {PRICES: 3, STATUS: 0}
    assert not scene.add(PRICES, 3)
    assert scene.step()
    assert (scene.buffer.waiting_records, scene.buffer.merging) == (2, (1, 1))


def test_a_live_feed_has_nothing_that_waits_for_room() -> None:
    scene = Scene()
    scene.catch_up()
    assert not scene.step()
    assert scene.buffer.waiting_records == 2


def test_partitions_are_held_once_and_released_when_the_feed_has_caught_up() -> None:
    scene = Scene()
    scene.ends = {PRICES: 9, STATUS: 1}
    scene.add(PRICES, 9)
    scene.step()
    scene.step()
    assert scene.held == [[PRICES]]
    scene.add(STATUS, 1)
    for _ in range(3):
        scene.step(STATUS_INTERVAL)
    assert scene.held == [[PRICES], []]
    assert scene.buffer.waiting_records == 10


def test_a_partition_that_is_revoked_counts_as_held_no_longer() -> None:
    scene = Scene()
    scene.ends = {PRICES: 9, STATUS: 1}
    scene.add(PRICES, 9)
    scene.step()
    scene.merging.forget([PRICES])
    scene.step()
    assert scene.held == [[PRICES]], "the source has forgotten it by itself"


def test_a_silent_partition_ends_the_reading_of_a_time_range() -> None:
    scene = Scene(window=Window(0, 100, margin=0))
    scene.ends = {PRICES: 0, STATUS: 1}
    scene.unreachable = {STATUS: "its broker is down"}
    scene.step(MAX_WAIT - 1)
    with pytest.raises(UnreachableError, match=r"status\[0\] delivers no records: its broker is down"):
        scene.step(1)


def test_a_time_range_that_was_read_ends_the_feed() -> None:
    scene = Scene(window=Window(0, 100, margin=0))
    scene.ends = {PRICES: 0, STATUS: 0}
    assert not scene.buffer.is_exhausted
    scene.step()
    assert scene.buffer.is_exhausted
