"""The market board of `demo` and `tail`: names, notices, markets, and which races are shown."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO

import attrs
import pytest
from rich.console import Console

from rbhq_stream import (
    CardMeeting,
    CardRace,
    CardRunner,
    Dividend,
    Event,
    Gap,
    Health,
    HealthChanged,
    HealthReason,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceBook,
    RaceCard,
    RaceId,
    RaceLeft,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    TopicPartition,
    Unscratching,
)
from rbhq_stream._board import agenda
from rbhq_stream._board.agenda import ALL_RACES, Selection
from rbhq_stream._board.caption import Caption
from rbhq_stream._board.lines import Lines
from rbhq_stream._board.names import Names
from rbhq_stream._board.notices import Notice, cents, dollars, health_notice, placings
from rbhq_stream._board.picture import Picture
from rbhq_stream._board.trails import Trail, Trails
from rbhq_stream._board.watch import Watch
from rbhq_stream.testing import Simulator

NOW = datetime(2026, 11, 3, 1, tzinfo=timezone.utc)
RACE = RaceId(1397808, 7)
CARD = RaceCard(
    (
        CardMeeting(
            1397808,
            "Albury",
            (CardRace(RACE, NOW + timedelta(minutes=5), runners=(CardRunner(3, "Copper Comet"),)),),
            meeting_type="R",
        ),
    )
)
NAMES = Names(CARD)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Board:
    """A watch over a book, and the notices that it reported."""

    def __init__(self, names: Names = NAMES, selection: Selection = ALL_RACES, *, with_prices: bool = False) -> None:
        self.clock = Clock()
        self.reported: list[Notice] = []
        self.book = RaceBook()
        self.watch = Watch(
            self.book,
            names,
            clock=self.clock,
            time_of=lambda change: self.clock(),
            selection=selection,
            with_prices=with_prices,
        )
        self.watch.report_to(self.reported.append)

    def apply(self, *events: Event) -> list[Notice]:
        """Applies events, and returns the notices about them."""
        before = len(self.reported)
        for event in events:
            for change in self.book.apply(event):
                self.watch.note(change)
        return self.reported[before:]


def of_race(
    *updates: PriceUpdate, scratchings: tuple[Scratching, ...] = (), unscratchings: tuple[Unscratching, ...] = ()
) -> PriceEvent:
    return PriceEvent(RACE.meeting_id, RACE.event_number, updates, scratchings, unscratchings)


def price(value: str | None, runner: int = 3, price_type: PriceType = PriceType.WIN) -> PriceEvent:
    return of_race(PriceUpdate(runner, price_type, price=value))


def status(value: RaceStatus, race_id: RaceId = RACE) -> RaceStatusEvent:
    return RaceStatusEvent(race_id.meeting_id, race_id.event_number, value)


def result(value: RaceStatus, winner: int = 3) -> RaceResultEvent:
    results = (RunnerResult(winner, final_position=1),)
    return RaceResultEvent(RACE.meeting_id, RACE.event_number, status=value, results=results)


def health(reason: HealthReason) -> Health:
    return Health(reason=reason, detail="details", since=NOW, at=NOW)


def changed(reason: HealthReason, gap: Gap | None = None) -> HealthChanged:
    return HealthChanged(at=NOW, health=health(reason), previous=health(HealthReason.CONNECTING), gap=gap)


# words


@pytest.mark.parametrize(
    ("shown", "price"), [("1.05", "1.05"), ("4.40", "4.4"), ("9.50", "9.5"), ("11", "11"), ("101", "101"), ("-", None)]
)
def test_prices_are_shown_as_on_a_bookmakers_board(shown: str, price: str | None) -> None:
    assert dollars(None if price is None else Decimal(price)) == shown


def test_deductions_are_shown_in_cents() -> None:
    assert [cents(Decimal("0.07")), cents(Decimal("0.00")), cents(None)] == ["7c", "0c", "?"]


def test_what_a_card_lacks_is_called_by_its_number() -> None:
    assert (NAMES.race(RACE), NAMES.kind(RACE), NAMES.numbered(RACE, 3)) == ("Albury R7", "gallops", "3 Copper Comet")
    assert NAMES.numbered(RACE, 4) == "runner 4"
    nameless = Names()
    assert (nameless.race(RACE), nameless.kind(RACE), nameless.numbered(RACE, 3)) == ("1397808 R7", "", "runner 3")
    assert [NAMES.selection(None, None), NAMES.selection(1397808, None), NAMES.selection(*RACE)] == [
        "all races",
        "Albury",
        "Albury R7",
    ]


@pytest.mark.parametrize(
    ("on_card", "shown"), [("R", "gallops"), ("G", "greyhounds"), ("H", "harness"), ("X", "X"), (None, "")]
)
def test_the_kind_of_racing_is_shown_in_words_if_it_is_known(on_card: str | None, shown: str) -> None:
    (meeting,) = CARD.meetings
    assert Names(RaceCard((attrs.evolve(meeting, meeting_type=on_card),))).kind(RACE) == shown


def test_the_life_of_a_race_is_told_in_words() -> None:
    board = Board()
    scratching = Scratching(4, win_deduction=Decimal("0.07"))
    revised = Scratching(4, win_deduction=Decimal("0.05"))
    notices = board.apply(
        status(RaceStatus.OPEN),
        price("4.40"),
        price("3.10", runner=4),
        of_race(scratchings=(scratching,)),
        of_race(scratchings=(revised,)),
        of_race(scratchings=(revised,)),
        of_race(unscratchings=(Unscratching(4),)),
        status(RaceStatus.CLOSED),
        status(RaceStatus.OPEN),
        status(RaceStatus.CLOSED),
        result(RaceStatus.FINAL),
        result(RaceStatus.FINAL, winner=4),
    )
    assert [(notice.what, notice.text) for notice in notices] == [
        ("OPEN", "gallops"),
        ("SCRATCHED", "runner 4, 7c off the win dollar"),
        ("DEDUCTION", "runner 4, now 5c, was 7c"),
        ("REINSTATED", "runner 4, scratched by mistake"),
        ("CLOSED", "no more bets"),
        ("RE-OPENED", "betting goes on"),
        ("CLOSED", "no more bets"),
        ("RESULT", "1st 3 Copper Comet"),
        ("FINAL", "all clear"),
        ("AMENDED", "1st runner 4"),
    ]
    assert {notice.subject for notice in notices} == {"Albury R7"}


def test_prices_are_told_on_request_but_not_those_that_a_scratching_withdraws() -> None:
    board = Board(with_prices=True)
    notices = board.apply(price("4.40"), price("4"), of_race(scratchings=(Scratching(3),)))
    assert [(notice.what, notice.text) for notice in notices] == [
        ("PRICE", "3 Copper Comet  WIN 4.40"),
        ("PRICE", "3 Copper Comet  WIN 4.00, was 4.40"),
        ("SCRATCHED", "3 Copper Comet, ? off the win dollar"),
    ]
    assert Board(with_prices=True).apply(price("5"), price(None))[-1].text == "3 Copper Comet  WIN -, was 5.00"


def test_the_first_four_placings_are_told_with_their_starting_prices() -> None:
    factors = PayoutFactors(win=Decimal("0.5"))
    placed = [RunnerResult(3, final_position=1, payout_factors=factors)]
    placed += [RunnerResult(runner, final_position=place) for runner, place in ((1, 2), (2, 3), (4, 4), (5, 5))]
    pools = [
        Dividend("TOTE", (PoolDividend((1,), Decimal("5.10")),)),
        Dividend("SP", (PoolDividend((3,), Decimal("4.6")), PoolDividend((3, 1), Decimal(30)))),
    ]
    event = attrs.evolve(result(RaceStatus.FINAL), results=tuple(placed), dividends=tuple(pools))
    told = ("1st 3 Copper Comet $4.60 (dead heat: 0.5)", "2nd runner 1", "3rd runner 2", "4th runner 4")
    assert placings(event, NAMES) == told
    assert Board().apply(event)[0].text == ", ".join(told[:3])


def test_an_anomaly_is_told_with_the_runner_that_it_is_about() -> None:
    board = Board()
    told = board.apply(of_race(scratchings=(Scratching(3),)), price("4.40"))
    assert [notice.text for notice in told if notice.what == "ANOMALY"] == [
        "price of a scratched runner, 3 Copper Comet"
    ]


def test_an_unknown_status_is_shown_as_it_is_and_reported() -> None:
    notices = Board().apply(status(RaceStatus("DELAYED")))
    assert {(notice.what, notice.text) for notice in notices} == {
        ("DELAYED", "gallops"),
        ("ANOMALY", "unknown status: DELAYED"),
    }


def test_a_notice_is_a_line_with_the_time_of_a_zone() -> None:
    notice = Notice(NOW, "OPEN", "Albury R7", "gallops")
    assert notice.as_line(timezone(timedelta(hours=11))) == "12:00:00  Albury R7            OPEN       gallops"


def test_the_feeds_health_is_told_when_it_matters() -> None:
    gap = Gap(began=NOW, ended=NOW + timedelta(seconds=41.2), records={TopicPartition("prices", 0): 1318})
    live = health_notice(changed(HealthReason.UP_TO_DATE, gap), NOW)
    down = health_notice(changed(HealthReason.BROKERS_UNREACHABLE), NOW)
    assert live == Notice(NOW, "LIVE", "all races", "suspended for 41.2 s, then caught up with 1,318 records")
    assert down == Notice(NOW, "SUSPENDED", "all races", "feed down: brokers unreachable")
    assert health_notice(changed(HealthReason.CONNECTING), NOW) is None


def test_without_a_picture_there_are_a_hint_a_line_for_each_notice_and_a_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Lines(timezone.utc, hint="a hint") as lines:
        lines.report(Notice(NOW, "OPEN", "Albury R7"))
    lines.end(["4 events", "none of them"])
    assert capsys.readouterr().out == "a hint\n01:00:00  Albury R7            OPEN\n\n4 events\nnone of them\n"
    with Lines() as lines:
        lines.end([])
    assert capsys.readouterr().out == ""


# markets


def test_a_market_has_a_row_for_each_runner_with_a_price_or_a_scratching() -> None:
    board = Board()
    board.apply(
        status(RaceStatus.OPEN),
        price("4.40"),
        price("4"),
        price("2", price_type=PriceType.PLACE),
        of_race(scratchings=(Scratching(1, win_deduction=Decimal("0.07")),)),
    )
    board.watch.note_health(changed(HealthReason.UP_TO_DATE))
    shown = board.watch.market(RACE)
    assert (shown.label, shown.kind, shown.status, shown.start) == (
        "Albury R7",
        "gallops",
        "OPEN",
        CARD.start_time(RACE),
    )
    scratched, priced = shown.rows
    assert (scratched.number, scratched.is_scratched, scratched.deduction) == (1, True, Decimal("0.07"))
    assert (priced.name, priced.win, priced.opening, priced.place, priced.trend) == (
        "Copper Comet",
        Decimal(4),
        Decimal("4.40"),
        Decimal(2),
        -1,
    )
    assert priced.trail == Trail((Decimal("4.40"), Decimal(4)), NOW)


def test_an_open_race_is_suspended_while_the_feed_is_not_live() -> None:
    board = Board()
    board.apply(status(RaceStatus.OPEN))
    assert board.watch.market(RACE).status == "SUSPENDED"
    assert board.watch.why_not == "the feed has not been started"
    board.watch.note_health(changed(HealthReason.UP_TO_DATE))
    assert board.watch.market(RACE).status == "OPEN"
    board.watch.note_health(changed(HealthReason.BROKERS_UNREACHABLE))
    assert board.watch.market(RACE).status == "SUSPENDED"
    assert board.watch.why_not == "feed down: brokers unreachable"
    board.apply(status(RaceStatus.CLOSED))
    assert board.watch.market(RACE).status == "CLOSED"


def test_where_there_is_no_room_the_scratched_and_the_favourites_stay() -> None:
    board = Board()
    prices = tuple(PriceUpdate(runner, PriceType.WIN, price=str(runner + 1)) for runner in range(1, 9))
    board.apply(of_race(*prices), of_race(scratchings=(Scratching(8),)))
    everything = board.watch.market(RACE)
    assert everything.fitting(8) == (everything.rows, 0)
    shown, hidden = everything.fitting(4)
    assert ([row.number for row in shown], hidden) == ([1, 2, 8], 5)
    assert everything.fitting(0) == ([], 8)


def test_where_there_is_no_room_the_shortest_opening_prices_stay_whatever_their_numbers() -> None:
    board = Board()
    prices = [PriceUpdate(1, PriceType.PLACE, price="1.5")]
    prices += [PriceUpdate(runner, PriceType.WIN, price=value) for runner, value in ((2, "9"), (3, "2"), (4, "5"))]
    board.apply(of_race(*prices))
    shown, hidden = board.watch.market(RACE).fitting(3)
    assert ([row.number for row in shown], hidden) == ([3, 4], 2)


def test_a_runner_without_a_win_price_has_no_trend() -> None:
    board = Board()
    board.apply(price("4.40"), price(None), price("1.5", 4, PriceType.PLACE))
    assert [(row.number, row.win, row.trend) for row in board.watch.market(RACE).rows] == [(3, None, 0), (4, None, 0)]


def test_a_race_that_is_only_on_the_card_has_an_empty_market() -> None:
    board = Board()
    board.watch.note_health(changed(HealthReason.UP_TO_DATE))
    shown = board.watch.market(RACE)
    assert (shown.label, shown.status, shown.rows, shown.placed) == ("Albury R7", "", (), ())
    assert not board.watch.is_known(RACE)
    board.apply(status(RaceStatus.OPEN))
    assert board.watch.is_known(RACE)


def test_a_sparkline_shows_the_newest_prices_by_ratio() -> None:
    doubling = Trail(tuple(Decimal(value) for value in (2, 4, 8, 16)))
    assert doubling.sparkline(16) == "▁▃▆█"
    assert len(doubling.sparkline(3)) == 3
    assert Trail((Decimal(2),)).sparkline(16) == ""


@pytest.fixture
def picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Board, Picture]:
    """A board, and its picture in a terminal of 30 lines and as many columns as the parameter says."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setenv("LINES", "30")
    board = Board()
    return board, Picture(board.watch, Caption(title="a simulated race day", facts=lambda: [("1,234", "events")]))


