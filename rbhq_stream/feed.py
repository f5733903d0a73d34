"""`Feed`: RBHQ's events by iteration or by callbacks, in the caller's own thread."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Literal

from typing_extensions import Self

from rbhq_stream.config import FeedConfig
from rbhq_stream.cursor import FeedStats, OnBadRecord
from rbhq_stream.dispatch import Handlers
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.session import Session
from rbhq_stream.source import Source


class Feed(Handlers):
    """RBHQ's feed as typed events, at least once, for one thread of the application.

    Iterate it, or register handlers with `on` and call `run`. Nothing touches the network before it is entered (`with`), iterated
    or run. Asking for the next event says that the last one is done; leaving the `with` block in peace says so too, leaving it by
    an exception doesn't, and that event comes again after a restart. `stop` may be called from any thread or signal handler;
    everything else belongs to one thread at a time.

    Args:
        config: what RBHQ gave you.
        commit: `"auto"` as above, or `"manual"`: an event is done when it was passed to `ack`, in any order.
        on_bad_record: what to do with a record that can't be decoded: `"raise"` its `DecodeError` (iterating goes on after it),
            `"skip"` it (an ERROR in the log, and counted in `stats`), or a callable that stores it, such as a dead-letter sink:
            the record is done when it returns, and comes again if it raises.
        source: where the records come from instead of Kafka; for tests and replays.
    """

    def __init__(
        self,
        config: FeedConfig,
        *,
        commit: Literal["auto", "manual"] = "auto",
        on_bad_record: OnBadRecord = "raise",
        source: Source | None = None,
    ) -> None:
        super().__init__()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._session = Session(config, commit, on_bad_record, source, self._ring)
        self._cursor = self._session.cursor
        self._entered = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session!r}>"

    # a resource

    def __enter__(self) -> Self:
        """Connects.

        Raises:
            ConnectError: why it can't, within `connect_timeout` seconds.
            FeedClosedError: it was closed before.
        """
        self._entered = True
        try:
            self._session.start()
            while not self._session.is_connected():
                self._wait(None)
        except BaseException:
            self._session.close(in_peace=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close(in_peace=error is None)

    def close(self) -> None:
        """Says that the last event is done, commits, and leaves the consumer group, within `close_timeout` seconds."""
        self._session.close(in_peace=True)

    def stop(self) -> None:
        """Ends `run` and the iteration after the event in hand. From any thread or signal handler; again is harmless."""
        self._session.stopped = True
        self._bell.put(None)

    @property
    def stats(self) -> FeedStats:
        """What was seen so far. From any thread."""
        return self._cursor.stats()

    # events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """The next event; waits for it. The one before it is done.

        Raises:
            StopIteration: `stop` was called.
            DecodeError: the next record is bad (with `on_bad_record="raise"`). Ask again to go on after it.
            ConnectError: the feed can't be had, or no longer.
            DataLossError: records are gone that were not read yet.
            FeedClosedError: it was closed.
        """
        cursor = self._cursor
        if not self._session.stopped:
            event = cursor.peek()
            if event is None:
                event = self._wait_for_event(None)
            if event is not None:
                cursor.taken = True  # the last thing before it is handed over: see `cursor`
                return event
        self._end()
        raise StopIteration

    def poll(self, timeout: float) -> Event | None:
        """The next event, or `None` after `timeout` seconds without one or when `stop` was called. The one before it is done.

        Raises: as iterating does, but for StopIteration.
        """
        cursor = self._cursor
        if not self._session.stopped:
            event = self._wait_for_event(time.monotonic() + timeout)
            if event is not None:
                cursor.taken = True  # as above
                return event
        if self._session.stopped:
            self._end()
        return None

    def ack(self, event: RaceEvent) -> None:
        """Says that this event is done; for `commit="manual"`, from any thread, in any order.

        Raises:
            ValueError: the feed acknowledges by itself, or the event didn't come from it.
        """
        self._session.acknowledge(event)

    def run(self) -> None:
        """Calls the handlers for each event until `stop`, and closes the feed if it was not entered by `with`.

        An event is done when all its handlers returned. What a handler raises ends `run` and reaches its caller; that event
        comes again, at the next `run` or after a restart.

        Raises: what handlers raise, and as iterating does, but for StopIteration.
        """
        try:
            for event in self:
                try:
                    for handler, arguments in self._dispatcher.calls(event):
                        handler(*arguments)
                except BaseException:
                    self._cursor.taken = False
                    raise
        except BaseException:
            if not self._entered:
                self._session.close(in_peace=False)
            raise

    # waiting

    def _wait_for_event(self, deadline: float | None) -> Event | None:
        """The next event, not taken yet; `None` when the feed is stopped or at the deadline (monotonic)."""
        session = self._session
        while not session.stopped:
            event = session.show()
            if event is not None:
                return event
            timeout = None if deadline is None else deadline - time.monotonic()
            if timeout is not None and timeout <= 0:
                return None
            self._wait(timeout)
        return None

    def _wait(self, timeout: float | None) -> None:
        try:
            self._bell.get(timeout=timeout)
        except Empty:
            pass

    def _ring(self) -> None:
        if self._bell.empty():
            self._bell.put(None)

    def _end(self) -> None:
        """The iteration is over."""
        if self._session.closed:
            self._session.start()  # raises FeedClosedError
        if not self._entered:
            self._session.close(in_peace=True)
