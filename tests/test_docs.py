"""The documentation tells the truth: links lead somewhere, examples run, the architecture page names every module."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream import PriceEvent, PriceType, PriceUpdate, RaceStatus, RaceStatusEvent, Scratching
from rbhq_stream.events import RaceResultEvent, RunnerResult
from rbhq_stream.testing import EmbeddedBroker

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGE = ROOT / "rbhq_stream"


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_linked_from_the_readme(page: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    assert page.name == "README.md" or page.name in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_compiles(page: Path) -> None:
    for block in blocks(page):
        if ">>>" not in block:
            compile(block, str(page), "exec", flags=0x2000)  # top-level await is allowed: PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_the_quickstarts_examples_run() -> None:
    result = doctest.testfile(str(ROOT / "docs" / "quickstart.md"), module_relative=False, encoding="utf-8")
    assert result.attempted > 4
    assert result.failed == 0


def environment(broker: EmbeddedBroker) -> dict[str, str]:
    topics = broker.topics
    return {
        "RBHQ_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "RBHQ_SECURITY": "PLAINTEXT",
        "RBHQ_GROUP_ID": "readme",
        "RBHQ_TOPIC_PRICES": str(topics.prices),
        "RBHQ_TOPIC_RACE_STATUS": str(topics.race_status),
        "RBHQ_TOPIC_RACE_RESULTS": str(topics.race_results),
    }


@pytest.mark.parametrize("number", [0, 1], ids=["iterate", "callbacks"])
def test_the_readmes_snippets_run_as_they_stand(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    space: dict[str, Any] = {}

    def called(name: str) -> Any:
        def call(*arguments: object) -> None:
            calls.append(name)
            if len(set(calls)) == (3 if number == 0 else 2):
                space["feed"].stop()

        return call

    space.update({name: called(name) for name in ("reprice", "set_status", "settle", "deduct")})
    with EmbeddedBroker() as broker:
        for name, value in environment(broker).items():
            monkeypatch.setenv(name, value)
        broker.publish(
            PriceEvent(1, 1, (PriceUpdate(1, PriceType.WIN, 12),), (Scratching(2),)),
            RaceStatusEvent(1, 1, RaceStatus.CLOSED),
            RaceResultEvent(1, 1, status=RaceStatus.FINAL, results=(RunnerResult(1),)),
        )
        exec(compile(blocks(ROOT / "README.md")[number], "README.md", "exec"), space)  # it is ours
    assert set(calls) == ({"reprice", "set_status", "settle"} if number == 0 else {"set_status", "deduct"})


def test_the_architecture_page_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| `([\w./]+)` \| (.+) \|$", page, re.MULTILINE))
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert set(rows) == modules, "each module once"
    for module, said in rows.items():
        sentences = re.findall(r"[.!?](?:\s|$)", said)
        assert 1 <= len(sentences) <= 2, f"{module}: two sentences"


def test_the_versions_agree() -> None:
    newest = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert f'version = "{newest}"' in (ROOT / "pyproject.toml").read_text()