def drawn(picture: Picture, columns: int, *, styles: bool = False) -> str:
    console = Console(width=columns, height=30, record=True, file=StringIO(), force_terminal=True)
    console.print(picture.draw())
    return console.export_text(styles=styles)


@pytest.mark.parametrize(("picture", "columns"), [(80, 80), (160, 160)], indirect=["picture"])
def test_the_picture_shows_that_betting_is_suspended(picture: tuple[Board, Picture], columns: int) -> None:
    board, drawing = picture
    board.apply(status(RaceStatus.OPEN), price("4.40"))
    board.watch.note_health(changed(HealthReason.UP_TO_DATE))
    live = drawn(drawing, columns)
    assert " Albury R7 gallops  OPEN  jumps in 5:00 " in live
    assert "a simulated race day" in live
    assert "1,234 events" in live
    assert ("Races" in live) == (columns == 160), "there is room for the list of races"
    board.watch.note_health(changed(HealthReason.BROKERS_UNREACHABLE))
    down = drawn(drawing, columns)
    assert down.splitlines()[0].startswith(" SUSPENDED   feed down: brokers unreachable")
    assert " OPEN  jumps" not in down
    assert down.count("SUSPENDED") >= 3, "in the head, at the market and in the news"


@pytest.mark.parametrize("picture", [80], indirect=True)
def test_the_picture_highlights_a_price_for_a_moment_after_it_has_moved(picture: tuple[Board, Picture]) -> None:
    board, drawing = picture
    board.apply(price("4.40"), price("4"), price("5", 1), of_race(scratchings=(Scratching(2, Decimal("0.07")),)))

    def row(price: str) -> str:
        (found,) = (line for line in drawn(drawing, 80, styles=True).splitlines() if f" {price}\x1b" in line)
        return found

    highlighted = "\x1b[1;7;32m"
    assert highlighted in row("4.00")
    assert "▼" in row("4.00")
    assert "\x1b[1;7;" not in row("5.00"), "a first price is no move"
    board.clock.now += timedelta(seconds=1)
    assert highlighted not in row("4.00")
    assert re.search(r" 2 .*scratched +7c off", drawn(drawing, 80))


