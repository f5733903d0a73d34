"""A consumer in a process of its own, to be killed, stopped and pelted with signals: `python -m tests.reliability.app`.

It writes a line into its log, unbuffered, when a handler begins with an event (`B`) and when it is done with it (`E`),
so that whoever killed it knows; and one when it is assigned partitions (`A`). `Life` is such a process as seen from
the test.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import attrs
from typing_extensions import Self

from rbhq_stream import AsyncFeed, Event, Feed, FeedConfig, RaceEvent, Retry

Place = tuple[int, int]
"""Partition and offset. The partitions of a second topic are numbered from 1000, those of a third from 2000."""


class OutOfLuckError(Exception):
    """A handler that fails now and then."""


class Application:
    """What every variant does with an event."""

    def __init__(self, topics: Sequence[str], log: str, options: dict[str, Any]) -> None:
        self._topics = topics
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._hang_at = int(options.get("hang_at", 0))
        self._pace = float(options.get("pace", 0))
        self._chance = random.Random(options.get("seed"))
        self._bad_luck = float(options.get("bad_luck", 0))
        self._until = {tuple(place) for place in options.get("until", ())}
        self.everything = not self._until
        self.count = 0

    def note(self, line: str) -> None:
        os.write(self._log, f"{line}\n".encode())

    def place(self, event: Event | RaceEvent) -> Place:
        record = event.require_record()
        return record.partition + 1000 * self._topics.index(record.topic), record.offset

    def handle(self, event: Event | RaceEvent) -> bool:
        """Whether there is more to come."""
        partition, offset = self.place(event)
        place = f"{partition} {offset}"
        self.note(f"B {place}")
        self.count += 1
        if self.count == self._hang_at:
            self.note("hangs")
            while True:
                signal.pause()
        if self._pace:
            time.sleep(self._pace)
        if self._chance.random() < self._bad_luck:
            if self._chance.random() < 0.1:
                time.sleep(self._chance.uniform(0, 3))
            raise OutOfLuckError
        self.note(f"E {place}")
        if self._until:
            self._until.discard((partition, offset))
            return bool(self._until)
        return True

    def begin(self, event: RaceEvent) -> float:
        """Begins with one of many events that are handled at once. Returns how many seconds that takes."""
        self._note_of_many("B", event)
        return self._chance.uniform(0, self._pace)

    def finish(self, event: RaceEvent) -> None:
        """Finishes with it, or fails."""
        if self._chance.random() < self._bad_luck:
            self._note_of_many("F", event)
            raise OutOfLuckError
        self._note_of_many("E", event)

    def _note_of_many(self, what: str, event: RaceEvent) -> None:
        partition, offset = self.place(event)
        self.note(f"{what} {partition} {offset} {os.getpid()}")


class Assignments(logging.Handler):
    """Notes when the feed says that it was assigned partitions."""

    def __init__(self, app: Application) -> None:
        super().__init__()
        self._app = app

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("assigned"):
            self._app.note("A")


def iterate(config: FeedConfig, app: Application) -> None:
    with Feed(config) as feed:
        for event in feed:
            if not app.handle(event):
                break


def batches(config: FeedConfig, app: Application) -> None:
    with Feed(config) as feed:
        for batch in feed.batches(7, 0.01):
            more = True
            for event in batch:
                more = app.handle(event) and more
            if not more:
                break


def manual(config: FeedConfig, app: Application) -> None:
    with Feed(config, commit="manual") as feed:
        for event in feed:
            more = app.handle(event)
            feed.ack(event)
            if not more:
                break


def run(config: FeedConfig, app: Application) -> None:
    feed = Feed(config)

    @feed.on(RaceEvent)
    def handler(event: RaceEvent) -> None:
        if not app.handle(event):
            feed.stop()

    feed.run()


def async_iterate(config: FeedConfig, app: Application) -> None:
    async def main() -> None:
        async with AsyncFeed(config) as feed:
            async for event in feed:
                if not app.handle(event):
                    break

    asyncio.run(main())


def async_run(config: FeedConfig, app: Application) -> None:
    async def main() -> None:
        feed = AsyncFeed(config)

        @feed.on(RaceEvent)
        async def handler(event: RaceEvent) -> None:
            await asyncio.sleep(0)
            if not app.handle(event):
                feed.stop()

        await feed.run()

    asyncio.run(main())


AT_ONCE = 64
UNLUCKY = Retry(attempts=50, wait=0.01)


def concurrent_run(config: FeedConfig, app: Application) -> None:
    feed = Feed(config)
    signal.signal(signal.SIGTERM, lambda *_: feed.stop())

    @feed.on(RaceEvent)
    def handler(event: RaceEvent) -> None:
        time.sleep(app.begin(event))
        app.finish(event)

    feed.run(workers=AT_ONCE, retry=UNLUCKY)


def concurrent_async_run(config: FeedConfig, app: Application) -> None:
    feed = AsyncFeed(config)
    signal.signal(signal.SIGTERM, lambda *_: feed.stop())

    @feed.on(RaceEvent)
    async def handler(event: RaceEvent) -> None:
        await asyncio.sleep(app.begin(event))
        app.finish(event)

    asyncio.run(feed.run(concurrency=AT_ONCE, retry=UNLUCKY))


def keep_running(config: FeedConfig, app: Application) -> None:
    """A service that goes on when a handler fails, until it is stopped."""
    with Feed(config) as feed:
        stopped = False

        def stop(*_: object) -> None:
            nonlocal stopped
            stopped = True
            feed.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        app.note("ready")
        feed.on(RaceEvent)(app.handle)
        while not stopped:
            with suppress(OutOfLuckError):
                feed.run()
    ignore_signals()


def ignore_signals() -> None:
    """At its very end Python gives signals back their own effect, which is to kill."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def stop_on_signals(config: FeedConfig, app: Application) -> None:
    """As a service does: SIGINT and SIGTERM stop the feed."""
    with Feed(config) as feed:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: feed.stop())
        app.note("ready")
        feed.on(RaceEvent)(app.handle)
        feed.run()
    ignore_signals()
    app.note("closed")


