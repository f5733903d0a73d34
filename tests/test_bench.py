"""The part of the benchmark that needs no broker runs, with few records. Its results are not checked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.bench import concurrency, data, report
from tests.bench.figures import Figure, Goal
from tests.bench.run import Run, Settings
from tests.bench.work import Checksum


def test_the_benchmarks_of_decoding_and_of_the_race_book_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nlast week\n{report.END}\nafter\n")
    target = tmp_path / "bench.json"
    arguments = ["--quick", "--only", "decode,book", "--json", str(target), "--write", str(page)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "decode ÷ json.loads, small" in done.stdout

    results = json.loads(target.read_text())
    assert [figure["name"].split(", ")[1] for figure in results["figures"] if figure["part"] == "decode"] == [
        "small",
        "large",
        "cold small",
        "cold large",
    ]
    assert "save and load" in {figure["name"] for figure in results["figures"] if figure["part"] == "race book"}
    assert all(figure["min"] <= figure["value"] <= figure["max"] for figure in results["figures"])
    assert results["machine"]["cores"] > 0
    assert "msgspec" in results["versions"]["ours"]

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "last week" not in text
    assert "decode ÷ json.loads, cold large" in text


def test_the_records_have_the_sizes_that_the_goals_require() -> None:
    records = [value for _, value in data.realistic(3_000)]
    small, large = data.small_and_large(records)
    assert len(large) == pytest.approx(300, abs=5)
    assert sum(map(len, small)) / len(small) == pytest.approx(175, abs=15)
    assert all(len(json.loads(record)["priceUpdates"]) == 1 for record in small)
    assert all(len(json.loads(record)["priceUpdates"]) == 10 for record in large)
    assert all(len(json.loads(record)["scratchings"]) == 2 for record in large)
    assert data.realistic(50) == data.realistic(50)


def test_in_cold_records_only_numbers_repeat() -> None:
    market = data.prices_in([value for _, value in data.realistic(500)])
    shares = data.repetition(list(data.cold(200, market, large=True)))
    assert (shares["scratchings"], shares["documents"]) == (0, 0)
    assert shares["price"] == pytest.approx(1 - len(set(market)) / 2000, abs=0.1)


def test_the_checksum_covers_the_values_in_any_order() -> None:
    def of(*races: int) -> object:
        checksum = Checksum()
        for race in races:
            checksum.add((race, 1), [], [], [])
        return checksum.result()

    assert of(1, 2) == of(2, 1)
    assert of(1, 2) != of(1, 3)


def test_a_peer_that_did_not_run_is_reported() -> None:
    run = Run(Settings())
    run.facts |= {
        "records": 1,
        "large_share": 0.1,
        "bytes": {"small": 1, "large": 2},
        "repeated": {"price": 0.5, "scratchings": 0.5},
    }
    run.figures.append(Figure("feed", "Feed ÷ a peer", "ratio", (), Goal(3.0), "not run: no such package"))
    assert "not run: no such package" in report.as_text(run)
    assert report.as_json(run)["figures"][0]["verdict"] == "not run"


@pytest.mark.parametrize(
    ("values", "goal", "verdict"),
    [
        ((1.0, 5.0, 2.9), Goal(3.0), "missed"),
        ((1.0, 5.0, 3.0), Goal(3.0), "reached"),
        ((0.9, 0.8, 1.2), Goal(1.0, at_most=True), "reached"),
        ((1.1, 0.8, 1.2), Goal(1.0, at_most=True), "missed"),
        ((1.1,), None, ""),
    ],
)
def test_a_goal_is_compared_with_the_median(values: tuple[float, ...], goal: Goal | None, verdict: str) -> None:
    assert Figure("part", "name", values=values, goal=goal).verdict == verdict


def test_many_handlers_at_once_are_compared_with_one_by_one() -> None:
    rates = {"Feed 1": 180.0, "Feed 64": 9_900.0, "AsyncFeed 1": 180.0, "AsyncFeed 64": 8_100.0}
    outcomes = {f"concurrency {mode}": [{"events_per_second": rate}] for mode, rate in rates.items()}
    *_, threads, tasks = concurrency.figures(outcomes)
    assert (threads.value, threads.verdict) == (55.0, "reached")
    assert (tasks.value, tasks.verdict) == (45.0, "missed")
    keys = [key for key, _ in concurrency.many_races(1_000)]
    assert len(set(keys[:64])) == 64, "no race is what the others wait for"
