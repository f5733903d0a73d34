"""`rbhq-stream check`: where it takes its configuration from, what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from rbhq_stream import _cli as cli
from rbhq_stream._config import FeedConfig
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.broker.ports import free_port

CANARY = "canary-of-the-command"


@pytest.fixture
def environment(kafka: KafkaCluster, anyone: Partner, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Sets the variables of a configuration that works, and returns them."""
    for name in [name for name in os.environ if name.startswith("RBHQ_")]:
        monkeypatch.delenv(name)
    variables = {
        "RBHQ_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "RBHQ_USERNAME": anyone.username,
        "RBHQ_PASSWORD": anyone.password,
        "RBHQ_CA_FILE": str(kafka.ca_file),
        "RBHQ_TOPIC_PRICES": anyone.topics.prices,
        "RBHQ_GROUP_ID": f"{anyone.group_prefix}check",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def toml(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same configuration as a file. The variables are not set."""
    for name in environment:
        monkeypatch.delenv(name)
    file = tmp_path / "feed.toml"
    lines = {name.removeprefix("RBHQ_").lower(): value for name, value in environment.items()}
    prices = lines.pop("topic_prices")
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    file.write_text(f"{text}\n[topics]\nprices = {json.dumps(prices)}\n")
    return file


Captured = pytest.CaptureFixture[str]


def test_a_working_configuration_passes_every_step(environment: dict[str, str], capsys: Captured) -> None:
    assert cli.main(["check"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("ok       resolve   localhost:")
    assert [line.split()[1] for line in lines if line.startswith("ok ")][:7] == [
        *("resolve", "connect", "tls", "login", "brokers", "topic", "read")
    ]
    assert "  -> Nothing was published yet" in out
    assert lines[-1].startswith("9 ok, 1 warning in ")
    assert err == ""
    assert environment["RBHQ_PASSWORD"] not in out
    assert "\033" not in out


def test_a_failed_step_makes_the_exit_status_1(
    environment: dict[str, str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBHQ_PASSWORD", CANARY)
    assert cli.main(["check", "--timeout", "10"]) == 1
    out, err = capsys.readouterr()
    (failed,) = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert failed.split()[1:3] == ["login", "cluster"]
    assert "Begin with login cluster" in out
    assert CANARY not in out + err


def test_json_is_printed_for_programs(
    environment: dict[str, str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert [set(step) for step in document["steps"]] == [
        {"name", "target", "verdict", "detail", "hint", "seconds", "facts"}
    ] * 10
    monkeypatch.setenv("RBHQ_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    assert cli.main(["check", "--json"]) == 1
    out = capsys.readouterr().out
    assert json.loads(out)["ok"] is False
    assert environment["RBHQ_PASSWORD"] not in out


def test_the_configuration_can_be_read_from_a_file(toml: Path, capsys: Captured) -> None:
    assert cli.main(["check", "--config", str(toml)]) == 0
    assert "9 ok" in capsys.readouterr().out


def test_the_prefix_of_the_variables_can_be_changed(
    environment: dict[str, str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"TEST_{name}", value)
        monkeypatch.delenv(name)
    assert cli.main(["check", "--env-prefix", "TEST_RBHQ_"]) == 0


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RBHQ_GROUP_ID", "", "group_id (from environment variable RBHQ_GROUP_ID): is required but not set"),
        ("RBHQ_KAFKA_FETCH_MIN_BYTES", "-5", "the Kafka client refuses it"),
        ("RBHQ_TYPO", "1", "is not a setting of the feed"),
    ],
)
def test_a_wrong_configuration_makes_the_exit_status_2(
    environment: dict[str, str],
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    expected: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert cli.main(["check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("rbhq-stream: ")
    assert expected in line
    assert environment["RBHQ_PASSWORD"] not in line


def test_a_file_that_is_not_toml_is_reported(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "feed.toml"
    file.write_text(f'password = "{CANARY}"\nnonsense')
    assert cli.main(["check", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line
    assert CANARY not in line


@pytest.mark.parametrize(
    "arguments", [["--timeout", "0"], ["--timeout", "soon"], ["--config", "x", "--env-prefix", "Y_"]]
)
def test_meaningless_arguments_are_refused(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["check", *arguments])
    assert end.value.code == 2


@pytest.mark.parametrize(("variable", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_used_in_terminals_only(
    environment: dict[str, str],
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    variable: dict[str, str],
    coloured: bool,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RBHQ_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["check"]) == 1
    assert ("\033[1;31mFAILED" in capsys.readouterr().out) is coloured


def test_an_interrupt_ends_it_quietly(
    environment: dict[str, str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: FeedConfig, *, timeout: float) -> None:
        assert timeout == 30
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("rbhq_stream._diagnose"), "diagnose", interrupted)
    assert cli.main(["check"]) == 130
    assert capsys.readouterr() == ("", "rbhq-stream: stopped\n")


def run(environment: dict[str, str], *arguments: str, piped_to: str = "cat") -> subprocess.CompletedProcess[str]:
    """Runs the command as a shell does. The exit status is that of the command, not of the reader of its output."""
    command = [sys.executable, "-W", "error", "-m", "rbhq_stream._cli", "check", *arguments]
    script = f'"$@" | {piped_to}; exit "${{PIPESTATUS[0]}}"'
    return subprocess.run(
        ["bash", "-c", script, "bash", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_runs_as_a_command(environment: dict[str, str]) -> None:
    done = run(environment, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True


def test_a_closed_pipe_ends_the_command_quietly(environment: dict[str, str]) -> None:
    environment["RBHQ_PASSWORD"] = CANARY
    done = run(environment, piped_to="true")
    assert (done.returncode, done.stderr) == (1, "")