def test_the_feed_recovers_from_when_it_was_down_until_it_is_live() -> None:
    board = Board()
    recovering = []
    for reason in (
        HealthReason.CATCHING_UP,
        HealthReason.UP_TO_DATE,
        HealthReason.BROKERS_UNREACHABLE,
        HealthReason.CATCHING_UP,
        HealthReason.UP_TO_DATE,
    ):
        board.watch.note_health(changed(reason))
        recovering.append(board.watch.is_recovering)
    assert recovering == [False, False, True, True, False]


# which races


def test_races_are_in_the_order_of_their_starts_and_those_without_one_last() -> None:
    board = Board()
    board.apply(status(RaceStatus.OPEN, RaceId(2, 2)), status(RaceStatus.OPEN, RaceId(2, 1)))
    assert board.watch.races() == [RACE, RaceId(2, 1), RaceId(2, 2)]


@pytest.mark.parametrize(
    ("text", "selected"), [("1397808-7", [RACE]), ("1397808", [RACE]), ("2", [RaceId(2, 1), RaceId(2, 2)]), ("3", [])]
)
def test_a_selection_is_a_race_or_a_meeting(text: str, selected: list[RaceId]) -> None:
    board = Board(selection=Selection.parse(text))
    notices = board.apply(status(RaceStatus.OPEN, RaceId(2, 2)), status(RaceStatus.OPEN, RaceId(2, 1)))
    assert board.watch.races() == selected
    assert len(notices) == len([race_id for race_id in selected if race_id != RACE])


