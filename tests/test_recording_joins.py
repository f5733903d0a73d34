"""Recordings that have the same records more than once, or not in the order of their offsets: against a plain sort."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import RaceId, Record, Recording, RecordingError
from rbhq_stream._recording.folder import FolderLock
from rbhq_stream._timestamps import from_milliseconds
from rbhq_stream.source import TopicPartition
from tests.recordings import Raw, add, offsets, status_record, writer_for, written

PARTITIONS = [TopicPartition(topic, number) for topic in ("prices", "status") for number in (0, 1)]
Log = list[Raw]


def some_log(random: Random, partition: TopicPartition, *, late_by: int) -> Log:
    """The records of a partition: some offsets are missing, some records may be late, some have no time."""
    found: Log = []
    for offset in sorted(random.sample(range(60), random.randint(1, 40))):
        record = status_record(offset, race=random.randint(1, 3), at=offset * 10 + random.randint(0, 9 + late_by))
        time = random.choice([(0, -1), *[record.timestamp()] * 9])
        found.append(Raw(*partition, offset, record.value(), None, time))
    return found


def record_session(folder: Path, random: Random, stretches: Iterable[Sequence[Raw]]) -> None:
    """Records these stretches of partitions, polled in some order and flushed at some times."""
    left = [list(stretch) for stretch in stretches if stretch]
    folder.mkdir(exist_ok=True)
    with FolderLock(folder):
        writer = writer_for(folder, max_bytes=random.choice([1, 500, 2**40]))
        while left:
            stretch = random.choice(left)
            count = random.randint(1, 12)
            add(writer, stretch[:count], ends_block=random.random() < 0.2)
            del stretch[:count]
            left = [one for one in left if one]
            if random.random() < 0.3:
                writer.flush()
        if random.random() < 0.5:
            writer.flush()
            writer.abandon()
        else:
            writer.close()


def in_time_order(records: Iterable[Raw]) -> list[Record]:
    """Each record once: those of a partition by their offsets, and the partitions merged by time."""
    once = {(raw.topic(), raw.partition(), raw.offset()): raw for raw in records}
    timed = []
    for rank, partition in enumerate(PARTITIONS):
        latest = -1
        for key in sorted(key for key in once if key[:2] == partition):
            kind, time = once[key].timestamp()
            latest = max(latest, time) if kind else latest
            timed.append((latest, rank, key))
    return [Record.of(once[key]) for _, _, key in sorted(timed)]


@given(st.integers(0, 2**32))
def test_a_join_has_every_record_once_and_in_the_order_of_time(seed: int) -> None:
    random = Random(seed)
    logs = [some_log(random, partition, late_by=20) for partition in PARTITIONS]
    recorded: list[Raw] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(number) for number in range(random.randint(2, 3))]
        for path in paths:
            for _ in range(random.randint(1, 2)):
                stretches = []
                for log in logs:
                    first = random.randint(0, len(log))
                    stretches.append(log[first : random.randint(first, len(log))])
                record_session(path, random, stretches)
                recorded += [record for stretch in stretches for record in stretch]
        joined = Recording.join(paths)
        assert list(joined) == in_time_order(recorded)
        since, until = sorted((random.randint(0, 600), random.randint(0, 600)))
        part = joined.between(from_milliseconds(since), from_milliseconds(until)).races(RaceId(1, 1))
        wanted = [raw for raw in recorded if raw.timestamp()[0] and since <= raw.timestamp()[1] < until]
        assert list(part) == in_time_order(raw for raw in wanted if b'"eventNumber":1' in (raw.value() or b""))
        part.write_to(paths[0].with_name("part"))
        assert list(Recording.join([*paths, paths[0].with_name("part")])) == in_time_order(recorded)


@given(st.integers(0, 2**32))
def test_a_restart_anywhere_before_loses_nothing_and_returns_nothing_twice(seed: int) -> None:
    random = Random(seed)
    logs = [some_log(random, partition, late_by=0) for partition in PARTITIONS]
    recorded: list[Raw] = []
    with tempfile.TemporaryDirectory() as folder:
        known = [(random.randint(0, len(log) - 1), len(log)) for log in logs]
        for _ in range(random.randint(1, 4)):
            stretches = []
            for number, log in enumerate(logs):
                first = random.choice([known[number][0], random.randint(0, len(log) - 1)])
                until = max(random.randint(first, len(log)), min(known[number][0] + 1, len(log)))
                known[number] = min(first, known[number][0]), until
                stretches.append(log[first:until])
            record_session(Path(folder) / "r", random, stretches)
            recorded += [record for stretch in stretches for record in stretch]
        found = list(Recording(Path(folder) / "r"))
        assert sorted(map(str, found)) == sorted(map(str, in_time_order(recorded)))
        for partition in PARTITIONS:
            of_partition = [one.offset for one in found if (one.topic, one.partition) == partition]
            assert of_partition == sorted(of_partition)


def test_records_of_a_partition_that_went_to_another_process_are_all_in_the_join(tmp_path: Path) -> None:
    # the first process caught up partition by partition, so the records of the second one arrived long after their time
    first = [status_record(n, at=n * 10) for n in range(11)]
    written(tmp_path / "a", [first + [status_record(n, at=n, partition=1) for n in range(5)]])
    written(tmp_path / "b", [[status_record(n, at=n, partition=1) for n in range(5, 10)]])
    joined = Recording.join([tmp_path / "a", tmp_path / "b"])
    assert [record.offset for record in joined if record.partition == 1] == list(range(10))


def test_a_late_record_is_no_sign_of_a_recreated_topic_in_a_join(tmp_path: Path) -> None:
    late = status_record(2, at=10)
    written(tmp_path / "a", [[status_record(0, at=5), status_record(1, at=20), late]])
    written(tmp_path / "b", [[late]])
    assert offsets(Recording.join([tmp_path / "a", tmp_path / "b"])) == [("status", n) for n in range(3)]


def test_records_before_those_that_a_recording_has_are_returned_when_they_are_recorded_later(tmp_path: Path) -> None:
    day = [status_record(offset, at=offset) for offset in range(15)]
    assert offsets(written(tmp_path / "day", [day[10:], day])) == [("status", offset) for offset in range(15)]


@pytest.mark.parametrize("began", [0, 100])
def test_a_topic_that_was_recreated_is_noticed_though_another_partition_is_later(tmp_path: Path, began: int) -> None:
    old = [status_record(began + offset, at=offset) for offset in range(5)]
    new = [status_record(offset, at=500 + offset) for offset in range(5)]
    other = status_record(0, at=1000, partition=1)
    with pytest.raises(RecordingError, match=r"recreated at 1970-01-01 00:00:00\.500"):
        list(written(tmp_path / "day", [[*old, other], new]))


@pytest.mark.parametrize("began", [0, 100])
def test_recordings_from_before_and_after_a_topic_was_recreated_are_not_joined(tmp_path: Path, began: int) -> None:
    written(tmp_path / "a", [[status_record(began + offset, at=offset) for offset in range(5)]])
    written(tmp_path / "b", [[status_record(offset, at=100_000 + offset) for offset in range(5)]])
    with pytest.raises(RecordingError, match="recreated at 1970-01-01 00:01:40"):
        list(Recording.join([tmp_path / "a", tmp_path / "b"]))


def test_a_partition_that_is_read_again_within_a_block_is_known_with_all_its_offsets(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "day"):
        writer = writer_for(tmp_path / "day")
        add(writer, [status_record(offset, at=offset) for offset in range(5, 10)])
        add(writer, [status_record(offset, at=offset) for offset in range(3, 8)])
        writer.close()
    recording = Recording(tmp_path / "day")
    assert recording.partitions == {TopicPartition("status", 0): range(3, 10)}
    assert offsets(recording) == [("status", offset) for offset in range(3, 10)]
