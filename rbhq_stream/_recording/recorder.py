"""`Recorder`: writes records on a thread of its own.

The poll thread makes columns of the records that it has polled, while they are in the processor's cache, and appends
them to a queue. The writer thread makes blocks of them, compresses and writes them. The queue is bounded in bytes;
while it is full, the poll thread waits, for `STALL_TIMEOUT` at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

import attrs

from rbhq_stream._config import Topics
from rbhq_stream._recording.columns import Columns
from rbhq_stream._recording.folder import FolderLock, RecordTo
from rbhq_stream._recording.parts import check_continues
from rbhq_stream._recording.race_finder import RaceFinder
from rbhq_stream._recording.segment_writer import BLOCK_BYTES, SegmentWriter
from rbhq_stream._summaries import SummarisedRecords
from rbhq_stream.errors import RecordingError
from rbhq_stream.record import RawRecord
from rbhq_stream.signals import RecordingFailed

_log = logging.getLogger("rbhq_stream")

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""The maximum size of the values that wait for the writer thread, in bytes."""
STALL_TIMEOUT = 2.0
"""Seconds that the feed waits for a disk that does not keep up. Then the recording fails and the feed continues."""


class Recorder:
    """Owns the writer thread and the files.

    | field | written by | read by |
    |---|---|---|
    | `_received` (records and bytes), `_requested` | poll thread | both |
    | `_taken` (records and bytes), `_flushed` | writer thread | both |
    | `_waiting` | poll thread appends, writer thread removes | both |
    | `_wakes_itself`: whether its wait ends without a wake-up | writer thread | poll thread |
    | `_failure` | either, under `_failing` | both |

    While a flush is due in a moment, the poll thread wakes the writer thread only for a whole block, because each
    wake-up takes the interpreter from the application.
    """

    def __init__(self, to: RecordTo, topics: Topics, failed: Callable[[RecordingFailed], None]) -> None:
        self._to = to
        self._topics = topics
        self._races = RaceFinder(topics.kinds)
        self._failed = failed
        self._waiting: deque[Columns] = deque()
        self._wake = threading.Event()
        self._wakes_itself = False
        self._received = (0, 0)
        self._taken = (0, 0)
        self._requested = 0  # up to which record a flush was requested
        self._flushed = 0  # how many records have been flushed
        self._failure: str | None = None
        self._failing = threading.Lock()
        self._has_room = threading.Event()
        self._is_closing = False
        self._lock: FolderLock | None = None
        self._writer: SegmentWriter | None = None
        self._thread: threading.Thread | None = None

    # the poll thread's side

    def open(self) -> None:
        """Locks the folder and starts the writer thread.

        Raises:
            RecordingError: the folder can't be written to, it has a recording of other topics, or no thread can be
                started.
        """
        to = self._to
        topics = attrs.asdict(self._topics)
        self._lock = FolderLock(to.path)
        thread = threading.Thread(target=self._run, name="rbhq_stream recording", daemon=True)
        try:
            check_continues(to.path, topics)
            self._writer = SegmentWriter(
                to.path,
                topics,
                max_bytes=to.max_bytes,
                keep=to.keep,
                fsync=to.fsync,
            )
            thread.start()
        except RecordingError:
            self._lock.release()
            raise
        except OSError as error:
            self._lock.release()
            raise RecordingError(str(to.path), f"can't write there: {error.strerror or repr(error)}") from error
        except RuntimeError as error:
            assert self._writer is not None, "only starting the thread raises this"
            self._writer.abandon()
            self._lock.release()
            raise RecordingError(str(to.path), f"can't write there: {error}") from error
        self._thread = thread

    def record(self, records: Sequence[RawRecord], is_wanted: Callable[[], bool]) -> Sequence[RawRecord]:
        """Queues the records to be written. Waits while the queue is full.

        Args:
            records: what was polled, at least one record.
            is_wanted: whether the feed is still open.

        Returns:
            The same records, with their summary if it is known now.
        """
        if self._failure is not None:
            return records
        count, total = self._received
        try:
            columns = Columns.of(records, self._races)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a record, the feed goes on
            self._received = (count + len(records), total)
            self._fail(f"a record can't be recorded: {error!r}")
            return records
        self._received = (count + len(columns), total + columns.size)
        self._waiting.append(columns)
        if not self._wakes_itself or self._waiting_bytes() >= BLOCK_BYTES:
            self._wake.set()
        self._wait_for_room(is_wanted)
        return SummarisedRecords(records, columns.newest(), columns.size)

    def request_flush(self) -> int:
        """Requests a flush of everything that was received so far. Returns a ticket for `is_flushed`."""
        self._requested = self._received[0]
        self._wake.set()
        return self._requested

    def is_flushed(self, ticket: int) -> bool:
        """Whether the flush of this ticket is finished, or never will be because the recording has failed."""
        return self._flushed >= ticket or self._failure is not None

    def close(self, timeout: float) -> None:
        """Writes what is waiting and closes the files. Waits for at most `timeout` seconds."""
        if self._thread is None:
            return
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._fail(f"the disk did not take the last records within {timeout:g} s")

    def _waiting_bytes(self) -> int:
        return self._received[1] - self._taken[1]

    def _wait_for_room(self, is_wanted: Callable[[], bool]) -> None:
        deadline = time.monotonic() + STALL_TIMEOUT
        while self._waiting_bytes() > MAX_WAITING_BYTES and self._failure is None and is_wanted():
            left = deadline - time.monotonic()
            if left <= 0:
                self._fail(f"the disk has not kept up for {STALL_TIMEOUT:g} s")
                return
            self._has_room.wait(min(left, 0.1))
            self._has_room.clear()  # before the queue is looked at again, so that no wake-up is overlooked

    # the writer thread

    def _run(self) -> None:
        assert self._writer is not None, "open() makes it"
        assert self._lock is not None, "open() makes it"
        writer = self._writer
        try:
            self._write_until_closing(writer)
            writer.close()
        except Exception as error:  # noqa: BLE001  # a thread has no caller: it is logged, and becomes a signal
            self._fail(error.strerror or repr(error) if isinstance(error, OSError) else repr(error))
            writer.abandon()
        finally:
            self._lock.release()

    def _write_until_closing(self, writer: SegmentWriter) -> None:
        flush_at: float | None = None
        while self._failure is None:
            self._wait_for_work(flush_at)
            for _ in range(len(self._waiting)):
                columns = self._waiting.popleft()
                writer.add(columns)
                count, total = self._taken
                self._taken = (count + len(columns), total + columns.size)
                self._has_room.set()
                if flush_at is None:
                    flush_at = time.monotonic() + self._to.flush_interval
            if self._is_closing and self._taken[0] == self._received[0]:
                return
            is_due = flush_at is not None and time.monotonic() >= flush_at
            if is_due or self._flushed < self._requested <= self._taken[0]:  # once all of them are taken
                taken = self._taken[0]
                writer.flush()
                self._flushed = taken
                flush_at = None

    def _wait_for_work(self, flush_at: float | None) -> None:
        """Waits until records are to be written, or until the next flush, before which only a full block is urgent."""
        self._wakes_itself = flush_at is not None
        if flush_at is not None:
            self._wake.wait(max(0.0, flush_at - time.monotonic()))
        elif not self._waiting:  # looked at after the field was set, so that none is overlooked
            self._wake.wait()
        self._wake.clear()

    def _fail(self, problem: str) -> None:
        with self._failing:  # the poll thread and the writer thread may both find it, at the same time
            if self._failure is not None:
                return
            self._failure = problem
        self._wake.set()
        missing = self._received[0] - self._flushed
        path = str(self._to.path)
        self._failed(RecordingFailed(at=datetime.now(timezone.utc), path=path, problem=problem, missing=missing))
        _log.error(
            "the recording %s has failed: %s. %d records that were read are not in it, and those that are read from now"
            " on are not either. The feed continues",
            path,
            problem,
            missing,
        )
