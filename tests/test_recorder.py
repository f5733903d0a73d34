"""`Recorder`: when it writes what the poll thread has received, for how long it makes that thread wait, and its end."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import attrs
import pytest

from rbhq_stream import RawRecord, Recording, RecordingError, RecordingFailed, RecordTo
from rbhq_stream._recording.recorder import Recorder
from rbhq_stream._recording.segment_writer import SegmentWriter
from tests.memory_feeds import TOPICS
from tests.recordings import is_locked, offsets, status_record
from tests.waiting import wait_for

MODULE = "rbhq_stream._recording.recorder"
RECORD_BYTES = len(status_record(0).value() or b"")


class ObservedRecorder(Recorder):
    """Keeps the signals of failures, and a log of what the writer thread does."""

    def __init__(self, folder: Path, flush_interval: float) -> None:
        self.failures: list[RecordingFailed] = []
        self.log: list[str] = []
        super().__init__(RecordTo(folder, flush_interval=flush_interval), TOPICS, self.failures.append)

    def take(self, *numbers: int, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Receives the records with these offsets, one by one."""
        for number in numbers:
            self.record([status_record(number)], is_wanted)

    def is_waiting_with(self, count: int) -> bool:
        """Whether the writer thread waits, after it has taken so many records and whatever was due then."""
        return self.log.count("add") == count and self.log[-1].startswith("wait") and not self._wake.is_set()

    def _wait_for_work(self, flush_at: float | None) -> None:
        self.log.append(f"wait until {flush_at}")
        super()._wait_for_work(flush_at)


MakeRecorder = Callable[..., ObservedRecorder]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "day"


@pytest.fixture
def disk() -> Iterator[threading.Event]:
    """The disk of `make_recorder`: it hangs while this is cleared."""
    ready = threading.Event()
    ready.set()
    yield ready
    ready.set()


