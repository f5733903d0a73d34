"""The application's side of the buffer: which event is next, and which records are done.

An interrupt (Ctrl-C, a cancelled task) can strike between any two calls here. So that it loses nothing, an event is
first shown, as often as it is asked for, and then taken by one assignment, `taken = True`, the last thing
that a face does before it returns the event. When more is asked for, what was taken is done; what was shown
and not taken is shown again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal, Union

from attrs import frozen

from rbhq_stream._engine.delivery_tags import DeliveryTags
from rbhq_stream._engine.intake import Acknowledgement, Chunk, Intake
from rbhq_stream._wire import decode
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.record import RawRecord, Record

log = logging.getLogger("rbhq_stream")

OnBadRecord = Union[Literal["raise", "skip"], Callable[[DecodeError], object]]
"""What to do with a record that can't be decoded: raise its `DecodeError`, skip it, or call this with the error.

The record is done when the callable returns; what the callable raises reaches the application, and the record
comes again.
"""


@frozen
class FeedStats:
    """What a feed has seen so far, in this process."""

    events: int = 0
    """Events handed over to the application."""
    bad_records: int = 0
    """Records that could not be decoded, whatever became of them."""
    empty_records: int = 0
    """Records with no value (tombstones), an empty one, or an empty list: nothing to hand over."""
    waiting_records: int = 0
    """Records in the buffer, read from Kafka and not done yet."""


class Cursor:
    """Where the application stands in what the intake took in.

    There are two places in the chain of chunks. What is before the intake's `head` and its `done` is done. What is
    before `_chunk` and `_at` was shown. To settle moves the first place up to the second; to rewind moves the second
    back to the first. Either can be interrupted anywhere and is then done again.
    """

    __slots__ = (
        "_at", "_bad", "_chunk", "_empty", "_events", "_intake", "_kinds", "_left", "_manual", "_max_bytes",
        "_on_bad_record", "_refused", "_rest", "_shown", "_tags", "is_blocked", "taken",
    )  # fmt: skip

    def __init__(
        self,
        intake: Intake,
        kinds: Mapping[str, type[Event]],
        *,
        on_bad_record: OnBadRecord,
        manual: bool,
        max_bytes: int,
    ) -> None:
        self.taken = False
        """What was shown has been handed over. Set by the faces."""
        self.is_blocked = False
        """No more can be gathered: a bad record is next."""
        self._intake = intake
        self._kinds = kinds
        self._on_bad_record = on_bad_record
        self._manual = manual
        self._max_bytes = max_bytes
        self._chunk = intake.head
        self._at = 0  # the next record of the chunk to look at
        self._rest: tuple[Event, ...] = ()  # the events of the record before it that are not shown yet
        self._left: tuple[Event, ...] = ()  # those that were not when last settled
        self._shown = 0  # events shown since then: none, one, or those of a batch
        self._refused: RawRecord | None = None  # the bad record that was raised instead of an event
        self._tags = DeliveryTags()
        self._events = self._bad = self._empty = 0

    def peek(self) -> Event | None:
        """The next event, or `None` when none is waiting. What was taken before is done.

        Raises:
            DecodeError: the next record is bad, and `on_bad_record` is "raise"; it counts as taken.
        """
        if self.taken:
            self.settle()
        else:
            self._rewind()
        return self._show()

    def gather(self) -> Event | None:
        """One more event, for a batch; what was shown before it stays shown. To be called after `peek`.

        A bad record ends the batch: it is left for the next `peek`.
        """
        return None if self.is_blocked else self._show()

    def settle(self) -> None:
        """What was taken is done."""
        if not self.taken:
            return
        if self._refused is not None:
            self._pass(self._refused)  # nobody has an event to acknowledge it by
        self._move_up()
        self._events += self._shown
        self._shown = 0
        self.is_blocked = False
        self._refused = None
        self.taken = False

    def acknowledge(self, event: RaceEvent) -> None:
        """The event is done (`commit="manual"`). From any thread.

        Raises:
            TypeError: it is not an event.
            ValueError: this feed did not hand it over.
        """
        record, epoch = self._tags.check(event)
        self._intake.acknowledged.append(
            Acknowledgement((record.topic, record.partition), record.offset, epoch, record.part, record.parts)
        )

    def stats(self) -> FeedStats:
        events = self._events + (self._shown if self.taken else 0)
        return FeedStats(events, self._bad, self._empty, self._intake.waiting)

    def _rewind(self) -> None:
        """What was shown and not taken is to be shown again, from the first."""
        self._chunk = head = self._intake.head
        self._rest = self._left
        self._at = head.done + 1 if self._left else head.done
        self._shown = 0
        self.is_blocked = False

    def _move_up(self) -> None:
        """What is before the place of the next record is done, but for the record that has events left."""
        intake = self._intake
        chunk = intake.head
        while chunk is not self._chunk and chunk.next is not None:
            chunk.done = len(chunk.records)
            intake.head = chunk = chunk.next
        chunk.done = self._at - 1 if self._rest else self._at
        self._left = self._rest

    def _show(self) -> Event | None:
        """Shows the next event, if there is one; deals with what is none."""
        if self._rest and self._keeps_rest():
            event, self._rest = self._rest[0], self._rest[1:]
            self._shown += 1
            return event
        intake = self._intake
        chunk = self._chunk
        while True:
            at = self._at
            if at == len(chunk.records):
                if not self._shown:
                    intake.note_room()
                following = chunk.next
                if following is None:
                    return None
                self._chunk = chunk = following
                self._at = 0
                continue
            record = chunk.records[at]
            if chunk.epoch != intake.ledger.epoch and not self._is_ours(chunk, record):
                self._go_past()  # not ours any more: another member of the group has it
                continue
            value = record.value()
            if not value:
                self._pass_empty(record)
                continue
            try:
                events = decode(
                    self._kinds[record.topic()],  # type: ignore[index]  # a record from Kafka has a topic
                    value,
                    record=Record.of(record) if self._manual else record,
                    max_bytes=self._max_bytes,
                )
            except DecodeError as error:
                if self._shown:
                    self.is_blocked = True
                    return None
                self._refuse(record, error)
                continue
            if len(events) != 1:
                if not events:
                    self._pass_empty(record)
                    continue
                self._rest = events[1:]
            if self._manual:
                self._tags.tag(events, chunk.epoch)
            self._at = at + 1
            self._shown += 1
            return events[0]

    def _keeps_rest(self) -> bool:
        """Drops the record's other events if it isn't ours any more; `False` then."""
        if self._is_ours(self._chunk, self._chunk.records[self._at - 1]):
            return True
        self._rest = ()
        if not self._shown:
            self._move_up()
        return False

    def _is_ours(self, chunk: Chunk, record: RawRecord) -> bool:
        """Whether no other member of the group may have the record by now."""
        return self._intake.ledger.owns((record.topic(), record.partition()), chunk.epoch)  # type: ignore[arg-type]  # one from Kafka has both

    def _pass_empty(self, record: RawRecord) -> None:
        self._pass(record)
        self._empty += 1
        self._go_past()

    def _pass(self, record: RawRecord) -> None:
        """The record needs nothing of the application."""
        if self._manual:
            topic, partition, offset = Record.of(record).place
            self._intake.acknowledged.append(Acknowledgement((topic, partition), offset, self._chunk.epoch))

    def _go_past(self) -> None:
        """On to the next record. This one is done, unless events before it are not."""
        self._at += 1
        if not self._shown:
            self._move_up()

    def _refuse(self, record: RawRecord, error: DecodeError) -> None:
        if self._on_bad_record == "raise":
            self._bad += 1
            self._refused = record
            self._at += 1
            self.taken = True
            raise error
        if callable(self._on_bad_record):
            try:
                self._on_bad_record(error)
            except (StopIteration, StopAsyncIteration) as stop:  # which would be taken for the end of the events
                raise RuntimeError("on_bad_record raised StopIteration") from stop
        else:
            log.error("skipped a bad record: %s", error)
        self._bad += 1
        self._pass(record)
        self._go_past()
