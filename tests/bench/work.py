"""What a contender is given and what it reports. Only the standard library: it runs in the peers' environments too."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BATCH = 500
"""Most records that a peer which reads in batches takes at once: as many as the library does."""
PACKAGES = (
    "confluent-kafka", "aiokafka", "faststream", "quixstreams", "pydantic", "orjson", "msgspec", "cattrs", "attrs",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What to read, and how."""

    bootstrap: str
    topic: str
    group: str
    count: int
    """How many records to read before it reports."""
    username: str | None = None
    """`None`: a listener without TLS and passwords."""
    password: str | None = None
    ca_file: str | None = None
    check: bool = False
    """Whether to work out the checksum of all values instead of being fast."""
    mode: str = ""
    """For programs that can do several things."""

    @classmethod
    def given(cls) -> Job:
        """The one on the command line."""
        return cls(**json.loads(sys.argv[1]))

    def confluent(self) -> dict[str, Any]:
        """The properties of a confluent-kafka consumer that nobody can do without."""
        properties: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "auto.offset.reset": "earliest",
        }
        if self.username is not None:
            properties |= {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": self.username,
                "sasl.password": self.password,
                "ssl.ca.location": self.ca_file,
            }
        return properties


@dataclass
class Stopwatch:
    """Counts events from the first one on: connecting and the first fetch, or the first batch, are not in the time."""

    events: int = 0
    prices: int = 0
    _skipped: int = 0
    _began: float = 0
    _cpu_began: float = 0

    def start(self, events: int) -> None:
        """So many events were handled before it starts."""
        self._skipped = self.events = events
        self._cpu_began = time.process_time()
        self._began = time.perf_counter()

    def lap(self, events: int) -> int:
        """A batch of so many was handled: the first of them starts the time. Answers how many there were in all."""
        if self._began:
            self.events += events
        else:
            self.start(events)
        return self.events

    def result(self) -> dict[str, float]:
        """To be asked right after the last event."""
        seconds = time.perf_counter() - self._began
        cpu = time.process_time() - self._cpu_began
        timed = self.events - self._skipped
        return {"events": timed, "seconds": seconds, "cpu_seconds": cpu, "events_per_second": timed / seconds}


@dataclass
class Checksum:
    """Of all values, in whatever order the records came: partitions are read in any."""

    events: int = 0
    prices: Decimal = Decimal(0)
    scratchings: int = 0
    digest: int = 0
    _seen: list[str] = field(default_factory=list)

    def add(
        self,
        race: tuple[int, int],
        price_updates: Iterable[tuple[int, str, int | None, Decimal | None]],
        scratchings: Iterable[tuple[Any, ...]],
        unscratchings: Iterable[tuple[Any, ...]],
    ) -> None:
        """One event: runner, property, property id and price of each; all values of each scratching, in order."""
        updates = [*price_updates]
        scratched = [*scratchings]
        self.events += 1
        self.prices += sum((price for *_, price in updates if price is not None), Decimal(0))
        self.scratchings += len(scratched)
        rows = [[_plain(value) for value in row] for part in (updates, scratched, unscratchings) for row in part]
        text = repr([race, rows])
        self.digest += int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        self.digest %= 2**64

    def result(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "sum_of_prices": _plain(self.prices),
            "scratchings": self.scratchings,
            "digest": f"{self.digest:016x}",
        }


def _plain(value: Any) -> str:
    """The same text for the same value, whatever class holds it."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return str(value)


def report(result: dict[str, Any]) -> None:
    """Prints the outcome as the last line, and ends the process at once: how it would close is not measured."""
    print(json.dumps({**result, "peak_rss": _peak(), "versions": _versions()}), flush=True)
    os._exit(0)


def job_as_json(job: Job) -> str:
    return json.dumps(asdict(job))


def _peak() -> int:
    """Bytes. Not from `getrusage`, whose value is never below that of the parent when it started the process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
