"""The pages of the documentation and their examples, and an environment in which the examples run unchanged."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from rbhq_stream import FeedConfig
from rbhq_stream.testing import EmbeddedBroker
from tests import ROOT

PAGES = {path.name: path for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]}


def python_blocks(page: str) -> list[str]:
    """The blocks of Python in a page."""
    return re.findall(r"^```python\n(.*?)^```", PAGES[page].read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def examples(page: str) -> list[str]:
    """The blocks of Python in a page that are programs, not interactive sessions."""
    return [block for block in python_blocks(page) if ">>>" not in block]


def run_example(page: str, number: int, names: dict[str, Any]) -> None:
    """Runs an example of a page. `names` are the names that it uses; those that it defines are added."""
    code = compile(examples(page)[number], page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, names)  # it is ours
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(result)


def set_environment(monkeypatch: pytest.MonkeyPatch, config: FeedConfig) -> None:
    """Sets the environment so that `FeedConfig.from_env()` makes this configuration, which is for a local broker."""
    variables = {
        "BOOTSTRAP_SERVERS": ",".join(config.bootstrap_servers),
        "SECURITY": config.security,
        "GROUP_ID": config.group_id or "none",
        "SESSION_TIMEOUT": str(config.session_timeout),
        "COMMIT_INTERVAL": str(config.commit_interval),
        **{f"TOPIC_{kind.upper()}": topic for kind, topic in attrs.asdict(config.topics).items() if topic is not None},
        **{f"KAFKA_{name.replace('.', '_').upper()}": str(value) for name, value in config.kafka.items()},
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"RBHQ_{name}", str(value))


@pytest.fixture
def docs_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker, and the environment and the folder of an application that reads it as group "docs"."""
    with EmbeddedBroker() as broker:
        set_environment(monkeypatch, broker.config("docs"))
        monkeypatch.setenv("HOSTNAME", "pricing-0")
        monkeypatch.chdir(tmp_path)
        yield broker
