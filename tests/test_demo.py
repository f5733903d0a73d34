"""The demo: its lines, its picture, its end, and its end by Ctrl-C."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime

import pytest

from rbhq_stream import _cli as cli
from rbhq_stream import _demo as demo
from rbhq_stream._demo import run
from rbhq_stream._demo.play import Player
from rbhq_stream._demo.tally import Tally
from rbhq_stream.events import Event
from rbhq_stream.record import Record
from rbhq_stream.testing import EmbeddedBroker, PublishError
from tests.terminals import CLI, frames, run_in_terminal

COMMAND = [*CLI, "demo"]


def test_without_a_terminal_it_prints_lines() -> None:
    done = subprocess.run([*COMMAND, "--seconds", "1.2"], check=False, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    notices = [line for line in lines if re.match(r"\d\d:\d\d:\d\d  ", line)]
    assert 10 < len(notices) < 100
    for what in ("OPEN", "SCRATCHED", "DEDUCTION", "REINSTATED", "CLOSED", "RE-OPENED", "INTERIM", "PROTEST", "FINAL",
                 "RESULT", "AMENDED", "ABANDONED"):  # fmt: skip
        assert any(f" {what} " in f"{line} " for line in notices), what
    summary = done.stdout[done.stdout.index("RBHQ demo:") :]
    assert "complete: every published event was received once" in summary
    assert re.search(r"[\d,]+ events in [\d.]+ s, [\d,]+ a second", summary)
    assert re.search(r"publish to handler: p50 [\d.]+ ms, p99 [\d.]+ ms", summary)


def test_in_a_terminal_it_draws_and_sums_up() -> None:
    status, written = run_in_terminal([*COMMAND, "--seconds", "1"])

    assert status == 0
    assert "\x1b[?1049h" in written, "the picture has a screen of its own"
    assert "\x1b[?1049l" in written, "and gives it back"
    picture, after = written.split("\x1b[?1049l")
    assert "As it comes" in picture
    assert "▼" in picture
    assert "complete: every published event" in after
    assert "\x1b[?25h" in written, "the cursor is back"


@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (50, 160)])
def test_the_picture_fits_in(lines: int, columns: int) -> None:
    status, written = run_in_terminal([*COMMAND, "--seconds", "0.8"], lines=lines, columns=columns)

    assert status == 0
    drawn = frames(written)
    assert drawn
    for frame in drawn:
        assert len(frame) <= lines
        assert max(map(len, frame)) <= columns


def test_plain_lines_are_printed_with_plain_and_in_a_small_terminal() -> None:
    for arguments, lines in (["--plain", "--seconds", "0.5"], 30), (["--seconds", "0.5"], 10):
        status, written = run_in_terminal([*COMMAND, *arguments], lines=lines)
        assert status == 0
        assert "\x1b" not in written
        assert "RBHQ demo: complete" in written


@pytest.mark.parametrize("after", [0.0, 0.5])
@pytest.mark.parametrize("arguments", [["--plain"], []])
def test_ctrl_c_ends_it_with_the_summary_so_far(after: float, arguments: list[str]) -> None:
    started = time.monotonic()
    status, written = run_in_terminal([*COMMAND, *arguments], interrupt_after=after)

    assert time.monotonic() - started < 18, "without it, the demo takes 20 s"
    assert "Traceback" not in written
    assert status == 0
    assert "stopped" in written


def test_a_closed_pipe_ends_it_quietly() -> None:
    process = subprocess.Popen([*COMMAND, "--seconds", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == ""
    assert process.wait(20) == 0


def test_it_runs_in_a_thread_and_in_a_test(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(seconds=0.5, seed=3) == 0
    assert "RBHQ demo: complete" in capsys.readouterr().out


def test_without_rich_it_prints_lines_and_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert run(seconds=0.5) == 0
    written = capsys.readouterr().out
    assert written.startswith("For a picture instead of lines: pip install 'rbhq-stream[cli]'\n")
    assert "\x1b" not in written


def test_an_outage_suspends_betting_until_what_was_missed_is_caught_up_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"_SHORTEST_WITH_OUTAGE": 0, "_OUTAGE_BEGINS": 0.6}.items():  # it is live for long by then
        monkeypatch.setattr(f"rbhq_stream._demo.play.{name}", value)
    # a process that stands still when the broker is back is not evicted: it would get some events twice
    monkeypatch.setattr("rbhq_stream.testing._cluster.group.GRACE", 30.0)

    assert run(seconds=5, plain=True) == 0
    written = capsys.readouterr().out
    notices = [line.split(maxsplit=4)[3:] for line in written.splitlines() if "  all races  " in line]
    down = notices.index(["SUSPENDED", "feed down: brokers unreachable"])
    assert notices[down - 1] == ["LIVE", "everything that was published is processed"]
    assert notices[down + 1] == ["SUSPENDED", "feed catching up"]
    assert notices[down + 2][0] == "LIVE"
    # how many they are depends on whether the publisher or the feed reconnects first
    assert re.search(r"^  outage: suspended for [\d.]+ s, then caught up with [\d,]+ records$", written, re.MULTILINE)
    assert "complete: every published event was received once" in written


def test_a_publisher_that_fails_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = EmbeddedBroker.publish
    calls = iter(range(10_000))

    def fail_later(
        broker: EmbeddedBroker,
        *events: Event,
        headers: Mapping[str, bytes] | None = None,
        timestamp: datetime | None = None,
    ) -> list[Record]:
        if next(calls) > 60:
            raise PublishError("some-topic", "the disk is full")
        return publish(broker, *events, headers=headers, timestamp=timestamp)

    monkeypatch.setattr(EmbeddedBroker, "publish", fail_later)
    with pytest.raises(PublishError, match="the disk is full"):
        run(seconds=1, plain=True)


def test_a_lost_event_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    publish_backlog = Player.publish_backlog

    def count_one_more(player: Player, broker: EmbeddedBroker) -> None:
        publish_backlog(player, broker)
        player.published += 1

    monkeypatch.setattr(Player, "publish_backlog", count_one_more)
    monkeypatch.setattr(demo, "_CATCH_UP_SECONDS", 0.2)
    assert run(seconds=0.5, plain=True) == 1
    assert " published events were received" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["demo", "--seconds", "0"], ["demo", "--seconds", "x"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: rbhq-stream" in capsys.readouterr().err


def test_nothing_but_the_picture_imports_rich() -> None:
    script = "import sys, rbhq_stream._demo, rbhq_stream._cli, rbhq_stream.testing\nprint('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_a_summary_without_events_can_be_printed() -> None:
    tally = Tally()
    assert tally.latency() is None
    assert tally.summary(0, stopped=True)[0] == "RBHQ demo: stopped"
    assert "0 of 5" not in "".join(tally.summary(5, stopped=True))
    assert tally.summary(5, stopped=False)[0] == "RBHQ demo: 0 of 5 published events were received"