def interrupted(config: FeedConfig, app: Application) -> None:
    """Each signal raises KeyboardInterrupt wherever it strikes in the library, closing included, and is survived.

    One that strikes in the application's own code is kept for later: what gets lost there is not the library's.
    """
    waiting = inside = 0

    def strike(_number: int, frame: FrameType | None) -> None:
        nonlocal waiting, inside
        in_library = False
        while frame is not None:
            if frame.f_code is Application.handle.__code__:
                in_library = False  # the handler uses the library too, as for `event.record`
                break
            in_library = in_library or f"{os.sep}rbhq_stream{os.sep}" in frame.f_code.co_filename
            frame = frame.f_back
        if in_library:
            inside += 1
            raise KeyboardInterrupt
        waiting += 1

    feed = Feed(config).__enter__()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, strike)
    app.note("ready")
    more = True
    while more:
        try:
            for event in feed:
                more = app.handle(event)
                if not more:
                    break
                if waiting:
                    waiting -= 1
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            continue
    while True:
        try:
            feed.close()
            break
        except KeyboardInterrupt:
            continue
    ignore_signals()
    app.note(f"closed {inside}")


def killed_by_interrupt(config: FeedConfig, app: Application) -> None:
    """What most people write: the first Ctrl-C ends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Feed(config) as feed:
        app.note("ready")
        for event in feed:
            app.handle(event)


def never_closed(config: FeedConfig, app: Application) -> None:
    """The interpreter ends while the feed is open."""
    feed = Feed(config)
    app.handle(next(feed))


VARIANTS: dict[str, Callable[[FeedConfig, Application], None]] = {
    function.__name__: function
    for function in (
        iterate, batches, manual, run, async_iterate, async_run, stop_on_signals, interrupted, killed_by_interrupt,
        keep_running, never_closed, concurrent_run, concurrent_async_run,
    )
}  # fmt: skip


class Line(NamedTuple):
    """What the log says: `B` or `E` with a place, `A`, or another word."""

    what: str
    place: Place | None = None


class Life:
    """One run of the application."""

    def __init__(self, variant: str, config: FeedConfig, log: Path, **options: Any) -> None:
        self.log = log
        given = {
            "bootstrap_servers": config.bootstrap_servers,
            "username": config.username,
            "password": None if config.password is None else config.password.reveal(),
            "ca_file": str(config.ca_file),
            "group_id": config.group_id,
            "group_instance_id": config.group_instance_id,
            "topics": attrs.asdict(config.topics),
            "session_timeout": config.session_timeout,
            "max_poll_interval": config.max_poll_interval,
            "commit_interval": config.commit_interval,
            "close_timeout": config.close_timeout,
            "buffer_records": config.buffer_records,
        }
        self._errors = log.with_suffix(".err").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.app"],
            stdin=subprocess.PIPE,
            stderr=self._errors,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([variant, given, str(log), options]).encode())
        self.process.stdin.close()

    @property
    def lines(self) -> list[Line]:
        if not self.log.exists():
            return []
        *whole, _ = self.log.read_text().split("\n")
        lines = []
        for what, *numbers in map(str.split, whole):
            lines.append(Line(what, (int(numbers[0]), int(numbers[1])) if what in ("B", "E") else None))
        return lines

    @property
    def begun(self) -> list[Place]:
        return [line.place for line in self.lines if line.what == "B" and line.place is not None]

    @property
    def done(self) -> list[Place]:
        return [line.place for line in self.lines if line.what == "E" and line.place is not None]

    def has_done(self, count: int) -> bool:
        return len(self.done) >= count

    def said(self, word: str) -> bool:
        return any(line.what == word for line in self.lines)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._errors.close()

    def end(self, timeout: float = 30) -> float:
        """Waits until it ended by itself; returns how long that took."""
        began = time.monotonic()
        code = self.process.wait(timeout)
        took = time.monotonic() - began
        self._errors.close()
        assert code == 0, (code, self.errors[-2000:])
        return took

    @property
    def errors(self) -> str:
        return self.log.with_suffix(".err").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


if __name__ == "__main__":
    variant, given, log, options = json.load(sys.stdin)
    faulthandler.register(signal.SIGUSR2)
    config = FeedConfig(**given)
    app = Application(config.topics.names, log, options)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("rbhq_stream").setLevel(logging.INFO)
    logging.getLogger("rbhq_stream").addHandler(Assignments(app))
    VARIANTS[variant](config, app)
