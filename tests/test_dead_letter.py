"""The dead-letter file: exact, durable, rotating, shared; and as the sink of a feed."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import math
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import ConfigError, DecodeError, Fault, Feed, PriceEvent, PriceType, PriceUpdate, Record, decode
from rbhq_stream._dead_letter import DeadLetter, DeadLetterError, DeadLetterFile
from rbhq_stream._dead_letter.file import MAX_FAULTS
from rbhq_stream.testing import EmbeddedBroker
from tests.strategies import texts

RECORD = Record("prices", 2, 17, datetime(2026, 11, 21, 9, 30, 0, 120_000, timezone.utc), b"1397808-7", b'{"a', ())


def bad(number: int, value: bytes = b"{", partition: int = 0) -> DecodeError:
    record = attrs.evolve(RECORD, partition=partition, offset=number, value=value)
    return DecodeError("PriceEvent", [Fault("$", "{", "JSON")], record=record)


def offsets(path: Path) -> list[int]:
    """The offsets of all dead letters; nothing may be skipped."""
    letters = DeadLetterFile.read(path)
    found = [letter.record.offset for letter in letters]
    assert letters.skipped == 0
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead.jsonl"


# what is in it

records = st.builds(
    Record,
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.none() | st.datetimes(timezones=st.just(timezone.utc)),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=2000),
    headers=st.lists(st.tuples(texts, st.none() | st.binary(max_size=20)), max_size=3).map(tuple),
)
faults = st.lists(st.builds(Fault, texts, texts, texts), min_size=1, max_size=3)


@given(st.lists(st.builds(DecodeError, st.sampled_from(["PriceEvent", "RaceStatusEvent"]), faults, record=records)))
def test_what_is_read_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, errors: list[DecodeError]) -> None:
    path = tmp_path_factory.mktemp("exact") / "dead.jsonl"
    sink = DeadLetterFile(path, max_bytes=3000, keep=None, fsync=False)
    before = datetime.now(timezone.utc)
    for error in errors:
        sink(error)

    letters = list(DeadLetterFile.read(path))

    assert [(letter.record, letter.kind, letter.faults) for letter in letters] == [
        (error.record, error.kind, error.faults) for error in errors
    ]
    times = [before, *(letter.when for letter in letters), datetime.now(timezone.utc)]
    assert times == sorted(times)
    for one in path.parent.iterdir():
        assert one.read_bytes().count(b"\n") == 1 or one.stat().st_size <= 3000


def test_a_line_can_be_read_without_this_library(path: Path) -> None:
    value = b'{"meetingId": 1, "x": "\xff\xe2\x82\xac"'
    record = attrs.evolve(RECORD, value=value, headers=(("trace", b"\x00"), ("none", None)))
    DeadLetterFile(path)(DecodeError("PriceEvent", [Fault("$", "'a'", "UTF-8")], record=record))

    line = json.loads(path.read_text(encoding="utf-8"))

    when = datetime.fromisoformat(line.pop("when").replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - when) < timedelta(seconds=60)
    assert b64decode(line.pop("value")) == value
    assert line == {
        "kind": "PriceEvent",
        "topic": "prices",
        "partition": 2,
        "offset": 17,
        "timestamp": "2026-11-21T09:30:00.120000Z",
        "key": "MTM5NzgwOC03",
        "headers": [["trace", "AA=="], ["none", None]],
        "faults": [{"path": "$", "found": "'a'", "expected": "UTF-8"}],
        "text": '{"meetingId": 1, "x": "\\xff\N{EURO SIGN}"',
    }


def test_a_record_with_a_million_faults_doesnt_fill_the_disk(path: Path) -> None:
    raw = b'{"meetingId":1,"eventNumber":1,"priceUpdates":[%s]}' % b",".join([b"0"] * 5000)
    with pytest.raises(DecodeError) as caught:
        decode(PriceEvent, raw, record=attrs.evolve(RECORD, value=raw))
    DeadLetterFile(path)(caught.value)

    (letter,) = DeadLetterFile.read(path)

    assert letter.record.value == raw
    assert letter.faults == caught.value.faults[:MAX_FAULTS]
    assert path.stat().st_size < 5 * len(raw)


def test_a_letter_can_be_decoded_again(path: Path) -> None:
    good = b'{"meetingId":1,"eventNumber":2,"priceUpdates":[]}'
    sink = DeadLetterFile(path)
    sink(bad(1, good))
    sink(bad(2, b"{"))
    first, second = DeadLetterFile.read(path)

    (event,) = first.decode()
    assert event == PriceEvent(1, 2)
    assert event.record == first.record
    with pytest.raises(DecodeError) as caught:
        second.decode()
    assert caught.value.record == second.record
    with pytest.raises(DecodeError, match="at most 10 bytes"):
        first.decode(max_bytes=10)
    with pytest.raises(ValueError, match="no event class 'Weather'"):
        attrs.evolve(first, kind="Weather").decode()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first.kind = "x"  # type: ignore[misc]  # that it can't be set is what is tested


def test_an_error_without_a_record_is_a_mistake(path: Path) -> None:
    with pytest.raises(ValueError, match="record="):
        DeadLetterFile(path)(DecodeError("PriceEvent", [Fault("$", "{", "JSON")]))


def test_it_opens_nothing_before_the_first_record(path: Path) -> None:
    with DeadLetterFile(path) as sink:
        assert not path.exists()
        assert list(DeadLetterFile.read(path)) == []
        sink(bad(1))
    sink(bad(2))
    assert offsets(path) == [1, 2]


def test_its_repr_shows_its_settings(path: Path) -> None:
    assert repr(DeadLetterFile(path, max_bytes=5)) == (
        f"DeadLetterFile(path={path!r}, max_bytes=5, keep=10, fsync=True, lock_timeout=10.0)"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": "nowhere/at/all"}, "path: there is no folder {}/nowhere/at: create it first"),
        ({"path": ""}, "path: {} is a folder: give the path of a file, which does not have to exist"),
        ({"max_bytes": 0}, "max_bytes: expected 1 to"),
        ({"max_bytes": True}, "max_bytes: expected an integer"),
        ({"keep": 0}, "keep: expected 1 to"),
        ({"lock_timeout": 0}, "lock_timeout: expected 0.001 to 3600 seconds"),
        ({"lock_timeout": math.inf}, "lock_timeout: expected 0.001 to 3600 seconds"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(tmp_path: Path, arguments: dict[str, object], expected: str) -> None:
    arguments = {**arguments, "path": tmp_path / str(arguments.get("path", "dead.jsonl"))}
    with pytest.raises(ConfigError) as caught:
        DeadLetterFile(**arguments)  # type: ignore[arg-type]  # wrong ones
    assert str(caught.value).startswith(expected.format(tmp_path))


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("/dev/null", "is not a regular file"),
        ("/dev/full", "is not a regular file"),
        ("/proc/dead.jsonl", "can't create files in the folder /proc"),
        ("{}/file/dead.jsonl", "there is no folder {}/file"),
        ("{}/pipe", "is not a regular file"),
        ("{}/link-to-null", "is not a regular file"),
        ("{}/link-to-nowhere", "there is no folder {}/missing"),
        ("{}/" + "x" * 300, "File name too long"),
        ("{}/a\0b", "can't be a path"),
        ("{}/a\ud800b", "can't be a path"),
        ("~no-such-user/dead.jsonl", "can't be a path"),
    ],
)
def test_a_path_that_cannot_be_written_to_is_refused_when_the_sink_is_made(
    tmp_path: Path, where: str, problem: str
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link-to-null").symlink_to("/dev/null")
    (tmp_path / "link-to-nowhere").symlink_to(tmp_path / "missing" / "dead.jsonl")
    with pytest.raises(ConfigError) as caught:
        DeadLetterFile(where.format(tmp_path))
    assert caught.value.field == "path"
    assert problem.format(tmp_path) in caught.value.problem


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "problem"),
    [
        (0o555, None, "can't create files in the folder {}"),
        (0o555, 0o666, "can't create files in the folder {}"),  # it could not be rotated
        (0o777, 0o444, "can't write to {}/dead.jsonl: Permission denied"),
        (0o777, 0o666, None),
        (0o777, None, None),
    ],
)
def test_permissions_are_checked_when_the_sink_is_made(
    folder_mode: int, file_mode: int | None, problem: str | None
) -> None:
    with TemporaryDirectory() as name:  # not tmp_path, whose parents are closed to other users
        folder = Path(name).resolve()
        if file_mode is not None:
            (folder / "dead.jsonl").touch()
            (folder / "dead.jsonl").chmod(file_mode)
        folder.chmod(folder_mode)
        found = as_unprivileged_user(lambda: DeadLetterFile(folder / "dead.jsonl"))
        left = sorted(path.name for path in folder.iterdir())
        folder.chmod(0o777)
    assert (problem.format(folder) in found) if problem else found == "", found
    assert left == ([] if file_mode is None else ["dead.jsonl"]), "the check leaves nothing behind"


def as_unprivileged_user(action: Callable[[], object]) -> str:
    """Runs the action in a child process without root's permissions. Returns the text of the error it raises, or ''."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)
            action()
        except BaseException as error:  # noqa: BLE001  # the parent judges it
            os.write(write_end, str(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end) as pipe:  # noqa: PTH123  # a descriptor
        text = pipe.read()
    os.waitpid(child, 0)
    return text


# durable


def test_the_file_and_its_folder_are_synced_before_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[Path, int]] = []

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), path.stat().st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    sink = DeadLetterFile(path)
    sink(bad(1))
    size = path.stat().st_size
    assert synced == [(path, size), (path.parent, size)]
    DeadLetterFile(path, fsync=False)(bad(2))
    assert len(synced) == 2


