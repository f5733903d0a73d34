"""The life of a race's result: its table of transitions, and what is made of two topics that disagree or come late."""

from __future__ import annotations

from itertools import permutations

import attrs
import pytest

from rbhq_stream import (
    Anomaly,
    AnomalyKind,
    Change,
    Event,
    Finality,
    FinalityChanged,
    FinalityReason,
    RaceBook,
    RaceResultEvent,
    RaceState,
    RaceStatus,
    RaceStatusEvent,
    ResultAmended,
    ResultPosted,
    RunnerResult,
    StatusChanged,
    Transition,
)
from tests.race_books import IDS, RACE, Topics, after, anomalies, apply, given_prices, placings, scratching, win

OPEN, CLOSED, INTERIM = RaceStatus.OPEN, RaceStatus.CLOSED, RaceStatus.INTERIM
PROTEST, FINAL, ABANDONED = RaceStatus.PROTEST, RaceStatus.FINAL, RaceStatus.ABANDONED

FIRST, EXPECTED, SKIPPED = Transition.FIRST, Transition.EXPECTED, Transition.SKIPPED
REOPENED, REVERSED, SAME = Transition.REOPENED, Transition.REVERSED, None

TABLE = {
    None: (FIRST, FIRST, FIRST, FIRST, FIRST, FIRST),
    OPEN: (SAME, EXPECTED, SKIPPED, SKIPPED, SKIPPED, EXPECTED),
    CLOSED: (REOPENED, SAME, EXPECTED, SKIPPED, SKIPPED, EXPECTED),
    INTERIM: (REVERSED, REVERSED, SAME, EXPECTED, EXPECTED, EXPECTED),
    PROTEST: (REVERSED, REVERSED, EXPECTED, SAME, EXPECTED, EXPECTED),
    FINAL: (REVERSED, REVERSED, REVERSED, REVERSED, SAME, REVERSED),
    ABANDONED: (REVERSED, REVERSED, REVERSED, REVERSED, REVERSED, SAME),
}
"""The table of the module, once more: by the status before, to each status in the order of `RaceStatus`."""


def state_after(*events: Event) -> RaceState:
    book = RaceBook()
    apply(book, *events)
    return book[RACE]


# the status


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(before, after, row[n]) for before, row in TABLE.items() for n, after in enumerate(RaceStatus)],
)
def test_each_transition_is_reported_as_the_table_says(
    before: RaceStatus | None, after: RaceStatus, expected: Transition | None
) -> None:
    book, topics = RaceBook(), Topics()
    if before is not None:
        apply(book, topics.status(before, at=0))
    changes = apply(book, topics.status(after, at=1))
    transitions = [change.transition for change in changes if isinstance(change, StatusChanged)]
    assert transitions == ([] if expected is SAME else [expected])
    is_reversed = [(AnomalyKind.STATUS_REVERSED, None)] if expected is REVERSED else []
    assert anomalies(changes) == is_reversed
    assert book[RACE].status is after
    assert book[RACE].is_open is (after is OPEN)


@pytest.mark.parametrize(("before", "after"), [("OPEN", "DELAYED"), ("DELAYED", "OPEN"), ("FINAL", "DELAYED")])
def test_an_unknown_status_is_an_anomaly_and_the_race_is_not_open(before: str, after: str) -> None:
    book, topics = RaceBook(), Topics()
    changes = apply(book, topics.status(before, at=0), topics.status(after, at=1), topics.status(after, at=2))
    assert anomalies(changes) == [(AnomalyKind.UNKNOWN_STATUS, None)]
    assert book[RACE].is_open is (after == "OPEN")


def test_a_status_that_names_a_runner_is_an_anomaly() -> None:
    changes = apply(RaceBook(), Topics().status("CLOSED", at=0, runner=3))
    assert anomalies(changes) == [(AnomalyKind.STATUS_OF_A_RUNNER, 3)]


