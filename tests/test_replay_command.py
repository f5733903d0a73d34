"""`rbhq-stream replay`: a recording as `tail` would have shown it."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from rbhq_stream import Event, Feed, PriceEvent, PriceType, PriceUpdate, RaceStatus, RaceStatusEvent
from rbhq_stream import _cli as cli
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import memory_config
from tests.terminals import CLI, frames, run_in_terminal

BEGIN = datetime(2026, 11, 3, 3, 30, tzinfo=timezone.utc)
EVENTS: list[Event] = [
    RaceStatusEvent(1, 7, RaceStatus.OPEN),
    PriceEvent(1, 7, (PriceUpdate(3, PriceType.WIN, price="4.40"),)),
    PriceEvent(1, 8, (PriceUpdate(1, PriceType.WIN, price="2"),)),
    RaceStatusEvent(1, 7, RaceStatus.CLOSED),
]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def recorded(memory_source: MemorySource, tmp_path: Path) -> Path:
    """A recording of the events, one in each minute."""
    for minute, event in enumerate(EVENTS):
        memory_source.publish(event, timestamp=BEGIN + timedelta(minutes=minute))
    folder = tmp_path / "recorded"
    with Feed(memory_config(), source=memory_source, record_to=folder) as feed:
        for _ in EVENTS:
            next(feed)
    return folder


def shown(capsys: Captured) -> list[tuple[str, str, str]]:
    """The minute, race and kind of each line about a race."""
    return re.findall(r"^\d\d:(\d\d):00  1 (R\d) +(\w+)", capsys.readouterr().out, re.MULTILINE)


def test_a_recording_is_shown_as_lines_with_the_times_of_its_records(recorded: Path, capsys: Captured) -> None:
    assert cli.main(["replay", str(recorded), "--speed", "max"]) == 0
    assert shown(capsys) == [
        ("30", "R7", "OPEN"),
        ("31", "R7", "PRICE"),
        ("32", "R8", "PRICE"),
        ("33", "R7", "CLOSED"),
    ]


@pytest.mark.parametrize(
    ("arguments", "minutes"),
    [
        (["1-7"], ["30", "31", "33"]),
        (["1"], ["30", "31", "32", "33"]),
        (["2"], []),
        (["--since", "1m"], ["32", "33"]),
        (["--since", (BEGIN + timedelta(minutes=3)).isoformat()], ["33"]),
        (["--no-prices"], ["30", "33"]),
    ],
)
def test_a_part_of_it_can_be_shown(recorded: Path, capsys: Captured, arguments: list[str], minutes: list[str]) -> None:
    assert cli.main(["replay", str(recorded), *arguments, "--speed", "max"]) == 0
    assert [minute for minute, _, _ in shown(capsys)] == minutes


def test_that_nothing_is_of_the_meeting_is_said(recorded: Path, capsys: Captured) -> None:
    assert cli.main(["replay", str(recorded), "2", "--speed", "max"]) == 0
    assert "4 events were replayed" in (out := capsys.readouterr().out)
    assert "none of them is about meeting 2" in out
    assert cli.main(["replay", str(recorded), "1", "--speed", "max"]) == 0
    assert "none of them" not in capsys.readouterr().out


def test_now_is_the_end_of_the_recording(recorded: Path, capsys: Captured) -> None:
    assert cli.main(["replay", str(recorded), "--since", "now", "--speed", "max"]) == 0
    assert [kind for _, _, kind in shown(capsys)] == ["CLOSED"]


def test_json_has_the_recorded_coordinates(recorded: Path, capsys: Captured) -> None:
    assert cli.main(["replay", str(recorded), "--speed", "max", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = [line for line in lines if line["kind"] != "health"]
    assert [(line["topic"], line["offset"], line["time"]) for line in events] == [
        ("status", 0, "2026-11-03T03:30:00+00:00"),
        ("prices", 0, "2026-11-03T03:31:00+00:00"),
        ("prices", 1, "2026-11-03T03:32:00+00:00"),
        ("status", 1, "2026-11-03T03:33:00+00:00"),
    ]


def test_in_a_terminal_it_is_drawn_by_its_own_clock_and_summed_up(recorded: Path) -> None:
    status, written = run_in_terminal([*CLI, "replay", str(recorded), "--speed", "180"])
    assert status == 0
    assert "Traceback" not in written
    before, after = written.split("\x1b[?1049l")
    assert any("180x" in frame[0] and "03 Nov" in frame[0] for frame in frames(before))
    assert "4 events were replayed" in after
    assert "CLOSED" in after


def test_a_recording_that_was_cut_off_is_shown_up_to_the_cut(recorded: Path, capsys: Captured) -> None:
    [segment] = recorded.glob("*.rbhq*")
    with segment.open("ab") as file:
        file.write(segment.read_bytes()[:40])
    assert cli.main(["replay", str(recorded), "--speed", "max"]) == 0
    out, err = capsys.readouterr()
    assert "ends in the middle of a write" in err
    assert "CLOSED" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["/nowhere"], "/nowhere"),
        (["{recorded}", "--since", "yesterday"], "expected a time such as 14:03"),
        (["{recorded}", "--card", "/nowhere/card.json"], "--card /nowhere/card.json: No such file"),
        (["{recorded}", "--since", "2030-01-01"], "expected a time up to 20"),
        (
            ["{recorded}", "1-9", "--since", "2m"],
            "has no records of race 1-9 since 2m; it has records from 2026-11-03 03:30:00 to 2026-11-03 03:33:00 UTC",
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    recorded: Path, capsys: Captured, arguments: list[str], complaint: str
) -> None:
    given = [argument.format(recorded=recorded) for argument in arguments]
    assert cli.main(["replay", *given]) == cli.CONFIGURATION_WRONG
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan"])
def test_a_speed_is_positive(recorded: Path, capsys: Captured, speed: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(["replay", str(recorded), "--speed", speed])
    assert "expected a positive number such as 60, or max" in capsys.readouterr().err
