"""Recordings: what is written is read again, whatever happened while it was written."""

from __future__ import annotations

import errno
import math
import os
import shutil
import struct
import subprocess
import sys
import zlib
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbhq_stream import (
    ConfigError,
    DecodeError,
    RaceId,
    RaceStatusEvent,
    Record,
    Recording,
    RecordingError,
    RecordTo,
    TopicPartition,
    Topics,
    encode,
)
from rbhq_stream._recording import parts
from rbhq_stream._recording.blocks import (
    STORED,
    BlockHeader,
    BlockIndex,
    DamagedError,
    PartitionRange,
    decode_body,
    encode_file_header,
)
from rbhq_stream._recording.columns import Columns, decoded, encoded
from rbhq_stream._recording.folder import FolderLock
from rbhq_stream._recording.race_finder import RaceFinder
from rbhq_stream._recording.segments import Segment, read_segment
from rbhq_stream._recording.segments import _scan as scan
from rbhq_stream._summaries import newest_offsets, size_of
from rbhq_stream.testing import MemoryRecord, Simulator
from tests.memory_feeds import BAD, TOPICS, TWO_EVENTS
from tests.recordings import Raw, add, is_locked, offsets, status_record, writer_for, written
from tests.waiting import wait_for

on_disk = settings(max_examples=40, deadline=None)  # each example writes files, which a busy machine may do slowly

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_optional_bytes = st.none() | st.binary(max_size=20)
_headers = st.none() | st.lists(st.tuples(st.text(max_size=5), _optional_bytes), max_size=3)
_timestamps = st.sampled_from([(0, -1)]) | st.tuples(st.sampled_from([1, 2]), st.integers(0, 10**12))


@st.composite
def raw_records(draw: st.DrawFn) -> list[Raw]:
    """Records of some partitions, with ascending offsets and gaps between them."""
    next_offset: dict[tuple[str, int], int] = {}
    found = []
    for topic, partition, gap in draw(
        st.lists(st.tuples(st.sampled_from(TOPICS.names), st.integers(0, 2), st.integers(0, 2)), max_size=12)
    ):
        offset = next_offset.get((topic, partition), 0) + gap
        next_offset[topic, partition] = offset + 1
        value = draw(_optional_bytes | st.builds(lambda n: status_record(0, race=n).value(), st.integers(1, 3)))
        found.append(Raw(topic, partition, offset, value, draw(_optional_bytes), draw(_timestamps), draw(_headers)))
    return found


