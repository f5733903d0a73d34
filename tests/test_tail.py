"""`rbhq-stream tail`: its lines, its JSON, its picture, from when on it reads, and its end by Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.console import Console

from rbhq_stream import (
    CardMeeting,
    CardRace,
    CardRunner,
    Event,
    Feed,
    Health,
    HealthFigures,
    HealthReason,
    PartitionHealth,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceCard,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    TopicPartition,
    to_dict,
)
from rbhq_stream import _cli as cli
from rbhq_stream._board.agenda import Selection
from rbhq_stream._board.progress import CatchUpBar
from rbhq_stream._tail import Look, live, parse_since, show
from rbhq_stream._tail.json_lines import event_line
from rbhq_stream.testing import EmbeddedBroker, MemorySource, Simulator
from tests.memory_feeds import BAD, memory_config
from tests.terminals import CLI, frames, run_in_terminal
from tests.waiting import wait_for

NOW = datetime(2026, 11, 3, 14, 30, tzinfo=timezone(timedelta(hours=11)))
CARD = RaceCard((CardMeeting(1, "Albury", (CardRace(RaceId(1, 7), NOW, runners=(CardRunner(3, "Copper Comet"),)),)),))
Captured = pytest.CaptureFixture[str]


def prices(event_number: int, *values: str) -> list[PriceEvent]:
    return [PriceEvent(1, event_number, (PriceUpdate(3, PriceType.WIN, price=value),)) for value in values]


def recorded_in(folder: Path) -> None:
    """Makes a recording of one event in the folder `recorded`."""
    source = MemorySource(memory_config().topics)
    source.publish(RaceStatusEvent(1, 7, RaceStatus.OPEN))
    with Feed(memory_config(), source=source, record_to=folder / "recorded") as feed:
        next(feed)


def run_until(is_enough: Callable[[str], object], run: Callable[[], None]) -> list[str]:
    """Runs a command until it has written enough, and then sends it Ctrl-C. Returns the lines that it wrote."""
    written = io.StringIO()

    def interrupt() -> None:
        try:
            wait_for(lambda: is_enough(written.getvalue()), "it has written enough", timeout=20)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with redirect_stdout(written):
        thread.start()
        run()
    thread.join()
    return written.getvalue().splitlines()


# from when on


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("now", "latest"),
        ("earliest", "earliest"),
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d", NOW - timedelta(days=1)),
        ("14:03", NOW.replace(minute=3)),
        ("9:15:30", NOW.replace(hour=9, minute=15, second=30)),
        ("14:30", NOW),
        ("14:31", NOW.replace(minute=31) - timedelta(days=1)),
        ("2026-11-03T09:00", NOW.replace(hour=9, minute=0)),
        ("2026-11-02T09:00:00+00:00", datetime(2026, 11, 2, 9, tzinfo=timezone.utc)),
        ("2026-11-02T09:00:00Z", datetime(2026, 11, 2, 9, tzinfo=timezone.utc)),
    ],
)
def test_a_start_is_a_time_or_how_long_ago(text: str, start: object) -> None:
    assert parse_since(text, NOW, NOW.tzinfo) == start


@pytest.fixture
def sydney(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine is in Sydney, where the clocks went forward on 4 October 2026 at 02:00."""
    monkeypatch.setenv("TZ", "AEST-10AEDT,M10.1.0,M4.1.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("sydney")
@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("2026-10-03T14:03", datetime(2026, 10, 3, 4, 3, tzinfo=timezone.utc)),
        ("14:03", datetime(2026, 10, 3, 4, 3, tzinfo=timezone.utc)),
        ("09:30", datetime(2026, 10, 3, 22, 30, tzinfo=timezone.utc)),
    ],
)
def test_a_start_before_the_clocks_changed_has_the_offset_of_its_day(text: str, start: datetime) -> None:
    assert parse_since(text, datetime(2026, 10, 3, 23, tzinfo=timezone.utc)) == start  # 10:00 on 4 October


@pytest.mark.parametrize(
    "text", ["", "yesterday", "25:00", "14:61", "3 h", "-5m", "2026-13-01T00:00", "latest", "999999d"]
)
def test_what_is_no_start_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as 14:03"):
        parse_since(text, NOW)


