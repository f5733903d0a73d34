"""docs/exactly-once.md and docs/scaling.md: each block runs as it stands."""

from __future__ import annotations

import doctest
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rbhq_stream import Event, RaceStatus, RaceStatusEvent
from rbhq_stream.testing import EmbeddedBroker

DOCS = Path(__file__).parents[1] / "docs"
EVENTS = [RaceStatusEvent(1, race, RaceStatus.OPEN) for race in range(20)]


def blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if ">>>" not in block]


def run(page: str, block: int, space: dict[str, Any]) -> None:
    exec(compile(blocks(page)[block], page, "exec"), space)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker with some events, and the environment and the folder of an application that reads them."""
    with EmbeddedBroker() as broker:
        config = broker.config()
        names = {"PRICES": config.topics.prices, "RACE_STATUS": config.topics.race_status}
        for name, value in {
            "RBHQ_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "RBHQ_SECURITY": "PLAINTEXT",
            "RBHQ_GROUP_ID": "docs",
            "RBHQ_SESSION_TIMEOUT": str(config.session_timeout),
            **{f"RBHQ_TOPIC_{kind}": str(topic) for kind, topic in names.items()},
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOSTNAME", "pricing-0")
        monkeypatch.chdir(tmp_path)
        broker.publish(*EVENTS)
        yield broker


def stored() -> list[int]:
    with closing(sqlite3.connect("app.db")) as db:
        return sorted(number for (number,) in db.execute("SELECT race FROM events"))


def test_exactly_once(broker: EmbeddedBroker) -> None:
    with closing(sqlite3.connect("app.db")) as db:
        db.execute("CREATE TABLE events (race INT)")
    crashes = {5, 15}

    def store(db: sqlite3.Connection, event: Event) -> None:
        race = event.event_number
        db.execute("INSERT INTO events VALUES (?)", (race,))
        if race in crashes:
            crashes.remove(race)
            raise ZeroDivisionError("the application crashes in a transaction")
        if len(stored()) + len(in_hand(db)) == len(EVENTS):
            space["feed"].stop()

    def in_hand(db: sqlite3.Connection) -> set[int]:
        return {race for (race,) in db.execute("SELECT race FROM events")} - set(stored())

    space: dict[str, Any] = {"store": store}
    with pytest.raises(ZeroDivisionError):
        run("exactly-once.md", 0, space)
    with pytest.raises(ZeroDivisionError):
        run("exactly-once.md", 1, space)  # in batches
    before = stored()
    assert not {5, 15} <= set(before), "it was undone"
    run("exactly-once.md", 0, space)
    assert stored() == list(range(20)), "each once"


def test_batches(broker: EmbeddedBroker) -> None:
    got: list[Event] = []

    def store_all(batch: list[Event]) -> None:
        got.extend(batch)
        if len(got) == len(EVENTS):
            space["feed"].stop()

    space: dict[str, Any] = {"store_all": store_all}
    run("scaling.md", 0, space)
    assert sorted(event.event_number for event in got) == list(range(20))


def test_threads_by_race(broker: EmbeddedBroker) -> None:
    got: list[Event] = []

    def reprice(event: Event) -> None:
        got.append(event)
        if len(got) == len(EVENTS):
            space["feed"].stop()

    space: dict[str, Any] = {"reprice": reprice}
    run("scaling.md", 1, space)
    run("scaling.md", 2, space)
    assert sorted(event.event_number for event in got) == list(range(20))
    assert sum(broker.committed("docs").values()) == 20


def test_configurations(broker: EmbeddedBroker) -> None:
    space: dict[str, Any] = {}
    run("scaling.md", 3, space)
    assert (space["config"].group_instance_id, space["config"].session_timeout) == ("pricing-0", 60)
    run("scaling.md", 4, space)
    assert space["settlement"].group_id == "settlement"
    assert len(blocks("scaling.md")) == 5, "all of them ran"
    assert len(blocks("exactly-once.md")) == 2


def test_the_interactive_examples() -> None:
    result = doctest.testfile(str(DOCS / "exactly-once.md"), module_relative=False, encoding="utf-8")
    assert result.attempted > 8
    assert result.failed == 0