def test_a_status_knows_the_first_and_the_last_record_that_stated_it() -> None:
    topics = Topics()
    events = [topics.status(status, at=at) for at, status in enumerate(("OPEN", "CLOSED", "CLOSED", "CLOSED"))]
    stated = state_after(*events).stated
    assert stated is not None
    assert stated.recorded is not None
    assert stated.repeated is not None
    assert (stated.recorded.offset, stated.repeated.offset) == (1, 3)


def test_a_status_that_arrives_late_from_another_partition_is_ignored() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.status("CLOSED", at=10), topics.result("INTERIM", at=20))
    changes = apply(book, topics.status("OPEN", at=5, partition=1), topics.result("PROTEST", at=5, partition=1))
    assert anomalies(changes) == [(AnomalyKind.OUT_OF_ORDER, None)] * 2
    assert book[RACE].status is INTERIM
    assert len(book[RACE].posted) == 1


# both topics


@pytest.mark.parametrize(
    ("stated", "posted", "expected"),
    [
        ((CLOSED, 10), (INTERIM, 20), INTERIM),
        ((FINAL, 20), (INTERIM, 10), FINAL),
        ((CLOSED, 10), (FINAL, 20), FINAL),
        ((OPEN, 30), (FINAL, 20), OPEN),
        # at the same instant the statement that is less safe to settle on counts
        ((CLOSED, 10), (INTERIM, 10), INTERIM),
        ((FINAL, 10), (INTERIM, 10), FINAL),
        ((PROTEST, 10), (FINAL, 10), PROTEST),
        ((FINAL, 10), (PROTEST, 10), PROTEST),
        ((ABANDONED, 10), (FINAL, 10), ABANDONED),
        ((RaceStatus("DELAYED"), 10), (FINAL, 10), RaceStatus("DELAYED")),
    ],
)
def test_the_newest_statement_of_the_two_topics_counts_whichever_arrives_first(
    stated: tuple[RaceStatus, float], posted: tuple[RaceStatus, float], expected: RaceStatus
) -> None:
    topics = Topics()
    events: list[Event] = [topics.status(stated[0], at=stated[1]), topics.result(posted[0], at=posted[1])]
    states = [state_after(*order) for order in permutations(events)]
    assert states[0] == states[1]
    assert states[0].status == expected


def test_without_times_the_statement_that_arrived_last_counts() -> None:
    by_hand: list[Event] = [RaceStatusEvent(*IDS, CLOSED), RaceResultEvent(*IDS, status=INTERIM, results=placings(1))]
    assert state_after(*by_hand).status is INTERIM
    assert state_after(*reversed(by_hand)).status is CLOSED


# finality

UNKNOWN = RaceStatus("DELAYED")
FINALITIES = {
    OPEN: (Finality.NONE, Finality.PROVISIONAL, Finality.PROVISIONAL),
    CLOSED: (Finality.NONE, Finality.PROVISIONAL, Finality.PROVISIONAL),
    UNKNOWN: (Finality.NONE, Finality.PROVISIONAL, Finality.PROVISIONAL),
    INTERIM: (Finality.NONE, Finality.PROVISIONAL, Finality.PROVISIONAL),
    PROTEST: (Finality.NONE, Finality.PROVISIONAL, Finality.PROVISIONAL),
    FINAL: (Finality.NONE, Finality.PROVISIONAL, Finality.FINAL),
    ABANDONED: (Finality.VOID, Finality.VOID, Finality.PROVISIONAL),
}
"""The second table of the module: without a result, with one that is not FINAL, with a FINAL one."""


@pytest.mark.parametrize("newest", FINALITIES, ids=str)
@pytest.mark.parametrize("column", range(3), ids=["no result", "not final", "final"])
def test_the_finality_is_that_of_the_table(newest: RaceStatus, column: int) -> None:
    topics = Topics()
    result = [[], [topics.result("INTERIM", at=10)], [topics.result("FINAL", at=10)]][column]
    state = state_after(*result, topics.status(newest, at=20))
    assert state.finality is FINALITIES[newest][column]


