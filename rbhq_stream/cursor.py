"""The application's side of the buffer: which event is next, and which records are done.

An interrupt (Ctrl-C, a cancelled task) can strike between any two calls here. So that it loses nothing, an event is first shown
(`peek`, which may be asked again and shows the same) and then taken by one assignment, `taken = True`, the last thing its face does before
it returns the event. Being asked for the next event says that the one taken is done.
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

The record is done when the callable returns; what the callable raises reaches the application, and the record comes again.
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
        "_at", "_bad", "_chunk", "_empty", "_event", "_events", "_intake", "_kinds", "_manual", "_max_bytes",
        "_on_bad_record", "_rest", "_unacknowledged", "taken",
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
        self._intake = intake
        self._kinds = kinds
        self._on_bad_record = on_bad_record
        self._manual = manual
        self._max_bytes = max_bytes
        self._chunk: Chunk | None = None
        self._at = 0
        self._event: Event | None = None
        self._rest: tuple[Event, ...] = ()  # the events of the same record that come after the one shown
        self._unacknowledged: dict[tuple[str, int, int], list[RaceEvent]] = {}
        self._events = self._bad = self._empty = 0

    def peek(self) -> Event | None:
        """The next event, or `None` when none is waiting. The event that was taken before is done.

        Raises:
            DecodeError: the next record is bad, and `on_bad_record` is "raise".
        """
        if self.taken:
            self.settle()
        if self._event is not None:
            return self._event
        intake = self._intake
        while True:
            chunk = self._chunk
            if chunk is None:
                if not intake.chunks:
                    return None
                chunk = intake.chunks[0]
                self._at = chunk.done
                self._chunk = chunk
            at = self._at
            if at == len(chunk.records):
                self._chunk = None
                intake.finish(chunk)
                continue
            record = chunk.records[at]
            if chunk.epoch != intake.ledger.epoch and not intake.ledger.owns(
                (record.topic(), record.partition()),  # type: ignore[arg-type]  # a record from Kafka has both
                chunk.epoch,
            ):
                self._advance()  # not ours any more: another member of the group has it
                continue
            value = record.value()
            if not value:
                self._empty += 1
                self._pass_over(record)
                continue
            try:
                events = decode(
                    self._kinds[record.topic()],  # type: ignore[index]  # as above
                    value,  # type: ignore[arg-type]  # the client was not told to decode
                    record=record,
                    max_bytes=self._max_bytes,
                )
            except DecodeError as error:
                self._refuse(record, error)
                continue
            if len(events) != 1:
                if not events:
                    self._empty += 1
                    self._pass_over(record)
                    continue
                if self._manual:
                    self._unacknowledged[Record.of(record).place] = list(events)
                self._rest = events[1:]
            self._events += 1
            self._event = event = events[0]
            return event

    def settle(self) -> None:
        """What was taken is done."""
        if self.taken:
            self.taken = False
            if self._rest:
                self._events += 1
                self._event, *rest = self._rest
                self._rest = tuple(rest)
            else:
                self._event = None
                self._advance()

    def acknowledge(self, event: RaceEvent) -> None:
        """The event is done (`commit="manual"`)."""
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

    def _advance(self) -> None:
        chunk = self._chunk
        assert chunk is not None
        self._at += 1
        chunk.done = self._at

    def _pass_over(self, record: RawRecord) -> None:
        """The record is done without the application having seen it."""
        if self._manual:
            self._intake.acknowledged.append(Record.of(record).place)
        self._advance()

    def _refuse(self, record: RawRecord, error: DecodeError) -> None:
        self._bad += 1
        if self._on_bad_record == "raise":
            if self._manual:
                self._intake.acknowledged.append(Record.of(record).place)
            self.taken = True
            raise error
        if self._on_bad_record == "skip":
            log.error("skipped a bad record: %s", error)
        else:
            self._on_bad_record(error)
        self._pass_over(record)