def test_an_incomplete_line_is_skipped_and_counted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = DeadLetterFile(path)
    sink(bad(1))
    whole = path.read_bytes()
    for torn in (whole[:-2], b"\0" * 4096, b"{}", whole[: len(whole) // 2]):
        with path.open("ab") as file:
            file.write(torn)
        sink(bad(2))

    letters = DeadLetterFile.read(path)

    assert [letter.record.offset for letter in letters] == [1, 2, 2, 2, 2]
    assert letters.skipped == 4
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert str(path) in caplog.text


def test_a_last_line_without_its_line_break_is_read(path: Path) -> None:
    DeadLetterFile(path)(bad(1))
    path.write_bytes(path.read_bytes()[:-1])
    assert offsets(path) == [1]
    DeadLetterFile(path)(bad(2))
    assert offsets(path) == [1, 2]


WRITE_UNTIL_KILLED = """
import os, random, sys
from rbhq_stream import DecodeError, Fault, Record
from rbhq_stream._dead_letter import DeadLetterFile
path, number, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sink = DeadLetterFile(path, max_bytes=200_000, keep=None)
while number < last:
    record = Record("prices", 0, number, value=random.Random(number).randbytes(number % 30_000))
    sink(DecodeError("PriceEvent", [Fault("$", "{", "JSON")], record=record))
    os.write(1, b"%d\\n" % number)
    number += 1
"""


def test_kill_9_loses_nothing_that_it_returned_for(path: Path) -> None:
    chance = random.Random(3)
    said: list[int] = []
    for attempt in range(12):
        command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path), str(attempt * 1_000_000), "1000000000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said += [int(process.stdout.readline()) for _ in range(chance.randint(1, 30))]
            time.sleep(chance.uniform(0, 0.01))  # so that it is struck anywhere in a write
            process.kill()
            said += map(int, process.stdout.read().split())
        assert process.returncode == -signal.SIGKILL

    letters = list(DeadLetterFile.read(path))

    assert {letter.record.offset for letter in letters} >= set(said)
    for letter in letters:
        number = letter.record.offset
        assert letter.record.value == random.Random(number).randbytes(number % 30_000)
    assert path.with_name("dead.jsonl.1").exists()
    assert len(said) > 100


def test_processes_may_share_a_file(path: Path) -> None:
    each = 150
    # so long that they are rotated away every few lines
    commands = [
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path), str(first), str(first + each)]
        for first in (29_000, 59_000, 89_000, 119_000)
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    while any(process.poll() is None for process in processes):
        letters = DeadLetterFile.read(path)  # a reader in between sees whole lines only, and each once
        found = [letter.record.offset for letter in letters]
        assert letters.skipped == 0
        assert len(found) == len(set(found))
    assert [process.returncode for process in processes] == [0] * 4

    found = offsets(path)
    for first in (29_000, 59_000, 89_000, 119_000):
        assert [number for number in found if first <= number < first + each] == [*range(first, first + each)]
    assert len(found) == 4 * each