@pytest.mark.parametrize(
    ("events", "finality", "reason"),
    [
        ([("status", "CLOSED")], Finality.NONE, FinalityReason.NO_RESULT),
        ([("status", "CLOSED"), ("result", "INTERIM")], Finality.PROVISIONAL, FinalityReason.STATUS_NOT_FINAL),
        ([("result", "FINAL"), ("status", "PROTEST")], Finality.PROVISIONAL, FinalityReason.STATUS_NOT_FINAL),
        ([("result", "INTERIM"), ("status", "FINAL")], Finality.PROVISIONAL, FinalityReason.RESULT_NOT_FINAL),
        ([("status", "CLOSED"), ("result", "FINAL")], Finality.FINAL, FinalityReason.ALL_CLEAR),
        ([("result", "FINAL")], Finality.FINAL, FinalityReason.ALL_CLEAR),
        ([("status", "ABANDONED")], Finality.VOID, FinalityReason.ABANDONED),
        ([("result", "ABANDONED")], Finality.VOID, FinalityReason.ABANDONED),
        ([("result", "INTERIM"), ("status", "ABANDONED")], Finality.VOID, FinalityReason.ABANDONED),
        # contradictions
        ([("status", "ABANDONED"), ("result", "INTERIM")], Finality.PROVISIONAL, FinalityReason.CONTRADICTION),
        ([("status", "ABANDONED"), ("result", "FINAL")], Finality.PROVISIONAL, FinalityReason.CONTRADICTION),
        ([("result", "FINAL"), ("status", "ABANDONED")], Finality.PROVISIONAL, FinalityReason.CONTRADICTION),
        ([("status", "FINAL"), ("result", "ABANDONED")], Finality.PROVISIONAL, FinalityReason.CONTRADICTION),
        # which end when the topics agree
        (
            [("result", "FINAL"), ("status", "ABANDONED"), ("result", "ABANDONED")],
            Finality.VOID,
            FinalityReason.ABANDONED,
        ),
        (
            [("status", "ABANDONED"), ("result", "FINAL"), ("status", "FINAL")],
            Finality.FINAL,
            FinalityReason.ALL_CLEAR,
        ),
        # a race that was abandoned by mistake
        (
            [("status", "ABANDONED"), ("status", "OPEN"), ("status", "CLOSED"), ("result", "FINAL")],
            Finality.FINAL,
            FinalityReason.ALL_CLEAR,
        ),
    ],
)
def test_the_finality_has_a_reason(events: list[tuple[str, str]], finality: Finality, reason: FinalityReason) -> None:
    book, topics = RaceBook(), Topics()
    changes: list[Change] = []
    for at, (topic, status) in enumerate(events):
        changes += apply(book, topics.status(status, at=at) if topic == "status" else topics.result(status, at=at))
    assert (book[RACE].finality, book[RACE].reason) == (finality, reason)
    is_contradiction = (AnomalyKind.RESULT_OF_ABANDONED_RACE, None) in anomalies(changes)
    assert is_contradiction >= (reason is FinalityReason.CONTRADICTION)


def test_a_final_result_without_a_winner_is_not_final() -> None:
    book, topics = RaceBook(), Topics()
    changes = apply(book, topics.result("FINAL", at=1, results=[RunnerResult(3, final_position=2)]))
    assert (AnomalyKind.RESULT_WITHOUT_WINNER, None) in anomalies(changes)
    assert (book[RACE].finality, book[RACE].reason) == (Finality.PROVISIONAL, FinalityReason.NO_WINNER)
    apply(book, topics.result("FINAL", 1, 3, at=2))
    assert book[RACE].finality is Finality.FINAL


def test_a_final_result_that_places_a_scratched_runner_is_not_final() -> None:
    book, topics = given_prices((1, "5"), (2, "3"))
    apply(book, topics.prices(scratchings=[scratching(2, at=1)], at=1))
    changes = apply(book, topics.result("FINAL", 1, 2, at=9))
    assert (AnomalyKind.SCRATCHED_RUNNER_PLACED, 2) in anomalies(changes)
    assert (book[RACE].finality, book[RACE].reason) == (Finality.PROVISIONAL, FinalityReason.CONTRADICTION)
    changes = apply(book, topics.prices(reinstated=[2], at=10))
    assert (
        FinalityChanged(RACE, changes[-1].recorded, Finality.PROVISIONAL, Finality.FINAL, FinalityReason.ALL_CLEAR)
        in changes
    )


