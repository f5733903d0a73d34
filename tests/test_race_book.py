"""What the race book makes of prices, scratchings and duplicates, and what of it can be asked for."""

from __future__ import annotations

import threading
import tracemalloc
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs
import pytest

from rbhq_stream import (
    AnomalyKind,
    DeductionRevised,
    Event,
    Feed,
    Finality,
    FinalityReason,
    HistoryError,
    Outcome,
    PriceChanged,
    PriceEvent,
    PriceKey,
    PriceType,
    RaceBook,
    RaceEvent,
    RaceId,
    RaceLeft,
    RaceState,
    RaceStatus,
    RaceStatusEvent,
    Record,
    RecordMark,
    RunnerReinstated,
    RunnerScratched,
    Scratching,
    TopicPartition,
    Unscratching,
    decode,
    encode,
)
from rbhq_stream._book.departures import MAX_REMEMBERED, Departures
from rbhq_stream.testing import MemoryRecord, MemorySource
from tests.memory_feeds import memory_config
from tests.race_books import (
    IDS,
    RACE,
    START,
    Topics,
    after,
    anomalies,
    apply,
    given_prices,
    scratching,
    win,
    without_anomalies,
)


def mark_of(event: RaceEvent) -> RecordMark:
    mark = RecordMark.of(event)
    assert mark is not None
    return mark


# prices


def test_a_price_is_the_newest_with_its_opening_and_the_records_it_came_from() -> None:
    book, topics = RaceBook(), Topics()
    opening, move, repeat = (topics.prices(win(3, price), at=at) for at, price in enumerate(("5", "4.40", "4.4")))
    assert apply(book, opening, move) == [
        PriceChanged(RACE, mark_of(opening), 3, PriceType.WIN, None, Decimal(5)),
        PriceChanged(RACE, mark_of(move), 3, PriceType.WIN, Decimal(5), Decimal("4.40")),
    ]
    assert apply(book, repeat) == []
    price = book[RACE].prices[3, PriceType.WIN]
    assert (price.value, price.opening) == (Decimal("4.40"), Decimal(5))
    assert (price.moved, price.recorded) == (mark_of(move), mark_of(repeat))
    assert book[RACE].price(3, PriceType.WIN) == Decimal("4.40")


def test_a_price_that_is_not_offered_is_none_and_keeps_its_opening() -> None:
    book, topics = given_prices((3, "5"))
    event = topics.prices(win(3, None), at=1)
    assert apply(book, event) == [PriceChanged(RACE, mark_of(event), 3, PriceType.WIN, Decimal(5), None)]
    assert book[RACE].price(3, PriceType.WIN) is None
    assert book[RACE].prices[3, PriceType.WIN].opening == Decimal(5)


def test_the_opening_price_is_the_first_one_that_was_offered() -> None:
    book, topics = RaceBook(), Topics()
    assert apply(book, topics.prices(win(3, None), at=0)) == []
    apply(book, topics.prices(win(3, "5"), at=1), topics.prices(win(3, "6"), at=2))
    assert book[RACE].prices[3, PriceType.WIN].opening == Decimal(5)


def test_what_was_never_priced_has_no_price() -> None:
    book, _ = given_prices((3, "5"))
    assert book[RACE].price(3, PriceType.PLACE) is None
    assert book[RACE].price(4, PriceType.WIN) is None


def test_an_event_as_the_feed_decodes_it_is_applied_without_a_record_being_made_for_it() -> None:
    raw = MemoryRecord("prices", 2, 41, encode(PriceEvent(*IDS, (win(3, "5"),))), b"k", 1.5)
    [event] = decode(PriceEvent, raw.value() or b"", record=raw)
    book = RaceBook()
    [change] = book.apply(event)
    assert event.raw_record is raw
    assert change.recorded == mark_of(event)
    assert change.recorded == RecordMark("prices", 2, 41, time=datetime.fromtimestamp(1.5, tz=START.tzinfo))
    assert event.record is not None
    assert RecordMark.of(event) == change.recorded, "the same by the Record"


# scratchings