def test_threads_may_share_a_sink(path: Path) -> None:
    sink = DeadLetterFile(path, max_bytes=3000, keep=None)

    def store(first: int) -> None:
        for number in range(first, first + 100):
            sink(bad(number))

    threads = [threading.Thread(target=store, args=(first,)) for first in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(offsets(path)) == [*range(400)]


# locks


@pytest.fixture
def locked(path: Path) -> Iterator[Path]:
    """The path of a file that another process holds locked."""
    DeadLetterFile(path)(bad(1))
    code = f"import fcntl; file = open({str(path)!r}); fcntl.flock(file, fcntl.LOCK_EX); print(); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield path
        process.communicate()


def test_waiting_for_a_locked_file_ends_after_lock_timeout(locked: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeadLetterError) as caught:
        DeadLetterFile(locked, lock_timeout=0.2)(bad(2))
    assert 0.15 < time.monotonic() - began < 8, "the default is 10 s"
    assert caught.value.reason == (
        f"another process or thread has held the lock of {locked} for lock_timeout=0.2 s. `lsof` shows which one"
    )
    with pytest.raises(TimeoutError, match=r"has held the lock of .* for lock_timeout=0.1 s"):
        next(DeadLetterFile.read(locked, lock_timeout=0.1))


def test_a_lock_that_is_released_in_time_is_no_error(path: Path) -> None:
    sink = DeadLetterFile(path, lock_timeout=10)
    sink(bad(1))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        sink(bad(2))
    assert offsets(path) == [1, 2]


def test_a_file_that_is_moved_away_under_lock_is_not_written_to(path: Path) -> None:
    sink = DeadLetterFile(path, lock_timeout=10)
    sink(bad(1))
    moved = path.with_name("moved")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def move() -> None:
            path.replace(moved)
            fcntl.flock(file, fcntl.LOCK_UN)

        threading.Timer(0.1, move).start()
        sink(bad(2))
    assert (offsets(moved), offsets(path)) == ([1], [2])


# rotation


def test_full_files_are_renamed_and_the_oldest_dropped(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    DeadLetterFile(path)(bad(0))
    line = path.stat().st_size
    sink = DeadLetterFile(path, max_bytes=3 * line + 5, keep=2)
    for number in range(1, 9):
        sink(bad(number))
    assert [sorted(file.name for file in path.parent.iterdir()), offsets(path)] == [
        ["dead.jsonl", "dead.jsonl.1", "dead.jsonl.2"],
        [*range(9)],
    ]
    assert caplog.records == []

    sink(bad(9))

    assert sorted(file.name for file in path.parent.iterdir()) == ["dead.jsonl", "dead.jsonl.1", "dead.jsonl.2"]
    assert offsets(path) == [*range(3, 10)]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"deleting the oldest dead letters, {path}.2: keep=2")
    ]