def test_a_market_is_shown_for_a_while_after_it_has_closed() -> None:
    board = Board()
    board.apply(status(RaceStatus.OPEN))
    assert not board.watch.is_over(RACE)
    board.apply(status(RaceStatus.CLOSED))
    board.clock.now += timedelta(minutes=2)
    board.apply(status(RaceStatus.INTERIM))
    assert not board.watch.is_over(RACE)
    board.clock.now += timedelta(minutes=2)
    assert board.watch.is_over(RACE)
    board.apply(status(RaceStatus.OPEN))
    assert not board.watch.is_over(RACE)
    board.clock.now += timedelta(hours=3)
    assert board.watch.is_over(RACE), "it should have started hours ago"


def test_the_race_to_show_is_the_first_that_is_known_and_not_over() -> None:
    races = [RaceId(1, number) for number in range(1, 10)]

    def shown(over: int, known: set[int]) -> int:
        index = agenda.next_to_jump(
            races, lambda race_id: race_id.event_number <= over, lambda race_id: race_id.event_number in known
        )
        return races[index].event_number

    assert shown(over=3, known={2, 4, 6}) == 4
    assert shown(over=3, known={2, 6}) == 6
    assert shown(over=3, known={2}) == 4, "of none that is to come anything is known"
    assert shown(over=9, known={2}) == 9, "all are over"