def test_a_scratched_runner_has_no_price_whatever_the_last_update_said() -> None:
    book, topics = given_prices((3, "5"), (4, "2"))
    event = topics.prices(scratchings=[scratching(3, at=1)], at=1)
    assert apply(book, event) == [
        RunnerScratched(RACE, mark_of(event), scratching(3, at=1)),
        PriceChanged(RACE, mark_of(event), 3, PriceType.WIN, Decimal(5), None),
    ]
    changes = apply(book, topics.prices(win(3, "4"), win(4, "1.8"), at=2))
    assert anomalies(changes) == [(AnomalyKind.PRICE_OF_SCRATCHED_RUNNER, 3)]
    assert book[RACE].price(3, PriceType.WIN) is None
    assert book[RACE].price(4, PriceType.WIN) == Decimal("1.8")
    assert book[RACE].scratched == {3: scratching(3, at=1)}


def test_a_price_in_the_record_that_scratches_its_runner_does_not_count() -> None:
    book, topics = given_prices((3, "5"))
    changes = apply(book, topics.prices(win(3, "4"), scratchings=[scratching(3, at=1)], at=1))
    assert anomalies(changes) == [(AnomalyKind.PRICE_OF_SCRATCHED_RUNNER, 3)]
    assert book[RACE].price(3, PriceType.WIN) is None


def test_a_repeated_scratching_changes_nothing_and_a_revised_one_is_reported() -> None:
    book, topics = given_prices((3, "5"), (4, "2"))
    apply(book, topics.prices(scratchings=[scratching(3, "0.10", at=1)], at=1))
    assert apply(book, topics.prices(scratchings=[scratching(3, "0.10", at=1)], at=2)) == []
    event = topics.prices(scratchings=[scratching(3, "0.12", at=1), scratching(4, at=3)], at=3)
    assert without_anomalies(apply(book, event))[:2] == [
        DeductionRevised(RACE, mark_of(event), scratching(3, "0.10", at=1), scratching(3, "0.12", at=1)),
        RunnerScratched(RACE, mark_of(event), scratching(4, at=3)),
    ]


def test_a_reinstated_runner_has_no_price_until_a_new_one_comes() -> None:
    book, topics = given_prices((3, "5"))
    apply(book, topics.prices(scratchings=[scratching(3, at=1)], at=1))
    event = topics.prices(reinstated=[3], at=2)
    assert apply(book, event) == [RunnerReinstated(RACE, mark_of(event), scratching(3, at=1))]
    assert book[RACE].price(3, PriceType.WIN) is None
    assert not book[RACE].scratched
    apply(book, topics.prices(win(3, "4"), at=3))
    assert book[RACE].price(3, PriceType.WIN) == Decimal(4)
    assert book[RACE].prices[3, PriceType.WIN].opening == Decimal(5)


def test_the_record_that_reinstates_a_runner_may_bring_its_new_price() -> None:
    book, topics = given_prices((3, "5"))
    apply(book, topics.prices(scratchings=[scratching(3, at=1)], at=1))
    event = topics.prices(win(3, "4"), reinstated=[3], at=2)
    assert apply(book, event) == [
        RunnerReinstated(RACE, mark_of(event), scratching(3, at=1)),
        PriceChanged(RACE, mark_of(event), 3, PriceType.WIN, None, Decimal(4)),
    ]


def test_deductions_and_payouts_are_those_of_the_ledger_and_the_result() -> None:
    book, topics = given_prices((1, "5"), (2, "2"), (3, "10"))
    apply(book, topics.prices(scratchings=[scratching(3, "0.10", at=60)], at=60))
    apply(book, topics.status("FINAL", at=100))
    final = topics.result("FINAL", 1, 2, at=101)
    apply(book, final)
    race = book[RACE]
    assert race.deductions(PriceType.WIN, struck_at=after(10)).total == Decimal("0.10")
    assert race.deductions(PriceType.WIN, struck_at=after(61)).total == 0
    won, lost, refunded = (
        race.payout(runner, PriceType.WIN, price="5", struck_at=after(10), stake=10) for runner in (1, 2, 3)
    )
    assert (won.outcome, won.amount, won.finality) == (Outcome.WON, Decimal(45), Finality.FINAL)
    assert won.result is not None
    assert won.result.recorded == mark_of(final)
    assert (lost.outcome, refunded.outcome, refunded.amount) == (Outcome.LOST, Outcome.REFUNDED, Decimal(10))
    assert race.runners == frozenset({1, 2, 3})


