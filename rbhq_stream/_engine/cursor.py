"""The application's position in the buffer: which event is next, and which records are processed.

There are two positions in the chain of chunks. Everything before the processed position (the buffer's `head` and its
`processed`) is processed. Everything before the read position (`_chunk` and `_at`) was shown. An event is first shown
and then handed over, and the facade keeps the event that it handed over last. At the next request the cursor compares
that event with the last one that it showed, and so finds out what became of the events between the two positions:

| state      | meaning                                         | event handed over    | not handed over (interrupted)  |
|------------|-------------------------------------------------|----------------------|--------------------------------|
| `IDLE`     | nothing is shown                                | stays `IDLE`         | stays `IDLE`                   |
| `SHOWN`    | an event, or the events of a batch, were shown  | settled, then `IDLE` | rewound, then `IDLE`           |
| `ENDED`    | the same, and a bad record ends the batch       | settled, then `IDLE` | rewound, then `IDLE`           |
| `REFUSED`  | the `DecodeError` of a bad record was raised    | settled, then `IDLE` | settled, then `IDLE`           |

Settling moves the processed position up to the read position. Rewinding moves the read position back, so that the
events that were shown are shown again. An interrupt (Ctrl-C, a cancelled task) can arrive between any two calls.
Nothing is lost then: settling and rewinding can both be repeated, and an event counts as handed over only after one
assignment, which is the last thing that a facade does before it returns the event.

While several events are handled at once (`gather` and `settle_up_to`), none of them counts as handed over. The
processed position moves up to an event as soon as that event and all before it are processed. Everything behind it can
be rewound.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Literal, NamedTuple, Union

from attrs import frozen

from rbhq_stream._engine.buffer import Acknowledgement, Buffer, Chunk
from rbhq_stream._engine.delivery_tags import DeliveryTags
from rbhq_stream._engine.unfinished_work import check_result
from rbhq_stream._wire import decode
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.record import RawRecord, Record

_log = logging.getLogger("rbhq_stream")

OnBadRecord = Union[Literal["raise", "skip"], Callable[[DecodeError], object]]
"""What to do with a record that can't be decoded: raise its `DecodeError`, skip it, or call a function with the error.

The record is processed when the function returns. If the function raises, the application gets the exception, and the
record is delivered again.
"""


@frozen
class FeedStats:
    """What a feed has delivered so far, in this process."""

    events: int = 0
    """Events handed over to the application."""
    bad_records: int = 0
    """Records that could not be decoded, whatever `on_bad_record` did with them."""
    empty_records: int = 0
    """Records without events: tombstones, empty values and empty lists."""
    waiting_records: int = 0
    """Records in the buffer: read from Kafka and not processed yet."""
    waiting_bytes: int = 0
    """The size of their values in bytes. Records that were read together count until all of them are processed."""


class Position(NamedTuple):
    """The read position behind an event that was shown."""

    chunk: Chunk
    processed: int
    """How many records of the chunk have no events left."""
    rest: tuple[Event, ...]
    """The events of the next record that are not shown yet."""


class State(Enum):
    """What became of the events between the two positions. The module's docstring has a table."""

    IDLE = "idle"
    SHOWN = "shown"
    ENDED = "ended"
    REFUSED = "refused"


_IDLE, _SHOWN, _ENDED, _REFUSED = State