def test_the_list_of_races_is_around_the_one_that_is_shown() -> None:
    races = [RaceId(1, number) for number in range(1, 10)]
    assert agenda.around(races, 0, 3) == races[:3]
    assert agenda.around(races, 4, 3) == races[3:6]
    assert agenda.around(races, 8, 20) == races


def test_a_trail_has_the_newest_prices_only() -> None:
    board = Board()
    board.apply(*(price(str(value)) for value in range(2, 102)))
    (row,) = board.watch.market(RACE).rows
    assert (row.trail.prices[-1], len(row.trail.prices)) == (Decimal(101), 60)


def test_a_race_that_leaves_the_book_leaves_no_trail() -> None:
    book, trails = RaceBook(), Trails()
    for change in [*book.apply(price("5")), *book.apply(status(RaceStatus.CLOSED))]:
        trails.note(change, NOW)
    assert (trails.of_race(RACE)[3].prices, trails.shut_at(RACE)) == ((Decimal(5),), NOW)
    trails.note(RaceLeft(RACE, None), NOW)
    assert (trails.of_race(RACE), trails.shut_at(RACE)) == ({}, None)


def test_a_simulated_day_is_shown_to_its_end() -> None:
    simulator = Simulator(2, meetings=1, races=3, price_records=50)
    board = Board(Names(simulator.card))
    for timed in simulator.events():
        board.clock.now = timed.at
        board.apply(timed.event)
    for race_id in board.watch.races():
        shown = board.watch.market(race_id)
        assert shown.status in {"FINAL", "ABANDONED"}
        assert bool(shown.placed) == (shown.status == "FINAL")
    expected = {"OPEN", "CLOSED", "RE-OPENED", "SCRATCHED", "REINSTATED", "DEDUCTION", "RESULT", "AMENDED"}
    assert expected <= {notice.what for notice in board.reported}
    assert [notice.at for notice in board.watch.notices(5)] == sorted(
        (notice.at for notice in board.reported[-5:]), reverse=True
    )
