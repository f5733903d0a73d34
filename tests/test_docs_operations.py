"""docs/operations.md: the probes, as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rbhq_stream import Feed, HealthFile
from rbhq_stream import _cli as cli
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import memory_config
from tests.pages import PAGES, run_example
from tests.waiting import wait_for

PAGE = PAGES["operations.md"].read_text(encoding="utf-8")


def test_the_http_probe(memory_source: MemorySource) -> None:
    with Feed(memory_config(), source=memory_source) as feed:
        names: dict[str, Any] = {"feed": feed}
        run_example("operations.md", 0, names)

        async def get() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(names["app"]), base_url="http://app") as client:
                return await client.get("/ready")

        wait_for(lambda: feed.health.ok, "it is live")
        ready = asyncio.run(get())
        assert (ready.status_code, ready.json()["state"]) == (200, "live")
    closed = asyncio.run(get())
    assert (closed.status_code, closed.json()["state"]) == (503, "closed")


def test_the_probes_of_kubernetes(
    memory_source: MemorySource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = re.findall(r"\[rbhq-stream, (health, [^]]*)\]", PAGE)
    assert len(commands) == 2
    path = str(tmp_path / "health.json")
    probes = [command.replace("/run/pricing/health.json", path).split(", ") for command in commands]
    feed = Feed(memory_config(), source=memory_source)
    with HealthFile(path, feed):
        assert [cli.main(probe) for probe in probes] == [0, 1], "alive, but not ready"
        with feed:
            wait_for(lambda: cli.main(probes[1]) == 0, "it is ready")
    assert [cli.main(probe) for probe in probes] == [1, 1]
    assert "alive, ready: the feed of group" in capsys.readouterr().out


def test_the_probe_in_a_shell(tmp_path: Path) -> None:
    [command] = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "health.json"
    shell = ["sh", "-c", command.replace("/run/pricing/health.json", str(path))]

    def status() -> int:
        return subprocess.run(shell, check=False, stderr=subprocess.DEVNULL).returncode

    assert status() != 0
    path.write_text('{\n "is_ready": true\n}')
    assert status() == 0
    os.utime(path, (time.time() - 20, time.time() - 20))
    assert status() != 0
    path.write_text('{\n "is_ready": false\n}')
    assert status() != 0
