"""The health file: who writes it when, how it is judged, and the command that reads it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream import AsyncFeed, Feed, HealthFile, HealthReason, TopicPartition
from rbhq_stream import _cli as cli
from rbhq_stream._health_file import HealthReport
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import TOPICS, memory_config, price
from tests.waiting import wait_for

NOW = datetime(2026, 11, 28, 3, 0, tzinfo=timezone.utc)
R = HealthReason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "health.json"


@pytest.fixture
def feed(memory_source: MemorySource) -> Iterator[Feed]:
    feed = Feed(memory_config(), source=memory_source)
    yield feed
    feed.close()


def report(path: Path) -> HealthReport:
    return HealthReport.read(path, max_age=10)


def wait_for_reason(path: Path, reason: HealthReason) -> HealthReport:
    wait_for(lambda: report(path).to_dict()["reason"] == reason.value, reason.value)
    return report(path)


def write(path: Path, **fields: Any) -> None:
    written = {"written_at": NOW.isoformat(), "is_alive": True, "is_ready": True, "text": "the feed is live"}
    path.write_text(json.dumps({**written, **fields}))


# what is written


def test_it_follows_the_feed_from_before_its_start_until_its_end(
    feed: Feed, memory_source: MemorySource, path: Path
) -> None:
    memory_source.publish(price(1))
    with HealthFile(path, feed):
        first = report(path)
        assert (first.to_dict()["reason"], first.is_alive, first.is_ready) == ("not_started", True, False)
        feed.__enter__()
        assert next(feed) == price(1)
        feed.poll(0)
        live = wait_for_reason(path, R.UP_TO_DATE)
        assert (live.is_alive, live.is_ready) == (True, True)
        memory_source.cut_off()
        down = wait_for_reason(path, R.BROKERS_UNREACHABLE)
        assert (down.is_alive, down.is_ready) == (True, False), "a restart would not help"
        feed.close()
    closed = report(path)
    assert (closed.to_dict()["state"], closed.is_alive, closed.is_ready) == ("closed", False, False)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_has_the_health_with_its_figures(feed: Feed, memory_source: MemorySource, path: Path) -> None:
    memory_source.publish(price(1))
    with HealthFile(path, feed):
        feed.__enter__()
        next(feed)
        feed.poll(0)
        wait_for(lambda: report(path).to_dict()["figures"]["events"], "the event is counted")
        written = wait_for_reason(path, R.UP_TO_DATE).to_dict()
    health = feed.health
    assert {name: written[name] for name in ("group_id", "process", "topics", "problem")} == {
        "group_id": "g",
        "process": os.getpid(),
        "topics": ["prices", "status", "results"],
        "problem": None,
    }
    assert set(health.to_dict()) < set(written)
    assert written["figures"]["partitions"]["prices[0]"] == {
        "records": 1, "processed": 1, "end": 1, "lag": 0, "delay": 0.0, "is_caught_up": True,
        "unreachable": None,
    }  # fmt: skip
    assert written["figures"]["topics"]["status"]["newest"] is None
    assert datetime.fromisoformat(written["figures"]["topics"]["prices"]["newest"]).tzinfo is not None
    assert set(written["figures"]["partitions"]) == {str(TopicPartition(topic, 0)) for topic in TOPICS.names}


def test_an_async_feed_has_one_too(path: Path) -> None:
    with HealthFile(path, AsyncFeed(memory_config(), source=MemorySource(TOPICS))):
        assert report(path).to_dict()["reason"] == "not_started"


def test_it_is_renewed_although_nothing_changes(feed: Feed, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbhq_stream._health_file.writing.WRITE_INTERVAL", 0.3)
    with HealthFile(path, feed):
        first = report(path).to_dict()["written_at"]
        wait_for(lambda: report(path).to_dict()["written_at"] != first, "it is written again")
        again = report(path).to_dict()["written_at"]
        wait_for(lambda: report(path).to_dict()["written_at"] != again, "and again")


def test_a_feed_that_outlives_the_file_is_not_taken_for_alive(feed: Feed, path: Path) -> None:
    with HealthFile(path, feed) as file:
        feed.__enter__()
    assert not report(path).is_alive
    assert "the application has ended; the feed of group 'g' is" in str(report(path))
    with file:
        assert report(path).is_alive, "it may be entered again"


def test_an_event_that_takes_too_long_is_not_alive(
    feed: Feed, memory_source: MemorySource, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rbhq_stream._health_file.writing.WRITE_INTERVAL", 0.1)
    memory_source.publish(price(1))
    with HealthFile(path, feed, stuck_after=0.3):
        feed.__enter__()
        next(feed)
        wait_for(lambda: not report(path).is_alive, "the handler is stuck")


def test_a_folder_that_does_not_exist_is_told_at_once(feed: Feed, path: Path) -> None:
    with pytest.raises(FileNotFoundError), HealthFile(path / "file", feed):
        pass


def test_a_file_that_can_not_be_written_any_more_is_logged_once_and_tried_again(
    feed: Feed, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rbhq_stream._health_file.writing.WRITE_INTERVAL", 0.01)
    monkeypatch.setattr("rbhq_stream._health_file.writing.LOOK_INTERVAL", 0.01)
    caplog.set_level(logging.ERROR, "rbhq_stream")
    folder = path.parent / "folder"
    folder.mkdir()
    with HealthFile(folder / "health.json", feed):
        folder.rename(path.parent / "away")
        wait_for(lambda: caplog.messages, "it is logged")
        folder.mkdir()
        wait_for((folder / "health.json").exists, "it is written again")
    (message,) = caplog.messages
    assert "probes will fail" in message


# how it is judged


@pytest.mark.parametrize(
    ("age", "believed", "problem"),
    [
        (0, True, None),
        (10, True, None),
        (11, False, "it was last written 11 s ago: the process hangs or has ended"),
        (-5, True, None),
        (-3600, False, "it was written 3600 s in the future: a clock was changed"),
    ],
)
def test_a_file_is_believed_while_it_is_young(path: Path, age: float, believed: bool, problem: str | None) -> None:
    write(path)
    read = HealthReport.read(path, max_age=10, now=NOW + timedelta(seconds=age))
    assert (read.is_alive, read.is_ready, read.problem) == (believed, believed, problem)
    assert read.age == age


@pytest.mark.parametrize("content", ["", "{}", "[]", "3", '{"written_at": "soon"}', '{"written_at": "2026-11-28"}'])
def test_a_file_of_somebody_else_is_not_believed(path: Path, content: str) -> None:
    path.write_text(content)
    assert report(path).problem == "it was not written by a HealthFile"
    assert not report(path).is_alive


def test_a_file_that_can_not_be_read_is_not_believed(path: Path) -> None:
    assert "there is no such file" in str(report(path))
    path.mkdir()
    assert str(report(path)).endswith("it can't be read: Is a directory")
    assert report(path).to_dict()["is_alive"] is False


# the command


@pytest.mark.parametrize(
    ("written", "arguments", "status", "line"),
    [
        ({}, [], 0, "alive, ready: the feed is live"),
        ({}, ["--ready"], 0, "alive, ready: the feed is live"),
        ({}, ["--live"], 0, "alive, ready: the feed is live"),
        ({"is_ready": False, "text": "the feed is down"}, [], 1, "alive, not ready: the feed is down"),
        ({"is_ready": False, "text": "the feed is down"}, ["--live"], 0, "alive, not ready: the feed is down"),
        ({"is_ready": False, "is_alive": False}, ["--live"], 1, "not alive, not ready: the feed is live"),
    ],
)
def test_the_command_prints_a_line_and_exits_for_a_probe(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    written: dict[str, Any],
    arguments: list[str],
    status: int,
    line: str,
) -> None:
    write(path, written_at=datetime.now(timezone.utc).isoformat(), **written)
    assert cli.main(["health", str(path), *arguments]) == status
    assert capsys.readouterr() == (f"{line}\n", "")


def test_the_command_does_not_believe_an_old_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(path, written_at=(datetime.now(timezone.utc) - timedelta(seconds=30)).isoformat())
    assert cli.main(["health", str(path), "--live"]) == 1
    assert "the process hangs or has ended; then the feed is live\n" in capsys.readouterr().out
    assert cli.main(["health", str(path), "--live", "--max-age", "60"]) == 0


def test_the_command_prints_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(path, is_ready=False, written_at=datetime.now(timezone.utc).isoformat(), reason="evicted")
    assert cli.main(["health", str(path), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["is_ready"], printed["is_alive"], printed["reason"]) == (False, True, "evicted")
    assert 0 <= printed["age"] < 10
    assert cli.main(["health", str(path.with_name("none")), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["is_alive"] is False


def test_ready_and_live_at_once_make_no_sense(path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["health", str(path), "--ready", "--live"])
    assert end.value.code == 2


APPLICATION = """
import os, sys
from rbhq_stream import Feed, FeedConfig, HealthFile, Topics
from rbhq_stream.testing import MemorySource
topics = Topics(prices="prices")
feed = Feed(
    FeedConfig(bootstrap_servers="nowhere:1", security="PLAINTEXT", group_id="g", topics=topics),
    source=MemorySource(topics),
)
"""
READING = """
with HealthFile(sys.argv[1], feed), feed:
    for event in feed:
        pass
"""
FORKING = """
with HealthFile(sys.argv[1], feed):
    if os.fork() == 0:
        sys.exit()
    assert os.wait()[1] == 0
    print(open(sys.argv[1]).read())
"""


def test_a_process_that_stands_still_is_not_alive_and_is_again_when_it_continues(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", APPLICATION + READING, str(path)])
    try:
        wait_for(lambda: HealthReport.read(path, max_age=1.9).is_ready, "it is ready", timeout=30)
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: not HealthReport.read(path, max_age=1.9).is_alive, "it hangs", timeout=10)
        assert report(path).is_alive, "no more than its time says so"
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: HealthReport.read(path, max_age=1.9).is_ready, "it continues", timeout=30)
    finally:
        process.kill()
        process.wait(10)


def test_a_forked_child_leaves_the_file_to_its_parent(path: Path) -> None:
    command = [sys.executable, "-c", APPLICATION + FORKING, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["is_alive"] is True
