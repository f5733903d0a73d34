"""Feeds that record, and feeds on a recording: the same events, the same signals, and an end."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream import (
    ConfigError,
    Event,
    Feed,
    HealthChanged,
    HealthReason,
    HealthRules,
    PartitionsAssigned,
    PriceEvent,
    RaceStatusEvent,
    Recording,
    RecordingError,
    RecordingFailed,
    RecordTo,
    TopicPartition,
    Topics,
)
from rbhq_stream._recording.recorded_source import recorded
from rbhq_stream._recording.segment_writer import SegmentWriter
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import (
    PRICES,
    STATUS,
    TOPICS,
    MakeFacade,
    memory_config,
    price,
    prices,
    status,
)
from tests.owners import AnyOwner
from tests.recordings import fill_the_disk, offsets, status_record, written
from tests.waiting import wait_for

NOW = datetime(2022, 11, 27, 20, 0, tzinfo=timezone.utc)


def day(source: MemorySource, events: Sequence[Event], *, interval: float = 1.0) -> None:
    for number, event in enumerate(events):
        source.publish(event, timestamp=NOW + timedelta(seconds=number * interval))


@pytest.fixture
def recording(tmp_path: Path, memory_source: MemorySource) -> Recording:
    """Of six events, a second apart."""
    return record(tmp_path / "day", memory_source, [*prices(4), status(1), status(2)])


def record(folder: Path, source: MemorySource, events: Sequence[Event]) -> Recording:
    day(source, events)
    with Feed(memory_config(), source=source, record_to=folder) as feed:
        for _ in events:
            next(feed)
    return Recording(folder)


# recording


def test_a_feed_records_what_it_reads(tmp_path: Path, make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade(record_to=RecordTo(tmp_path / "day"))
    day(memory_source, prices(3))
    memory_source.publish_raw("status", None, key=b"k")
    memory_source.publish_raw("status", b"{bad")
    facade.enter()
    events = [facade.next() for _ in range(3)]
    facade.leave()
    recording = Recording(tmp_path / "day")
    assert list(recording.events(on_bad_record="skip")) == events
    assert [record.value for record in recording][3:] == [None, b"{bad"]
    assert [event.record for event in events] == list(recording)[:3]


def test_a_second_feed_on_the_same_folder_is_refused(
    tmp_path: Path, make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    first, second = make_facade(record_to=tmp_path / "day"), make_facade(record_to=tmp_path / "day")
    first.enter()
    with pytest.raises(RecordingError, match="another feed is writing to it"):
        second.enter()
    first.leave()
    third = make_facade(record_to=tmp_path / "day")
    third.enter()
    third.leave()


def test_a_folder_with_a_recording_of_other_topics_is_refused_and_can_still_be_read(
    tmp_path: Path, make_facade: MakeFacade
) -> None:
    folder, topics = tmp_path / "day", Topics(prices="prices", race_status="test.status")
    problem = "race_status in two topics, 'status' and 'test.status': give the feed another folder"
    recorded_before = list(written(folder, [[status_record(0)]]))
    with pytest.raises(RecordingError, match=problem):
        make_facade(config=memory_config(topics=topics), source=MemorySource(topics), record_to=folder).enter()
    assert list(Recording(folder)) == recorded_before
    (folder / "00000002.rbhq").write_bytes(b"RBHQ")  # its feed was killed before it had written the topics
    again = make_facade(record_to=folder)
    again.enter()
    again.leave()


def test_a_folder_that_cant_be_created_is_refused(tmp_path: Path, make_facade: MakeFacade) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="can't write there: Not a directory"):
        make_facade(record_to=tmp_path / "file" / "day").enter()
    with pytest.raises(RecordingError, match="can't write there: File exists"):
        make_facade(record_to=tmp_path / "file").enter()


def test_a_full_disk_ends_the_recording_with_a_signal_and_an_error_and_the_feed_goes_on(
    tmp_path: Path,
    make_facade: MakeFacade,
    memory_source: MemorySource,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fill_the_disk(monkeypatch)
    facade = make_facade(record_to=RecordTo(tmp_path / "day", flush_interval=0.01))
    failed: list[RecordingFailed] = []
    facade.feed.on(RecordingFailed)(failed.append)
    facade.enter()
    memory_source.publish(*prices(2))
    assert [facade.next() for _ in range(2)] == prices(2)
    wait_for(lambda: facade.poll(0.01) is None and failed, "the recording has failed")
    memory_source.publish(*prices(1))
    assert facade.next() == price(1)
    facade.leave()
    (signal_,) = failed
    assert (signal_.path, signal_.problem, signal_.missing) == (str(tmp_path / "day"), "No space left on device", 2)
    assert "No space left on device. 2 records that were read are not in it" in caplog.text
    assert memory_source.committed[PRICES] == 3
    assert list(Recording(tmp_path / "day")) == []


class CommittingSource(MemorySource):
    """Checks at each commit that what is committed is in the recording."""

    def __init__(self, folder: Path) -> None:
        super().__init__(TOPICS)
        self.folder = folder
        self.recorded: list[bool] = []

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        found = Recording(self.folder).partitions
        self.recorded.append(all(offset == 0 or offset <= found[p].stop for p, offset in offsets.items()))
        super().commit(offsets)


def test_an_offset_is_committed_only_when_the_records_before_it_are_in_the_recording(tmp_path: Path) -> None:
    source = CommittingSource(tmp_path / "day")
    with Feed(memory_config(), source=source, record_to=RecordTo(tmp_path / "day", flush_interval=60)) as feed:
        for number in range(1, 4):
            source.publish(price(1))
            next(feed)
            feed.poll(0.01)
            wait_for(lambda expected=number: source.committed.get(PRICES) == expected, "it is committed")  # type: ignore[misc]
    assert source.recorded
    assert all(source.recorded)


class Flushes:
    """Lets the recorder flush only as often as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = threading.Semaphore(0)
        self.begun = threading.Event()
        monkeypatch.setattr(SegmentWriter, "flush", self._flush)

    def _flush(self) -> None:
        self.begun.set()
        self.allowed.acquire(timeout=10)