def test_a_record_larger_than_a_file_gets_one_of_its_own(path: Path) -> None:
    sink = DeadLetterFile(path, max_bytes=1000)
    for number, size in enumerate([10, 5000, 5000, 10]):
        sink(bad(number, b"x" * size))
    assert offsets(path) == [0, 1, 2, 3]
    assert len(list(path.parent.iterdir())) == 4


@pytest.mark.parametrize("step", range(1, 6))
def test_a_crash_in_the_middle_of_a_rotation_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    sink = DeadLetterFile(path, max_bytes=1, keep=20)
    for number in range(6):
        sink(bad(number))
    renamed, replace = 0, Path.replace

    def crash(self: Path, target: Path) -> Path:
        nonlocal renamed
        renamed += 1
        if renamed == step:
            raise OSError(errno.EIO, "crash")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(DeadLetterError):
            sink(bad(6))
    assert offsets(path) == [*range(6)]
    for number in range(6, 12):
        sink(bad(number))
        assert offsets(path) == [*range(number + 1)]


def test_other_files_beside_it_are_left_alone(path: Path) -> None:
    for name in ("dead.jsonl.bak", "dead.jsonl.1.gz", "other.jsonl.1", "dead.jsonl.²"):
        path.with_name(name).write_text("?")
    sink = DeadLetterFile(path, max_bytes=1)
    for number in range(3):
        sink(bad(number))
    assert offsets(path) == [0, 1, 2]


def test_reading_ends_where_the_file_ended_when_it_began(path: Path) -> None:
    sink = DeadLetterFile(path, max_bytes=2000)
    for number in range(20):
        sink(bad(number))
    found = []
    for letter in DeadLetterFile.read(path):  # as a replay may that stores what is still bad
        found.append(letter.record.offset)
        sink(bad(100 + letter.record.offset))
    assert found == [*range(20)]


