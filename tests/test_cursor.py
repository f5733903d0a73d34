"""The cursor's states: what is shown, settled and rewound, and what is processed after each."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import pytest

from rbhq_stream import DecodeError, PartitionsAssigned, RaceStatus, RaceStatusEvent, encode
from rbhq_stream._engine.buffer import Buffer, Ownership
from rbhq_stream._engine.cursor import Cursor, Position
from rbhq_stream._summaries import newest_offsets
from rbhq_stream.events import Event
from rbhq_stream.testing import MemoryRecord

EVENT = encode(RaceStatusEvent(1, 1, RaceStatus.OPEN))
TWO = b"[" + EVENT + b"," + EVENT + b"]"
EMPTY = b""
BAD = b"{"


class Bench:
    """A cursor on a buffer of one partition."""

    def __init__(self, *values: bytes | None, **options: Any) -> None:
        self.buffer = Buffer(max_records=100, max_bytes=10_000, wake_application=lambda: None)
        self.buffer.set_ownership(Ownership(1, {("status", 0): 1}))
        self.cursor = Cursor(
            self.buffer,
            {"status": RaceStatusEvent},
            **{"on_bad_record": "raise", "manual": False, "max_bytes": 1000, **options},
        )
        self._count = 0
        self.append(*values)

    def append(self, *values: bytes | None) -> None:
        """One chunk with these values."""
        records = [MemoryRecord("status", 0, self._count + n, value) for n, value in enumerate(values)]
        self._count += len(records)
        self.buffer.append(records, 1, newest_offsets(records))

    @property
    def processed(self) -> int:
        """How many records the application has processed."""
        return self._count - self.buffer.waiting_records

    def offset(self, event: Event | None) -> int | None:
        return None if event is None or event.record is None else event.record.offset


def test_an_event_is_processed_when_the_next_one_is_requested() -> None:
    bench = Bench(EVENT, EVENT)
    first = bench.cursor.next(None)
    assert bench.processed == 0
    second = bench.cursor.next(first)
    assert (bench.offset(second), bench.processed) == (1, 1)
    assert bench.cursor.next(second) is None
    assert bench.processed == 2


def test_an_event_that_was_not_handed_over_is_shown_again() -> None:
    bench = Bench(EVENT, EVENT)
    assert [bench.offset(bench.cursor.next(None)) for _ in range(3)] == [0, 0, 0]
    assert bench.processed == 0


def test_records_without_events_before_an_event_are_processed_at_once() -> None:
    bench = Bench(EMPTY, None, EVENT)
    bench.cursor.next(None)
    assert bench.processed == 2


def test_records_without_events_at_the_end_are_processed_at_once() -> None:
    bench = Bench(EVENT, EMPTY)
    event = bench.cursor.next(None)
    assert bench.cursor.next(event) is None
    assert bench.processed == 2


def test_records_without_events_inside_a_batch_do_not_process_what_is_before_them() -> None:
    bench = Bench(EVENT, EMPTY, EVENT)
    bench.cursor.next(None)
    last = bench.cursor.gather()
    assert bench.processed == 0
    bench.cursor.settle(None)
    assert bench.processed == 0
    assert bench.offset(bench.cursor.next(None)) == 0
    last = bench.cursor.gather()
    bench.cursor.settle(last)
    assert bench.processed == 3


@pytest.mark.parametrize("chunks", [[[EVENT, EVENT, EVENT]], [[EVENT], [EVENT], [EVENT]], [[EVENT, EVENT], [EVENT]]])
def test_a_batch_is_processed_or_shown_again_as_a_whole(chunks: list[list[bytes]]) -> None:
    bench = Bench()
    for chunk in chunks:
        bench.append(*chunk)

    def batch() -> list[Event]:
        events = [bench.cursor.next(None)]
        while (event := bench.cursor.gather()) is not None:
            events.append(event)
        return [event for event in events if event is not None]

    assert [bench.offset(event) for event in batch()] == [0, 1, 2]
    again = batch()
    assert [bench.offset(event) for event in again] == [0, 1, 2]
    bench.cursor.settle(again[-1])
    assert bench.processed == 3
    assert bench.cursor.stats(None).events == 3


def test_a_bad_record_ends_a_batch_and_is_raised_by_the_next_request() -> None:
    bench = Bench(EVENT, BAD, EVENT)
    event = bench.cursor.next(None)
    assert not bench.cursor.is_batch_ended
    assert bench.cursor.gather() is None
    assert bench.cursor.is_batch_ended
    assert bench.cursor.gather() is None
    with pytest.raises(DecodeError):
        bench.cursor.next(event)
    assert bench.processed == 1
    assert bench.offset(bench.cursor.next(event)) == 2
    assert bench.processed == 2
    assert bench.cursor.stats(None).bad_records == 1


def test_a_bad_record_is_settled_once_raised_and_not_before() -> None:
    bench = Bench(BAD)
    with pytest.raises(DecodeError):
        bench.cursor.next(None)
    assert bench.processed == 0
    bench.cursor.settle(None)
    assert bench.processed == 1


def test_a_record_is_processed_with_the_last_of_its_events() -> None:
    bench = Bench(TWO, EVENT)
    first = bench.cursor.next(None)
    second = bench.cursor.next(first)
    assert (bench.offset(second), bench.processed) == (0, 0)
    assert second is not first
    third = bench.cursor.next(second)
    assert (bench.offset(third), bench.processed) == (1, 1)


def test_the_other_events_of_a_record_are_shown_again_after_an_interrupt() -> None:
    bench = Bench(TWO)
    first = bench.cursor.next(None)
    shown = bench.cursor.next(first)
    assert shown is not None
    again = bench.cursor.next(None)
    assert again == shown
    assert bench.cursor.next(again) is None
    assert bench.processed == 1
    assert bench.cursor.stats(None).events == 2


def test_events_of_a_partition_that_was_revoked_are_passed_over() -> None:
    bench = Bench(TWO, EVENT)
    first = bench.cursor.next(None)
    bench.buffer.set_ownership(Ownership(2, {}))
    assert bench.cursor.next(first) is None
    assert bench.processed == 2
    assert bench.cursor.stats(None).events == 1


def test_a_signal_that_came_before_records_is_delivered_before_their_events() -> None:
    bench = Bench(EVENT, EVENT)
    first = bench.cursor.next(None)
    bench.buffer.add_signal(PartitionsAssigned(at=datetime.now(timezone.utc), partitions=()))
    bench.append(EVENT)
    second = bench.cursor.next(first)
    assert bench.offset(second) == 1, "it was there before the signal"
    assert bench.cursor.next(second) is None
    bench.buffer.signals.popleft()
    assert bench.offset(bench.cursor.next(second)) == 2


def test_an_event_that_is_handed_over_is_counted_before_it_is_settled() -> None:
    bench = Bench(EVENT)
    event = bench.cursor.next(None)
    assert bench.cursor.stats(None).events == 0
    assert bench.cursor.stats(event).events == 1
    bench.cursor.settle(event)
    assert bench.cursor.stats(event).events == 1


def test_the_poll_thread_is_woken_when_the_buffer_is_used_up() -> None:
    bench = Bench(*[EVENT] * 100)
    event = None
    for _ in range(100):
        event = bench.cursor.next(event)
    started = time.monotonic()
    assert bench.cursor.next(event) is None
    bench.buffer.wait_for_room(30)
    assert time.monotonic() - started < 15, "it need not wait"


@pytest.mark.parametrize("policy", ["skip", lambda error: None])
def test_a_bad_record_that_is_skipped_or_stored_is_processed_at_once(policy: Any) -> None:
    bench = Bench(BAD, BAD, on_bad_record=policy)
    assert bench.cursor.next(None) is None
    assert bench.processed == 2
    assert bench.cursor.stats(None).bad_records == 2


def test_in_manual_mode_records_without_events_are_acknowledged_for_the_application() -> None:
    bench = Bench(EMPTY, EVENT, BAD, manual=True)
    event = bench.cursor.next(None)
    with pytest.raises(DecodeError):
        bench.cursor.next(event)
    bench.cursor.settle(None)
    assert [acknowledgement.offset for acknowledgement in bench.buffer.take_acknowledged()] == [0, 2]
    assert event is not None
    bench.cursor.acknowledge(event)
    assert [acknowledgement.offset for acknowledgement in bench.buffer.take_acknowledged()] == [1]


# --- several events at once


def shown(bench: Bench, count: int) -> list[Position]:
    """Shows so many events and returns the positions behind them."""
    positions = []
    for number in range(count):
        event = bench.cursor.gather(past_bad_records=True) if number else bench.cursor.next(None)
        assert event is not None
        positions.append(bench.cursor.position)
    return positions


def test_what_was_shown_can_be_settled_in_part_and_the_rest_rewound() -> None:
    bench = Bench(EVENT, TWO, EVENT)
    one, half, two, three = shown(bench, 4)
    bench.cursor.settle_up_to(one)
    assert bench.processed == 1
    bench.cursor.settle_up_to(half)
    assert bench.processed == 1, "the record has one more event"
    assert bench.offset(bench.cursor.next(None)) == 1
    assert bench.cursor.position == two, "the second event of the record is shown again, and not the first"
    assert bench.cursor.gather() is not None
    assert bench.cursor.position == three
    bench.cursor.settle_up_to(three)
    assert bench.processed == 3


def test_an_interrupt_while_settling_in_part_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(TWO, EVENT)
    half, *_ = shown(bench, 3)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bench.buffer, "mark_processed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.cursor.settle_up_to(half)
    again = shown(bench, 2)
    assert [position.processed for position in again] == [1, 2], "the first event of the record is not shown again"


def test_records_without_events_are_settled_with_all_that_was_shown() -> None:
    bench = Bench(EVENT, EMPTY, BAD, EVENT, EMPTY, on_bad_record="skip")
    _, last = shown(bench, 2)
    assert bench.cursor.gather(past_bad_records=True) is None
    bench.cursor.settle_up_to(last)
    assert bench.processed == 4
    bench.cursor.settle_all()
    assert bench.processed == 5
    assert bench.cursor.next(None) is None
    assert bench.cursor.stats(None).empty_records == 2


def test_a_bad_record_that_is_to_be_raised_ends_what_can_be_shown_at_once() -> None:
    bench = Bench(EVENT, BAD)
    shown(bench, 1)
    assert bench.cursor.gather(past_bad_records=True) is None
    bench.cursor.settle_all()
    assert bench.processed == 1


def test_a_bad_record_whose_refusal_is_deferred_is_raised_until_it_is_refused() -> None:
    bench = Bench(BAD, EVENT)
    for _ in range(2):
        with pytest.raises(DecodeError):
            bench.cursor.next(None, defers=True)
        assert bench.processed == 0
        assert bench.cursor.stats(None).bad_records == 0
    bench.cursor.refuse()
    assert bench.processed == 0
    assert bench.offset(bench.cursor.next(None)) == 1
    assert bench.processed == 1
    assert bench.cursor.stats(None).bad_records == 1


def test_events_that_are_shown_are_still_owned_unless_their_partition_was_revoked() -> None:
    bench = Bench(TWO, EVENT)
    positions = shown(bench, 3)
    assert all(map(bench.cursor.owns, positions))
    bench.buffer.set_ownership(Ownership(2, {("status", 0): 1}))
    assert all(map(bench.cursor.owns, positions))
    bench.buffer.set_ownership(Ownership(3, {}))
    assert not any(map(bench.cursor.owns, positions))