def test_the_time_of_the_jump_is_aware() -> None:
    book, _ = given_prices((1, "5"))
    with pytest.raises(ValueError, match=r"^jumped_at="):
        book[RACE].payout(1, PriceType.WIN, price=5, struck_at=START, jumped_at=START.replace(tzinfo=None))


def test_the_runners_are_not_known_without_prices() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(scratchings=[scratching(3)], at=0), topics.result("FINAL", 1, 2, at=1))
    assert book[RACE].runners is None


@pytest.mark.parametrize(
    ("first", "event", "expected"),
    [
        ([], {"scratchings": [scratching(9)]}, (AnomalyKind.SCRATCHING_OF_UNKNOWN_RUNNER, 9)),
        ([], {"reinstated": [3]}, (AnomalyKind.REINSTATED_WITHOUT_SCRATCHING, 3)),
        ([{"scratchings": [scratching(3)]}], {"scratchings": [scratching(4)]}, (AnomalyKind.SCRATCHING_OMITTED, 3)),
        (
            [{"scratchings": [scratching(3, at=1)]}, {"reinstated": [3]}],
            {"scratchings": [scratching(3, at=1), scratching(4, at=9)]},
            (AnomalyKind.SCRATCHING_BEFORE_REINSTATEMENT, 3),
        ),
    ],
)
def test_a_scratching_that_does_not_fit_what_came_before_is_an_anomaly(
    first: list[dict[str, Any]], event: dict[str, Any], expected: tuple[AnomalyKind, int]
) -> None:
    book, topics = given_prices((3, "5"), (4, "2"))
    apply(book, *(topics.prices(at=at, **facts) for at, facts in enumerate(first, 2)))
    changes = apply(book, topics.prices(at=8, **event))
    assert anomalies(changes) == [expected]
    assert (3 in book[RACE].scratched) == (
        expected[0] not in {AnomalyKind.SCRATCHING_OF_UNKNOWN_RUNNER, AnomalyKind.REINSTATED_WITHOUT_SCRATCHING}
    )


@pytest.mark.parametrize(
    ("reinstated_at", "recorded_at", "scratched_at", "is_before"),
    [
        (5, 5, 5, True),
        (5, 5, 6, False),
        (None, 5, 5, True),
        (None, 5, 6, False),
        (None, None, 5, False),
        (5, 5, None, False),
    ],
)
def test_a_runner_is_scratched_before_its_reinstatement_by_the_times_that_are_known(
    reinstated_at: float | None, recorded_at: float | None, scratched_at: float | None, is_before: bool
) -> None:
    book, topics = given_prices((3, "5"))
    apply(book, topics.prices(scratchings=[scratching(3, at=1)], at=1))
    record = topics.prices(at=recorded_at).record
    undone = Unscratching(3, None if reinstated_at is None else after(reinstated_at))
    apply(book, PriceEvent(*IDS, unscratchings=(undone,), record=record))
    changes = apply(book, topics.prices(scratchings=[scratching(3, at=scratched_at)], at=8))
    assert anomalies(changes) == [(AnomalyKind.SCRATCHING_BEFORE_REINSTATEMENT, 3)] * is_before


def test_times_without_a_zone_in_events_of_the_application_are_utc() -> None:
    book, _ = given_prices((3, "5"))
    early, late = after(1).replace(tzinfo=None), after(2).replace(tzinfo=None)
    apply(book, PriceEvent(*IDS, unscratchings=(Unscratching(3, late),)))
    changes = apply(book, PriceEvent(*IDS, scratchings=(Scratching(3, scratch_time=early),)))
    assert anomalies(changes) == [(AnomalyKind.SCRATCHING_BEFORE_REINSTATEMENT, 3)]


def test_a_revision_alone_omits_nothing_and_without_prices_no_runner_is_unknown() -> None:
    book, topics = RaceBook(), Topics()
    changes = apply(book, topics.prices(scratchings=[scratching(3), scratching(4)], at=1))
    changes += apply(book, topics.prices(scratchings=[scratching(4, "0.20")], at=2))
    assert anomalies(changes) == []