# failures


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Limits the size of files. As on a full disk, the beginning of a write still fits."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_raises_an_error_and_leaves_no_partial_line(path: Path) -> None:
    sink = DeadLetterFile(path)
    sink(bad(1))
    before = path.read_bytes()
    with at_most(len(before) + 10), pytest.raises(DeadLetterError) as caught:
        sink(bad(2))
    assert path.read_bytes() == before
    assert caught.value.sink == str(path)
    assert caught.value.reason == os.strerror(errno.EFBIG)
    assert caught.value.record == bad(2).record
    assert str(caught.value) == (
        f"the bad record at topic 'prices' partition 0 offset 2 could not be stored in {path}: File too large"
    )
    assert isinstance(caught.value.__cause__, OSError)
    sink(bad(2))
    assert offsets(path) == [1, 2]


def test_a_failing_disk_raises_an_error_and_the_line_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = DeadLetterFile(path)
    sink(bad(1))

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(DeadLetterError, match="Input/output error"):
            sink(bad(2))
    assert offsets(path) == [1]


def test_a_folder_that_disappears_raises_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    sink = DeadLetterFile(folder / "dead.jsonl")
    folder.rmdir()
    with pytest.raises(DeadLetterError, match="No such file or directory"):
        sink(bad(1))


# with a feed


def price(race: int) -> PriceEvent:
    return PriceEvent(race, 1, price_updates=(PriceUpdate(1, PriceType.WIN, 12, None),))


def test_a_feed_continues_after_a_record_that_was_stored(path: Path) -> None:
    with EmbeddedBroker(partitions=1) as broker:
        topic = str(broker.topics.prices)
        broker.publish(price(1))
        written = broker.publish_raw(topic, b'{"meetingId": tru', b"key", {"trace": b"\xff"})
        broker.publish(price(2))
        with Feed(broker.config("g"), on_bad_record=DeadLetterFile(path)) as feed:
            assert [next(feed), next(feed)] == [price(1), price(2)]
            assert feed.stats.bad_records == 1
        assert broker.committed("g")[topic, 0] == 3
    assert [letter.record for letter in DeadLetterFile.read(path)] == [written]


def test_a_feed_does_not_pass_a_record_that_its_sink_could_not_store(path: Path) -> None:
    with EmbeddedBroker(partitions=1) as broker:
        topic = str(broker.topics.prices)
        broker.publish(price(1))
        broker.publish_raw(topic, b"bad")
        broker.publish(price(2))
        sink = DeadLetterFile(path)
        with Feed(broker.config("g"), on_bad_record=sink) as feed:
            assert next(feed) == price(1)
            for _ in range(2):  # asked again, it tries again
                with at_most(10), pytest.raises(DeadLetterError):
                    next(feed)
        assert broker.committed("g")[topic, 0] == 1
        assert offsets(path) == []

        with Feed(broker.config("g"), on_bad_record=sink) as feed:
            with at_most(10), pytest.raises(DeadLetterError):
                next(feed)
            assert next(feed) == price(2)
        assert broker.committed("g")[topic, 0] == 3
    assert offsets(path) == [1]


def test_run_raises_the_exception_of_its_sink() -> None:
    def refuse(error: DecodeError) -> None:
        raise RuntimeError("no room")

    with EmbeddedBroker(partitions=1) as broker:
        topic = str(broker.topics.prices)
        broker.publish(price(1))
        broker.publish_raw(topic, b"bad")
        feed = Feed(broker.config("g"), on_bad_record=refuse)
        seen: list[PriceEvent] = []
        feed.on(PriceEvent)(seen.append)
        with pytest.raises(RuntimeError, match="no room"):
            feed.run()
        assert seen == [price(1)]
        assert broker.committed("g")[topic, 0] == 1


def test_empty_records_are_not_bad(path: Path) -> None:
    with EmbeddedBroker(partitions=1) as broker:
        topic = str(broker.topics.prices)
        for value in (None, b"", b"[]"):
            broker.publish_raw(topic, value, b"1-1")
        broker.publish_raw(topic, b" ", b"1-1")
        broker.publish(price(1))
        with Feed(broker.config("g"), on_bad_record=DeadLetterFile(path)) as feed:
            assert next(feed) == price(1)
            assert (feed.stats.empty_records, feed.stats.bad_records) == (3, 1)
        assert broker.committed("g")[topic, 0] == 5
    assert offsets(path) == [3]


def test_letters_are_values() -> None:
    letter = DeadLetter(RECORD, "PriceEvent", (Fault("$", "a", "b"),), datetime(2026, 11, 21, tzinfo=timezone.utc))
    assert letter == attrs.evolve(letter)
    assert hash(letter) == hash(attrs.evolve(letter))
