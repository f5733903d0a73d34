"""The buffer between the two threads, used from one thread: its bounds, its wake-ups and the processed records."""

from __future__ import annotations

from typing import Any

import pytest

from rbhq_stream._engine.buffer import Acknowledgement, Buffer, Chunk, Ownership
from rbhq_stream._summaries import newest_offsets
from rbhq_stream.testing import MemoryRecord


def records(first: int, count: int, *, topic: str = "prices", size: int = 10) -> list[MemoryRecord]:
    return [MemoryRecord(topic, 0, offset, b"x" * size) for offset in range(first, first + count)]


def a_buffer(**bounds: Any) -> Buffer:
    return Buffer(**{"max_records": 100, "max_bytes": 10_000, "wake_application": lambda: None, **bounds})


def append(buffer: Buffer, chunk: list[MemoryRecord], epoch: int = 1) -> Chunk:
    buffer.append(chunk, epoch, newest_offsets(chunk))
    newest = buffer.head
    while newest.next is not None:
        newest = newest.next
    return newest


def processed(buffer: Buffer, **options: bool) -> list[tuple[int, dict[Any, int]]]:
    return [(epoch, dict(newest)) for epoch, newest in buffer.take_processed(**options)]


def test_what_waits_is_counted_in_records_and_in_bytes() -> None:
    buffer = a_buffer()
    chunk = append(buffer, records(0, 3))
    second = append(buffer, records(3, 2, size=100))
    assert (buffer.waiting_records, buffer.waiting_bytes) == (5, 230)
    buffer.mark_processed(chunk, 2)
    assert (buffer.waiting_records, buffer.waiting_bytes) == (3, 230)
    buffer.mark_processed(chunk, 3)
    assert (buffer.waiting_records, buffer.waiting_bytes) == (2, 200)
    buffer.mark_processed(second, 2)
    assert (buffer.waiting_records, buffer.waiting_bytes) == (0, 0)


@pytest.mark.parametrize(("bounds", "is_full"), [({"max_records": 4}, True), ({"max_bytes": 40}, True), ({}, False)])
def test_either_bound_fills_it(bounds: dict[str, int], is_full: bool) -> None:
    buffer = a_buffer(**bounds)
    append(buffer, records(0, 4))
    assert (buffer.fill >= 1) is is_full


@pytest.mark.parametrize("bounds", [{"max_records": 1}, {"max_bytes": 1}])
def test_a_bound_of_one_lets_one_through(bounds: dict[str, int]) -> None:
    """A record larger than the bound is not refused: it waits alone."""
    buffer = a_buffer(**bounds)
    assert buffer.fill == 0
    chunk = append(buffer, records(0, 1))
    assert buffer.fill >= 1
    buffer.mark_processed(chunk, 1)
    assert buffer.fill == 0


def test_the_poll_thread_is_woken_when_half_of_the_buffer_is_free_and_not_before() -> None:
    buffer = a_buffer(max_records=10)
    chunk = append(buffer, records(0, 10))
    buffer.mark_processed(chunk, 5)
    buffer.note_room()
    assert not woken(buffer)
    buffer.mark_processed(chunk, 6)
    buffer.note_room()
    buffer.note_room()
    assert woken(buffer)
    assert not woken(buffer), "two wake-ups before a wait are one"


def woken(buffer: Buffer) -> bool:
    """Returns whether a wake-up is waiting for the poll thread, and removes it."""
    was_empty = buffer._room.empty()
    buffer.discard_stale_wake_up()
    return not was_empty


def test_a_request_to_close_wakes_the_poll_thread() -> None:
    buffer = a_buffer()
    buffer.request_close()
    assert buffer.is_closing
    assert woken(buffer)


def test_processed_records_are_returned_once_with_their_epoch() -> None:
    buffer = a_buffer()
    first = append(buffer, records(0, 3), epoch=1)
    second = append(buffer, records(3, 3), epoch=2)
    assert processed(buffer) == []
    buffer.mark_processed(first, 2)
    assert processed(buffer, whole_chunks_only=True) == []
    assert processed(buffer) == [(1, {("prices", 0): 1})]
    assert processed(buffer) == []
    buffer.mark_processed(second, 1)
    assert processed(buffer, whole_chunks_only=True) == [(1, {("prices", 0): 2})]
    assert processed(buffer) == [(2, {("prices", 0): 3})]


def test_processed_chunks_are_released() -> None:
    buffer = a_buffer()
    last = None
    for number in range(10):
        last = append(buffer, records(number, 1))
    assert last is not None
    buffer.mark_processed(last, 1)
    assert len(processed(buffer)) == 10
    assert buffer._counting is last, "none is kept but the newest"


def test_marking_twice_is_marking_once() -> None:
    buffer = a_buffer()
    append(buffer, records(0, 2))
    second = append(buffer, records(2, 2))
    for _ in range(2):
        buffer.mark_processed(second, 1)
    assert buffer.head is second
    assert buffer.waiting_records == 1


def test_a_chunk_of_an_earlier_epoch_is_owned_until_its_partition_is_assigned_again() -> None:
    buffer = a_buffer()
    chunk = append(buffer, records(0, 1), epoch=1)
    (record,) = chunk.records
    buffer.set_ownership(Ownership(2, {("prices", 0): 1}))
    assert buffer.owns(chunk, record)
    buffer.set_ownership(Ownership(3, {("prices", 0): 3}))
    assert not buffer.owns(chunk, record)
    buffer.set_ownership(Ownership(4, {}))
    assert not buffer.owns(chunk, record)


def test_acknowledgements_are_taken_once_in_their_order() -> None:
    buffer = a_buffer()
    given = [Acknowledgement(("prices", 0), offset, 1) for offset in (3, 1, 2)]
    for acknowledgement in given:
        buffer.acknowledge(acknowledgement)
    assert list(buffer.take_acknowledged()) == given
    assert list(buffer.take_acknowledged()) == []


def test_the_failure_is_raised_with_the_traceback_of_the_poll_thread_each_time() -> None:
    buffer = a_buffer()
    buffer.raise_failure()
    try:
        raise OSError("the disk is full")
    except OSError as error:
        buffer.fail(error)
    lengths = []
    for _ in range(3):
        with pytest.raises(OSError, match="the disk is full") as caught:
            buffer.raise_failure()
        lengths.append(len(caught.traceback))
    assert lengths[0] == lengths[1] == lengths[2]
