"""The poll thread and the buffer: takes records in ahead of the application, and takes its progress back to the source.

The poll thread alone talks to the source. It links chunk to chunk; the application's thread follows the links and
says how far it is by counting in the chunk. The two share no lock, because an interrupt (Ctrl-C) can leave a lock
taken: only queues, and plain fields that one side writes and the other reads.

What is raised on the poll thread, by the source or by a logging handler of the application, ends the feed: the
application has it raised when all that was read before is handed over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import NamedTuple

from attrs import define

from rbhq_stream._engine.ledger import Ledger
from rbhq_stream._engine.starting_positions import StartingPositions
from rbhq_stream.record import RawRecord
from rbhq_stream.signals import PartitionsLost, Signal
from rbhq_stream.source import Source, TopicPartition

log = logging.getLogger("rbhq_stream")

POLL_TIMEOUT = 0.1
"""Seconds that a poll waits for a record; also how soon a close is noticed."""
PAUSE_AFTER = 0.5
"""Seconds that a full buffer is waited on before the partitions are paused: pausing throws away what was
fetched ahead.
"""
LOW_WATER = 0.5
"""Paused partitions are resumed when the buffer is down to this part of its size."""


class Acknowledgement(NamedTuple):
    """One event that is processed: the arguments of `Ledger.acknowledge`."""

    partition: tuple[str, int]
    offset: int
    epoch: int
    part: int = 0
    parts: int = 1


@define(eq=False)
class Chunk:
    """Records that were polled together, and how far the application is with them."""

    records: Sequence[RawRecord]
    epoch: int
    """The ledger's epoch in which they were read."""
    start: int
    """How many records were taken in before them."""
    newest: Mapping[tuple[str, int], int]
    """The last offset of each partition among them."""
    next: Chunk | None = None
    """What was polled after them. Written by the poll thread."""
    done: int = 0
    """So many of them are done. Written by the application's thread."""
    counted: int = 0
    """So many of the done ones are in the ledger. Written by the poll thread."""


