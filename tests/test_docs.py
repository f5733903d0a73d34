"""The documentation is correct: links have targets, examples run, the architecture page names every module."""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rbhq_stream
import rbhq_stream.metrics
import rbhq_stream.testing
from rbhq_stream import (
    Event,
    PartitionsLost,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    TopicPartition,
    Unscratching,
)
from rbhq_stream.testing import EmbeddedBroker
from tests import ROOT
from tests.pages import PAGES, examples, python_blocks, run_example

PACKAGE = ROOT / "rbhq_stream"

RUN_BY_A_TEST = {
    "README.md": 3,
    "exactly-once.md": 5,
    "index.md": 1,
    "operations.md": 1,
    "pricing-board.md": 1,
    "quickstart.md": 2,
    "reading.md": 1,
    "reliability.md": 1,
    "scaling.md": 7,
    "tables.md": 4,
    "testing.md": 7,
    "troubleshooting.md": 1,
}
"""How many examples of each page are run by a test, here or in another `test_docs_….py`."""

every_page = pytest.mark.parametrize("page", PAGES)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@every_page
def test_every_link_has_a_target(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page].read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = PAGES[page].parent / path if path else PAGES[page]
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@every_page
def test_every_page_is_linked_from_the_readme_or_the_index(page: str) -> None:
    linking = PAGES["README.md"].read_text(encoding="utf-8") + PAGES["index.md"].read_text(encoding="utf-8")
    assert page == "README.md" or page in linking


@every_page
def test_examples_import_public_names_only(page: str) -> None:
    for block in python_blocks(page):
        assert not re.search(r"rbhq_stream(\.\w+)*\._|import _", block), block


@pytest.mark.parametrize("page", [page for page in PAGES if any(">>>" in block for block in python_blocks(page))])
def test_the_interactive_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for the files that they write
    with EmbeddedBroker(partitions=1) as broker:
        results = doctest.testfile(str(PAGES[page]), module_relative=False, encoding="utf-8", globs={"broker": broker})
    assert results.attempted >= sum(">>>" in block for block in python_blocks(page))
    assert results.failed == 0


def test_every_other_example_is_run_by_a_test() -> None:
    assert {page: count for page in PAGES if (count := len(examples(page)))} == RUN_BY_A_TEST


# the examples that no other module runs

RACE: list[Event] = [
    PriceEvent(1, 1, (PriceUpdate(1, PriceType.WIN, 12),), (Scratching(2), Scratching(3))),
    PriceEvent(1, 1, unscratchings=(Unscratching(2),)),
    RaceStatusEvent(1, 1, RaceStatus.CLOSED),
    RaceResultEvent(1, 1, status=RaceStatus.FINAL, results=(RunnerResult(1),)),
]


def test_the_readmes_iteration(docs_broker: EmbeddedBroker) -> None:
    docs_broker.publish(*RACE)
    calls: list[str] = []
    names: dict[str, Any] = {}

    def called(name: str) -> Callable[..., None]:
        def call(*_: object) -> None:
            calls.append(name)
            if len(calls) == len(RACE):
                names["feed"].stop()

        return call

    names |= {name: called(name) for name in ("reprice", "set_status", "settle")}
    run_example("README.md", 0, names)
    assert sorted(calls) == ["reprice", "reprice", "set_status", "settle"]


def test_the_readmes_callbacks_keep_the_newest_scratching_of_each_runner(docs_broker: EmbeddedBroker) -> None:
    first, second = (Scratching(2, win_deduction=Decimal(deduction)) for deduction in ("0.07", "0.05"))
    docs_broker.publish(
        PriceEvent(1, 1, scratchings=(first,)),
        PriceEvent(1, 1, scratchings=(second, Scratching(3))),
        PriceEvent(1, 1, unscratchings=(Unscratching(3),)),
    )
    names: dict[str, Any] = {"set_status": lambda *_: names["feed"].stop()}

    def publish_the_end() -> None:
        docs_broker.wait_until_handled("docs", timeout=60)
        docs_broker.publish(RaceStatusEvent(1, 1, RaceStatus.CLOSED))

    publisher = threading.Thread(target=publish_the_end)
    publisher.start()
    run_example("README.md", 1, names)
    publisher.join()
    assert names["scratched"] == {(RaceId(1, 1), 2): second}


def test_the_readmes_asynchronous_feed(docs_broker: EmbeddedBroker) -> None:
    [_, *others] = RACE
    docs_broker.publish(*others, RACE[0])
    stored: list[RaceId] = []

    async def store(race_id: RaceId, _updates: tuple[PriceUpdate, ...]) -> None:
        stored.append(race_id)
        names["feed"].stop()

    names: dict[str, Any] = {"store": store}
    run_example("README.md", 2, names)
    assert stored == [RaceId(1, 1)]


