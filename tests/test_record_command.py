"""`rbhq-stream record`: what it writes is what was published, and a second run continues it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from rbhq_stream import (
    Event,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceStatus,
    RaceStatusEvent,
    Recording,
    RecordingError,
)
from rbhq_stream import _tail as tail
from rbhq_stream.testing import EmbeddedBroker
from tests import ROOT
from tests.recordings import fill_the_disk


def record(broker: EmbeddedBroker, folder: Path, *arguments: str) -> tuple[str, str]:
    """Records until the feed is live, and then sends Ctrl-C. Returns what was printed, and on standard error."""
    topics = {f"RBHQ_TOPIC_{kind.upper()}": name for kind, name in attrs.asdict(broker.topics).items()}
    command = [sys.executable, "-m", "rbhq_stream._cli", "record", str(folder), *arguments]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RBHQ_")},
        **topics,
        "RBHQ_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "RBHQ_SECURITY": "PLAINTEXT",
        "PYTHONPATH": str(ROOT),
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stderr is not None
        lines = []
        for line in child.stderr:
            lines.append(line)
            if line.startswith("live"):
                break
        child.send_signal(signal.SIGINT)
        out, rest = child.communicate(timeout=30)
    assert child.returncode == 0, rest
    return out, "".join(lines) + rest


def test_a_feed_is_recorded_and_a_second_run_continues(tmp_path: Path) -> None:
    sent: list[Event] = [
        RaceStatusEvent(1, 7, RaceStatus.OPEN),
        PriceEvent(1, 7, (PriceUpdate(3, PriceType.WIN, price="4.40"),)),
        RaceStatusEvent(1, 7, RaceStatus.CLOSED),
    ]
    folder = tmp_path / "recorded"
    with EmbeddedBroker() as broker:
        broker.publish(*sent[:2])
        assert broker.topics.prices is not None
        broker.publish_raw(broker.topics.prices, b"{")
        out, err = record(broker, folder, "--since", "earliest")
        assert "1 race status events" in out
        assert "1 price events" in out
        assert "1 records that can't be decoded" in out
        assert "catching up since" in err
        broker.publish(sent[2])
        record(broker, folder, "--since", "earliest")
    recorded = list(Recording(folder).events(on_bad_record="skip"))
    assert [event for event in sent if event in recorded] == sent


def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RBHQ_TOPIC_PRICES": ""}
    command = [sys.executable, "-m", "rbhq_stream._cli", "record", str(tmp_path / "recorded")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "RBHQ_BOOTSTRAP_SERVERS" in done.stderr
    assert not (tmp_path / "recorded").exists()


def test_a_recording_that_fails_ends_the_command_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_the_disk(monkeypatch)
    with EmbeddedBroker() as broker:
        broker.publish(RaceStatusEvent(1, 7, RaceStatus.OPEN))
        with pytest.raises(RecordingError, match=r"No space left on device\. 1 records that were read are not in it"):
            tail.record(broker.config(group_id=None), tmp_path / "recorded")
    assert "status events" not in capsys.readouterr().out
