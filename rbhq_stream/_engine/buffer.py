"""`Buffer`: the records between the poll thread and the application, and everything else that the two share.

The poll thread appends chunks of records. The application follows the links from chunk to chunk and counts in each how
many of its records are processed. No lock protects the fields, because an interrupt (Ctrl-C) can leave a lock held for
ever. None is needed, because each field is written by one thread, and each write is either one assignment, which the
other thread sees completely or not at all, or one call of a deque's method, which is atomic:

| field | written by | read by | meaning |
|---|---|---|---|
| `Chunk.next`, `_newest`, `_appended` | poll thread | both | the chain grows at its end |
| `Chunk.processed`, `head` | application | both | how far the application has processed the chain |
| `Chunk.counted`, `_counting` | poll thread | poll thread | how much of that has been entered into the ledger |
| `ownership` | poll thread | application | which partitions are assigned, as one frozen value that is replaced |
| `signals` | poll and health thread append, application removes | application | what to deliver before the next event |
| `progress` | poll thread | health thread | how far the partitions are read, processed and committed |
| `merging` | poll thread | any thread | how much waits to be merged by time before it is appended |
| `_acknowledged` | any thread appends, poll thread removes | poll thread | events acknowledged one by one |
| `is_open`, `is_ended`, `failure` | poll thread, once each | application | whether it connected and ended, and why |
| `is_exhausted` | poll thread, once | application | no more records will come |
| `is_closing` | application, once | poll thread | the application asked the poll thread to end |

Each thread also wakes the other: the poll thread calls `wake_application`, which the facade provides, and the
application calls `wake_poll_thread`. A wake-up may be late or without a reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import NamedTuple

from attrs import Factory, define, frozen

from rbhq_stream._health.observation import Progress
from rbhq_stream._summaries import newest_offsets, size_of
from rbhq_stream.record import RawRecord
from rbhq_stream.signals import Signal

_Key = tuple[str, int]  # a TopicPartition or an equal plain tuple, which is faster to make for each record

RESUME_BELOW = 0.5
"""A buffer that was full accepts records again when its content has fallen to this fraction of its bounds."""


@frozen
class Ownership:
    """The partitions that are assigned to this process, each with the epoch in which it was assigned."""

    epoch: int = 0
    since: Mapping[_Key, int] = Factory(dict)

    def includes(self, partition: _Key, epoch: int) -> bool:
        """Whether a record of the partition that was read in `epoch` may still be processed here."""
        since = self.since.get(partition)
        return since is not None and since <= epoch


class Acknowledgement(NamedTuple):
    """One event that is processed: the arguments of `Ledger.acknowledge`."""

    partition: _Key
    offset: int
    epoch: int
    part: int = 0
    parts: int = 1


@define(eq=False)
class Chunk:
    """Records that were polled together. Only `Buffer` writes its fields."""

    records: Sequence[RawRecord]
    epoch: int
    """The ledger's epoch in which they were read."""
    records_before: int
    """How many records were appended before them."""
    bytes_before: int
    """How many bytes the values of those records had."""
    size: int
    """The bytes of their values."""
    newest: Mapping[_Key, int]
    """The last offset of each partition among them."""
    next: Chunk | None = None
    processed: int = 0
    counted: int = 0