def test_a_runner_that_is_reinstated_twice_is_an_anomaly_only_once() -> None:
    book, topics = given_prices((3, "5"))
    events = [topics.prices(reinstated=[3], at=1), topics.prices(at=2)]
    again = PriceEvent(*IDS, unscratchings=(Unscratching(3, after(1)),), record=events[1].record)
    assert anomalies(apply(book, events[0])) == [(AnomalyKind.REINSTATED_WITHOUT_SCRATCHING, 3)]
    assert apply(book, again) == []


# duplicates


def test_a_record_that_comes_again_changes_nothing_even_when_newer_ones_came_meanwhile() -> None:
    book, topics = RaceBook(), Topics()
    events: list[Event] = [
        topics.prices(win(3, "5"), at=0),
        topics.status("OPEN", at=0),
        topics.prices(win(3, "4"), scratchings=[scratching(2)], at=1),
        topics.prices(reinstated=[2], at=2),
        topics.status("CLOSED", at=3),
        topics.result("INTERIM", at=4),
        topics.result("FINAL", at=5),
        topics.status("FINAL", at=5),
    ]
    apply(book, *events)
    state, positions = book[RACE], book.positions
    assert apply(book, *events) == []
    assert apply(book, *reversed(events)) == []
    assert book[RACE] is state
    assert book.positions == positions


def test_events_made_by_hand_that_repeat_what_was_said_last_change_nothing() -> None:
    book = RaceBook()
    events: list[Event] = [
        PriceEvent(*IDS, (win(3, "5"),), (scratching(2),)),
        RaceStatusEvent(*IDS, RaceStatus.OPEN),
        Topics().result("FINAL", 3),
    ]
    by_hand = [attrs.evolve(event) for event in events]  # which leaves the record out
    assert len(apply(book, *by_hand)) > 3
    state = book[RACE]
    assert apply(book, *by_hand) == []
    assert book[RACE] == state
    assert state.prices[3, PriceType.WIN].recorded is None
    assert apply(book, PriceEvent(*IDS, (win(3, "4"),))) == [
        PriceChanged(RACE, None, 3, PriceType.WIN, Decimal(5), Decimal(4))
    ]


def test_a_price_that_an_application_repeats_keeps_the_record_that_stated_it() -> None:
    book, topics = RaceBook(), Topics()
    event = topics.prices(win(3, "5"), at=1)
    apply(book, event, PriceEvent(*IDS, (win(3, "5"),)))
    assert book[RACE].prices[3, PriceType.WIN].recorded == mark_of(event)
    apply(book, PriceEvent(*IDS, (win(3, "6"),)))
    assert book[RACE].prices[3, PriceType.WIN].recorded is None
    again = topics.prices(win(3, "6"), at=2)
    apply(book, again)
    assert book[RACE].prices[3, PriceType.WIN].recorded == mark_of(again), "a record confirms it"


def test_each_event_of_a_record_with_several_is_applied_once() -> None:
    book, topics = RaceBook(), Topics()
    events = [topics.status(status, at=1, part=part, parts=2) for part, status in enumerate(("OPEN", "CLOSED"))]
    assert len(apply(book, events[0])) == 1
    assert book.positions == {TopicPartition("status", 0): 0}, "the record is not done"
    assert len(apply(book, *events)) == 1
    assert book[RACE].status is RaceStatus.CLOSED
    assert book.positions == {TopicPartition("status", 0): 1}


def test_a_part_of_an_earlier_record_that_comes_again_changes_nothing() -> None:
    book, topics = RaceBook(), Topics()
    opened, closed = (topics.status(status, at=1, part=part, parts=2) for part, status in enumerate(("OPEN", "CLOSED")))
    apply(book, opened, closed, topics.status("INTERIM", at=2))
    assert apply(book, opened, closed) == []
    assert book[RACE].status is RaceStatus.INTERIM