@on_disk
@given(raw_records(), st.lists(st.tuples(st.booleans(), st.booleans()), min_size=12), st.booleans())
def test_every_record_is_read_as_it_was_recorded_however_it_was_cut_into_blocks(
    records: list[Raw], cuts: list[tuple[bool, bool]], is_closed: bool
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "day"
        writer = writer_for(folder)
        for record, (is_block, is_flushed) in zip(records, cuts, strict=False):
            add(writer, [record], ends_block=is_block)
            if is_flushed:
                writer.flush()
        if is_closed:
            writer.close()
        else:
            writer.flush()
            writer.abandon()
        recording = Recording(folder)
        assert list(recording) == [Record.of(record) for record in records]
        assert recording.cuts == ()
        assert recording.topics == TOPICS


@on_disk
@given(raw_records(), st.tuples(*[st.integers(0, 10**12)] * 2).map(sorted), st.sets(st.integers(1, 3)))
def test_a_part_of_a_recording_is_what_a_plain_filter_leaves(
    records: list[Raw], between: list[int], races: set[int]
) -> None:
    since, until = between
    with TemporaryDirectory() as name:
        recording = written(Path(name) / "day", [[record] for record in records])
        times = [EPOCH + timedelta(milliseconds=time) for time in (since, until)]
        expected = [
            Record.of(record)
            for record in records
            if record.timestamp()[0]
            and since <= record.timestamp()[1] < until
            and (record.value() or b"") in {status_record(0, race=race).value() for race in races}
        ]
        part = recording.between(*times).races(*(RaceId(1, race) for race in races))
        assert list(part) == expected
        assert list(part.write_to(Path(name) / "copy")) == expected


def test_a_part_of_one_block_is_exact_to_the_microsecond_and_has_no_record_without_a_time(tmp_path: Path) -> None:
    block = [Raw("status", 0, 0), *(status_record(at, at=at) for at in range(1, 5)), Raw("status", 0, 5)]
    recording = written(tmp_path / "day", [block])

    def between(since: int | None, until: int | None) -> list[int]:
        times = [None if time is None else EPOCH + timedelta(microseconds=time) for time in (since, until)]
        return [record.offset for record in recording.between(*times)]

    assert between(2000, 4000) == [2, 3]
    assert between(2001, 3001) == [3]
    assert between(None, 2000) == [1]
    assert between(3000, None) == [3, 4]


def test_what_comes_after_a_part_is_not_among_its_offsets(tmp_path: Path) -> None:
    recording = written(tmp_path / "day", [[status_record(n, at=1000 * n)] for n in range(3)])
    part = recording.between(until=EPOCH + timedelta(seconds=2))
    assert part.partitions == {TopicPartition("status", 0): range(2)}
    assert part.ended == EPOCH + timedelta(seconds=1)


@given(raw_records().filter(len))
def test_the_summary_that_comes_with_records_is_what_the_feed_would_find_out(records: list[Raw]) -> None:
    columns = Columns.of(records, RaceFinder(TOPICS.kinds))
    assert columns.newest() == newest_offsets(records)
    assert columns.size == size_of(records)
    newest = {TopicPartition(*partition): offset for partition, offset in columns.newest().items()}
    body = encoded([columns], {partition: number for number, partition in enumerate(newest)})
    read = decoded(body, len(records), newest)
    assert newest_offsets(read) == newest_offsets([*read])
    assert size_of(read) == size_of([*read])


def test_a_simulated_day_takes_less_than_a_fifth_of_its_bytes(tmp_path: Path) -> None:
    """Also if it is flushed after each record, as it is when there is one in a second."""
    records = [
        MemoryRecord(TOPICS.of(type(timed.event)), 0, number, encode(timed.event), None, timed.at.timestamp())
        for number, timed in enumerate(Simulator(3, meetings=2).events())
    ]
    writer = writer_for(tmp_path / "day")
    for record in records:
        add(writer, [record])
        writer.flush()
    writer.close()
    size = sum(path.stat().st_size for path in (tmp_path / "day").iterdir())
    assert size < sum(len(record.value() or b"") for record in records) / 5
    assert list(Recording(tmp_path / "day")) == [Record.of(record) for record in records]


# cut off


@pytest.mark.parametrize(("name", "ends_block"), [("00000001.rbhq", True), ("00000001.tail", False)])
def test_a_recording_cut_off_at_any_byte_of_its_last_block_is_read_up_to_the_cut(
    tmp_path: Path, name: str, ends_block: bool
) -> None:
    folder = tmp_path / "day"
    path = folder / name
    writer = writer_for(folder)
    ends = []
    for first in (0, 5):
        add(writer, [status_record(first + n) for n in range(5)], ends_block=ends_block)
        writer.flush()
        ends.append(path.stat().st_size)
    writer.abandon()
    assert offsets(Recording(folder)) == [("status", n) for n in range(10)]
    for end in range(ends[1] - 1, ends[0], -1):
        with path.open("rb+") as file:
            file.truncate(end)
        recording = Recording(folder)
        assert offsets(recording) == [("status", n) for n in range(5)]
        (cut,) = recording.cuts
        assert (cut.path, cut.at, cut.ignored) == (path, ends[0], end - ends[0])
    with path.open("rb+") as file:
        file.truncate(ends[0])
    assert Recording(folder).cuts == ()


def test_a_recording_whose_newest_file_was_cut_off_in_its_first_bytes_is_read_up_to_there(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    written(folder, [[status_record(0)]])
    written(folder, [])
    newest = folder / "00000002.rbhq"
    header = newest.read_bytes()
    for size in range(len(header) + 1):
        newest.write_bytes(header[:size])
        recording = Recording(folder)
        assert offsets(recording) == [("status", 0)]
        assert [(cut.at, cut.ignored) for cut in recording.cuts] == ([(0, size)] if size < len(header) else [])


def test_records_of_the_tail_are_read_if_the_block_that_was_to_replace_it_is_cut_off(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    recording = written(folder, [[status_record(n)] for n in range(3)])
    tail = (folder / "00000001.tail").read_bytes()
    writer = writer_for(tmp_path / "whole")
    add(writer, [status_record(n) for n in range(3)], ends_block=True)
    writer.abandon()
    whole = (tmp_path / "whole" / "00000001.rbhq").read_bytes()
    for size in range((folder / "00000001.rbhq").stat().st_size, len(whole) + 1):
        (folder / "00000001.rbhq").write_bytes(whole[:size])
        (folder / "00000001.tail").write_bytes(tail)
        assert offsets(Recording(folder)) == offsets(recording)
    assert Recording(folder).cuts == ()


@on_disk
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_damaged_byte_is_never_read_as_another_record(where: float, flipped: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "day"
        writer = writer_for(folder)
        for number in range(3):
            add(writer, [status_record(number)], ends_block=True)
        writer.close()
        expected = offsets(Recording(folder))
        path = folder / "00000001.rbhq"
        damaged = bytearray(path.read_bytes())
        damaged[int(where * len(damaged))] ^= flipped
        path.write_bytes(damaged)
        try:
            recording = Recording(folder)
            found = offsets(recording)
        except RecordingError:
            return
        assert found == expected[:2]  # the last block counts as cut off
        assert recording.cuts[0].path == path


def test_a_recording_goes_on_after_a_crash_without_what_came_again(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    written(folder, [[status_record(n, at=n)] for n in range(4)])
    with (folder / "00000001.tail").open("rb+") as file:
        file.truncate((folder / "00000001.tail").stat().st_size - 1)
    recording = written(folder, [[status_record(n, at=n)] for n in range(2, 6)])  # 2 was not committed
    assert offsets(recording) == [("status", n) for n in range(6)]
    (cut,) = recording.cuts
    assert (cut.path, cut.reason) == (folder / "00000001.tail", "it is incomplete")
    assert cut.ignored > 0
    assert offsets(Recording(folder / "00000001.rbhq")) == [("status", n) for n in range(3)]


def test_a_recording_of_a_topic_that_was_recreated_is_read_in_parts(tmp_path: Path) -> None:
    recording = written(tmp_path / "day", [[status_record(n, at=at)] for n, at in ((5, 10), (6, 20), (0, 30), (1, 40))])
    with pytest.raises(RecordingError, match=r"status\[0\] was recreated at 1970-01-01 00:00:00.030000\+00:00"):
        list(recording)
    assert offsets(recording.between(since=EPOCH + timedelta(milliseconds=30))) == [("status", 0), ("status", 1)]


def test_a_damaged_block_in_the_middle_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    written(folder, [[status_record(n)] for n in range(3)])
    path = folder / "00000001.tail"
    data = path.read_bytes()
    first = data.index(b"RBLK")
    path.write_bytes(data[: first + 10] + b"\xff" + data[first + 11 :])
    with pytest.raises(RecordingError, match="can't be read: its header is damaged"):
        Recording(folder)


def test_a_block_of_a_later_version_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    written(folder, [[status_record(0)]])
    path = folder / "00000001.tail"
    data = bytearray(path.read_bytes())
    at = data.index(b"RBLK")
    data[at + 4] = 2
    data[at + 40 : at + 44] = struct.pack("<I", zlib.crc32(data[at : at + 40]))
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="it is of version 2"):
        Recording(folder)


@pytest.mark.parametrize("wrong", ["no MessagePack", "a count that is not its own", "an unknown partition"])
def test_a_body_that_does_not_fit_its_block_is_damaged(wrong: str) -> None:
    """Although its checksum is right: a program other than this library may have written it."""
    columns = Columns.of([status_record(0), status_record(1)], RaceFinder(TOPICS.kinds))
    status = TopicPartition("status", 0)
    body = encoded([columns], {status: 1 if wrong == "an unknown partition" else 0})
    count = 3 if wrong == "a count that is not its own" else 2
    index = BlockIndex(0, 0, (PartitionRange(status, 0, 1, 2),), frozenset())
    header = BlockHeader(STORED, 0, count, 0, len(body), len(body), 0, 0)
    with pytest.raises(DamagedError, match="its records can't be read"):
        decode_body(header, index, b"\xc1" if wrong == "no MessagePack" else body)


def test_what_is_not_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="there is no recording"):
        Recording(tmp_path)
    with pytest.raises(RecordingError, match="can't be read: No such file"):
        Recording(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="path: is empty"):
        Recording("")
    (tmp_path / "other.rbhq").write_bytes(b"something else entirely")
    with pytest.raises(RecordingError, match="it is not a file of a recording"):
        Recording(tmp_path)
    with pytest.raises(ConfigError, match="can't be a path"):
        Recording(7)  # type: ignore[arg-type]


def test_a_folder_that_cant_be_listed_is_not_one_without_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(_: object) -> NoReturn:  # not by permissions: root may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    written(tmp_path, [[status_record(0)]])
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", scandir)
    with pytest.raises(RecordingError, match="can't be read: Permission denied"):
        Recording(tmp_path)


# files


def test_two_writers_of_one_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    with FolderLock(folder), pytest.raises(RecordingError, match="another feed is writing to it"):
        FolderLock(folder)
    FolderLock(folder).release()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_folder_locked(tmp_path: Path) -> None:
    writing = (
        "import os, sys; from pathlib import Path; from rbhq_stream._recording.folder import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\n"
        "if os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
        "os._exit(0)  # as if it was killed\n"
    )
    with subprocess.Popen([sys.executable, "-c", writing, str(tmp_path / "day")], stdin=subprocess.PIPE) as process:
        process.wait(10)
        wait_for(lambda: not is_locked(tmp_path / "day"), "the folder is free")
        assert process.stdin is not None
        process.stdin.close()  # the child ends


def test_a_full_file_is_followed_by_the_next_one_and_the_oldest_are_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "day"
    writer = writer_for(folder, max_bytes=1, keep=3)
    for number in range(5):
        add(writer, [status_record(number)], ends_block=True)
    writer.close()
    assert sorted(path.name for path in folder.iterdir()) == [f"0000000{number}.rbhq" for number in (3, 4, 5, 6)]
    assert offsets(Recording(folder)) == [("status", 2), ("status", 3), ("status", 4)]
    assert "deleting the oldest segment" in caplog.text


def test_restarts_delete_nothing_while_the_files_are_smaller_than_what_is_to_be_kept(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    for number in range(5):  # as when an application fails at an event and is restarted
        writer = writer_for(folder, max_bytes=10_000, keep=1)
        add(writer, [status_record(number)], ends_block=True)
        writer.abandon()
    assert offsets(Recording(folder)) == [("status", number) for number in range(5)]


def test_starts_without_a_record_leave_no_files_behind(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    kept = [status_record(0)]
    for records in [kept, *[[]] * 5]:  # as when a supervisor restarts an application that fails at once
        writer = writer_for(folder, keep=2)
        for record in records:
            add(writer, [record], ends_block=True)
        writer.abandon()
    assert offsets(Recording(folder)) == [("status", 0)]
    assert len(list(folder.glob("*.rbhq"))) == 2


def test_a_recording_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    writer = writer_for(folder)
    for number in range(6):
        add(writer, [status_record(number)], ends_block=number == 3)
        writer.flush()
        assert offsets(Recording(folder)) == [("status", n) for n in range(number + 1)]
    before = Recording(folder)
    add(writer, [status_record(6)], ends_block=True)
    assert offsets(before) == [("status", n) for n in range(6)]
    writer.close()


def test_a_block_that_is_written_while_the_file_is_read_is_no_damage(tmp_path: Path) -> None:
    writer = writer_for(tmp_path / "day")
    path = tmp_path / "day" / "00000001.rbhq"
    add(writer, [status_record(0)], ends_block=True)
    middle = path.stat().st_size + 60  # of the second block
    add(writer, [status_record(1)], ends_block=True)
    add(writer, [status_record(2)], ends_block=True)
    writer.close()

    class Growing(BytesIO):
        """Had only half of the second block when its size was looked at and the block was read."""

        def seek(self, offset: int, whence: int = 0) -> int:
            return middle if whence == os.SEEK_END else super().seek(offset, whence)

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            return data if size is None or size < 0 or self.tell() <= middle else data[: middle - self.tell()]

    segment = scan(Growing(path.read_bytes()), path, in_memory=False)
    assert [block.header.number for block in segment[1]] == [0]
    assert segment[2] is not None


def test_a_recording_is_opened_although_the_oldest_files_are_deleted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "day"
    writer = writer_for(folder, max_bytes=1)
    for number in range(4):
        add(writer, [status_record(number)], ends_block=True)
    writer.close()
    recording = Recording(folder)
    first, second, *_ = paths = sorted(folder.glob("*.rbhq"))

    def read_and_delete(path: Path) -> Segment:
        segment = read_segment(path)
        if path == first:  # as a writer with `keep` does
            first.unlink()
            second.unlink()
        return segment

    monkeypatch.setattr(parts, "read_segment", read_and_delete)
    assert len(paths) > 3
    assert offsets(Recording(folder)) == [("status", 2), ("status", 3)]
    with pytest.raises(RecordingError, match=r"00000001\.rbhq was deleted after the recording was opened"):
        list(recording)


def test_a_file_with_a_name_of_its_own_in_the_folder_disturbs_no_writer(tmp_path: Path) -> None:
    written(tmp_path / "day", [[status_record(0)]])
    shutil.copy(tmp_path / "day" / "00000001.rbhq", tmp_path / "day" / "monday.rbhq")
    assert offsets(written(tmp_path / "day", [[status_record(1)]])) == [("status", 0), ("status", 1)]


def test_a_copy_that_could_not_be_finished_is_removed(tmp_path: Path) -> None:
    writer = writer_for(tmp_path / "day")
    for number in range(2):
        add(writer, [status_record(number)], ends_block=True)
    writer.close()
    path = tmp_path / "day" / "00000001.rbhq"
    recording = Recording(tmp_path / "day")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # in the last record
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="its checksum is wrong"):
        recording.write_to(tmp_path / "copy")
    with pytest.raises(RecordingError, match="there is no recording"):
        Recording(tmp_path / "copy")


@pytest.mark.parametrize(
    ("field", "value"), [("max_bytes", 0), ("keep", 0), ("flush_interval", -1), ("path", None), ("path", "~nobody_/x")]
)
def test_a_wrong_setting_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        RecordTo(**{"path": "day", field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


# joined, and read


def test_recordings_are_joined_by_time_and_a_record_that_two_have_is_there_once(tmp_path: Path) -> None:
    one = [status_record(n, at=10 * n, topic="status") for n in range(5)]
    other = [status_record(n, at=10 * n + 5, topic="prices") for n in range(5)]
    written(tmp_path / "one", [one])
    written(tmp_path / "other", [other, one[3:]])
    joined = Recording.join([tmp_path / "one", tmp_path / "other"])
    expected = sorted([*one, *other], key=lambda record: record.timestamp()[1])
    assert list(joined) == [Record.of(record) for record in expected]
    copy = joined.between(until=EPOCH + timedelta(milliseconds=20)).write_to(tmp_path / "copy")
    assert list(copy) == [Record.of(record) for record in expected[:4]]
    with pytest.raises(RecordingError, match="there is a recording already"):
        joined.write_to(tmp_path / "copy")
    with pytest.raises(ValueError, match="no recording to join"):
        Recording.join([])


def test_recordings_with_other_topics_of_one_kind_are_not_joined(tmp_path: Path) -> None:
    written(tmp_path / "one", [[status_record(0)]])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "00000001.rbhq").write_bytes(encode_file_header({"race_status": "statuses"}))
    assert Recording(tmp_path / "other").topics == Topics(race_status="statuses")
    with pytest.raises(RecordingError, match="race_status in two topics, 'status' and 'statuses'"):
        Recording.join([tmp_path / "one", tmp_path / "other"])


def test_events_are_read_without_a_feed(tmp_path: Path) -> None:
    records = [Raw("status", 0, n, value) for n, value in enumerate((TWO_EVENTS, None, BAD, b""))]
    recording = written(tmp_path / "day", [records, [status_record(4, race=3)]])
    assert [event.race_id for event in recording.events(on_bad_record="skip")] == [
        RaceId(1, 1),
        RaceId(1, 2),
        RaceId(1, 3),
    ]
    with pytest.raises(DecodeError):
        list(recording.events())
    assert offsets(recording.races(RaceId(1, 2))) == [("status", 0)]


def test_a_race_is_found_in_any_spelling_of_a_document(tmp_path: Path) -> None:
    documents = [
        b'{"meetingId":1,"eventNumber":2,"status":"OPEN"}',
        b'{ "eventNumber": 2, "MeetingId": "1", "status": "OPEN" }',
        b'{ "meetingId":9,"eventNumber":9,"meetingId":1,"eventNumber":2,"status":"OPEN"}',
        b'{"payload":[{"meetingId":1,"eventNumber":2,"status":"OPEN"}],"signature":"","timestamp":1}',
    ]
    others = [b'{"meetingId":1,"eventNumber":3,"status":"OPEN"}', b'{"meetingId":11,"eventNumber":2,"status":"OPEN"}']
    records = [Raw("status", 0, n, value) for n, value in enumerate([*documents, *others])]
    for number, blocks in enumerate(([records], [[record] for record in records])):
        recording = written(tmp_path / f"{number}", blocks)
        assert offsets(recording.races(RaceId(1, 2))) == [("status", n) for n in range(len(documents))]


def test_a_plain_document_with_two_races_is_indexed_under_the_first_and_read_as_the_last(tmp_path: Path) -> None:
    value = b'{"meetingId":9,"eventNumber":9,"meetingId":1,"eventNumber":2,"status":"OPEN"}'
    alone = written(tmp_path / "alone", [[Raw("status", 0, 0, value)]])
    assert offsets(alone.races(RaceId(9, 9))) == offsets(alone.races(RaceId(1, 2))) == []
    beside = written(tmp_path / "beside", [[Raw("status", 0, 0, value), status_record(1, race=2)]])
    assert offsets(beside.races(RaceId(1, 2))) == [("status", 0), ("status", 1)]


def test_a_part_of_a_part_is_in_both(tmp_path: Path) -> None:
    recording = written(tmp_path / "day", [[status_record(n, at=n, race=1 + n % 2) for n in range(6)]])
    two, three, four = (EPOCH + timedelta(milliseconds=time) for time in (2, 3, 4))
    assert offsets(recording.between(two).between(until=four)) == [("status", 2), ("status", 3)]
    assert offsets(recording.between(until=two).between(three, four)) == []
    one, two_races = recording.races(RaceId(1, 1)), recording.races(RaceId(1, 1), RaceId(1, 2))
    assert offsets(two_races.races(RaceId(1, 1))) == offsets(one) == [("status", n) for n in (0, 2, 4)]
    assert offsets(one.races(RaceId(1, 2))) == []


def test_what_can_not_be_decoded_or_hides_its_race_is_not_of_the_race_that_it_begins_with(tmp_path: Path) -> None:
    values = [
        b'{"meetingId":1,"eventNumber":1,"status":',
        b'{"meetingId":1,"eventNumber":1,"status":"OPEN","\\u006deetingId":7}',
    ]
    records = [status_record(0), *(Raw("status", 0, n, value) for n, value in enumerate(values, 1))]
    assert offsets(written(tmp_path / "day", [records]).races(RaceId(1, 1))) == [("status", 0)]


def test_a_time_that_no_datetime_can_represent_is_no_time_of_any_part(tmp_path: Path) -> None:
    times = [(1, -5), (1, 2**61), (2, 77), (0, 50)]
    records = [attrs.evolve(status_record(n), timestamp=time) for n, time in enumerate(times)]
    recording = written(tmp_path / "day", [records])
    first, last = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)
    assert [record.timestamp is None for record in recording] == [True, True, False, True]
    for since, until in ((first, None), (None, last), (first, last)):
        assert offsets(recording.between(since, until)) == [("status", 2)]


def test_a_recording_tells_what_it_has(tmp_path: Path) -> None:
    recording = written(tmp_path / "day", [[status_record(n, at=1000 * n)] for n in range(3, 6)])
    assert recording.partitions == {TopicPartition("status", 0): range(3, 6)}
    assert (recording.began, recording.ended) == (EPOCH + timedelta(seconds=3), EPOCH + timedelta(seconds=5))
    part = recording.between(EPOCH + timedelta(seconds=3.5))
    assert part.partitions == {TopicPartition("status", 0): range(4, 6)}
    assert part.began == EPOCH + timedelta(seconds=4)
    assert repr(recording) == f"<Recording {tmp_path / 'day'}>"
    empty = written(tmp_path / "empty", [])
    assert (empty.began, empty.partitions, list(empty)) == (None, {}, [])


def test_what_is_no_race_and_no_list_of_paths_is_refused(tmp_path: Path) -> None:
    recording = written(tmp_path / "day", [[status_record(0)]])
    with pytest.raises(TypeError, match=r"expected RaceIds, got '1-1'; RaceId\.parse reads"):
        recording.races("1-1")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="expected several paths"):
        Recording.join(str(tmp_path / "day"))


def test_times_and_speeds_that_can_not_be_meant_are_refused(tmp_path: Path) -> None:
    recording = written(tmp_path / "day", [[status_record(0)]])
    with pytest.raises(ValueError, match="time zone"):
        recording.between(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="speed=0"):
        recording.at(0)
    with pytest.raises(ValueError, match="speed=nan"):
        recording.at(math.nan)
    with pytest.raises(TypeError, match="speed='60'"):
        recording.at("60")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ValueError, match="is after until="):
        recording.between(EPOCH + timedelta(seconds=2), EPOCH + timedelta(seconds=1))


def test_an_event_of_a_recording_has_its_record(tmp_path: Path) -> None:
    record = status_record(7, at=1234)
    (event,) = written(tmp_path / "day", [[record]]).events()
    assert isinstance(event, RaceStatusEvent)
    assert event.record == Record.of(record)
