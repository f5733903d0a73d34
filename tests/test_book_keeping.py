"""The memory that acknowledgements take, and the report about a record that is never acknowledged."""

from __future__ import annotations

import gc
import logging
import random
import re
import tracemalloc
from datetime import datetime, timedelta, timezone
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream._engine.holdups import Holdup, Holdups
from rbhq_stream._engine.ledger import Ledger
from rbhq_stream._engine.offset_runs import OffsetRuns
from rbhq_stream.source import TopicPartition
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import PRICES, TWO_EVENTS, MakeFacade, memory_config, prices, wait_until_done
from tests.waiting import wait_for

A, B = TopicPartition("prices", 0), TopicPartition("prices", 1)


# memory


@pytest.mark.parametrize("step", [1, 2], ids=["", "in transactions"])
def test_one_event_that_is_never_acknowledged_costs_no_memory(step: int) -> None:
    """The others are acknowledged by threads, so in no strict order."""
    count, in_flight = 100_000, 64
    ledger = Ledger()
    ledger.assign([A])
    ledger.position(A, 0)
    chance = random.Random(1)
    handed_over: list[int] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for offset in range(0, count * step, step):
            ledger.read(A, offset)
            if offset:
                handed_over.append(offset)
            if len(handed_over) == in_flight:
                ledger.acknowledge(A, handed_over.pop(chance.randrange(in_flight)), ledger.epoch)
        for offset in handed_over:
            ledger.acknowledge(A, offset, ledger.epoch)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000
    assert peak - before < 100_000
    assert ledger.committable() == {A: 0}
    ledger.acknowledge(A, 0, ledger.epoch)
    assert ledger.committable() == {A: (count - 1) * step + 1}


def test_a_revoked_partition_leaves_nothing_in_memory(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    """Not of records of several events either, of which the first is acknowledged and the second never."""
    facade = make_facade(commit="manual", config=memory_config(commit_interval=60))
    facade.enter()

    def come_and_go(times: int, count: int = 200) -> int:
        for _ in range(times):
            for _ in range(count):
                memory_source.publish_raw("status", TWO_EVENTS)
            for _ in range(count):
                facade.feed.ack(facade.next())
                facade.next()
            memory_source.lose("status")
            wait_until_done(memory_source)
            memory_source._logs[TopicPartition("status", 0)].clear()  # the source's own memory
            memory_source.assign("status")
            wait_until_done(memory_source)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = come_and_go(1)
        after = come_and_go(4)
    finally:
        tracemalloc.stop()
    assert after - before < 4 * 200 * 150, "bytes: what is kept of a record takes three times as many"


Offsets = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=30)


@given(Offsets, st.integers(0, 50))
def test_runs_of_offsets_are_a_set(additions: list[tuple[int, int]], passed: int) -> None:
    runs, model = OffsetRuns(), set[int]()
    for first, count in additions:
        offsets = set(range(first, first + count))
        if not offsets & model:
            runs.add(first, first + count)
            model |= offsets
    assert {offset for offset in range(60) if offset in runs} == model
    assert runs.count() == len(model)
    assert len(runs) == sum(1 for offset in model if offset - 1 not in model)
    end = passed
    while end in model:
        end += 1
    assert runs.pass_to(passed) == end
    assert {offset for offset in range(60) if offset in runs} == {offset for offset in model if offset > end}


# which record holds the offset back


def test_a_hold_up_is_reported_after_a_minute_and_each_time_it_has_lasted_twice_as_long() -> None:
    holdups = Holdups()
    reported = [
        (now, holdup.seconds)
        for now in range(100, 1000, 5)
        for holdup in holdups.update({A: (7, now)}, now)
        if holdup == Holdup(A, 7, now, now - 100)
    ]
    assert reported == [(160, 60), (220, 120), (340, 240), (580, 480)]


def test_a_hold_up_starts_again_with_another_record() -> None:
    holdups = Holdups()
    holdups.update({A: (7, 0), B: (3, 0)}, 0)
    holdups.update({A: (8, 0), B: (3, 0)}, 50)
    assert holdups.update({A: (8, 0), B: (3, 0)}, 100) == [Holdup(B, 3, 0, 100)]
    assert holdups.update({A: (8, 5)}, 110) == [Holdup(A, 8, 5, 60)]
    assert holdups.update({B: (3, 0)}, 190) == [], "it was away meanwhile"


def test_only_a_record_that_was_handed_over_and_not_acknowledged_is_a_hold_up() -> None:
    ledger = Ledger()
    ledger.assign([A])
    for offset in (3, 4, 6, 7):
        ledger.read(A, offset)
    assert ledger.unacknowledged() == {}, "the application has got nothing yet"
    ledger.handed_over(A, 4, ledger.epoch)
    assert ledger.unacknowledged() == {A: (3, 1)}, "5 is the end of a transaction"
    ledger.acknowledge(A, 4, ledger.epoch)
    assert ledger.unacknowledged() == {A: (3, 2)}
    ledger.acknowledge(A, 3, ledger.epoch)
    assert ledger.unacknowledged() == {}, "6 is still in the buffer"
    before = ledger.epoch
    ledger.revoke([A])
    ledger.handed_over(A, 7, before)
    ledger.assign([A])
    ledger.read(A, 6)
    ledger.handed_over(A, 7, before)
    assert ledger.unacknowledged() == {}, "records read before the partition was assigned again don't count"


def test_a_warning_names_the_record_that_is_not_acknowledged(
    make_facade: MakeFacade,
    memory_source: MemorySource,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("rbhq_stream._engine.poll_thread.Holdups", partial(Holdups, 0.2))
    memory_source.publish(*prices(5))
    facade = make_facade(commit="manual")
    facade.enter()
    began = datetime.now(timezone.utc)
    first, second, *others = [facade.next() for _ in range(5)]
    facade.feed.ack(first)
    for event in others:
        facade.feed.ack(event)
    assert facade.poll(0) is None
    reported = re.compile(
        r"prices\[0\]: the record at offset 1 was handed over and has not been acknowledged for \d+ s, since (\S+)\."
        r" .* 3 offsets after it are processed, and are delivered again after a restart"
    )
    with caplog.at_level(logging.WARNING, "rbhq_stream"):
        # others may come before it, if acknowledging the others has taken as long
        wait_for(lambda: reported.search(caplog.text), "it is reported")
        found = reported.search(caplog.text)
        assert found, caplog.text
        assert abs(datetime.fromisoformat(found[1]) - began) < timedelta(seconds=30)
        facade.feed.ack(second)
        wait_for(lambda: memory_source.committed.get(PRICES) == 5, "all is committed")


def test_a_feed_that_acknowledges_automatically_reports_no_hold_up(
    make_facade: MakeFacade,
    memory_source: MemorySource,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("rbhq_stream._engine.poll_thread.Holdups", partial(Holdups, 0.0))
    memory_source.publish(*prices(3))
    facade = make_facade()
    facade.enter()
    for _ in range(3):
        facade.next()
    wait_for(lambda: memory_source.committed.get(PRICES) == 2, "it commits")
    assert not caplog.records