def test_scratchings_of_a_recreated_topic_are_newer_than_those_before_whatever_their_offsets() -> None:
    book, topics = given_prices((3, "5"))
    apply(book, topics.prices(scratchings=[scratching(3, "0.10")], at=1, offset=900))
    # a scratching without a time has that of its record
    assert book[RACE].deductions(PriceType.WIN, struck_at=after(0)).total == Decimal("0.10")
    assert book[RACE].deductions(PriceType.WIN, struck_at=after(1)).items == ()
    apply(book, topics.prices(scratchings=[scratching(3, "0.20")], at=10, offset=0))
    assert book[RACE].deductions(PriceType.WIN, struck_at=after(0)).total == Decimal("0.20")
    apply(book, topics.prices(at=11), topics.prices(scratchings=[scratching(3, "0.30")], at=12))
    assert book[RACE].deductions(PriceType.WIN, struck_at=after(0)).total == Decimal("0.30")
    assert len(book[RACE].ledger.entries(3)) == 3


def test_a_topic_that_was_recreated_is_reported_and_goes_on() -> None:
    book, topics = given_prices((3, "5"))
    apply(book, topics.prices(scratchings=[scratching(3, at=1)], at=1, offset=900))
    changes = apply(book, topics.prices(win(4, "6"), at=10, offset=0))
    assert anomalies(changes) == [(AnomalyKind.OFFSETS_RESTARTED, None)]
    changes = apply(book, topics.prices(win(3, "7"), reinstated=[3], at=21))
    assert [type(change) for change in changes] == [RunnerReinstated, PriceChanged]
    assert book[RACE].price(3, PriceType.WIN) == Decimal(7)
    assert book.positions[TopicPartition("prices", 0)] == 2


def test_prices_that_arrive_late_from_another_partition_do_not_replace_newer_ones() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(win(3, "5"), win(4, "2"), at=5))
    apply(book, topics.prices(win(3, "9"), win(5, "3"), at=1, partition=1))
    prices = [book[RACE].price(runner, PriceType.WIN) for runner in (3, 4, 5)]
    assert prices == [Decimal(5), Decimal(2), Decimal(3)]


def test_a_scratching_that_arrives_late_from_another_partition_withdraws_newer_prices() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(win(3, "5"), win(4, "2"), at=10))
    late = topics.prices(scratchings=[scratching(3)], at=5, partition=1)
    changes = book.apply(late)
    assert PriceChanged(RACE, mark_of(late), 3, PriceType.WIN, Decimal(5), None) in changes
    assert book[RACE].price(3, PriceType.WIN) is None
    assert book[RACE].prices[3, PriceType.WIN].opening == Decimal(5)
    apply(book, topics.prices(win(4, "3"), at=20))
    assert book.as_of(RACE, after(20)) == book[RACE]
    withdrawn = book.as_of(RACE, after(10))
    assert withdrawn is not None
    assert withdrawn.price(3, PriceType.WIN) is None
    # and a price from before does not come back with the runner
    apply(book, topics.prices(reinstated=[3], at=11), topics.prices(win(3, "9"), at=7, partition=1))
    assert book[RACE].price(3, PriceType.WIN) is None


# reading


def test_a_snapshot_is_the_same_object_until_something_changes() -> None:
    book, topics = given_prices((3, "5"))
    before = book[RACE]
    assert book.get(RACE) is before
    apply(book, topics.prices(win(3, "4"), at=1))
    assert before.price(3, PriceType.WIN) == Decimal(5)
    assert book[RACE].price(3, PriceType.WIN) == Decimal(4)


def test_races_are_found_by_id_meeting_status_and_finality() -> None:
    book, topics = RaceBook(), Topics()
    first, second, other = RaceId(1, 1), RaceId(1, 2), RaceId(2, 1)
    for race_id in (other, second, first):
        apply(book, topics.status("OPEN", at=0, race_id=race_id))
    apply(book, topics.status("FINAL", at=1, race_id=first), topics.result("FINAL", at=1, race_id=first))
    assert list(book) == [first, second, other]
    assert len(book) == 3
    assert first in book
    assert RACE not in book
    assert "1-1" not in book
    assert book.get(RACE) is None
    with pytest.raises(KeyError):
        book[RACE]
    assert [race.race_id for race in book.races()] == [first, second, other]
    assert [race.race_id for race in book.races(meeting_id=1)] == [first, second]
    assert [race.race_id for race in book.races(is_open=True)] == [second, other]
    assert [race.race_id for race in book.races(is_open=False, meeting_id=1)] == [first]
    assert [race.race_id for race in book.races(finality=Finality.FINAL)] == [first]