class OneOwner(AnyOwner):
    """Has processed seven records of each partition when it is revoked."""

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, 7)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_commit_that_waits_for_the_recording_is_not_made_after_a_rebalance(
    tmp_path: Path, memory_source: MemorySource, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    flushes = Flushes(monkeypatch)
    source = recorded(memory_source, tmp_path / "day", TOPICS, lambda _: None)
    source.open(OneOwner())
    memory_source.publish(*prices(9), status(1))
    assert len(source.poll(1)) == 10
    source.commit({PRICES: 5, STATUS: 1})
    (memory_source.lose if is_lost else memory_source.revoke)("prices")
    source.poll(0)
    flushes.allowed.release()
    wait_for(lambda: not source.poll(0) and memory_source.committed.get(STATUS) == 1, "the other one is committed")
    assert memory_source.committed.get(PRICES) == (None if is_lost else 7)
    source.close({}, 5)


def test_a_disk_that_is_slower_than_the_commits_defers_them_only(
    tmp_path: Path, memory_source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = Flushes(monkeypatch)
    source = recorded(memory_source, tmp_path / "day", TOPICS, lambda _: None)
    source.open(OneOwner())
    for number in range(1, 4):
        memory_source.publish(price(number))
        assert len(source.poll(1)) == 1
        source.commit({PRICES: number})  # before the flush for the previous one is finished
        assert flushes.begun.wait(10)
    flushes.allowed.release()
    wait_for(lambda: not source.poll(0) and memory_source.committed.get(PRICES) == 1, "the first one is committed")
    source.close({}, 5)


RECORD_AND_WAIT = """
import sys
from rbhq_stream import Feed, FeedConfig, RecordTo
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import TOPICS, memory_config, prices
source = MemorySource(TOPICS)
source.publish(*prices(500))
with Feed(memory_config(), source=source, record_to=RecordTo(sys.argv[1], flush_interval=0.01)) as feed:
    for _ in range(500):
        next(feed)
    feed.poll(0.01)
    while source.committed.get(("prices", 0)) != 500:
        feed.poll(0.01)
    print("committed", flush=True)
    feed.poll(60)
"""


def test_a_recording_survives_kill_9_up_to_the_last_flush(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RECORD_AND_WAIT, str(tmp_path / "day")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "committed\n"
        os.kill(process.pid, signal.SIGKILL)
    recording = Recording(tmp_path / "day")
    assert recording.cuts == ()
    assert list(recording.events()) == prices(500)


# replays


def test_a_replay_has_the_same_events_and_ends(make_facade: MakeFacade, recording: Recording) -> None:
    facade = make_facade(source=recording.at())
    signals: list[object] = []
    facade.feed.on(PartitionsAssigned)(signals.append)
    facade.feed.on(HealthChanged)(lambda signal: signals.append(signal.health.reason))
    facade.enter()
    events = []
    with pytest.raises(StopIteration):  # noqa: PT012  # the last of many calls raises it
        while True:
            events.append(facade.next())
    facade.leave()
    assert events == list(recording.events()) == [*prices(4), status(1), status(2)]
    assert [event.record for event in events] == list(recording)
    assigned = signals.pop(0)
    assert isinstance(assigned, PartitionsAssigned)
    assert assigned.partitions == (PRICES, STATUS)
    assert HealthReason.UP_TO_DATE in signals


@pytest.mark.parametrize("at_once", [1, 4])
def test_run_ends_with_the_recording(make_facade: MakeFacade, recording: Recording, at_once: int) -> None:
    facade = make_facade(source=recording.at())
    handled: list[Event] = []
    facade.feed.on(PriceEvent)(handled.append)
    facade.feed.on(RaceStatusEvent)(handled.append)
    facade.run(at_once=at_once)
    assert sorted(handled, key=str) == sorted([*prices(4), status(1), status(2)], key=str)


def test_batches_and_poll_end_with_the_recording(make_facade: MakeFacade, recording: Recording) -> None:
    facade = make_facade(source=recording.at())
    facade.enter()
    next_batch = facade.batches(4, 0.01)
    found: list[Event] = []
    with pytest.raises(StopIteration):  # noqa: PT012  # the last of some calls raises it
        while True:
            found += next_batch()
    assert found == [*prices(4), status(1), status(2)]
    assert facade.poll(10) is None
    facade.leave()


def test_a_replay_ends_although_nothing_is_acknowledged(
    make_facade: MakeFacade, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rbhq_stream._engine.poll_thread.CATCH_UP_TIMEOUT", 0.1)
    facade = make_facade(source=recording.at(), commit="manual")
    facade.enter()
    for _ in range(6):
        facade.next()
    with pytest.raises(StopIteration):
        facade.next()
    facade.leave()


def test_a_part_of_a_recording_is_replayed_to_its_end(make_facade: MakeFacade, recording: Recording) -> None:
    """Although offsets are missing at the end of its partitions."""
    part = recording.between(NOW + timedelta(seconds=1), NOW + timedelta(seconds=3))
    facade = make_facade(source=part.at())
    health: list[HealthReason] = []
    facade.feed.on(HealthChanged)(lambda signal: health.append(signal.health.reason))
    facade.enter()
    assert [facade.next() for _ in range(2)] == prices(3)[1:]
    with pytest.raises(StopIteration):
        facade.next()
    facade.leave()
    assert HealthReason.UP_TO_DATE in health


def test_a_recording_of_a_feed_that_caught_up_is_replayed_in_the_order_of_time(tmp_path: Path) -> None:
    """It read one topic after the other."""
    by_topic = [
        [status_record(n, at=1_000 * n + delay, topic=topic) for n in range(100)]
        for topic, delay in (("status", 0), ("prices", 500))
    ]
    recording = written(tmp_path / "day", [records[n : n + 10] for records in by_topic for n in range(0, 100, 10)])
    with Feed(memory_config(), source=recording.at(), order="time", on_bad_record="skip") as feed:
        found = [event.require_record() for event in feed]
    assert sorted(found, key=lambda record: str(record.timestamp)) == found
    assert len(found) == 200


def test_a_replay_starts_at_the_positions_that_the_application_gives(recording: Recording) -> None:
    with Feed(memory_config(), source=recording.at(), positions={PRICES: 2, STATUS: 2}) as feed:
        assert list(feed) == prices(4)[2:]


def test_a_replay_can_be_recorded(tmp_path: Path, recording: Recording) -> None:
    with Feed(memory_config(), source=recording.at(), record_to=tmp_path / "copy") as feed:
        events = list(feed)
    assert list(Recording(tmp_path / "copy")) == list(recording)
    assert events == list(recording.events())


def test_a_replay_has_no_topic_that_the_feed_does_not_have(make_facade: MakeFacade, recording: Recording) -> None:
    facade = make_facade(config=memory_config(topics=Topics(prices="prices")), source=recording.at())
    with pytest.raises(ConfigError, match=r"topics: the source has \['status'\], .*topics=recording\.topics"):
        facade.enter()


@pytest.mark.parametrize("make", [str, Recording], ids=["path", "recording"])
def test_a_recording_is_not_a_source_and_the_error_names_what_is(
    tmp_path: Path, make_facade: MakeFacade, make: Callable[[Path], object]
) -> None:
    written(tmp_path / "day", [[status_record(0)]])
    with pytest.raises(TypeError, match=r"source=.*day.*: expected a Source, .* is Recording\(path\)\.at\(\)"):
        make_facade(source=make(tmp_path / "day"))


def test_a_damaged_recording_ends_the_feed_with_its_error(tmp_path: Path) -> None:
    recording = written(tmp_path / "day", [[status_record(n)] for n in range(3)])
    (tail,) = (tmp_path / "day").glob("*.tail")
    whole = Recording(tmp_path / "day")
    writer_path = tmp_path / "whole"
    copy = recording.write_to(writer_path)
    path = writer_path / "00000001.rbhq"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="checksum"), Feed(memory_config(), source=copy.at()) as feed:
        next(feed)
    assert offsets(whole) == [("status", n) for n in range(3)]
    assert tail.exists()


class RecordingOwner(AnyOwner):
    """Keeps the positions that it is given."""

    def __init__(self) -> None:
        self.positions: list[tuple[TopicPartition, int]] = []

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        self.positions.append((partition, offset))


def replay_of(folder: Path, times: Sequence[int], speed: float, clock: Callable[[], float]) -> Any:
    recording = written(folder, [[status_record(n, at=at) for n, at in enumerate(times)]])
    source: Any = recording.at(speed)
    source._clock = clock
    return source


def test_records_are_replayed_when_their_time_has_come(tmp_path: Path) -> None:
    now = [100.0]
    source = replay_of(tmp_path / "day", [60_000, 120_000, 90_000, 600_000], 60, lambda: now[0])
    owner = RecordingOwner()
    source.open(owner)

    def polled() -> list[int]:
        return [record.offset() for record in source.poll(0)]

    assert (polled(), polled()) == ([0], [])
    assert source.status().time == datetime(1970, 1, 1, 0, 1, tzinfo=timezone.utc)
    now[0] += 0.99
    assert polled() == []
    now[0] += 0.01
    assert polled() == [1, 2]  # 2 came after 1, although its time is earlier
    source.pause()
    now[0] += 100
    assert polled() == []
    source.resume()
    assert not source.status().has_ended
    assert polled() == [3]
    assert owner.positions == [(STATUS, 0)]
    assert polled() == []
    assert source.status().has_ended
    assert owner.positions == [(STATUS, 0), (STATUS, 4)]


@pytest.mark.parametrize("speed", [1.0, math.inf])
def test_records_of_a_partition_that_is_held_are_handed_over_afterwards(tmp_path: Path, speed: float) -> None:
    topics = ["status", "prices", "status", "prices"]
    block = [status_record(n, topic=topic) for n, topic in enumerate(topics)]
    source = written(tmp_path / "day", [block]).at(speed)
    source.open(RecordingOwner())

    def polled() -> list[int | None]:
        return [record.offset() for record in source.poll(0)]

    source.hold([STATUS])
    assert (polled(), polled()) == ([1, 3], [])
    assert not source.status().has_ended
    source.hold([])
    assert (polled(), polled()) == ([0, 2], [])
    assert source.status().has_ended


def test_at_a_speed_a_partition_ends_where_the_replay_is_and_at_full_speed_where_the_recording_ends(
    tmp_path: Path,
) -> None:
    for speed, end in ((1.0, 1), (float("inf"), 3)):
        source = replay_of(tmp_path / f"{speed}", [0, 50_000, 60_000], speed, lambda: 0.0)
        source.open(RecordingOwner())
        source.poll(0)
        assert source.status().ends[STATUS].offset == end


def test_a_replay_of_the_past_is_live_whatever_this_hosts_clock_says(recording: Recording) -> None:
    calls: list[datetime] = []

    def schedule(since: datetime, until: datetime) -> list[datetime]:
        calls.append(since)
        return []

    rules = HealthRules(max_clock_skew=1.0, schedule=schedule)
    health: list[HealthChanged] = []
    feed = Feed(memory_config(), source=recording.at(5), health=rules)
    feed.on(HealthChanged)(health.append)
    assert len(list(feed)) == 6
    reasons = [signal.health.reason for signal in health]
    assert HealthReason.UP_TO_DATE in reasons
    assert HealthReason.CLOCK_DISAGREES not in reasons
    assert calls
    assert all(NOW <= call < NOW + timedelta(seconds=60) for call in calls)
    assert all(NOW <= signal.at < NOW + timedelta(seconds=60) for signal in health[1:-1])
