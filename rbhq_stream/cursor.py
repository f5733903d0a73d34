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

from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.intake import Chunk, Intake
from rbhq_stream.record import RawRecord, Record
from rbhq_stream.wire import decode

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
    """Events decoded for the application."""
    bad_records: int = 0
    """Records that could not be decoded, whatever became of them."""
    empty_records: int = 0
    """Records with no value (tombstones), an empty one, or an empty list: nothing to hand over."""
    waiting_records: int = 0
    """Records in the buffer, read from Kafka and not done yet."""


class Cursor:
    """Where the application stands in what the intake took in."""

    __slots__ = (
        "_at", "_bad", "_chunk", "_empty", "_event", "_events", "_gathering", "_intake", "_is_shown", "_kinds",
        "_manual", "_max_bytes", "_on_bad_record", "_passed", "_rest", "_unacknowledged", "is_blocked", "taken",
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
        self._chunk: Chunk | None = None
        self._at = 0  # the record of the chunk that is shown, or the next one
        self._is_shown = False
        self._event: Event | None = None  # what is shown; None for a bad record
        self._rest: tuple[Event, ...] = ()  # the events of the same record that come after it
        self._gathering = False  # several are shown, for a batch
        self._passed: list[Chunk] = []  # chunks all of whose records are shown
        self._unacknowledged: dict[tuple[str, int, int], list[RaceEvent]] = {}
        self._events = self._bad = self._empty = 0

    def peek(self) -> Event | None:
        """The next event, or `None` when none is waiting. What was taken before is done.

        Raises:
            DecodeError: the next record is bad, and `on_bad_record` is "raise"; it counts as taken.
        """
        if self.taken:
            self.settle()
        elif self._gathering:
            self.rewind()
        return self._event if self._is_shown else self._show()

    def gather(self) -> Event | None:
        """One more event, for a batch; what was shown before it stays shown. To be called after `peek`.

        A bad record ends the batch: it is left for the next `peek` to raise.
        """
        self._gathering = True
        if self._is_shown:
            self._pass_shown()
        try:
            return self._event if self._is_shown else self._show()
        except DecodeError:
            self.is_blocked = True
            return None

    def settle(self) -> None:
        """What was taken is done."""
        if not self.taken:
            return
        self.taken = self.is_blocked = False
        if self._is_shown:
            if self._manual and self._event is None and self._chunk is not None:
                # a bad record that was raised: nobody has an event to acknowledge it by
                self._intake.acknowledged.append(Record.of(self._chunk.records[self._at]).place)
            self._pass_shown()
        self._gathering = False
        while self._passed:
            oldest = self._passed[0]
            oldest.done = len(oldest.records)
            self._intake.finish(oldest)
            self._passed.pop(0)
        if self._chunk is not None:
            self._chunk.done = self._at

    def rewind(self) -> None:
        """What was shown and not settled is to be shown again, from the first."""
        self.taken = self.is_blocked = self._is_shown = self._gathering = False
        self._event = None
        self._rest = ()
        self._passed.clear()
        self._chunk = None

    def acknowledge(self, event: RaceEvent) -> None:
        """The event is done (`commit="manual"`).

        Raises:
            ValueError: it didn't come from a feed.
        """
        record = event.record
        if record is None:
            raise ValueError("this event was made by hand: only an event that came from the feed can be acknowledged")
        siblings = self._unacknowledged.get(record.place)
        if siblings is not None:
            siblings[:] = [sibling for sibling in siblings if sibling is not event]
            if siblings:
                return
            self._unacknowledged.pop(record.place, None)
        self._intake.acknowledged.append(record.place)

    def stats(self) -> FeedStats:
        return FeedStats(self._events, self._bad, self._empty, self._intake.waiting)

    def _pass_shown(self) -> None:
        """On to what comes after what is shown."""
        if self._rest:
            self._event, *rest = self._rest
            self._rest = tuple(rest)
        else:
            self._is_shown = False
            self._event = None
            self._at += 1

    def _show(self) -> Event | None:
        """Shows the next event, if there is one; deals with what is none."""
        intake = self._intake
        while True:
            chunk = self._chunk
            if chunk is None:
                passed = len(self._passed)
                if len(intake.chunks) <= passed:
                    return None
                chunk = intake.chunks[passed]
                self._at = chunk.done
                self._chunk = chunk
            at = self._at
            if at == len(chunk.records):
                self._chunk = None
                if self._gathering:
                    self._passed.append(chunk)
                else:
                    chunk.done = at
                    intake.finish(chunk)
                continue
            record = chunk.records[at]
            if chunk.epoch != intake.ledger.epoch and not intake.ledger.owns(
                (record.topic(), record.partition()),  # type: ignore[arg-type]  # a record from Kafka has both
                chunk.epoch,
            ):
                self._at = at + 1  # not ours any more: another member of the group has it
                continue
            value = record.value()
            if not value:
                self._pass_empty(record)
                continue
            try:
                events = decode(
                    self._kinds[record.topic()],  # type: ignore[index]  # as above
                    value,
                    record=record,
                    max_bytes=self._max_bytes,
                )
            except DecodeError as error:
                self._refuse(record, error)
                continue
            if len(events) != 1:
                if not events:
                    self._pass_empty(record)
                    continue
                if self._manual:
                    self._unacknowledged[Record.of(record).place] = list(events)
                self._rest = events[1:]
            self._events += len(events)
            self._event = event = events[0]
            self._is_shown = True
            return event

    def _pass_empty(self, record: RawRecord) -> None:
        self._empty += 1
        self._pass_over(record)

    def _pass_over(self, record: RawRecord) -> None:
        """The record needs nothing more of the application."""
        if self._manual:
            self._intake.acknowledged.append(Record.of(record).place)
        self._at += 1
        if not self._gathering and self._chunk is not None:
            self._chunk.done = self._at

    def _refuse(self, record: RawRecord, error: DecodeError) -> None:
        if self._on_bad_record == "raise":
            if not self._gathering:
                self._bad += 1
                self.taken = self._is_shown = True
            raise error
        if callable(self._on_bad_record):
            self._on_bad_record(error)
        else:
            log.error("skipped a bad record: %s", error)
        self._bad += 1
        self._pass_over(record)