def test_a_reader_in_another_thread_sees_the_race_between_two_events() -> None:
    book, topics = given_prices((3, "1"), (4, "1"))
    events = [topics.prices(win(3, str(n)), win(4, str(n)), at=n) for n in range(2, 4000)]
    torn: list[RaceState] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            state = book[RACE]
            if state.price(3, PriceType.WIN) != state.price(4, PriceType.WIN):
                torn.append(state)
            book.races()
            list(book)

    reader = threading.Thread(target=read)
    reader.start()
    for number, event in enumerate(events):
        book.apply(event)
        book.apply(RaceStatusEvent(5, number, RaceStatus.OPEN))
    done.set()
    reader.join()
    assert not torn


@pytest.mark.parametrize("is_followed", [False, True])
def test_readers_in_other_threads_see_whole_events_in_order_and_what_they_have_read_never_changes(
    is_followed: bool,
) -> None:
    """The changes of prices are reported by `apply`, and not if the book follows a feed without handlers."""
    topics, book = Topics(), RaceBook(history=700)
    events: list[Event] = [topics.prices(win(3, "2"), win(4, "2"), at=0)]
    for n in range(3, 2000):
        events.append(topics.prices(win(3, str(n)), win(4, str(n)), at=n))
        if n % 50 == 0:
            events.append(topics.prices(win(3, str(n)), at=n, scratchings=[scratching(4)]))
            events.append(topics.status("CLOSED" if n % 100 else "OPEN", at=n))
            events.append(topics.prices(win(3, str(n)), win(4, str(n)), at=n, reinstated=[4]))
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        kept: list[tuple[RaceState, dict[PriceKey, Decimal | None]]] = []
        newest = Decimal(0)
        while not done.is_set():
            state = book.get(RACE)
            if state is None:
                continue
            one, other = state.price(3, PriceType.WIN), state.price(4, PriceType.WIN)
            if one is None or one < newest or other != (None if 4 in state.scratched else one):
                wrong.append(state)
            else:
                newest = one
            if len(kept) < 500:
                kept.append((state, {key: price.value for key, price in state.prices.items()}))
        wrong.extend(state for state, values in kept if values != {key: p.value for key, p in state.prices.items()})

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    if is_followed:
        source = MemorySource(memory_config().topics)
        feed = Feed(memory_config(group_id=None), source=source)
        book.follow(feed)
        source.publish(*events)
        feed.on(RaceEvent)(lambda _: feed.stop() if feed.stats.events + 1 == len(events) else None)
        feed.run()
    else:
        for event in events:
            book.apply(event)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert book[RACE].price(3, PriceType.WIN) == 1999


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"keep": 5}, TypeError),
        ({"keep": timedelta(0)}, ValueError),
        ({"history": 1}, ValueError),
        ({"history": True}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        RaceBook(**arguments)


def test_what_is_no_event_is_refused_and_changes_nothing() -> None:
    book = RaceBook()
    for wrong in (RaceEvent(*RACE), "event", None):
        with pytest.raises(TypeError, match="expected an event"):
            book.apply(wrong)  # type: ignore[arg-type]
    assert len(book) == 0


# the past


def test_as_of_tells_what_had_been_published_by_then() -> None:
    book, topics = given_prices((3, "5"))
    apply(
        book,
        topics.status("OPEN", at=0),
        topics.prices(win(3, "4"), at=10),
        topics.prices(scratchings=[scratching(3, at=19)], at=20),
        topics.result("FINAL", 1, at=30),
        topics.status("FINAL", at=40),
    )
    states = {at: book.as_of(RACE, after(at)) for at in (-1, 0, 15, 20, 30, 40)}
    assert states[-1] is None
    prices = {at: state.price(3, PriceType.WIN) for at, state in states.items() if state is not None}
    assert prices == {0: Decimal(5), 15: Decimal(4), 20: None, 30: None, 40: None}
    statuses = {at: state.status for at, state in states.items() if state is not None}
    assert list(statuses.values()) == [RaceStatus.OPEN] * 3 + [RaceStatus.FINAL] * 2
    assert states[15] is not None
    assert states[15].ledger.scratched == {}
    assert states[40] == book[RACE]


def test_as_of_dates_what_arrived_late_by_when_it_was_written() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.result("FINAL", 1, at=30), topics.status("OPEN", at=0), topics.status("CLOSED", at=10))
    state = book.as_of(RACE, after(5))
    assert state is not None
    assert (state.status, state.result) == (RaceStatus.OPEN, None)