def test_a_start_that_is_still_to_come_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a time up to 2026-11-03T14:30:00\+11:00, got '2026-11-04'"):
        parse_since("2026-11-04", NOW, NOW.tzinfo)


def test_a_terminal_that_is_too_small_for_the_board_gets_lines_and_a_hint(tmp_path: Path) -> None:
    recorded_in(tmp_path)
    command = [*CLI, "replay", str(tmp_path / "recorded"), "--speed", "max"]
    _, written = run_in_terminal(command, lines=17, columns=90)
    assert "a terminal of at least 70 columns and 18 lines; this one has 90 and 17" in written
    _, written = run_in_terminal([*command, "--plain"], lines=17, columns=90)
    assert "at least 70 columns" not in written


# lines


def test_without_a_terminal_each_change_is_a_line(
    memory_source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = [RaceStatusEvent(1, 7, RaceStatus.OPEN), *prices(7, "4.40", "4.20"), *prices(8, "2")]
    for second, event in enumerate(events):
        memory_source.publish(event, timestamp=NOW + timedelta(seconds=second))
    written = run_until(
        lambda written: "R8" in written, lambda: show(live(memory_config(), source=memory_source), Look(card=CARD))
    )
    begin = f"{NOW.astimezone():%H:%M}"
    assert [line for line in written if " all races " not in line] == [
        f"{begin}:00  Albury R7            OPEN",
        f"{begin}:01  Albury R7            PRICE      3 Copper Comet  WIN 4.40",
        f"{begin}:02  Albury R7            PRICE      3 Copper Comet  WIN 4.20, was 4.40",
        f"{begin}:03  Albury R8            PRICE      runner 3  WIN 2.00",
    ]
    assert "never complete" not in caplog.text, "it shows nothing that depends on it"


def test_what_was_published_before_is_shown_in_the_order_of_time(memory_source: MemorySource) -> None:
    memory_source.publish(*prices(7, "4.40"), timestamp=NOW + timedelta(seconds=1))
    memory_source.publish(RaceStatusEvent(1, 7, RaceStatus.OPEN), timestamp=NOW)
    written = run_until(
        lambda written: "LIVE" in written, lambda: show(live(memory_config(), source=memory_source), Look())
    )
    assert re.findall(r"  1 R7 +(\w+)", "\n".join(written)) == ["OPEN", "PRICE"]


def test_a_race_can_be_selected_and_prices_left_out(memory_source: MemorySource) -> None:
    for number in (7, 8):
        memory_source.publish(*prices(number, "4.40"), RaceStatusEvent(1, number, RaceStatus.OPEN))
    written = run_until(
        lambda written: "LIVE" in written,
        lambda: show(live(memory_config(), source=memory_source), Look(selection=Selection(1, 8), with_prices=False)),
    )
    assert re.findall(r"  (1 R\d) +(\w+)", "\n".join(written)) == [("1 R8", "OPEN")]


def test_a_bad_record_is_told_and_does_not_end_it(memory_source: MemorySource) -> None:
    memory_source.publish_raw("prices", BAD)
    memory_source.publish(*prices(7, "4.40"))
    written = run_until(
        lambda written: "WIN 4.40" in written, lambda: show(live(memory_config(), source=memory_source), Look())
    )
    [told] = [line for line in written if "BAD RECORD" in line]
    assert "PriceEvent" in told


def test_json_has_a_line_for_each_event_and_each_change_of_the_health(memory_source: MemorySource) -> None:
    memory_source.publish(*prices(7, "4.40"), *prices(8, "2"), timestamp=NOW)
    written = run_until(
        lambda written: '"live"' in written,
        lambda: show(live(memory_config(), source=memory_source), Look(selection=Selection(1, 7), as_json=True)),
    )
    lines = [json.loads(line) for line in written]
    [event] = [line for line in lines if line["kind"] != "health"]
    assert {name: event[name] for name in ("kind", "race", "time", "topic", "partition", "offset")} == {
        "kind": "price",
        "race": "1-7",
        "time": "2026-11-03T03:30:00+00:00",
        "topic": "prices",
        "partition": 0,
        "offset": 0,
    }
    assert event["event"]["price_updates"][0]["price"] == "4.40"
    assert [line["state"] for line in lines if line["kind"] == "health"][-1] == "live"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (PriceEvent(1, 7), "price"),
        (RaceStatusEvent(1, 7, RaceStatus.OPEN), "race_status"),
        (RaceResultEvent(1, 7, RaceStatus.FINAL), "race_result"),
    ],
)
def test_the_json_of_an_event_names_its_kind_and_its_race(event: Event, kind: str) -> None:
    assert json.loads(event_line(event)) == {"kind": kind, "race": "1-7", "event": to_dict(event)}