class Cursor:
    """The position of one application in one buffer. The module's docstring has a table of its states."""

    __slots__ = (
        "_at", "_bad", "_buffer", "_chunk", "_empty", "_events", "_kinds", "_last_shown", "_manual", "_max_bytes",
        "_on_bad_record", "_rest", "_rest_when_settled", "_settling", "_shown", "_state", "_tags",
    )  # fmt: skip

    def __init__(
        self,
        buffer: Buffer,
        kinds: Mapping[str, type[Event]],
        *,
        on_bad_record: OnBadRecord,
        manual: bool,
        max_bytes: int,
    ) -> None:
        self._buffer = buffer
        self._kinds = kinds
        self._on_bad_record = on_bad_record
        self._manual = manual
        self._max_bytes = max_bytes
        self._chunk = buffer.head
        self._at = 0  # the next record of the chunk to look at
        self._rest: tuple[Event, ...] = ()  # the events of the record before it that are not shown yet
        self._rest_when_settled: tuple[Event, ...] = ()
        self._settling: Position | None = None  # an interrupt may leave `settle_up_to` half done
        self._state = _IDLE
        self._last_shown: Event | None = None
        self._shown = 0  # how many events were shown since the cursor was settled
        self._tags = DeliveryTags()
        self._events = self._bad = self._empty = 0

    def next(self, handed_over: Event | None, defers: bool = False) -> Event | None:
        """Settles what was shown before and shows the next event.

        Args:
            handed_over: the event that the facade handed over last.
            defers: whether a bad record stays the next one until `refuse`, although its error was raised.

        Returns:
            The event, or `None` when none is waiting, or when a signal has arrived that may have to be delivered first.

        Raises:
            DecodeError: the next record is bad and `on_bad_record` is "raise". A second call continues after it.
        """
        self.settle(handed_over)
        return self._show(defers)

    def gather(self, *, past_bad_records: bool = False) -> Event | None:
        """Shows one more event beside those that are shown, which stay so.

        Args:
            past_bad_records: whether a bad record is skipped, or passed to the application's function, as `next` does
                it. By default, and if its error is to be raised, it is left for the next `next`.
        """
        return None if self._state is _ENDED else self._show(past_bad_records)

    @property
    def position(self) -> Position:
        """The read position: behind the event that was shown last."""
        return Position(self._chunk, self._at - 1 if self._rest else self._at, self._rest)

    def owns(self, position: Position) -> bool:
        """Whether the partition of the event before this position is still assigned to this process."""
        chunk, processed, rest = position
        return chunk.epoch == self._buffer.ownership.epoch or self._buffer.owns(
            chunk, chunk.records[processed if rest else processed - 1]
        )

    def settle_up_to(self, position: Position) -> None:
        """Marks everything before this position as processed. What was shown behind it stays so."""
        self._settling = position  # from here on `settle` does the rest, should an interrupt strike
        self._buffer.mark_processed(position.chunk, position.processed)
        self._rest_when_settled = position.rest
        self._settling = None

    def settle_all(self) -> None:
        """Marks everything that was shown as processed."""
        self.settle_up_to(self.position)
        self._shown = 0
        self._last_shown = None
        self._state = _IDLE

    def refuse(self) -> None:
        """Notes that the error which `next` raised, deferring this, reaches the application now."""
        self._bad += 1
        self._at += 1
        self._state = _REFUSED

    def count_events(self, count: int) -> None:
        """Counts events that were handled apart from `next`."""
        self._events += count

    @property
    def is_batch_ended(self) -> bool:
        """Whether `gather` will show no more events in this batch."""
        return self._state is _ENDED

    def settle(self, handed_over: Event | None) -> None:
        """Settles what was shown if its last event is the one that was handed over, and rewinds otherwise."""
        if self._state is _REFUSED:
            self._pass(self._chunk.records[self._at - 1])  # the application has no event of it to acknowledge
        if self._state is _REFUSED or (handed_over is not None and handed_over is self._last_shown):
            self._mark_processed()
            self._events += self._shown
        else:
            if self._settling is not None:
                self.settle_up_to(self._settling)
            self._chunk = head = self._buffer.head
            self._rest = self._rest_when_settled
            self._at = head.processed + 1 if self._rest else head.processed
        self._shown = 0
        self._last_shown = None
        self._state = _IDLE

    def acknowledge(self, event: RaceEvent) -> None:
        """Marks the event as processed (`commit="manual"`). From any thread.

        Raises:
            TypeError: it is not an event.
            ValueError: this feed did not hand it over.
        """
        record, epoch = self._tags.check(event)
        self._buffer.acknowledge(
            Acknowledgement((record.topic, record.partition), record.offset, epoch, record.part, record.parts)
        )

    def stats(self, handed_over: Event | None) -> FeedStats:
        """Returns the counts so far. From any thread."""
        is_handed_over = handed_over is not None and handed_over is self._last_shown
        events = self._events + (self._shown if is_handed_over else 0)
        buffer = self._buffer
        records, size = buffer.merging
        return FeedStats(events, self._bad, self._empty, buffer.waiting_records + records, buffer.waiting_bytes + size)

    def _mark_processed(self) -> None:
        """Moves the processed position up to the read position, but not past a record that has events left."""
        self._buffer.mark_processed(self._chunk, self._at - 1 if self._rest else self._at)
        self._rest_when_settled = self._rest

    def _show(self, in_run: bool = False) -> Event | None:
        """Shows the next event, if there is one, and skips the records that have none."""
        buffer = self._buffer
        chunk = self._chunk
        if self._rest and buffer.owns(chunk, chunk.records[self._at - 1]):
            event, self._rest = self._rest[0], self._rest[1:]
            return self._shown_event(event)
        self._rest = ()
        while True:
            at = self._at
            if at == len(chunk.records):
                buffer.note_room()
                following = chunk.next
                if following is None or buffer.signals:  # a signal may be from before these records
                    return None
                self._chunk = chunk = following
                self._at = 0
                continue
            record = chunk.records[at]
            if chunk.epoch != buffer.ownership.epoch and not buffer.owns(chunk, record):
                self._advance()  # its partition is not assigned to this process any more
                continue
            value = record.value()
            if not value:
                self._pass_empty(record)
                continue
            try:
                events = decode(
                    self._kinds[record.topic()],  # type: ignore[index]  # a record from Kafka has a topic
                    value,
                    record=self._tags.tagged(record, chunk.epoch) if self._manual else record,
                    max_bytes=self._max_bytes,
                )
            except DecodeError as error:
                if self._state is not _IDLE and not (in_run and self._on_bad_record != "raise"):
                    self._state = _ENDED
                    return None
                self._handle_bad(record, error, defers=in_run)
                continue
            if len(events) != 1:
                if not events:
                    self._pass_empty(record)
                    continue
                self._rest = events[1:]
            self._at = at + 1
            return self._shown_event(events[0])

    def _shown_event(self, event: Event) -> Event:
        self._shown += 1
        self._last_shown = event
        self._state = _SHOWN
        return event

    def _pass_empty(self, record: RawRecord) -> None:
        self._pass(record)
        self._empty += 1
        self._advance()

    def _pass(self, record: RawRecord) -> None:
        """Acknowledges a record of which the application gets no event."""
        if self._manual:
            topic, partition, offset = Record.of(record).coordinates
            self._buffer.acknowledge(Acknowledgement((topic, partition), offset, self._chunk.epoch))

    def _advance(self) -> None:
        """Moves to the next record. The current one is processed, unless events before it are not."""
        self._at += 1
        if self._state is _IDLE:
            self._mark_processed()

    def _handle_bad(self, record: RawRecord, error: DecodeError, *, defers: bool) -> None:
        if self._on_bad_record == "raise":
            if not defers:
                self.refuse()
            raise error
        if callable(self._on_bad_record):
            try:
                result = self._on_bad_record(error)
            except (StopIteration, StopAsyncIteration) as stop:  # a `for` loop would take it for the end of the events
                raise RuntimeError("on_bad_record raised StopIteration") from stop
            check_result(result, "on_bad_record", self._on_bad_record)
        else:
            _log.error("skipped a bad record: %s", error)
        self._bad += 1
        self._pass(record)
        self._advance()