def test_as_of_dates_prices_that_arrived_late_by_when_they_were_written() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(win(3, "5"), at=10), topics.prices(win(4, "2"), at=5, partition=1))
    state = book.as_of(RACE, after(7))
    assert state is not None
    assert (state.price(3, PriceType.WIN), state.price(4, PriceType.WIN)) == (None, Decimal(2))


def test_as_of_a_scratching_is_dated_like_the_price_before_it_if_the_clock_went_back() -> None:
    book, topics = given_prices((3, "5"))
    apply(book, topics.prices(win(4, "2"), at=10), topics.prices(scratchings=[scratching(3)], at=5))
    states = [book.as_of(RACE, after(at)) for at in (7, 10)]
    found = [(state.price(3, PriceType.WIN), set(state.scratched)) for state in states if state is not None]
    assert found == [(Decimal(5), set()), (None, {3})]


def test_as_of_before_the_kept_history_raises() -> None:
    book, topics = RaceBook(history=10), Topics()
    for at in range(25):
        book.apply(topics.prices(win(3, str(at + 1)), at=at))
    with pytest.raises(HistoryError) as raised:
        book.as_of(RACE, after(2))
    assert raised.value.race == str(RACE)
    assert raised.value.since is not None
    assert str(raised.value.since.isoformat()) in str(raised.value)
    begins = raised.value.since
    for at in range(25):
        if after(at) >= begins:
            state = book.as_of(RACE, after(at))
            assert state is not None
            assert state.price(3, PriceType.WIN) == at + 1
            assert state.prices[3, PriceType.WIN].opening == 1
    assert book.as_of(RACE, after(24)) == book[RACE]


def test_the_history_of_statuses_is_limited_too() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, *(topics.status(("OPEN", "CLOSED")[at % 2], at=at) for at in range(2_100)))
    with pytest.raises(HistoryError) as raised:
        book.as_of(RACE, after(5))
    begins = raised.value.since
    assert begins is not None
    assert after(500) < begins < after(1_500)
    for at in (1_500, 1_501, 2_099):
        state = book.as_of(RACE, after(at))
        assert state is not None
        assert state.status is (RaceStatus.OPEN, RaceStatus.CLOSED)[at % 2]


def test_the_history_takes_28_bytes_for_each_update() -> None:
    book, topics = given_prices((3, "2"), (4, "3"))
    updates = win(3, "2"), win(4, "3")
    events = [topics.prices(*updates, at=at) for at in range(4_000)]
    tracemalloc.start()
    try:
        apply(book, *events)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / 8_000 < 40, "the arrays have some room to grow"


def test_as_of_a_race_that_the_book_does_not_have_raises() -> None:
    with pytest.raises(HistoryError, match="1397808-7"):
        RaceBook().as_of(RACE, START)


def test_as_of_takes_aware_times_only() -> None:
    with pytest.raises(ValueError, match="time"):
        RaceBook().as_of(RACE, START.replace(tzinfo=None))


# old races


def test_old_races_leave_by_the_times_of_the_events() -> None:
    book, topics = RaceBook(keep=timedelta(hours=1)), Topics()
    old, new = RaceId(1, 1), RaceId(2, 1)
    apply(book, topics.status("OPEN", at=0, race_id=old), topics.status("OPEN", at=3500, race_id=new))
    assert apply(book, topics.status("CLOSED", at=3700, race_id=new))[1:] == []
    assert apply(book, topics.status("INTERIM", at=3800, race_id=new))[1:] == [RaceLeft(old, None)]
    assert list(book) == [new]
    assert book.newest_at == after(3800)


