"""`Session`: the source, poll thread, buffer and cursor of one feed, from its construction until it is closed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Literal

from attrs import frozen
from typing_extensions import get_protocol_members

from rbhq_stream._config import FeedConfig, Topics, feed_name, read_ahead_bytes
from rbhq_stream._engine.buffer import Buffer
from rbhq_stream._engine.cursor import Cursor, OnBadRecord
from rbhq_stream._engine.health_watch import HealthWatch
from rbhq_stream._engine.poll_thread import POLL_TIMEOUT, PollThread
from rbhq_stream._engine.starting_positions import StartingPositions
from rbhq_stream._engine.time_order import MAX_WAIT, TimeOrder, Window
from rbhq_stream._engine.unfinished_work import check_function
from rbhq_stream._forks import forks
from rbhq_stream._kafka import kafka_source
from rbhq_stream._recording import RecordTo, recorded
from rbhq_stream.errors import ConfigError, FeedClosedError, ForkedFeedError
from rbhq_stream.events import Event, PriceEvent, RaceEvent
from rbhq_stream.health import Health, HealthRules
from rbhq_stream.positions import Positions
from rbhq_stream.signals import Signal
from rbhq_stream.source import Source

MERGING_RECORDS = 5
"""How many times `buffer_records` may wait to be merged by time. The Kafka client fetches a megabyte of a partition at
once, some 5,000 small records, before it turns to the next one. With less room than that for each of nine partitions,
much would be fetched twice, because a partition that is held back loses what the client has fetched ahead of it."""

_log = logging.getLogger("rbhq_stream")


@frozen(kw_only=True)
class FailedHandler(Signal):
    """A handler that was called immediately has failed. No handler gets this signal: the error is raised."""

    error: BaseException


class Session:
    """The life of one feed: it is made, started, possibly fails, and is closed, each of these once."""

    def __init__(
        self,
        config: FeedConfig,
        commit: Literal["auto", "manual"],
        on_bad_record: OnBadRecord,
        source: Source | None,
        wake: Callable[[], None],
        *,
        record_to: RecordTo | str | os.PathLike[str] | None,
        rules: HealthRules,
        immediate: Callable[[Signal], None],
        oldest_start: Callable[[], float | None],
        positions: Positions | None,
        order: Literal["arrival", "time"],
        window: Window | None,
        clock: Callable[[], float],
    ) -> None:
        if commit not in ("auto", "manual"):
            raise ValueError(f"commit={commit!r}: expected 'auto' or 'manual'")
        if on_bad_record not in ("raise", "skip") and not callable(on_bad_record):
            raise ValueError(f"on_bad_record={on_bad_record!r}: expected 'raise', 'skip' or a callable")
        if order not in ("arrival", "time"):
            raise ValueError(f"order={order!r}: expected 'arrival' or 'time'")
        check_function(on_bad_record, "on_bad_record")
        _check_source(source)
        _check_silences(rules, config.topics)
        self._config = config
        self._manual = commit == "manual"
        self.raises_bad_records = on_bad_record == "raise"
        max_bytes = config.buffer_bytes - 2 * read_ahead_bytes(config)
        time_order = None
        if order == "time":
            max_bytes //= 2  # the other half waits to be merged
            time_order = TimeOrder(
                config.topics.names,
                max_records=MERGING_RECORDS * config.buffer_records,
                max_bytes=max_bytes,
                max_wait=MAX_WAIT if window is None else config.connect_timeout,
                window=window,
            )
        self._buffer = Buffer(
            max_records=config.buffer_records,
            max_bytes=max_bytes,
            wake_application=wake,
        )
        self._immediate = immediate
        self._health = HealthWatch(
            name=feed_name(config),
            rules=rules,
            topics=config.topics.kinds,
            buffer=self._buffer,
            counts=self._counts,
            oldest_start=oldest_start,
            is_closed=lambda: self.is_closed,
            deliver=self._deliver,
            failed=self.note_failed_handler,
        )
        source = source if source is not None else kafka_source(config)
        if record_to is not None:
            source = recorded(source, record_to, config.topics, self._deliver)
        self._poll_thread = PollThread(
            source,
            self._buffer,
            self._health,
            self._deliver,
            starting_positions=StartingPositions(positions, config.topics.names),
            acknowledge_one_by_one=self._manual,
            has_group=config.group_id is not None,
            time_order=time_order,
            commit_interval=config.commit_interval,
            close_timeout=config.close_timeout,
        )
        self.cursor = Cursor(
            self._buffer,
            config.topics.kinds,
            on_bad_record=on_bad_record,
            manual=self._manual,
            max_bytes=config.max_record_bytes,
        )
        self.signals = self._buffer.signals
        """To be delivered before the next event."""
        self.is_stopped = False
        """Whether the application wants no more events. Set by any thread, and never reset."""
        self.is_closed = False
        self._pid: int | None = None  # of the process that started it
        self.is_forked = False
        """Whether this process is a child of the one that started the session."""
        self._close_by: float | None = None
        self._wake = wake
        self._clock = clock

    def __repr__(self) -> str:
        if self.is_forked:
            state = f"of process {self._pid}"
        elif self.is_closed:
            state = "closed"
        elif self.is_stopped:
            state = "stopped"
        else:
            state = "open" if self._poll_thread.is_started else "not started"
        group = "without a group" if self._config.group_id is None else f"of group {self._config.group_id!r}"
        return f"{group} at {','.join(self._config.bootstrap_servers)}, {state}"

    def start(self) -> None:
        """Starts to connect. Idempotent.

        Raises:
            FeedClosedError: the feed was closed.
            ForkedFeedError: it was started by the process that this one was forked from.
        """
        self.check_process()
        if self.is_closed:
            raise FeedClosedError("this feed was closed; make a new one")
        if not self._poll_thread.is_started:
            self._pid = os.getpid()
            forks.watch(self)  # before there is a thread, as another thread may fork
            self._poll_thread.start()

    def note_fork(self) -> None:
        """Notes that this process is a child of the one that started the session: from now on every use raises.

        The frames of the poll thread, which never runs in the child, keep a reference to the Kafka client, so that its
        destructor is not called there.
        """
        if not (self.is_closed and self._buffer.is_ended):
            self.is_forked = True
            self.is_stopped = True  # the facades check this before they hand over an event

    def check_process(self) -> None:
        """Checks that the session was not started by the process that this one was forked from.

        Raises:
            ForkedFeedError: it was.
        """
        if self.is_forked:
            assert self._pid is not None, "it was started"
            raise ForkedFeedError(self._pid)

    @property
    def health(self) -> Health:
        """The health of the feed. From any thread."""
        return self._health.current()

    @property
    def is_watched(self) -> bool:
        """Whether the health of the feed is still being determined."""
        return self._health.is_running

    def _counts(self) -> tuple[int, int]:
        stats = self.cursor.stats(None)
        return stats.events, stats.bad_records

    def _deliver(self, signal: Signal) -> None:
        self._buffer.add_signal(signal)
        self._immediate(signal)

    def note_failed_handler(self, error: BaseException) -> None:
        """A handler that was called immediately has failed: the application gets the error with the next request."""
        self._buffer.add_signal(FailedHandler(at=datetime.now(timezone.utc), error=error))

    def is_connected(self) -> bool:
        """Returns whether the subscription works.

        Raises:
            ConnectError: it could not connect.
        """
        self._raise_failure()
        return self._buffer.is_open

    def show(self, handed_over: Event | None, defers: bool = False) -> Event | None:
        """Shows the next event if there is one, like `Cursor.next`. Starts the feed if it is not started.

        If there is none, and there will be none because the source has ended, the session is stopped.

        Raises:
            DecodeError: as `Cursor.next`.
            RbhqStreamError: the poll thread failed, and everything that it had read before was handed over.
        """
        self.start()
        buffer = self._buffer
        # looked at first: what was read before comes before it
        is_over = buffer.failure is not None or buffer.is_ended
        is_exhausted = buffer.is_exhausted
        event = self.cursor.next(handed_over, defers)
        if event is None and not self.signals:
            if is_over:
                self._raise_failure()
            if is_exhausted:
                self.is_stopped = True
                self._wake()  # whoever is about to wait for the next event
        return event

    def acknowledge(self, event: RaceEvent) -> None:
        """Acknowledges one event. From any thread.

        Raises:
            ValueError: the feed has `commit="auto"`, or the event did not come from it.
        """
        if not self._manual:
            raise ValueError("this feed acknowledges by itself; give commit='manual' to do it with ack()")
        self.cursor.acknowledge(event)

    # closing

    def leave(self) -> None:
        """Begins to close: the poll thread commits, leaves the group and ends by itself. Idempotent."""
        if not self.is_closed:
            self._close_by = self._clock() + self._config.close_timeout + 2 * POLL_TIMEOUT
            self.is_closed = True
        self.is_stopped = True
        self._buffer.request_close()
        self._wake()

    @property
    def time_to_close(self) -> float:
        """The number of seconds that closing may still take; 0 if there is nothing to wait for."""
        if self._close_by is None or self._buffer.is_ended or not self._poll_thread.is_started:
            return 0.0
        return max(0.0, self._close_by - self._clock())

    def finish_closing(self) -> None:
        """Finishes closing, and logs a warning if it took too long."""
        self._poll_thread.join()
        if self._buffer.is_ended:
            self._health.join(POLL_TIMEOUT)
        if self._poll_thread.is_started and not self._buffer.is_ended:
            _log.warning(
                "the feed could not be closed within %s s; uncommitted events are delivered again after a restart",
                self._config.close_timeout,
            )

    def _raise_failure(self) -> None:
        self._buffer.raise_failure()
        if self._buffer.is_ended and not self.is_closed:
            raise FeedClosedError("the feed's poll thread has ended")


def _check_source(source: object) -> None:
    """Refuses what is not a source, before the poll thread fails on it. A recording and its path are common mistakes.

    Raises:
        TypeError: it lacks methods of a source.
    """
    lacking = sorted(name for name in get_protocol_members(Source) if not callable(getattr(source, name, None)))
    if source is not None and lacking:
        raise TypeError(
            f"source={source!r}: expected a Source, but it has no {', '.join(lacking)}; the source that replays a"
            " recording is Recording(path).at()"
        )


def _check_silences(rules: HealthRules, topics: Topics) -> None:
    """Checks that the feed reads every topic whose silence has a limit.

    Raises:
        ConfigError: it does not, so the silence would never be noticed.
    """
    limited = dict.fromkeys(rules.max_silence, "max_silence")
    if rules.schedule is not None:
        limited.setdefault(PriceEvent, "schedule")
    for kind, rule in limited.items():
        try:
            topics.of(kind)
        except ValueError as error:
            raise ConfigError("health", f"{rule} is about the silence of {kind.__name__}, but {error}") from None
