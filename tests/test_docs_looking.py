"""docs/looking.md: the commands can be given as they stand there."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timezone

import pytest

from rbhq_stream import _cli as cli
from rbhq_stream._tail import parse_since
from tests.pages import PAGES

PAGE = PAGES["looking.md"].read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ rbhq-stream ([^|>\n]*)", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command: str) -> None:
    options = cli.parser().parse_args(shlex.split(command))
    if "since" in options:
        parse_since(options.since, datetime.now(timezone.utc))


def test_every_option_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("tail", "replay"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
    options = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out)) - {"--help", "--env-prefix"}
    assert options == set(re.findall(r"(?<=[ `])--[a-z][\w-]*", PAGE))