def test_scratchings_and_prices_after_the_end_are_anomalies() -> None:
    book, topics = given_prices((1, "5"), (2, "3"))
    apply(book, topics.result("FINAL", 1, at=10), topics.status("FINAL", at=12))
    assert anomalies(apply(book, topics.prices(at=9, scratchings=[scratching(2, at=9)]))) == [], "late, but from before"
    late = apply(book, topics.prices(win(1, "4"), at=13))
    assert anomalies(late) == [(AnomalyKind.PRICE_AFTER_END, None)]
    late = apply(book, topics.prices(at=13, scratchings=[scratching(2, "0.2", at=9)]))
    assert anomalies(late) == [(AnomalyKind.SCRATCHING_AFTER_END, None)]


def test_while_a_race_has_not_ended_again_nothing_is_after_its_end() -> None:
    book, topics = given_prices((1, "5"), (2, "3"))
    apply(book, topics.result("FINAL", 1, at=10), topics.status("PROTEST", at=12))
    late = apply(book, topics.prices(win(1, "4"), at=13, scratchings=[scratching(2, at=9)]))
    assert anomalies(late) == []


def test_a_scratched_runner_with_a_position_and_no_factor_is_placed() -> None:
    book, topics = given_prices((1, "5"), (2, "3"))
    apply(book, topics.prices(scratchings=[scratching(2, at=1)], at=1))
    positions = [RunnerResult(1, final_position=1), RunnerResult(2, final_position=2)]
    changes = apply(book, topics.result("FINAL", at=9, results=positions))
    assert anomalies(changes) == [(AnomalyKind.SCRATCHED_RUNNER_PLACED, 2)]
    unplaced = [RunnerResult(1, final_position=1), RunnerResult(2, final_position=0)]
    apply(book, topics.result("FINAL", at=10, results=unplaced))
    assert book[RACE].finality is Finality.FINAL


# results


def test_each_different_result_is_a_revision() -> None:
    book, topics = RaceBook(), Topics()
    events = [
        topics.result("INTERIM", 1, 2, at=1),
        topics.result("INTERIM", 1, 2, at=2),
        topics.result("PROTEST", 1, 2, at=3),
        topics.result("FINAL", 2, 1, at=4),
    ]
    changes = [change for change in apply(book, *events) if isinstance(change, ResultPosted)]
    posted = book[RACE].posted
    assert [(one.revision, one.result.status) for one in posted] == [(1, INTERIM), (2, PROTEST), (3, FINAL)]
    assert [(change.before, change.after.revision) for change in changes] == [(None, 1), (posted[0], 2), (posted[1], 3)]
    assert posted[0].recorded is not None
    assert posted[0].repeated is not None
    assert (posted[0].recorded.offset, posted[0].repeated.offset) == (0, 1)
    assert book[RACE].result == events[3]
    assert book[RACE].result is not events[3], "without its record"


def test_a_result_that_is_amended_after_final_stays_final_as_the_next_revision() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.result("FINAL", 1, 2, at=1), topics.status("FINAL", at=1))
    changes = apply(book, topics.result("FINAL", 2, 1, at=500))
    [change] = changes
    assert isinstance(change, ResultAmended)
    assert (change.before.revision, change.after.revision) == (1, 2)
    assert book[RACE].finality is Finality.FINAL


def test_a_protest_after_final_is_provisional_until_it_is_final_again() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.status("FINAL", at=1), topics.result("FINAL", 1, 2, at=1))
    changes = apply(book, topics.result("PROTEST", 1, 2, at=2))
    assert anomalies(changes) == [(AnomalyKind.STATUS_REVERSED, None)]
    assert book[RACE].finality is Finality.PROVISIONAL
    changes = apply(book, topics.result("FINAL", 2, 1, at=3))
    assert [type(change) for change in changes] == [ResultAmended, StatusChanged, FinalityChanged]
    assert book[RACE].finality is Finality.FINAL