def test_a_race_whose_records_have_no_times_is_kept() -> None:
    book, topics = RaceBook(keep=timedelta(days=1)), Topics()
    other = RaceId(1397808, 8)
    apply(book, topics.status("OPEN", race_id=other))
    changes = apply(book, *(topics.prices(win(3, "2"), at=at) for at in range(0, 200_000, 3_600)))
    assert not any(isinstance(change, RaceLeft) for change in changes)
    assert other in book


def test_one_record_from_the_future_does_not_empty_the_book() -> None:
    book, topics = RaceBook(keep=timedelta(hours=1)), Topics()
    old, new = RaceId(1, 1), RaceId(2, 1)
    apply(book, topics.status("OPEN", at=0, race_id=old), topics.status("OPEN", at=10**8, race_id=new))
    apply(book, topics.status("CLOSED", at=20, race_id=new))
    assert list(book) == [old, new]


def test_old_races_are_looked_for_64_times_in_the_time_for_which_races_are_kept() -> None:
    departures = Departures(timedelta(days=1))
    second = 1_000_000
    looks = [departures.oldest_to_keep(at * second) for at in range(0, 86_400, 10)]
    found = [oldest for oldest in looks if oldest is not None]
    assert 62 <= len(found) <= 66
    assert found[-1] == pytest.approx(0, abs=1_400 * second)


def test_the_oldest_of_too_many_races_that_left_are_forgotten() -> None:
    departures = Departures(timedelta(days=1))
    departures.leave(*((1, number) for number in range(MAX_REMEMBERED + 2)))
    assert [departures.has_left((1, number)) for number in (0, 1, 2)] == [False, False, True]


def test_a_race_that_comes_back_after_it_left_is_never_final() -> None:
    book, topics = RaceBook(keep=timedelta(hours=1)), Topics()
    old, new = RaceId(1, 1), RaceId(2, 1)
    first = topics.status("OPEN", at=0, race_id=old)
    apply(book, first, *(topics.status("OPEN", at=at, race_id=new) for at in (9000, 9001)))
    assert old not in book
    assert apply(book, first) == [], "a duplicate does not bring it back"
    assert old not in book
    changes = apply(book, topics.result("FINAL", at=9002, race_id=old))
    assert anomalies(changes) == [(AnomalyKind.RACE_HAD_LEFT, None)]
    book.begin_catching_up()
    book.caught_up()
    race = book[old]
    assert (race.finality, race.reason, race.is_complete) == (Finality.PROVISIONAL, FinalityReason.INCOMPLETE, False)


def test_a_book_that_keeps_everything_keeps_everything() -> None:
    book, topics = RaceBook(keep=None), Topics()
    apply(book, *(topics.status("OPEN", at=n * 10**6, race_id=RaceId(1, n)) for n in range(100)))
    assert len(book) == 100


def test_positions_are_the_offsets_to_go_on_from() -> None:
    book, topics = RaceBook(), Topics()
    assert book.positions == {}
    assert book.newest_at is None
    apply(book, *(topics.prices(win(3, "5"), at=at) for at in range(4)), topics.status("OPEN", at=0, partition=2))
    apply(book, PriceEvent(*IDS, (win(4, "5"),)))
    assert book.positions == {TopicPartition("prices", 0): 4, TopicPartition("status", 2): 1}


def test_a_record_without_a_time_counts_in_the_order_of_its_topic() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.prices(win(3, "5")), topics.prices(win(3, "4"), at=9), topics.prices(win(3, "3")))
    assert book[RACE].price(3, PriceType.WIN) == 3
    assert book.as_of(RACE, after(9)) == book[RACE]
    state = book.as_of(RACE, after(8))
    assert state is not None
    assert state.price(3, PriceType.WIN) == 5


def test_a_record_whose_time_is_in_no_calendar_has_none() -> None:
    raw = MemoryRecord("prices", 0, 0, encode(PriceEvent(*IDS, (win(3, "5"),))), None, 1e15)
    [event] = decode(PriceEvent, raw.value() or b"", record=raw)
    [change] = RaceBook().apply(event)
    assert change.recorded == RecordMark("prices", 0, 0)
    assert Record.of(raw).timestamp is None