@pytest.fixture
def make_recorder(folder: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRecorder]:
    """Makes a recorder on a thread of its own, which flushes only on request by default; closes it at the end."""
    made: list[ObservedRecorder] = []

    def observed(name: str) -> Callable[..., None]:
        method = getattr(SegmentWriter, name)

        def call(writer: SegmentWriter, *arguments: object) -> None:
            assert disk.wait(60)
            method(writer, *arguments)
            made[0].log.append(name)

        return call

    for name in ("add", "flush", "abandon"):
        monkeypatch.setattr(SegmentWriter, name, observed(name))

    def make(*, flush_interval: float = 3600) -> ObservedRecorder:
        made.append(ObservedRecorder(folder, flush_interval))
        made[0].open()
        return made[0]

    yield make
    disk.set()
    for one in made:
        one.close(60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the recorder, in seconds."""
    now = [0.0]
    monkeypatch.setattr(f"{MODULE}.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


# when it writes


def test_closing_writes_what_was_received_although_no_flush_was_due(folder: Path, make_recorder: MakeRecorder) -> None:
    recorder = make_recorder()
    recorder.take(0, 1, 2)
    recorder.close(60)
    assert not recorder.failures
    assert "flush" not in recorder.log
    assert offsets(Recording(folder)) == [("status", 0), ("status", 1), ("status", 2)]
    assert not is_locked(folder)


def test_closing_writes_what_was_received_while_the_writer_thread_was_busy(
    folder: Path, disk: threading.Event, make_recorder: MakeRecorder
) -> None:
    recorder = make_recorder()
    disk.clear()
    recorder.take(0)
    wait_for(lambda: not recorder._waiting, "the writer thread has taken the first record and no other")
    recorder.take(1)
    closing = threading.Thread(target=recorder.close, args=[60])
    closing.start()
    wait_for(lambda: recorder._is_closing, "it is closing")
    disk.set()
    closing.join()
    assert offsets(Recording(folder)) == [("status", 0), ("status", 1)]


def test_a_record_is_flushed_after_the_interval_without_a_request(folder: Path, make_recorder: MakeRecorder) -> None:
    recorder = make_recorder(flush_interval=0.001)
    for number in range(3):
        recorder.take(number)
        wait_for(lambda: len(offsets(Recording(folder))) > number, "the record is in the file")  # noqa: B023  # called at once


def test_the_interval_begins_with_the_first_record_and_ends_with_the_flush(
    clock: list[float], make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # each record wakes the writer thread, so that it looks at the clock
    monkeypatch.setattr(f"{MODULE}.BLOCK_BYTES", 1)
    recorder = make_recorder(flush_interval=1000)
    for number, now in enumerate((5.0, 1004.0)):
        clock[0] = now
        recorder.take(number)
        wait_for(lambda: recorder.is_waiting_with(number + 1), "it is taken")  # noqa: B023  # called at once
    assert recorder.log[-1] == "wait until 1005.0"
    assert "flush" not in recorder.log
    clock[0] = 1005.0
    recorder.take(2)
    wait_for(lambda: "flush" in recorder.log, "they are flushed")
    recorder.take(3)
    wait_for(lambda: recorder.is_waiting_with(4), "it is taken")
    assert recorder.log[-1] == "wait until 2005.0"
    assert recorder.log.count("flush") == 1


def test_before_a_flush_only_a_full_block_wakes_the_writer_thread(
    make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.BLOCK_BYTES", 3 * RECORD_BYTES)
    recorder = make_recorder()
    recorder.take(0)
    wait_for(lambda: recorder.is_waiting_with(1) and recorder._wakes_itself, "it waits for the next flush")
    recorder.take(1, 2)
    assert not recorder._wake.is_set()
    recorder.take(3)
    wait_for(lambda: recorder.is_waiting_with(4), "the block is taken")


def test_a_request_flushes_what_was_received_and_only_that(make_recorder: MakeRecorder) -> None:
    recorder = make_recorder()
    assert recorder.is_flushed(recorder.request_flush())
    wait_for(lambda: recorder.is_waiting_with(0), "nothing was to be done")
    for count in (2, 4):
        recorder.take(count, count + 1)
        wait_for(lambda: recorder.is_waiting_with(count), "they are taken")  # noqa: B023  # called at once
        ticket = recorder.request_flush()
        assert ticket == count
        wait_for(lambda: recorder.is_flushed(ticket), "it is flushed")  # noqa: B023  # called at once
        assert not recorder.is_flushed(ticket + 1)
    recorder.take(6)
    wait_for(lambda: recorder.is_waiting_with(5), "it is taken")
    assert not recorder.is_flushed(5)
    assert not recorder.failures


def test_a_request_for_what_is_still_waiting_is_one_flush(disk: threading.Event, make_recorder: MakeRecorder) -> None:
    recorder = make_recorder()
    disk.clear()
    recorder.take(0)
    wait_for(lambda: not recorder._waiting, "the writer thread has taken the first record and no other")
    recorder.take(1)
    ticket = recorder.request_flush()
    disk.set()
    wait_for(lambda: recorder.is_flushed(ticket), "both are flushed")
    assert recorder.log.count("flush") == 1


def test_the_writer_thread_sleeps_while_nothing_is_due(make_recorder: MakeRecorder) -> None:
    recorder = make_recorder()
    time.sleep(0.02)  # in which a thread that does not sleep would look hundreds of times
    recorder.take(0)
    wait_for(lambda: recorder.is_waiting_with(1), "it is taken")
    time.sleep(0.02)
    assert len(recorder.log) <= 5  # a wait before the record, and two after it if the wake-up was late


def test_the_writer_thread_does_not_keep_the_process_from_ending(make_recorder: MakeRecorder) -> None:
    make_recorder()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "rbhq_stream recording"]
    assert thread.daemon


# while the disk does not keep up


def test_the_feed_waits_once_more_bytes_are_waiting_than_are_allowed(
    disk: threading.Event, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.MAX_WAITING_BYTES", 3 * RECORD_BYTES)
    recorder = make_recorder()
    recorder.take(0)
    wait_for(lambda: recorder.is_waiting_with(1), "the first one is taken")
    disk.clear()
    is_wanted = Mock(return_value=False)  # the feed is closing
    recorder.take(1, 2, 3, is_wanted=is_wanted)
    assert is_wanted.call_count == 0
    recorder.take(4, is_wanted=is_wanted)
    assert is_wanted.call_count == 1
    assert not recorder.failures


def test_the_feed_continues_when_the_disk_has_caught_up(
    folder: Path, disk: threading.Event, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.MAX_WAITING_BYTES", RECORD_BYTES)
    monkeypatch.setattr(f"{MODULE}.STALL_TIMEOUT", 3600)
    recorder = make_recorder()
    disk.clear()

    def is_wanted() -> bool:
        disk.set()
        return True

    for number in range(3):
        recorder.take(number, is_wanted=is_wanted)
    recorder.close(60)
    assert not recorder.failures
    assert len(offsets(Recording(folder))) == 3


def test_the_feed_continues_when_the_recording_has_failed_meanwhile(
    disk: threading.Event, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.MAX_WAITING_BYTES", RECORD_BYTES)
    monkeypatch.setattr(f"{MODULE}.STALL_TIMEOUT", 3600)

    def fail(*_: object) -> None:
        assert disk.wait(60)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(SegmentWriter, "add", fail)
    recorder = make_recorder()
    disk.clear()
    looks = 0

    def is_wanted() -> bool:
        nonlocal looks
        looks += 1
        disk.set()
        return looks < 600  # about a minute

    recorder.take(0, 1, is_wanted=is_wanted)
    assert 0 < looks < 600
    assert [failure.problem for failure in recorder.failures] == ["Input/output error"]


def test_a_disk_that_hangs_holds_the_feed_up_for_a_limited_time_only(
    clock: list[float], disk: threading.Event, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.MAX_WAITING_BYTES", RECORD_BYTES)
    recorder = make_recorder()
    disk.clear()

    def is_wanted() -> bool:
        clock[0] += 1
        return True

    recorder.take(0, 1, is_wanted=is_wanted)
    assert clock == [2.0]
    (failure,) = recorder.failures
    assert (failure.problem, failure.missing) == ("the disk has not kept up for 2 s", 2)
    assert recorder.is_flushed(recorder.request_flush())  # no commit waits for it any more
    recorder.take(2, is_wanted=is_wanted)
    assert clock == [2.0]
    disk.set()
    recorder.close(60)
    assert recorder.failures == [failure]


def test_the_feed_sleeps_while_the_disk_hangs(
    disk: threading.Event, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.MAX_WAITING_BYTES", RECORD_BYTES)
    monkeypatch.setattr(f"{MODULE}.STALL_TIMEOUT", 0.15)
    recorder = make_recorder()
    recorder.take(0)
    wait_for(lambda: recorder.is_waiting_with(1), "the first one is taken")
    disk.clear()
    is_wanted = Mock(return_value=True)
    began = time.monotonic()
    recorder.take(1, 2, is_wanted=is_wanted)
    assert time.monotonic() >= began + 0.15
    assert is_wanted.call_count <= 10


def test_closing_waits_for_a_disk_that_hangs_for_the_given_time_only(
    folder: Path, disk: threading.Event, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SegmentWriter, "close", None)  # it fails afterwards, which is not signalled again
    recorder = make_recorder()
    disk.clear()
    recorder.take(0)
    recorder.close(0.01)
    (failure,) = recorder.failures
    assert failure.problem == "the disk did not take the last records within 0.01 s"
    assert (failure.path, failure.missing) == (str(folder), 1)
    assert is_locked(folder)
    disk.set()
    wait_for(lambda: not is_locked(folder), "the writer thread has ended")
    assert recorder.failures == [failure]
    assert recorder.log[-1] == "abandon"


# failures


@pytest.mark.parametrize("wrong", [{"value": "text"}, {"key": "text"}, {"offset": None}, {"headers": [("name", 1)]}])
def test_a_record_that_is_not_as_promised_ends_the_recording_and_not_the_feed(
    folder: Path, make_recorder: MakeRecorder, wrong: dict[str, Any]
) -> None:
    recorder = make_recorder()
    recorder.take(0)
    recorder.request_flush()
    wait_for(lambda: recorder.is_waiting_with(1) and "flush" in recorder.log, "the first one is flushed")
    records: list[RawRecord] = [status_record(1), attrs.evolve(status_record(2), **wrong)]
    assert recorder.record(records, lambda: True) is records
    (failure,) = recorder.failures
    assert "a record can't be recorded: ValidationError" in failure.problem
    assert failure.missing == 2
    wait_for(lambda: not is_locked(folder), "the writer thread has ended")
    good: list[RawRecord] = [status_record(3)]
    assert recorder.record(good, lambda: True) is good  # nothing is made of what can't be written any more
    assert len(recorder.failures) == 1


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("odd"), "OSError('odd')"),
        (ValueError("odd"), "ValueError('odd')"),
    ],
)
def test_whatever_goes_wrong_on_the_writer_thread_is_signalled_and_the_files_are_closed(
    folder: Path, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch, error: Exception, problem: str
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(SegmentWriter, "flush", fail)
    recorder = make_recorder()
    recorder.take(0)
    ticket = recorder.request_flush()
    wait_for(lambda: not is_locked(folder), "the writer thread has ended")
    assert [(failure.problem, failure.missing) for failure in recorder.failures] == [(problem, 1)]
    assert recorder.log[-1] == "abandon"
    assert recorder.is_flushed(ticket)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("odd"), r"OSError\('odd'\)"),
    ],
)
def test_a_folder_in_which_no_file_can_be_begun_is_refused_and_can_be_used_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, problem: str
) -> None:
    class FullDisk(FileIO):
        def write(self, data: Any) -> int:
            raise error

    monkeypatch.setattr("rbhq_stream._recording.segment_writer.FileIO", FullDisk)
    recorder = ObservedRecorder(folder, 3600)
    with pytest.raises(RecordingError, match=f"day: can't write there: {problem}"):
        recorder.open()
    recorder.close(60)
    assert not recorder.failures
    assert not is_locked(folder)


def test_a_process_that_can_have_no_more_threads_leaves_the_folder_unlocked_and_readable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    recorder = ObservedRecorder(folder, 3600)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RecordingError, match="day: can't write there: can't start new thread"):
            recorder.open()
    recorder.close(60)
    assert not recorder.failures
    assert not is_locked(folder)
    assert offsets(Recording(folder)) == []
