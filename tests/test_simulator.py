"""Properties of every simulated race day, whatever its seed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from itertools import pairwise
from random import Random

import pytest

from rbhq_stream._wire import decode, encode
from rbhq_stream.events import (
    Event,
    PayoutFactors,
    PriceEvent,
    PriceType,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Scratching,
)
from rbhq_stream.testing import Code, Happening, Simulator, TimedEvent
from rbhq_stream.testing._market import PRICE_LADDER, PROPERTY_IDS, Market, deductions, place_markets
from rbhq_stream.testing._outcome import payout_factor

SEEDS = range(50)


@cache
def day(seed: int = 1) -> tuple[TimedEvent, ...]:
    """A day of nine meetings."""
    return tuple(Simulator(seed).events())


@cache
def small_day(seed: int) -> tuple[TimedEvent, ...]:
    """A day of one full meeting."""
    return tuple(Simulator(seed, meetings=1, price_records=40).events())


def by_race(timed: tuple[TimedEvent, ...]) -> dict[RaceId, list[Event]]:
    races: dict[RaceId, list[Event]] = defaultdict(list)
    for one in timed:
        races[one.event.race_id].append(one.event)
    return races


def digest(timed: tuple[TimedEvent, ...]) -> str:
    lines = (f"{one.at.isoformat()} {encode(one.event)!r}" for one in timed)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def statuses(events: list[Event]) -> list[RaceStatus]:
    return [event.status for event in events if isinstance(event, RaceStatusEvent)]


def results(events: list[Event]) -> list[RaceResultEvent]:
    return [event for event in events if isinstance(event, RaceResultEvent)]


def scratching_records(events: list[Event]) -> list[tuple[Scratching, ...]]:
    return [event.scratchings for event in events if isinstance(event, PriceEvent) and event.scratchings]


# the same day again


def test_the_same_seed_gives_the_same_day_byte_for_byte() -> None:
    simulator = Simulator(3, meetings=2, price_records=30)
    first = digest(tuple(simulator.events()))

    assert digest(tuple(simulator.events())) == first
    assert digest(tuple(Simulator(3, meetings=2, price_records=30).events())) == first


def test_another_process_with_another_hash_seed_gives_the_same_day() -> None:
    script = (
        "import hashlib\nfrom rbhq_stream.testing import Simulator\nfrom rbhq_stream._wire import encode\n"
        "h = hashlib.sha256()\n"
        "for one in Simulator(5, meetings=2, price_records=30).events():\n"
        "    h.update(encode(one.event))\nprint(h.hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    here = hashlib.sha256()
    for one in Simulator(5, meetings=2, price_records=30).events():
        here.update(encode(one.event))
    assert printed == {here.hexdigest() + "\n"}


def test_other_seeds_give_other_days() -> None:
    assert len({digest(small_day(seed)) for seed in range(10)}) == 10


def test_the_start_moves_the_day_and_changes_nothing_else() -> None:
    later = timedelta(days=10, minutes=5)
    usual = small_day(3)
    start = datetime(2026, 11, 3, tzinfo=timezone.utc) + later
    moved = tuple(Simulator(3, meetings=1, price_records=40, start=start).events())

    assert [one.at + later for one in usual] == [one.at for one in moved]
    assert [type(one.event) for one in usual] == [type(one.event) for one in moved]


def test_arguments_that_make_no_day_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one meeting with one race"):
        Simulator(meetings=0)
    with pytest.raises(ValueError, match="at least one meeting with one race"):
        Simulator(races=0)
    with pytest.raises(ValueError, match="time zone"):
        Simulator(start=datetime(2026, 11, 3))  # noqa: DTZ001 (the mistake under test)


# the wire


def test_every_event_survives_the_wire() -> None:
    for one in day():
        assert decode(type(one.event), encode(one.event)) == (one.event,)


def test_records_have_the_sizes_of_real_ones() -> None:
    prices = [one.event for one in day() if isinstance(one.event, PriceEvent)]
    small = [len(encode(event)) for event in prices if len(event.price_updates) == 1]
    large = [len(encode(event)) for event in prices if len(event.price_updates) >= 10]

    assert 0.88 <= len(small) / len(prices) <= 0.92
    assert len(small) + len(large) == len(prices)
    assert 120 <= sum(small) / len(small) <= 200
    assert 900 <= sum(large) / len(large) <= 1700


def test_a_day_is_tens_of_thousands_of_events_and_quickly_made() -> None:
    started = time.process_time()
    count = sum(1 for _ in Simulator(2).events())
    seconds = time.process_time() - started

    assert 10_000 <= count <= 100_000
    # far above what a machine under load needs; 100,000 a second on a quiet one
    assert count / seconds > 5_000


# the card


@pytest.mark.parametrize("seed", SEEDS)
def test_fields_and_meetings_have_the_usual_sizes(seed: int) -> None:
    for meeting in Simulator(seed).meetings:
        assert 7 <= len(meeting.races) <= 12
        assert [race.race_id.event_number for race in meeting.races] == list(range(1, len(meeting.races) + 1))
        for race in meeting.races:
            assert len({runner.name for runner in race.runners}) == len(race.runners)
            least, most = {Code.GALLOPS: (6, 18), Code.GREYHOUNDS: (8, 8), Code.HARNESS: (8, 12)}[meeting.code]
            assert least <= len(race.starters) <= most
            reserves = [runner.number for runner in race.runners if runner.is_reserve]
            assert reserves == ([9, 10] if meeting.code is Code.GREYHOUNDS else [])


def test_no_two_races_of_a_day_jump_together_within_a_code() -> None:
    for meeting in Simulator(4).meetings:
        for one, other in pairwise(meeting.races):
            assert other.jump - one.jump >= timedelta(minutes=20)
    assert len({meeting.meeting_id for meeting in Simulator(4).meetings}) == 9


def test_a_runner_has_a_name() -> None:
    race = Simulator(1).meetings[0].races[0]
    assert race.name_of(1) == race.runners[0].name
    with pytest.raises(KeyError):
        race.name_of(99)


# time


def test_events_are_in_order_of_time() -> None:
    assert all(one.at <= other.at for one, other in pairwise(day()))


def test_prices_change_more_often_near_the_jump() -> None:
    race = Simulator(1).meetings[0].races[2]
    times = [one.at for one in day() if one.event.race_id == race.race_id and isinstance(one.event, PriceEvent)]
    last_half_hour = sum(at > race.jump - timedelta(minutes=30) for at in times)
    first_half_hour = sum(at < race.jump - timedelta(hours=3, minutes=30) for at in times)
    assert last_half_hour > 3 * first_half_hour


# prices


def test_prices_are_on_the_ladder_and_in_order_of_the_places() -> None:
    for events in by_race(day()).values():
        of_prices = [event for event in events if isinstance(event, PriceEvent)]
        for event in of_prices:
            for update in event.price_updates:
                assert update.price in PRICE_LADDER
                assert update.property_id == PROPERTY_IDS[update.price_type]
        # the two records that open the market have every price there is
        opening = {
            (update.runner_number, update.price_type): update.price
            for event in of_prices[:2]
            for update in event.price_updates
        }
        for runner in {runner for runner, _ in opening}:
            kinds = [PriceType.WIN, PriceType.PLACE_2, PriceType.PLACE_3, PriceType.PLACE_4]
            prices = [opening[runner, kind] for kind in kinds if (runner, kind) in opening]
            assert prices == sorted(prices, key=lambda price: price or 0, reverse=True)
            assert (runner, PriceType.PLACE) in opening


def test_the_ladder_is_written_as_rbhq_writes_it() -> None:
    assert sorted(set(PRICE_LADDER)) == list(PRICE_LADDER)
    assert [str(price) for price in (PRICE_LADDER[0], PRICE_LADDER[-1])] == ["1.01", "501"]
    assert {"1.5", "2", "4.4", "6.5", "11", "101"} <= set(map(str, PRICE_LADDER))


@pytest.mark.parametrize("seed", range(20))
def test_a_market_has_a_favourite_and_an_overround(seed: int) -> None:
    rng = Random(seed)
    market = Market(rng, tuple(range(1, rng.randint(6, 18) + 1)))
    market.opening()
    assert 1.1 < market.overround < 1.3
    for _ in range(300):
        market.tick()
        assert 1.05 < market.overround < 1.35
    prices = sorted(market.win_price(runner) for runner in market.runners)
    assert prices[0] < 6
    assert prices[-1] > 3 * prices[0]
    assert sum(market.chance(runner) for runner in market.runners) == pytest.approx(1)


def test_prices_move_by_small_steps() -> None:
    for race_id, events in list(by_race(day()).items())[:20]:
        shown: dict[int, Decimal] = {}
        moves = 0
        for event in events:
            if isinstance(event, PriceEvent) and len(event.price_updates) == 1:
                (update,) = event.price_updates
                if update.price_type is PriceType.WIN:
                    assert update.price is not None
                    before = shown.get(update.runner_number)
                    if before is not None:
                        steps = abs(PRICE_LADDER.index(update.price) - PRICE_LADDER.index(before))
                        assert steps <= 2, race_id
                        moves += steps > 0
                    shown[update.runner_number] = update.price
            elif isinstance(event, PriceEvent):
                shown.clear()
        assert moves > 20 or Happening.ABANDONED in Simulator(1).happenings[race_id]


def test_a_small_field_has_fewer_place_markets() -> None:
    assert place_markets(8) == (PriceType.PLACE_2, PriceType.PLACE_3, PriceType.PLACE_4)
    assert place_markets(7) == (PriceType.PLACE_2, PriceType.PLACE_3)
    assert place_markets(5) == (PriceType.PLACE_2,)
    assert place_markets(3) == ()


def test_a_scratched_runner_has_no_new_price() -> None:
    for events in by_race(day()).values():
        scratched: set[int] = set()
        for event in events:
            if isinstance(event, PriceEvent):
                scratched |= {scratching.runner_number for scratching in event.scratchings}
                scratched -= {unscratching.runner_number for unscratching in event.unscratchings}
                assert not scratched & {update.runner_number for update in event.price_updates}


def test_no_more_greyhounds_than_boxes() -> None:
    simulator = Simulator(1)
    races = by_race(day())
    admitted = 0
    for meeting in simulator.meetings:
        if meeting.code is Code.GREYHOUNDS:
            for race in meeting.races:
                running: set[int] = set()
                for event in races[race.race_id]:
                    if isinstance(event, PriceEvent):
                        running |= {update.runner_number for update in event.price_updates}
                        running -= {scratching.runner_number for scratching in event.scratchings}
                        assert len(running) <= 8
                admitted += bool(running & {9, 10})
    assert admitted > 0


# scratchings


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_scratching_repeats_the_earlier_ones(seed: int) -> None:
    for events in by_race(small_day(seed)).values():
        known: list[int] = []
        for event in events:
            if not isinstance(event, PriceEvent):
                continue
            if event.scratchings:
                numbers = [scratching.runner_number for scratching in event.scratchings]
                assert numbers[:-1] == known
                assert numbers[-1] not in known
                known = numbers
            for unscratching in event.unscratchings:
                known.remove(unscratching.runner_number)


def test_the_shorter_the_price_the_larger_the_deduction() -> None:
    for one, other in pairwise(PRICE_LADDER):
        for places, deduction in deductions(one).items():
            assert deduction >= deductions(other)[places]
    assert deductions(Decimal("1.5"))[1] > Decimal("0.5")
    assert deductions(Decimal(10))[1] == Decimal("0.08")
    assert deductions(Decimal(501))[1] == 0


def test_deductions_are_whole_cents() -> None:
    for events in by_race(day()).values():
        for record in scratching_records(events):
            for scratching in record:
                for deduction in (
                    scratching.win_deduction,
                    scratching.place_deduction,
                    scratching.two_place_deduction,
                    scratching.three_place_deduction,
                    scratching.four_place_deduction,
                ):
                    assert deduction is not None
                    assert 0 <= deduction < 1
                    assert deduction.as_tuple().exponent == -2
                assert scratching.scratch_time is not None


# what is out of the ordinary


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_meeting_has_one_of_everything(seed: int) -> None:
    simulator = Simulator(seed, meetings=1, price_records=40)
    assert set().union(*simulator.happenings.values()) == set(Happening)
    seen: set[Happening] = set()
    for race_id, events in by_race(small_day(seed)).items():
        found = happenings_of(events)
        # a day has more of them by luck, e.g. a deduction that is revised; what is announced is there
        assert simulator.happenings[race_id] <= found
        assert found - simulator.happenings[race_id] <= {Happening.REVISED_DEDUCTION}
        seen |= found
    assert seen == set(Happening)
    everything = [one.event for one in small_day(seed)]
    assert set(statuses(everything)) == set(RaceStatus)
    assert {
        update.price_type for event in everything if isinstance(event, PriceEvent) for update in event.price_updates
    } == set(PriceType)
    assert any(
        len(pool.selections) == 4
        for event in results(everything)
        for of in event.dividends
        for pool in of.pool_dividends
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_day_of_two_races_has_one_of_everything_too(seed: int) -> None:
    timed = tuple(Simulator(seed, meetings=1, races=2, price_records=20).events())
    assert set().union(*(happenings_of(events) for events in by_race(timed).values())) == set(Happening)


def test_a_day_may_have_one_race() -> None:
    (events,) = by_race(tuple(Simulator(1, meetings=1, races=1, price_records=0).events())).values()
    assert happenings_of(events) == set(Happening) - {Happening.ABANDONED}


def happenings_of(events: list[Event]) -> set[Happening]:
    found = set()
    passed = statuses(events)
    if RaceStatus.ABANDONED in passed:
        found.add(Happening.ABANDONED)
        assert not results(events)
        assert events[-1] == RaceStatusEvent(events[0].meeting_id, events[0].event_number, RaceStatus.ABANDONED)
    if any(one is RaceStatus.CLOSED and other is RaceStatus.OPEN for one, other in pairwise(passed)):
        found.add(Happening.REOPENED)
    if RaceStatus.PROTEST in passed:
        found.add(Happening.PROTEST)
    if any(isinstance(event, PriceEvent) and event.unscratchings for event in events):
        found.add(Happening.UNSCRATCHING)
    latest: dict[int, Scratching] = {}
    for record in scratching_records(events):
        for scratching in record:
            before = latest.get(scratching.runner_number)
            # one that was undone and made again has a time of its own
            same = before is not None and before.scratch_time == scratching.scratch_time
            if before is not None and same and before.win_deduction != scratching.win_deduction:
                found.add(Happening.REVISED_DEDUCTION)
            latest[scratching.runner_number] = scratching
    finals = [result for result in results(events) if result.status is RaceStatus.FINAL]
    if len(finals) > 1:
        assert finals[0].results != finals[1].results
        found.add(Happening.AMENDED)
    if any(Decimal("0.5") in factors_of(one.payout_factors) for result in results(events) for one in result.results):
        found.add(Happening.DEAD_HEAT)
    return found


def factors_of(factors: PayoutFactors) -> tuple[Decimal | None, ...]:
    return factors.win, factors.place2, factors.place3, factors.place4


# results


@pytest.mark.parametrize(
    ("position", "tied", "factors"),
    [
        (1, 1, ("1", "1", "1", "1")),
        (2, 1, (None, "1", "1", "1")),
        (3, 1, (None, None, "1", "1")),
        (4, 1, (None, None, None, "1")),
        (5, 1, (None, None, None, None)),
        (1, 2, ("0.5", "1", "1", "1")),
        (2, 2, (None, "0.5", "1", "1")),
        (3, 2, (None, None, "0.5", "1")),
        (4, 2, (None, None, None, "0.5")),
        (1, 3, ("0.33", "0.67", "1", "1")),
    ],
)
def test_runners_in_a_dead_heat_share_the_payout_of_their_positions(
    position: int, tied: int, factors: tuple[str | None, ...]
) -> None:
    expected = [None if factor is None else Decimal(factor) for factor in factors]
    assert [payout_factor(position, tied, places) for places in (1, 2, 3, 4)] == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_result_pays_each_place_once(seed: int) -> None:
    simulator = Simulator(seed, meetings=1, price_records=40)
    field_sizes = {race.race_id: len(race.starters) for meeting in simulator.meetings for race in meeting.races}
    for race_id, events in by_race(small_day(seed)).items():
        offered = place_markets(field_sizes[race_id])
        for result in results(events):
            assert len({one.runner_number for one in result.results}) == len(result.results)
            for places, price_type in (1, None), (2, PriceType.PLACE_2), (3, PriceType.PLACE_3), (4, PriceType.PLACE_4):
                paid = [factors_of(one.payout_factors)[places - 1] for one in result.results]
                total = sum(factor for factor in paid if factor is not None)
                if price_type is None or price_type in offered:
                    # three runners may be all that a scratched field has left
                    assert total == min(places, len(result.results))
                else:
                    assert total == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_race_goes_from_open_to_final_or_is_abandoned(seed: int) -> None:
    for events in by_race(small_day(seed)).values():
        passed = statuses(events)
        assert passed[0] is RaceStatus.OPEN
        if RaceStatus.ABANDONED in passed:
            assert passed[-1] is RaceStatus.ABANDONED
            continue
        assert passed[-1] is RaceStatus.FINAL
        of_results = [result.status for result in results(events)]
        assert [status for status in passed if status not in (RaceStatus.OPEN, RaceStatus.CLOSED)] == [
            status for one, status in zip([None, *of_results], of_results, strict=False) if status is not one
        ]
        for result in results(events):
            assert bool(result.dividends) == (result.status is RaceStatus.FINAL)
            assert result.venue
            assert result.date_created is not None


def test_dividends_name_the_runners_that_earned_them() -> None:
    for events in by_race(day()).values():
        for result in results(events):
            order = [one.runner_number for one in result.results]
            winners = [one.runner_number for one in result.results if one.final_position == 1]
            for dividend in result.dividends:
                for pool in dividend.pool_dividends:
                    assert pool.amount > 1
                    assert set(pool.selections) <= set(order)
                if dividend.wagering_product == "SP":
                    assert [pool.selections for pool in dividend.pool_dividends] == [(winner,) for winner in winners]


def test_the_card_has_the_races_of_the_day() -> None:
    simulator = Simulator(3, meetings=2)
    races = [race for meeting in simulator.meetings for race in meeting.races]
    assert {race.race_id: race.start_time for race in simulator.card.races} == {r.race_id: r.jump for r in races}
    race = races[0]
    assert all(simulator.card.runner_name(race.race_id, r.number) == r.name for r in race.runners)
    assert [meeting.meeting_type for meeting in simulator.card.meetings] == ["R", "G"]


@pytest.mark.parametrize("seed", range(10))
def test_the_truth_is_what_the_events_add_up_to(seed: int) -> None:
    simulator = Simulator(seed, meetings=1, price_records=40)
    happened = by_race(small_day(seed))
    truth = simulator.truth()
    assert truth.keys() == happened.keys()
    for race_id, events in happened.items():
        scratched: dict[int, Scratching] = {}
        for event in events:
            if isinstance(event, PriceEvent):
                scratched.update({fact.runner_number: fact for fact in event.scratchings})
                for fact in event.unscratchings:
                    del scratched[fact.runner_number]
        results = [event for event in events if isinstance(event, RaceResultEvent)]
        outcome = truth[race_id]
        assert outcome.scratchings == tuple(scratched[runner] for runner in sorted(scratched))
        assert not {*outcome.starters} & {*scratched}
        assert (
            (outcome.status is RaceStatus.ABANDONED)
            == (not results)
            == (not outcome.placings)
            == (outcome.jumped_at is None)
        )
        for listed in results[-1].results if results else ():
            assert listed.runner_number in outcome.starters
            factors = listed.payout_factors
            stated = (factors.win, factors.place2, factors.place3, factors.place4)
            for places, factor in enumerate(stated, 1):
                assert factor in (None, outcome.payout_factor(listed.runner_number, places))
        assert sum(outcome.payout_factor(runner, 1) for runner in outcome.starters) == bool(results)
