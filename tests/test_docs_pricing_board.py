"""docs/pricing-board.md: the service as it stands there, over HTTP, through an outage of the brokers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import uvicorn

from rbhq_stream import PriceEvent, PriceType, PriceUpdate, RaceStatus, RaceStatusEvent, Scratching
from rbhq_stream.testing import EmbeddedBroker
from tests.broker.ports import free_port
from tests.pages import examples, run_example
from tests.waiting import wait_for

RACE = "1397808-7"


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serves an application over HTTP, and yields its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the service has started")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class Client:
    """What a browser would know: the newest row of each race and the state of the feed."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.rows: dict[str, dict[str, Any]] = {}
        self.feed = ""

    def read_until(self, holds: Callable[[dict[str, Any]], object], race: str = RACE) -> dict[str, Any]:
        """Reads the stream until something holds for the row of a race, and returns the row."""
        name = "message"
        for line in self._lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data" and name == "feed":
                self.feed = value
            elif field == "data":
                row = json.loads(value)
                self.rows[row["race"]] = row
            else:
                name = "message"
                if race in self.rows and holds(self.rows[race]):
                    return self.rows[race]
        raise AssertionError(f"the stream has ended: {self.rows}")


def test_the_example_has_at_most_60_lines() -> None:
    [service] = examples("pricing-board.md")
    assert len(service.splitlines()) <= 60


def test_clients_see_prices_scratchings_a_suspension_and_the_recovery(docs_broker: EmbeddedBroker) -> None:
    docs_broker.publish(
        RaceStatusEvent(1397808, 7, RaceStatus.OPEN),
        PriceEvent(
            1397808, 7, (PriceUpdate(2, PriceType.WIN, price="9.50"), PriceUpdate(3, PriceType.WIN, price="4.20"))
        ),
        RaceStatusEvent(1397808, 8, RaceStatus.CLOSED),
    )
    names: dict[str, Any] = {}
    run_example("pricing-board.md", 0, names)
    with (
        serving(names["app"]) as address,
        httpx.stream("GET", f"{address}/races", timeout=20) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        client = Client(response.iter_lines())
        row = client.read_until(lambda row: row["betting"])
        assert (client.feed, row["status"], row["why_not"]) == ("live", "OPEN", [])
        assert row["prices"] == {"2 WIN": "9.50", "3 WIN": "4.20"}
        client.read_until(lambda row: row["why_not"] == ["not open", "no price"], race="1397808-8")

        scratching = Scratching(2, win_deduction=Decimal("0.07"))
        docs_broker.publish(PriceEvent(1397808, 7, (PriceUpdate(3, PriceType.WIN, price="3.90"),), (scratching,)))
        row = client.read_until(lambda row: row["scratched"])
        assert (row["prices"], row["scratched"]) == ({"3 WIN": "3.90"}, {"2": "0.07"})
        assert row["betting"]

        with docs_broker.outage():
            row = client.read_until(lambda row: not row["betting"])
            assert "feed not trusted" in row["why_not"]
            assert client.feed == "down"
            assert row["prices"] == {"3 WIN": "3.90"}
        row = client.read_until(lambda row: row["betting"])
        assert (client.feed, row["why_not"]) == ("live", [])

        docs_broker.publish(RaceStatusEvent(1397808, 7, RaceStatus.CLOSED))
        row = client.read_until(lambda row: not row["betting"])
        assert (client.feed, row["why_not"]) == ("live", ["not open"])

        with httpx.stream("GET", f"{address}/races", timeout=20) as late:
            newcomer = Client(late.iter_lines())
            assert newcomer.read_until(bool) == row