# in a terminal


@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (45, 140)])
def test_in_a_terminal_it_draws_a_board_that_fits_in(
    docs_broker: EmbeddedBroker, tmp_path: Path, lines: int, columns: int
) -> None:
    simulator = Simulator(3, meetings=1, races=2, price_records=60)
    docs_broker.publish(*(timed.event for timed in simulator.events()))
    [meeting] = simulator.card.meetings
    starts = [{"eventNumber": r.race_id.event_number, "startTime": r.start_time.isoformat()} for r in meeting.races]
    document = {"meetingId": meeting.meeting_id, "venue": "Albury Park", "type": "R", "events": starts}
    card = tmp_path / "card.json"
    card.write_text(json.dumps([document]), encoding="utf-8")

    status, written = run_in_terminal(
        [*CLI, "tail", str(meeting.meeting_id), "--since", "earliest", "--card", str(card)],
        lines=lines,
        columns=columns,
        interrupt_when=lambda written: "LIVE" in written and "FINAL" in written,
    )

    assert status == 0
    assert "Traceback" not in written
    assert "\x1b[?25h" in written, "the cursor is back"
    drawn = frames(written)
    assert drawn
    for frame in drawn:
        assert len(frame) <= lines
        assert max(map(len, frame)) <= columns
    while_live = [frame for frame in drawn if frame[0].startswith(" RBHQ ")][-1]
    assert "Albury Park, from 127.0.0.1" in while_live[0]
    assert "Albury Park R1 gallops" in while_live[1]
    assert "events  │" in while_live[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--since", "yesterday"], "expected a time such as 14:03"),
        (["--card", "/nowhere/card.json"], "--card /nowhere/card.json: No such file"),
        (["--config", "/nowhere/feed.toml"], "/nowhere/feed.toml"),
    ],
)
def test_wrong_arguments_end_it_before_it_connects(arguments: list[str], complaint: str, capsys: Captured) -> None:
    assert cli.main(["tail", *arguments]) == cli.CONFIGURATION_WRONG
    assert complaint in capsys.readouterr().err


def test_a_card_that_is_none_is_refused(tmp_path: Path, capsys: Captured) -> None:
    card = tmp_path / "card.json"
    card.write_text("[{}]", encoding="utf-8")
    assert cli.main(["tail", "--card", str(card)]) == cli.CONFIGURATION_WRONG
    assert f"--card {card}: not a RaceCard" in capsys.readouterr().err


def test_what_selects_no_race_is_refused(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        cli.main(["tail", "Flemington"])
    assert "expected the id of a race such as 1397808-7" in capsys.readouterr().err


# progress


def test_the_bar_shows_how_far_the_feed_has_caught_up() -> None:
    def health(reason: HealthReason, lag: int) -> Health:
        figures = HealthFigures(partitions={TopicPartition("prices", 0): PartitionHealth(lag=lag)})
        return Health(reason=reason, detail="", since=NOW, at=NOW, figures=figures)

    current = [health(HealthReason.CATCHING_UP, 8000)]
    bar = CatchUpBar(lambda: current[0])

    def drawn() -> str:
        console = Console(file=io.StringIO(), width=100)
        with console.capture() as capture:
            console.print(bar.draw())
        return capture.get()

    first = drawn()
    assert ("8,000 records to go" in first, first.count("━")) == (True, 0)
    current[0] = health(HealthReason.CATCHING_UP, 2000)
    second = drawn()
    assert ("2,000 records to go" in second, second.count("━")) == (True, 30), "of 40"
    current[0] = health(HealthReason.UP_TO_DATE, 0)
    assert drawn().strip() == ""
    current[0] = health(HealthReason.UP_TO_DATE, 3)
    assert drawn().strip() == "", "what has just arrived does not make it fall behind"
    current[0] = health(HealthReason.CATCHING_UP, 1000)
    assert drawn().count("━") == 0, "it begins again"