class Buffer:
    """The module's docstring has a table of its fields and the threads that write them."""

    def __init__(self, *, max_records: int, max_bytes: int, wake_application: Callable[[], None]) -> None:
        self.head = Chunk((), 0, 0, 0, 0, {})
        """The chunk that the application is processing. All records before it are processed."""
        self.ownership = Ownership()
        """The partitions that are assigned now. All records of a chunk that was read in its epoch are still owned."""
        self.signals: deque[Signal] = deque()
        """Signals to deliver before the next event, the oldest first."""
        self.progress: Progress | None = None
        """How far the partitions are read, processed and committed."""
        self.failure: BaseException | None = None
        """Why the poll thread ended, if it failed."""
        self.merging = (0, 0)
        """How many records wait to be merged by time before they come here, and the bytes of their values."""
        self.is_open = False
        """Whether the subscription works."""
        self.is_ended = False
        """Whether the poll thread has ended."""
        self.is_exhausted = False
        """Whether no more records will come, because the source has ended or everything that was asked for is here."""
        self.is_closing = False
        """Whether the poll thread is to commit, leave the consumer group and end."""
        self.wake_application = wake_application
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._newest = self._counting = self.head
        self._appended = (0, 0)  # total records and bytes, in one tuple so that they are consistent
        self._acknowledged: deque[Acknowledgement] = deque()
        self._failed_at: TracebackType | None = None
        self._room: SimpleQueue[None] = SimpleQueue()

    # any thread

    @property
    def processed_records(self) -> int:
        """How many records have been processed so far, in all."""
        head = self.head
        return head.records_before + head.processed

    @property
    def fill(self) -> float:
        """How full the buffer is, in records or in bytes: 1 at its bounds."""
        return max(self.waiting_records / self._max_records, self.waiting_bytes / max(1, self._max_bytes))

    @property
    def waiting_records(self) -> int:
        """How many records are in the buffer and not processed."""
        processed = self.processed_records  # read first, so that the result is never negative
        return self._appended[0] - processed

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the values in the buffer. A chunk counts until all of its records are processed."""
        head = self.head
        processed = head.bytes_before + (head.size if head.processed == len(head.records) else 0)
        return self._appended[1] - processed

    @property
    def room(self) -> int:
        """How many records the buffer can take; 0 if it is full in records or in bytes."""
        return self._max_records - self.waiting_records if self.fill < 1 else 0

    def add_signal(self, signal: Signal) -> None:
        """Adds a signal, which the application delivers before the next event. From any thread."""
        self.signals.append(signal)
        self.wake_application()

    def wake_poll_thread(self) -> None:
        """Ends `wait_for_room`, now or at its next call."""
        if self._room.empty():
            self._room.put(None)

    # the application's side

    def mark_processed(self, chunk: Chunk, count: int) -> None:
        """Marks everything before the chunk, and its first `count` records, as processed.

        An interrupt can arrive between any two lines. A second call then completes the first.
        """
        head = self.head
        while head is not chunk and head.next is not None:
            head.processed = len(head.records)
            self.head = head = head.next
        head.processed = count

    def owns(self, chunk: Chunk, record: RawRecord) -> bool:
        """Whether the record's partition is still assigned to this process, as it was when the record was read."""
        return self.ownership.includes((record.topic(), record.partition()), chunk.epoch)  # type: ignore[arg-type]  # a record from Kafka has both

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Marks one event as processed, in any order. From any thread."""
        self._acknowledged.append(acknowledgement)

    def note_room(self) -> None:
        """Wakes the poll thread if it is waiting for room and there is room again."""
        if self.fill < RESUME_BELOW:
            self.wake_poll_thread()

    def request_close(self) -> None:
        """Asks the poll thread to commit what is processed, to leave the consumer group and to end."""
        self.is_closing = True
        self.wake_poll_thread()

    def raise_failure(self) -> None:
        """Raises the error that ended the poll thread, if there was one."""
        if self.failure is not None:
            raise self.failure.with_traceback(self._failed_at)  # otherwise the traceback would grow at each call

    # the poll thread's side

    def append(self, records: Sequence[RawRecord], epoch: int, newest: Mapping[_Key, int]) -> None:
        """Adds records that were read in `epoch`."""
        count_before, bytes_before = self._appended
        size = size_of(records)
        chunk = Chunk(records, epoch, count_before, bytes_before, size, newest)
        self._appended = (count_before + len(records), bytes_before + size)
        self._newest.next = chunk  # from here on the application can see it
        self._newest = chunk
        self.wake_application()

    def set_ownership(self, ownership: Ownership) -> None:
        """Replaces the partition assignment that the application sees."""
        self.ownership = ownership

    def set_progress(self, progress: Progress) -> None:
        """Replaces what the health thread knows of the progress."""
        self.progress = progress

    def note_merging(self, records: int, size: int) -> None:
        """Notes how many records wait to be merged by time, and the bytes of their values."""
        self.merging = records, size

    def wait_for_room(self, timeout: float) -> None:
        """Waits until the application calls `note_room` or `request_close`, at most `timeout` seconds."""
        with suppress(Empty):
            self._room.get(timeout=timeout)

    def discard_stale_wake_up(self) -> None:
        """Discards a wake-up from before the buffer became full."""
        with suppress(Empty):
            self._room.get_nowait()

    def take_acknowledged(self) -> Iterator[Acknowledgement]:
        """Yields the events that were acknowledged one by one since the last call."""
        while self._acknowledged:
            yield self._acknowledged.popleft()

    def take_processed(self, *, whole_chunks_only: bool = False) -> Iterator[tuple[int, Mapping[_Key, int]]]:
        """Yields the newest offsets that were processed since the last call, each with the epoch they were read in.

        Chunks whose records are all processed are dropped.
        """
        while True:
            chunk = self._counting
            processed = chunk.processed
            is_whole = processed == len(chunk.records)
            if processed > chunk.counted and (is_whole or not whole_chunks_only):
                records = chunk.records[chunk.counted : processed]
                yield chunk.epoch, chunk.newest if is_whole else newest_offsets(records)
                chunk.counted = processed
            if chunk.next is None or not is_whole:
                return
            self._counting = chunk.next

    def mark_open(self) -> None:
        """Notes that the subscription works."""
        self.is_open = True
        self.wake_application()

    def fail(self, error: BaseException) -> None:
        """Notes why the poll thread can't continue. The application raises the error after the records before it."""
        self._failed_at = error.__traceback__
        self.failure = error
        self.wake_application()

    def mark_exhausted(self) -> None:
        """Notes that no more records will come."""
        self.is_exhausted = True
        self.wake_application()

    def mark_ended(self) -> None:
        """Notes that the poll thread has ended."""
        self.is_ended = True
        self.wake_application()
