"""The files of a recording: when blocks are written and what is on the disk by then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rbhq_stream import Recording, TopicPartition
from rbhq_stream._recording import segment_writer
from rbhq_stream._recording.blocks import PartitionRange
from rbhq_stream._recording.segments import read_segment
from tests.recordings import add, offsets, status_record, writer_for


@pytest.mark.parametrize(
    ("limit", "value"), [("BLOCK_BYTES", 2 * len(status_record(0).value() or b"")), ("BLOCK_RECORDS", 2)]
)
def test_a_block_is_written_when_it_has_enough_bytes_or_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(segment_writer, limit, value)
    writer = writer_for(tmp_path / "day")
    for number in range(5):
        add(writer, [status_record(number)])
    writer.abandon()
    (path,) = (tmp_path / "day").iterdir()
    assert [block.header.count for block in read_segment(path).blocks] == [2, 2]


def test_the_index_of_a_block_has_the_offsets_and_the_number_of_records_of_each_partition(tmp_path: Path) -> None:
    writer = writer_for(tmp_path / "day")
    for offsets_of_status, of_prices in (((3, 4), (7,)), ((6,), (9,))):
        add(writer, [status_record(n) for n in offsets_of_status])
        add(writer, [status_record(n, topic="prices", partition=2) for n in of_prices])
    writer.close()
    (path,) = (tmp_path / "day").iterdir()
    (block,) = read_segment(path).blocks
    assert block.index.partitions == (
        PartitionRange(TopicPartition("status", 0), 3, 6, 3),
        PartitionRange(TopicPartition("prices", 2), 7, 9, 2),
    )


def test_a_segment_that_is_full_takes_its_tail_with_it_and_the_next_one_has_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    writer = writer_for(folder, max_bytes=1)
    for number in range(2):
        add(writer, [status_record(number)])
        writer.flush()
        if number == 0:
            writer.end_block()
    writer.abandon()
    assert sorted(path.name for path in folder.iterdir()) == ["00000001.rbhq", "00000002.rbhq", "00000002.tail"]
    assert offsets(Recording(folder)) == [("status", 0), ("status", 1)]


def test_a_block_is_on_the_disk_before_the_tail_with_its_records_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "day"
    segment, tail = folder / "00000001.rbhq", folder / "00000001.tail"
    synced: list[tuple[str, bool]] = []
    """The name of each file or folder that was synced, and whether a tail had records then."""

    def fsync(descriptor: int) -> None:
        names = {path.stat().st_ino: path.name for path in (folder, *folder.iterdir())}
        has_records = tail.exists() and tail.stat().st_size > segment_header
        synced.append((names[os.fstat(descriptor).st_ino], has_records))

    def synced_by_now() -> list[tuple[str, bool]]:
        found = [*synced]
        synced.clear()
        return found

    segment_header = 0
    monkeypatch.setattr(os, "fsync", fsync)
    writer = writer_for(folder, fsync=True)
    segment_header = segment.stat().st_size
    assert synced_by_now() == [(segment.name, False), (folder.name, False)]
    add(writer, [status_record(0)])
    writer.flush()
    assert synced_by_now() == [(tail.name, False), (folder.name, False), (tail.name, True)]
    add(writer, [status_record(1)], ends_block=True)
    assert synced_by_now() == [(segment.name, True)]
    assert tail.stat().st_size == segment_header
    writer.flush()
    assert synced_by_now() == [], "everything is on the disk"
    add(writer, [status_record(2)], ends_block=True)
    assert synced_by_now() == [], "until the next flush"
    writer.flush()
    writer.flush()
    assert synced_by_now() == [(segment.name, False)]
    add(writer, [status_record(3)])
    writer.close()
    assert synced_by_now() == [(segment.name, False)]
    assert offsets(Recording(folder)) == [("status", number) for number in range(4)]
