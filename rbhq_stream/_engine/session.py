"""One connection's worth of feed: a source, its intake and the cursor on it, and where they are between made
and closed.

The faces (`Feed`, `AsyncFeed`) differ only in how they wait; everything else about a feed is here, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.cursor import Cursor, OnBadRecord
from rbhq_stream._engine.intake import Intake
from rbhq_stream._engine.starting_positions import StartingPositions
from rbhq_stream._kafka import KafkaSource
from rbhq_stream.errors import FeedClosedError
from rbhq_stream.events import Event, PriceEvent, RaceEvent, RaceResultEvent, RaceStatusEvent
from rbhq_stream.positions import Positions
from rbhq_stream.source import Source

log = logging.getLogger("rbhq_stream")


class Session:
    """Made, started, perhaps failed, closed: once each."""

    def __init__(
        self,
        config: FeedConfig,
        commit: Literal["auto", "manual"],
        on_bad_record: OnBadRecord,
        source: Source | None,
        wake: Callable[[], None],
        *,
        positions: Positions | None = None,
    ) -> None:
        if commit not in ("auto", "manual"):
            raise ValueError(f"commit={commit!r}: expected 'auto' or 'manual'")
        if on_bad_record not in ("raise", "skip") and not callable(on_bad_record):
            raise ValueError(f"on_bad_record={on_bad_record!r}: expected 'raise', 'skip' or a callable")
        self._config = config
        self._manual = commit == "manual"
        self.intake = Intake(
            source if source is not None else KafkaSource(config),
            buffer_records=config.buffer_records,
            commit_interval=config.commit_interval,
            close_timeout=config.close_timeout,
            one_by_one=self._manual,
            wake=wake,
            places=StartingPositions(positions, config.topics.names),
        )
        self.cursor = Cursor(
            self.intake,
            _kinds(config),
            on_bad_record=on_bad_record,
            manual=self._manual,
            max_bytes=config.max_record_bytes,
        )
        self.signals = self.intake.signals
        """To be told before the next event; see `Intake`."""
        self.stopped = False
        self.closed = False
        self._wake = wake

    def __repr__(self) -> str:
        state = (
            "closed"
            if self.closed
            else "stopped"
            if self.stopped
            else "open"
            if self.intake.is_started
            else "not started"
        )
        return f"of group {self._config.group_id!r} at {','.join(self._config.bootstrap_servers)}, {state}"

    def start(self) -> None:
        """Starts to connect, once.

        Raises:
            FeedClosedError: it was closed.
        """
        if self.closed:
            raise FeedClosedError("this feed was closed; make a new one")
        if not self.intake.is_started:
            self.intake.start()

    def is_connected(self) -> bool:
        """Whether the subscription works.

        Raises:
            ConnectError: it never will.
        """
        self._raise_failure()
        return self.intake.is_open

    def show(self) -> Event | None:
        """The next event if there is one, as `Cursor.peek`; starts the session if need be.

        Raises: what `Cursor.peek` does, and the failure of the poll thread once all that it took in was handed over and
        its signals told.
        """
        self.start()
        is_over = self.intake.failure is not None or self.intake.is_over  # first: what was read before comes before it
        event = self.cursor.peek()
        if event is None and is_over and not self.signals:
            self._raise_failure()
        return event

    def acknowledge(self, event: RaceEvent) -> None:
        if not self._manual:
            raise ValueError("this feed acknowledges by itself; give commit='manual' to do it with ack()")
        self.cursor.acknowledge(event)

    def close(self, *, in_peace: bool) -> None:
        """Commits what is done and leaves; `in_peace`: the event in hand is done too. Interrupted, it may be called
        again, and goes on by itself meanwhile.
        """
        self.leave(in_peace=in_peace)
        self.intake.join()
        self.check_left()

    def leave(self, *, in_peace: bool) -> None:
        """The part of closing that doesn't wait; `intake.is_over` tells when the rest is done."""
        if not self.closed:
            if in_peace:
                self.cursor.settle()
            self.closed = True
        self.stopped = True
        self.intake.leave()
        self._wake()

    def check_left(self) -> None:
        """Says so when the time for closing was not enough."""
        if self.intake.is_started and not self.intake.is_over:
            log.warning(
                "the feed could not be closed within %s s; what was not committed yet comes again after a restart",
                self._config.close_timeout,
            )

    def _raise_failure(self) -> None:
        failure = self.intake.failure
        if failure is not None:
            raise failure.with_traceback(self.intake.failed_at)  # or it would grow each time
        if self.intake.is_over and not self.closed:
            raise FeedClosedError("the feed's poll thread has ended")


def check_batch(max_events: int, max_wait: float) -> None:
    """Raises ValueError for a batch that could never be collected."""
    if max_events < 1:
        raise ValueError(f"max_events={max_events}: expected at least 1")
    if not max_wait >= 0:
        raise ValueError(f"max_wait={max_wait}: expected seconds, 0 or more")


def _kinds(config: FeedConfig) -> dict[str, type[Event]]:
    topics = config.topics
    kinds: dict[str | None, type[Event]] = {
        topics.prices: PriceEvent,
        topics.race_status: RaceStatusEvent,
        topics.race_results: RaceResultEvent,
    }
    return {name: kind for name, kind in kinds.items() if name is not None}