class Intake:
    """Owns the poll thread, the buffer and the ledger."""

    def __init__(
        self,
        source: Source,
        *,
        buffer_records: int,
        commit_interval: float,
        close_timeout: float,
        one_by_one: bool,
        wake: Callable[[], None],
        places: StartingPositions | None = None,
    ) -> None:
        self.head = Chunk((), 0, 0, {})
        """The chunk that the application is in; all before it are done. Written by the application's thread."""
        self.acknowledged: deque[Acknowledgement] = deque()
        self.signals: deque[Signal] = deque()
        """To be told before the next event, the oldest first. Appended to by the poll thread; the application's thread
        removes what it has told.
        """
        self.ledger = Ledger()
        self.failure: BaseException | None = None
        self.failed_at: TracebackType | None = None
        self.is_open = False
        self.is_over = False
        self._source = source
        self._buffer_records = buffer_records
        self._low_water = int(buffer_records * LOW_WATER)
        self._commit_interval = commit_interval
        self._close_timeout = close_timeout
        self._one_by_one = one_by_one
        self._wake = wake
        self._places = places or StartingPositions(None, ())
        self._last = self._counting = self.head  # the newest chunk, and the oldest one that is not all in the ledger
        self._taken_in = 0
        self._paused = False
        self._closing = False
        self._leave_by: float | None = None
        self._room: SimpleQueue[None] = SimpleQueue()
        self._over: SimpleQueue[None] = SimpleQueue()
        self._unclaimed = [True]
        self._thread: threading.Thread | None = None

    # the application's side

    @property
    def is_started(self) -> bool:
        """Whether there is a poll thread."""
        return self._thread is not None

    def start(self) -> None:
        """Starts the poll thread, which connects. `is_open`, or `is_over` and `failure`, tell how it went.

        Again is harmless: an interrupt in here may or may not leave a thread behind, and only the first does the work.
        """
        if self._unclaimed:
            thread = threading.Thread(target=self._run, name="rbhq_stream poll", daemon=True)
            thread.start()
            self._thread = self._thread or thread

    def note_room(self) -> None:
        """Wakes the poll thread if it may read on."""
        if self.waiting <= self._low_water:
            self._ring()

    @property
    def waiting(self) -> int:
        """How many records are in the buffer and not done. From any thread."""
        head = self.head
        done = head.start + head.done  # first, so that there are never fewer taken in than done
        return self._taken_in - done

    def leave(self) -> None:
        """Has the poll thread commit what is done and leave the group. Again is harmless."""
        if self._leave_by is None:
            self._leave_by = time.monotonic() + self._close_timeout + 2 * POLL_TIMEOUT
        self._closing = True
        self._ring()

    @property
    def time_to_leave(self) -> float:
        """The seconds that are left for it; none where there is nothing to wait for."""
        if self._leave_by is None or self.is_over or self._thread is None:
            return 0.0
        return max(0.0, self._leave_by - time.monotonic())

    def join(self) -> None:
        """Waits until the poll thread has left, while there is time."""
        # not by joining the thread: where an interrupt hits a join, Python takes the thread for ended
        while (left := self.time_to_leave) > 0:
            with suppress(Empty):
                self._over.get(timeout=left)
        if self.is_over and self._thread is not None:
            self._thread.join(POLL_TIMEOUT)  # it has nothing more to do

    def _ring(self) -> None:
        if self._room.empty():
            self._room.put(None)

    # the poll thread

    def _run(self) -> None:
        try:
            self._unclaimed.pop()
        except IndexError:
            return  # another thread was started and does the work
        self._thread = threading.current_thread()
        try:
            self._source.open(self)
            self.is_open = True
            self._wake()
            self._pump()
        except BaseException as error:  # noqa: BLE001  # a thread has no caller: the application's thread raises it
            self.failed_at = error.__traceback__
            self.failure = error
            self._wake()
            self._let_finish()
        try:
            self._count()
            self._source.close(self.ledger.committable(), self._close_timeout)
        except BaseException:
            with suppress(Exception):  # a logging handler of the application, which has nobody here to raise to
                log.exception("closing the feed failed; what was not committed yet comes again after a restart")
        finally:
            self.is_over = True
            self._over.put(None)
            self._wake()

    def _let_finish(self) -> None:
        """After a failure: the application may still handle what was taken in before it, and commit that."""
        deadline = time.monotonic() + self._close_timeout
        while self.is_open and not self._closing and (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                self._room.get(timeout=left)

    def _pump(self) -> None:
        next_commit = time.monotonic() + self._commit_interval
        while not self._closing:
            self._keep_within_bounds()
            records = self._source.poll(POLL_TIMEOUT)
            if records:
                self._take_in(records)
            now = time.monotonic()
            if now >= next_commit:
                self._commit()
                next_commit = now + self._commit_interval

    def _take_in(self, records: Sequence[RawRecord]) -> None:
        newest = _newest(records)
        for partition, offset in newest.items():
            self.ledger.taken_in(partition, offset)
        if self._one_by_one:
            for record in records:
                self.ledger.awaits(*_place(record))
        chunk = Chunk(records, self.ledger.epoch, self._taken_in, newest)
        self._taken_in += len(records)
        self._last.next = chunk  # from here on the application sees it
        self._last = chunk
        self._wake()
        self._count_chunks()  # lets go of those that are done

    def _keep_within_bounds(self) -> None:
        if self._paused:
            if self.waiting <= self._low_water:
                self._paused = False
                self._source.resume()
                log.debug("the buffer has room again: reading on")
        elif self.waiting >= self._buffer_records:
            with suppress(Empty):
                self._room.get_nowait()  # rung for an earlier time
            if self._closing:
                return
            with suppress(Empty):
                self._room.get(timeout=PAUSE_AFTER)
            if self.waiting >= self._buffer_records and not self._closing:
                self._paused = True
                self._source.pause()
                log.debug("%d records wait for the application: no more are read until it has caught up", self.waiting)

    def _commit(self) -> None:
        self._count()
        offsets = self.ledger.committable()
        if offsets:
            self._source.commit(offsets)

    def _count(self) -> None:
        """Enters into the ledger what the application has done since the last time."""
        while self.acknowledged:
            self.ledger.acknowledge(*self.acknowledged.popleft())
        self._count_chunks()
        if not self._one_by_one:
            self._count_chunk(self._counting, self._counting.done)

    def _count_chunks(self) -> None:
        """Enters the chunks into the ledger that are done to the last record."""
        if self._one_by_one:
            self._counting = self.head
            return
        while (following := self._counting.next) is not None and self._counting.done == len(self._counting.records):
            self._count_chunk(self._counting, self._counting.done)
            self._counting = following

    def _count_chunk(self, chunk: Chunk, done: int) -> None:
        whole = done == len(chunk.records)
        for partition, offset in (chunk.newest if whole else _newest(chunk.records[chunk.counted : done])).items():
            self.ledger.done(partition, offset, chunk.epoch)
        chunk.counted = done

    # what the source tells, on the poll thread

    def is_wanted(self) -> bool:
        return not self._closing

    def owns(self, partition: TopicPartition) -> bool:
        return self.ledger.owns(partition, self.ledger.epoch)

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        self._places.check_exist(partitions)

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.ledger.assign(partitions)
        places = self._places.of(partitions)
        for partition, offset in places.items():
            self.ledger.position(partition, offset)
        return places

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        self.ledger.position(partition, offset)

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._count()
        return self.ledger.revoke(partitions)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        uncommitted = self.revoked(partitions)
        now = datetime.now(timezone.utc)
        self.signals.append(PartitionsLost(at=now, partitions=tuple(sorted(partitions)), uncommitted=uncommitted))
        self._wake()

    def expected(self, partition: TopicPartition) -> int | None:
        return self.ledger.expected(partition)

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.ledger.committed(offsets)
        self._places.committed(offsets)


def _newest(records: Sequence[RawRecord]) -> dict[tuple[str, int], int]:
    """The last offset of each partition. Records of one partition stand in the order of their offsets."""
    return {(record.topic(), record.partition()): record.offset() for record in records}  # type: ignore[misc]


def _place(record: RawRecord) -> tuple[tuple[str, int], int]:
    return (record.topic(), record.partition()), record.offset()  # type: ignore[return-value]