def test_a_final_result_that_was_created_before_the_final_one_that_it_amends_is_not_final() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.result("FINAL", 1, 2, at=1, created=1), topics.status("FINAL", at=1))
    apply(book, topics.result("FINAL", 2, 1, at=9, created=8))
    assert book[RACE].finality is Finality.FINAL
    changes = apply(book, topics.result("FINAL", 1, 2, at=20, created=1))
    assert anomalies(changes) == [(AnomalyKind.RESULT_CREATED_EARLIER, None)]
    assert (book[RACE].finality, book[RACE].reason) == (Finality.PROVISIONAL, FinalityReason.CONTRADICTION)
    assert anomalies(apply(book, topics.result("FINAL", 1, 2, at=21, created=2))) == []
    assert book[RACE].finality is Finality.PROVISIONAL, "still created before the other one"
    # the same result, which RBHQ has made once more
    apply(book, topics.result("FINAL", 1, 2, at=30, created=30))
    assert book[RACE].finality is Finality.FINAL
    assert [one.result.date_created for one in book[RACE].posted] == [after(1), after(8), after(30)]


@pytest.mark.parametrize("status", ["INTERIM", "PROTEST"])
def test_only_final_results_are_compared_by_when_they_were_created(status: str) -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.result(status, 1, 2, at=1, created=9), topics.result("FINAL", 2, 1, at=2, created=5))
    assert book[RACE].finality is Finality.FINAL


def test_an_application_can_confirm_a_result_that_was_created_earlier() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, topics.result("FINAL", 1, 2, at=1, created=5), topics.result("FINAL", 2, 1, at=2, created=1))
    posted = book[RACE].posted[-1]
    confirmed = attrs.evolve(posted.result, date_created=after(6).replace(tzinfo=None))
    [change] = apply(book, confirmed)
    assert isinstance(change, FinalityChanged)
    assert book[RACE].finality is Finality.FINAL
    assert book[RACE].posted[-1].repeated == posted.repeated
    assert apply(book, confirmed) == []


def test_only_the_newest_hundred_revisions_are_kept() -> None:
    book, topics = RaceBook(), Topics()
    apply(book, *(topics.result("INTERIM", 1 + n % 2, at=n) for n in range(150)))
    assert [one.revision for one in book[RACE].posted] == list(range(51, 151))


# catching up


def test_no_result_is_final_until_the_book_has_caught_up() -> None:
    book, topics = RaceBook(), Topics()
    assert book.is_complete
    assert book.begin_catching_up() == ()
    changes = apply(book, topics.result("FINAL", at=1), topics.status("FINAL", at=1))
    race = book[RACE]
    assert (race.finality, race.reason, race.is_complete) == (Finality.PROVISIONAL, FinalityReason.INCOMPLETE, False)
    assert not any(isinstance(change, FinalityChanged) and change.after is Finality.FINAL for change in changes)
    assert book.caught_up() == (
        FinalityChanged(RACE, None, Finality.PROVISIONAL, Finality.FINAL, FinalityReason.ALL_CLEAR),
    )
    assert book.caught_up() == ()
    assert book[RACE].finality is Finality.FINAL
    [change] = book.begin_catching_up()
    assert isinstance(change, FinalityChanged)
    assert (change.before, change.after, change.reason) == (
        Finality.FINAL,
        Finality.PROVISIONAL,
        FinalityReason.INCOMPLETE,
    )


def test_an_abandoned_race_is_not_void_until_the_book_has_caught_up() -> None:
    book, topics = RaceBook(), Topics()
    book.begin_catching_up()
    apply(book, topics.status("ABANDONED", at=1))
    assert book[RACE].finality is Finality.PROVISIONAL
    book.caught_up()
    assert book[RACE].finality is Finality.VOID


def test_an_anomaly_says_what_was_found() -> None:
    topics = Topics()
    *_, anomaly = apply(RaceBook(), topics.status("FINAL", at=1), topics.status("OPEN", at=2))
    assert isinstance(anomaly, Anomaly)
    assert anomaly.detail == "OPEN after FINAL"
