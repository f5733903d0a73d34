"""What both facades guarantee, with records from memory, quickly and in any order of events."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

import pytest

from rbhq_stream import (
    AuthenticationError,
    DataLossError,
    DecodeError,
    Event,
    FeedClosedError,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceEvent,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Record,
    Retry,
    RunnerResult,
    Scratching,
    Unscratching,
)
from rbhq_stream.source import TopicPartition
from rbhq_stream.testing import MemoryRecord, MemorySource
from tests.memory_feeds import BAD, PRICES, MakeFacade, memory_config, poll_threads, price, prices, wait_until_done
from tests.waiting import wait_for


def test_it_yields_typed_events_with_their_records(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    status = RaceStatusEvent(1, 2, RaceStatus.CLOSED)
    result = RaceResultEvent(1, 2, status=RaceStatus.FINAL, results=(RunnerResult(3, final_position=1),))
    memory_source.publish(price(1), status, result)
    facade = make_facade()
    facade.enter()
    got = [facade.next() for _ in range(3)]
    assert got == [price(1), status, result]
    record = got[0].record
    assert record is not None
    assert (record.topic, record.partition, record.offset, record.key) == ("prices", 0, 0, b"1-1")
    assert record.timestamp is not None
    assert record.timestamp.utcoffset() is not None


def test_an_impossible_timestamp_does_not_stop_the_feed() -> None:
    assert Record.of(MemoryRecord("prices", 0, 0, b"", None, 1.7e15)).timestamp is None


def test_nothing_happens_before_it_is_entered(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    of_others = poll_threads()  # of a test before this one, and about to end
    facade = make_facade()
    assert facade.feed.stats.events == 0
    assert memory_source.closed_in is None
    assert set(poll_threads()) <= set(of_others)


def test_the_source_is_used_on_the_poll_thread_only(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    facade.enter()
    facade.leave()
    assert memory_source.closed_in == "rbhq_stream poll"


def test_requesting_the_next_event_acknowledges_the_current_one(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()
    facade.enter()
    facade.next()
    time.sleep(0.2)
    assert memory_source.committed.get(PRICES, 0) == 0, "the current event is not acknowledged"
    facade.next()
    wait_for(lambda: memory_source.committed.get(PRICES) == 1, "it is committed")


def test_a_normal_exit_commits_the_current_event(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()
    facade.enter()
    facade.next()
    facade.next()
    facade.leave()
    assert memory_source.committed[PRICES] == 2


def test_an_exit_by_an_exception_does_not_commit_the_current_event(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()
    facade.enter()
    facade.next()
    facade.next()
    facade.leave(KeyboardInterrupt())
    assert memory_source.committed[PRICES] == 1
    again = make_facade()
    again.enter()
    assert again.next() == price(2), "the current event is delivered again"


def test_a_second_feed_continues_where_the_first_ended(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(100))
    got: list[Event] = []
    for _ in range(4):
        facade = make_facade()
        facade.enter()
        got += [facade.next() for _ in range(25)]
        facade.leave()
    assert got == prices(100)


def test_stop_ends_the_iteration_after_the_current_event(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()
    facade.enter()
    facade.next()
    facade.feed.stop()
    facade.feed.stop()
    with pytest.raises(StopIteration):
        facade.next()
    facade.leave()
    assert memory_source.committed[PRICES] == 1


def test_stop_from_another_thread_wakes_a_waiting_feed(make_facade: MakeFacade) -> None:
    facade = make_facade()
    facade.enter()
    threading.Timer(0.1, facade.feed.stop).start()
    began = time.monotonic()
    with pytest.raises(StopIteration):
        facade.next()
    assert time.monotonic() - began < 20


def test_an_unentered_feed_connects_by_itself_and_closes_on_stop(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(2))
    facade = make_facade()
    assert facade.next() == price(1)
    facade.feed.stop()
    with pytest.raises(StopIteration):
        facade.next()
    assert memory_source.closed_in is not None
    assert memory_source.committed[PRICES] == 1


def test_using_a_closed_feed_raises_feed_closed_error(make_facade: MakeFacade) -> None:
    facade = make_facade()
    facade.enter()
    facade.leave()
    with pytest.raises(FeedClosedError):
        facade.next()
    with pytest.raises(FeedClosedError):
        facade.poll(0.1)
    with pytest.raises(FeedClosedError):
        facade.enter()


def test_poll_returns_none_when_no_event_arrives(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    facade.enter()
    began = time.monotonic()
    assert facade.poll(0.1) is None
    assert 0.05 < time.monotonic() - began < 20
    memory_source.publish(price(1))
    assert facade.poll(5) == price(1)
    assert facade.poll(0) is None
    wait_for(lambda: memory_source.committed.get(PRICES) == 1, "it is committed")


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 1e10])
def test_a_wait_may_be_unlimited(make_facade: MakeFacade, memory_source: MemorySource, seconds: float) -> None:
    facade = make_facade()
    facade.enter()
    threading.Timer(0.05, memory_source.publish, prices(1)).start()
    assert facade.poll(seconds) == price(1)
    next_batch = facade.batches(3, seconds)

    def publish_one_by_one() -> None:
        for number in (2, 3, 4):
            time.sleep(0.05)
            memory_source.publish(price(number))

    threading.Thread(target=publish_one_by_one).start()
    assert next_batch() == prices(4)[1:], "max_events ends it"
    threading.Timer(0.05, facade.feed.stop).start()
    assert facade.poll(seconds) is None


def test_a_wait_that_is_not_a_number_ends_at_once(make_facade: MakeFacade) -> None:
    facade = make_facade()
    facade.enter()
    assert facade.poll(math.nan) is None


def test_a_bad_record_raises_and_the_feed_continues(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(price(1))
    memory_source.publish_raw("prices", BAD)
    memory_source.publish(price(3))
    facade = make_facade()
    facade.enter()
    assert facade.next() == price(1)
    with pytest.raises(DecodeError) as raised:
        facade.next()
    assert raised.value.record is not None
    assert raised.value.record.coordinates == ("prices", 0, 1)
    assert raised.value.record.value == BAD
    assert facade.next() == price(3)
    assert facade.feed.stats.bad_records == 1
    facade.leave()
    assert memory_source.committed[PRICES] == 3


def test_a_bad_record_that_ended_the_feed_is_delivered_again(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish_raw("prices", BAD)
    for _ in range(2):
        facade = make_facade()
        facade.enter()
        with pytest.raises(DecodeError) as raised:
            facade.next()
        facade.leave(raised.value)
        assert memory_source.committed.get(PRICES, 0) == 0


def test_bad_records_can_be_skipped(
    make_facade: MakeFacade, memory_source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    memory_source.publish_raw("prices", BAD)
    memory_source.publish(price(2))
    facade = make_facade(on_bad_record="skip")
    facade.enter()
    assert facade.next() == price(2)
    assert facade.feed.stats.bad_records == 1
    assert [
        r.levelno for r in caplog.records if "skipped a bad record: topic 'prices' partition 0 offset 0" in r.message
    ]


def test_a_record_that_its_sink_could_not_store_is_not_skipped(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish_raw("prices", BAD)
    memory_source.publish(price(2))
    answers: list[BaseException | None] = [OSError("disk full"), OSError("disk full"), None]
    seen: list[DecodeError] = []

    def sink(error: DecodeError) -> None:
        seen.append(error)
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    facade = make_facade(on_bad_record=sink)
    facade.enter()
    for _ in range(2):
        with pytest.raises(OSError, match="disk full"):
            facade.next()
        assert memory_source.committed.get(PRICES, 0) == 0
    assert facade.next() == price(2)
    assert [error.record and error.record.offset for error in seen] == [0, 0, 0]


def test_tombstones_and_empty_lists_are_skipped(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish_raw("prices", None)
    memory_source.publish_raw("prices", b"")
    memory_source.publish_raw("status", b"[]")
    memory_source.publish(price(1))
    facade = make_facade()
    facade.enter()
    assert facade.next() == price(1)
    facade.leave()
    assert facade.feed.stats.empty_records in (2, 3)
    assert memory_source.committed[PRICES] == 3


def test_a_record_of_several_events_is_processed_after_the_last(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish_raw(
        "status", b'[{"meetingId":1,"eventNumber":1,"status":"OPEN"},{"meetingId":1,"eventNumber":2,"status":"OPEN"}]'
    )
    status = TopicPartition("status", 0)
    facade = make_facade()
    facade.enter()
    assert facade.next().event_number == 1
    assert facade.next().event_number == 2
    time.sleep(0.2)
    assert memory_source.committed.get(status, 0) == 0
    facade.leave()
    assert memory_source.committed[status] == 1


def test_handlers_are_called_by_type(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    out = Scratching(2)
    memory_source.publish(
        PriceEvent(1, 1, (PriceUpdate(1, PriceType.WIN), PriceUpdate(3, PriceType.PLACE)), (out,), (Unscratching(4),)),
        RaceStatusEvent(1, 1, RaceStatus.OPEN),
        RaceResultEvent(1, 1, status=RaceStatus.FINAL, results=(RunnerResult(3),)),
    )
    facade = make_facade()
    calls: list[tuple[str, object]] = []
    on = facade.feed.on
    on(PriceUpdate)(lambda update: calls.append(("update", update.runner_number)))
    on(Scratching)(lambda scratching, event: calls.append(("scratching", (scratching.runner_number, event.race_id))))
    on(Unscratching)(lambda unscratching: calls.append(("unscratching", unscratching.runner_number)))
    on(PriceEvent)(lambda event: calls.append(("price", event.event_number)))
    on(RaceEvent)(lambda event: calls.append(("any", type(event).__name__)))
    on(RunnerResult)(lambda result: calls.append(("result", result.runner_number)))

    @on(RaceResultEvent)
    def last(event: RaceResultEvent) -> None:
        facade.feed.stop()

    facade.run()
    assert sorted(map(str, calls[:-2])) == sorted(
        map(
            str,
            [
                ("price", 1),
                ("any", "PriceEvent"),
                ("scratching", (2, price(1).race_id)),
                ("unscratching", 4),
                ("update", 1),
                ("update", 3),
                ("any", "RaceStatusEvent"),
            ],
        )
    )
    of_prices = [call for call in calls if call != ("any", "RaceStatusEvent")]
    assert [kind for kind, _ in of_prices[:6]] == ["price", "any", "scratching", "unscratching", "update", "update"]
    assert memory_source.committed[PRICES] == 1
    assert memory_source.closed_in is not None


def test_a_handler_that_raises_ends_run_and_its_event_is_delivered_again(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()
    seen: list[int] = []

    @facade.feed.on(PriceEvent)
    def handler(event: PriceEvent) -> None:
        seen.append(event.event_number)
        if len(seen) == 2:
            raise ZeroDivisionError("mine")
        if event.event_number == 3:
            facade.feed.stop()

    facade.enter()
    with pytest.raises(ZeroDivisionError, match="mine"):
        facade.run()
    wait_for(lambda: memory_source.committed.get(PRICES) == 1, "it is committed")
    facade.run()
    assert seen == [1, 2, 2, 3]
    facade.leave()
    assert memory_source.committed[PRICES] == 3


def test_a_handler_that_raises_closes_an_unentered_feed_and_its_event_is_not_committed(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()

    @facade.feed.on(PriceEvent)
    def handler(event: PriceEvent) -> None:
        if event.event_number == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        facade.run()
    assert memory_source.committed[PRICES] == 1
    assert memory_source.closed_in is not None


def test_handlers_are_retried_in_order(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(2))
    facade = make_facade()
    calls: list[str] = []

    @facade.feed.on(PriceEvent)
    def first(event: PriceEvent) -> None:
        calls.append(f"first {event.event_number}")

    @facade.feed.on(PriceEvent)
    def second(event: PriceEvent) -> None:
        calls.append(f"second {event.event_number}")
        if len(calls) < 4:
            raise OSError("the database is down")
        if event.event_number == 2:
            facade.feed.stop()

    facade.run(Retry(attempts=3, wait=0.01))
    assert calls == ["first 1", "second 1", "second 1", "second 1", "first 2", "second 2"]


def test_retries_end_with_the_last_exception(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(2))
    facade = make_facade()
    calls: list[int] = []

    @facade.feed.on(PriceEvent)
    def handler(event: PriceEvent) -> None:
        calls.append(event.event_number)
        raise OSError("for good")

    with pytest.raises(OSError, match="for good"):
        facade.run(Retry(attempts=3, wait=0.001))
    assert calls == [1, 1, 1]
    assert memory_source.committed.get(PRICES, 0) == 0


def test_stop_ends_a_retry(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(price(1))
    facade = make_facade()

    @facade.feed.on(PriceEvent)
    def handler(event: PriceEvent) -> None:
        facade.feed.stop()
        raise OSError

    began = time.monotonic()
    facade.run(Retry(attempts=3, wait=60, max_wait=60))
    assert time.monotonic() - began < 20
    assert memory_source.committed.get(PRICES, 0) == 0, "it was never done"


def test_handlers_for_kinds_that_the_feed_does_not_have_are_refused(make_facade: MakeFacade) -> None:
    on: Any = make_facade().feed.on
    with pytest.raises(TypeError, match="no such events"):
        on(int)(print)
    with pytest.raises(TypeError, match="callable with a PriceEvent"):
        on(PriceEvent)(lambda: None)
    with pytest.raises(TypeError, match="can't be called"):
        on(PriceEvent)(3)
    with pytest.raises(TypeError, match="the event it belongs to"):
        on(Scratching)(lambda a, b, c: None)


def test_a_batch_is_acknowledged_when_the_next_is_requested(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(10))
    facade = make_facade()
    facade.enter()
    next_batch = facade.batches(4, 0.05)
    assert next_batch() == prices(10)[:4]
    time.sleep(0.2)
    assert memory_source.committed.get(PRICES, 0) == 0
    assert next_batch() == prices(10)[4:8]
    wait_for(lambda: memory_source.committed.get(PRICES) == 4, "it is committed")
    assert next_batch() == prices(10)[8:], "what there is after max_wait"
    facade.feed.stop()
    with pytest.raises(StopIteration):
        next_batch()
    facade.leave()
    assert memory_source.committed[PRICES] == 10


def test_a_batch_may_span_several_polls(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(3))
    facade = make_facade()
    facade.enter()
    next_batch = facade.batches(6, 30.0)
    threading.Timer(0.2, memory_source.publish, prices(6)[3:]).start()
    assert next_batch() == prices(6)
    facade.leave()
    assert memory_source.committed[PRICES] == 6


def test_a_batch_ends_before_a_bad_record(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(2))
    memory_source.publish_raw("prices", BAD)
    memory_source.publish(price(4))
    facade = make_facade()
    facade.enter()
    next_batch = facade.batches(10, 0.1)
    assert next_batch() == prices(2)
    with pytest.raises(DecodeError):
        next_batch()
    assert next_batch() == [price(4)]
    facade.leave()
    assert memory_source.committed[PRICES] == 4
    assert facade.feed.stats.bad_records == 1


def test_batches_refuses_wrong_arguments(make_facade: MakeFacade) -> None:
    facade = make_facade()
    with pytest.raises(ValueError, match="max_events=0"):
        facade.batches(0, 1)
    with pytest.raises(ValueError, match="max_wait=-1"):
        facade.batches(1, -1)


def test_manual_acknowledgement_waits_for_the_oldest(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(4))
    facade = make_facade(commit="manual")
    facade.enter()
    events = [facade.next() for _ in range(4)]
    facade.feed.ack(events[2])
    facade.feed.ack(events[1])
    time.sleep(0.2)
    assert memory_source.committed.get(PRICES, 0) == 0
    facade.feed.ack(events[0])
    wait_for(lambda: memory_source.committed.get(PRICES) == 3, "it is committed")
    facade.leave()
    assert memory_source.committed[PRICES] == 3


def test_manual_acknowledgement_of_a_record_of_several_events(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish_raw(
        "status", b'[{"meetingId":1,"eventNumber":1,"status":"OPEN"},{"meetingId":1,"eventNumber":2,"status":"OPEN"}]'
    )
    status = TopicPartition("status", 0)
    facade = make_facade(commit="manual")
    facade.enter()
    one, two = facade.next(), facade.next()
    facade.feed.ack(two)
    facade.feed.ack(two)
    time.sleep(0.2)
    assert memory_source.committed.get(status, 0) == 0
    facade.feed.ack(one)
    wait_for(lambda: memory_source.committed.get(status) == 1, "it is committed")


def test_manual_acknowledgement_passes_bad_and_empty_records(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish_raw("prices", BAD)
    memory_source.publish_raw("prices", None)
    memory_source.publish(price(1))
    facade = make_facade(commit="manual", on_bad_record="skip")
    facade.enter()
    facade.feed.ack(facade.next())
    wait_for(lambda: memory_source.committed.get(PRICES) == 3, "it is committed")


def test_a_raised_bad_record_is_acknowledged_when_the_feed_continues(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish_raw("prices", BAD)
    memory_source.publish(price(1))
    facade = make_facade(commit="manual")
    facade.enter()
    with pytest.raises(DecodeError):
        facade.next()
    time.sleep(0.2)
    assert memory_source.committed.get(PRICES, 0) == 0, "it may still end the program, and is to come again then"
    facade.feed.ack(facade.next())
    wait_for(lambda: memory_source.committed.get(PRICES) == 2, "it is committed")


def test_ack_refuses_events_that_did_not_come_from_the_feed(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(price(1))
    facade = make_facade()
    facade.enter()
    event = facade.next()
    with pytest.raises(ValueError, match="acknowledges by itself"):
        facade.feed.ack(event)
    with pytest.raises(ValueError, match="constructed by the application"):
        make_facade(commit="manual").feed.ack(price(1))


def test_a_failure_is_raised_after_the_events_before_it(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    memory_source.publish(*prices(2))
    facade = make_facade()
    facade.enter()
    facade.next()
    memory_source.fail(AuthenticationError("refused"))
    assert facade.next() == price(2)
    for _ in range(2):
        with pytest.raises(AuthenticationError, match="refused"):
            facade.next()
    facade.leave()
    assert memory_source.committed[PRICES] == 2


def test_a_failure_to_open_is_raised_on_entering(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    def refuse(owner: object) -> None:
        raise DataLossError("prices", 0, 5, 9)

    memory_source.open = refuse  # type: ignore[method-assign]
    with pytest.raises(DataLossError, match="up to 4 records are gone"):
        make_facade().enter()


def test_events_of_a_revoked_partition_are_dropped_and_never_committed(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(5))
    facade = make_facade(config=memory_config(commit_interval=60.0))
    facade.enter()
    facade.next()
    facade.next()
    memory_source.revoke("prices")
    wait_for(lambda: memory_source.committed.get(PRICES) == 1, "it is committed")
    memory_source.publish(RaceStatusEvent(1, 1, RaceStatus.OPEN))
    assert isinstance(facade.next(), RaceStatusEvent), "what was buffered of the revoked partition is another's"
    facade.leave()
    assert memory_source.committed[PRICES] == 1


def test_a_partition_that_is_assigned_again_starts_at_its_committed_offset(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    memory_source.publish(*prices(5))
    facade = make_facade(config=memory_config(commit_interval=60.0))
    facade.enter()
    assert [facade.next() for _ in range(3)] == prices(3)
    memory_source.revoke("prices")
    memory_source.assign("prices")
    wait_for(lambda: memory_source.committed.get(PRICES) == 2, "it is committed")
    wait_until_done(memory_source)
    time.sleep(0.1)
    assert [facade.next() for _ in range(3)] == prices(5)[2:]
    facade.leave()
    assert memory_source.committed[PRICES] == 5


def test_a_full_buffer_pauses_the_source_and_resumes_it(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade(config=memory_config(buffer_records=10))
    paused: list[bool] = []
    pause, resume = memory_source.pause, memory_source.resume
    memory_source.pause = lambda: (paused.append(True), pause())  # type: ignore[assignment,method-assign,func-returns-value]
    memory_source.resume = lambda: (paused.append(False), resume())  # type: ignore[assignment,method-assign,func-returns-value]
    facade.enter()
    memory_source.publish(*prices(20))
    wait_for(lambda: paused == [True], "it is paused")
    assert facade.feed.stats.waiting_records >= 10
    memory_source.publish(*prices(40)[20:])
    time.sleep(0.3)
    assert facade.feed.stats.waiting_records == 20, "bounded while paused"
    assert [facade.next() for _ in range(40)] == prices(40)
    assert paused[:2] == [True, False]


def test_the_constructor_refuses_wrong_arguments(make_facade: MakeFacade) -> None:
    with pytest.raises(ValueError, match="commit="):
        make_facade(commit="sometimes")
    with pytest.raises(ValueError, match="on_bad_record="):
        make_facade(on_bad_record="explode")


def test_its_repr_shows_its_state(make_facade: MakeFacade) -> None:
    facade = make_facade()
    assert "of group 'g' at nowhere:1, not started" in repr(facade.feed)
    facade.enter()
    assert "open" in repr(facade.feed)
    facade.leave()
    assert "closed" in repr(facade.feed)


def test_an_error_while_closing_is_logged(
    make_facade: MakeFacade, memory_source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(offsets: object, timeout: float) -> None:
        raise OSError("broken close")

    memory_source.close = refuse  # type: ignore[method-assign]
    facade = make_facade()
    facade.enter()
    with caplog.at_level(logging.ERROR, "rbhq_stream"):
        facade.leave()
    assert "closing the feed failed" in caplog.text