def test_the_index_shows_the_example_of_the_quickstart() -> None:
    assert examples("index.md") == examples("quickstart.md")[:1]


def test_the_quickstarts_feed_prints_events_until_the_process_is_terminated(docs_broker: EmbeddedBroker) -> None:
    docs_broker.publish(RACE[2])
    printed: list[Event] = []

    def end(event: Event) -> None:
        printed.append(event)
        run_example("quickstart.md", 1, names)
        os.kill(os.getpid(), signal.SIGTERM)

    names: dict[str, Any] = {"print": end}
    before = signal.getsignal(signal.SIGTERM)
    try:
        run_example("quickstart.md", 0, names)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert printed == [RACE[2]]


def test_reliabilitys_handler_of_lost_partitions(docs_broker: EmbeddedBroker) -> None:
    discarded: list[TopicPartition] = []
    names: dict[str, Any] = {"discard_races": discarded.append}
    run_example("reliability.md", 0, names)
    lost = (TopicPartition("prices", 0), TopicPartition("prices", 1))
    names["forget"](PartitionsLost(at=datetime.now(timezone.utc), partitions=lost, uncommitted={}))
    assert discarded == list(lost)


def test_troubleshootings_diagnosis(docs_broker: EmbeddedBroker) -> None:
    docs_broker.publish(*RACE)
    names: dict[str, Any] = {}
    run_example("troubleshooting.md", 0, names)
    assert names["diagnosis"].ok, names["diagnosis"]


def test_testings_tests_pass(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(examples("testing.md")[0], encoding="utf-8")
    (tmp_path / "test_waiting.py").write_text(examples("testing.md")[1], encoding="utf-8")
    bad_day = examples("testing.md")[4]
    naive = bad_day.replace("(NewestDeductions, day)", "(Deductions, day)")
    (tmp_path / "test_bad_day.py").write_text(bad_day, encoding="utf-8")
    (tmp_path / "test_bad_day_naive.py").write_text(naive, encoding="utf-8")
    good_day = examples("testing.md")[5]
    (tmp_path / "test_good_day.py").write_text(good_day, encoding="utf-8")
    ignorant = good_day.replace("event.unscratchings", "()")
    (tmp_path / "test_good_day_naive.py").write_text(ignorant, encoding="utf-8")
    signals = examples("testing.md")[6]
    (tmp_path / "test_signals.py").write_text(signals, encoding="utf-8")
    (tmp_path / "test_signals_naive.py").write_text(signals.replace("resynchronise(", "reload("), encoding="utf-8")
    (tmp_path / "pytest.ini").touch()
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir=."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(pytest_here, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert "3 failed, 6 passed" in done.stdout, done.stdout
    assert "FAILED test_bad_day_naive.py" in done.stdout, "as the page says"
    assert "FAILED test_good_day_naive.py" in done.stdout, "as the page says"
    assert "FAILED test_signals_naive.py" in done.stdout, "as the page says"


@pytest.mark.parametrize("number", [2, 3], ids=["in memory", "a race day"])
def test_testings_programs_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    run_example("testing.md", number, {})


# what the pages say of the package


@pytest.mark.parametrize(
    "package", [rbhq_stream, rbhq_stream.metrics, rbhq_stream.testing], ids=lambda package: package.__name__
)
def test_the_reference_has_every_public_name_once(package: ModuleType) -> None:
    named = []
    for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if f".. currentmodule:: {package.__name__}\n" in text:
            named += re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.MULTILINE)
    assert sorted(named) == sorted(package.__all__)


def test_the_architecture_page_names_every_module() -> None:
    page = PAGES["architecture.md"].read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w./]+)` \| (.+) \|$", page, re.MULTILINE))
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert set(rows) == modules, "each module once"
    for module, said in rows.items():
        sentences = re.findall(r"[.!?](?:\s|$)", said)
        assert 1 <= len(sentences) <= 2, f"{module}: two sentences"


def test_the_maintainers_page_names_files_that_exist() -> None:
    page = PAGES["maintaining.md"].read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:rbhq_stream|tests|docs)/[\w./-]+|[\w.]+\.(?:toml|md))`(?! \(new\))", page))
    assert len(named) > 40
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_versions_agree() -> None:
    newest = re.findall(r"^## \[(\d[^]]*)\]", PAGES["CHANGELOG.md"].read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert f'version = "{newest}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
