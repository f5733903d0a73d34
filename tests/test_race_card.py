"""The race card: RBHQ's documents in either spelling, cards of an application's own, and the look-ups."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import CardMeeting, CardRace, CardRunner, DecodeError, Extra, HealthRules, RaceCard, RaceId

NOON = datetime(2022, 11, 25, 1, tzinfo=timezone.utc)
DAY: list[dict[str, Any]] = [
    {
        "meetingId": 1397808,
        "meetingDate": "2022-11-25T00:00:00.000Z",
        "venue": "ALBURY",
        "type": "R",
        "region": "S",
        "country": "AU",
        "state": "NSW",
        "rail": "True",
        "weather": "Fine",
        "events": [
            {
                "meetingId": 1397808,
                "eventNumber": 1,
                "meetingDate": "2022-11-25T00:00:00.000Z",
                "alternateVenueNames": ["ALBURY RACING CLUB"],
                "startTime": "2022-11-25T01:00:00.000Z",
                "runners": [
                    {"runnerNumber": 1, "runnerName": "First Home", "jockey": "A B", "weight": 58.5, "silks": "red"},
                    {"runnerNumber": 2, "runnerName": "Second Best"},
                ],
            },
            {"eventNumber": 2, "startTime": "2022-11-25T01:40:00Z", "runners": []},
        ],
    }
]
FORM: dict[str, Any] = {
    "meetingId": 1397808,
    "meetingVenue": "ALBURY",
    "meetingType": "R",
    "eventNo": 3,
    "eventName": "Maiden Plate",
    "distance": 1200,
    "utcTime": "2022-11-25T02:20:00Z",
    "going": "Good 4",
    "runners": [
        {"runnerNo": 7, "runnerName": "Third Time Lucky", "trainer": "C D", "weight": "56", "barrierPosition": 4}
    ],
}


def decode(document: Any) -> RaceCard:
    return RaceCard.decode(json.dumps(document).encode())


def faults(document: Any) -> dict[str, str]:
    with pytest.raises(DecodeError) as caught:
        decode(document)
    assert caught.value.kind == "RaceCard"
    return {fault.path: fault.found for fault in caught.value.faults}


def test_the_events_of_a_day_are_read() -> None:
    card = decode(DAY)
    [meeting] = card.meetings
    assert (meeting.venue, meeting.meeting_type, meeting.country, meeting.state, meeting.region, meeting.rail) == (
        "ALBURY",
        "R",
        "AU",
        "NSW",
        "S",
        "True",
    )
    assert meeting.meeting_date == datetime(2022, 11, 25, tzinfo=timezone.utc)
    assert meeting.extra == {"weather": "Fine"}
    first, second = meeting.races
    assert (first.race_id, first.start_time) == (RaceId(1397808, 1), NOON)
    assert first.extra["alternateVenueNames"] == ["ALBURY RACING CLUB"]
    assert first.runners[0] == CardRunner(
        1, "First Home", jockey="A B", weight=Decimal("58.5"), extra=Extra({"silks": "red"})
    )
    assert (second.race_id, second.runners) == (RaceId(1397808, 2), ())


def test_the_racing_form_of_a_race_is_read() -> None:
    [meeting] = decode(FORM).meetings
    assert (meeting.meeting_id, meeting.venue, meeting.meeting_type) == (1397808, "ALBURY", "R")
    assert meeting.races == (
        CardRace(
            RaceId(1397808, 3),
            datetime(2022, 11, 25, 2, 20, tzinfo=timezone.utc),
            "Maiden Plate",
            (CardRunner(7, "Third Time Lucky", trainer="C D", weight=Decimal(56), barrier_position=4),),
            distance=1200,
            extra={"going": "Good 4"},
        ),
    )


def test_documents_of_the_same_meeting_are_put_together() -> None:
    [meeting] = decode([*DAY, FORM]).meetings
    assert [race.race_id.event_number for race in meeting.races] == [1, 2, 3]
    assert meeting.state == "NSW"


@pytest.mark.parametrize("envelope", ["payload", "meetings", "Data"])
def test_an_envelope_is_opened(envelope: str) -> None:
    assert decode({envelope: DAY, "timestamp": 1}) == decode(DAY)


def test_one_meeting_is_a_card() -> None:
    assert decode(DAY[0]) == decode(DAY)


def test_names_are_read_in_any_casing() -> None:
    def shouted(value: Any) -> Any:
        if isinstance(value, dict):
            return {name.upper(): shouted(item) for name, item in value.items() if name not in ("weather", "silks")}
        return [shouted(item) for item in value] if isinstance(value, list) else value

    card = decode(shouted(DAY))
    assert card.runner_name(RaceId(1397808, 1), 1) == "First Home"
    assert card.start_time(RaceId(1397808, 2)) == NOON + timedelta(minutes=40)


@pytest.mark.parametrize("spelling", ["startTime", "utcTime", "raceStartTime", "StartTimeUtc", "startTimeUTC"])
def test_each_spelling_of_the_start_is_read(spelling: str) -> None:
    card = decode({"meetingId": 1, "eventNumber": 2, spelling: "2022-11-25T01:00:00Z"})
    assert card.start_time(RaceId(1, 2)) == NOON


def test_the_start_in_utc_comes_before_one_that_may_be_local() -> None:
    race = {"meetingId": 1, "eventNumber": 2, "startTime": "2022-11-25T12:00:00", "utcTime": "2022-11-25T01:00:00Z"}
    assert decode(race).race(RaceId(1, 2)) == CardRace(
        RaceId(1, 2), NOON, extra=Extra({"startTime": "2022-11-25T12:00:00"})
    )
    assert decode({**race, "utcTime": "soon", "startTime": "2022-11-25T01:00:00Z"}).start_time(RaceId(1, 2)) == NOON


def test_the_id_of_a_race_may_be_one_string() -> None:
    assert decode({"eventId": "1377868:8", "utcTime": "2022-11-25T01:00:00Z"}).races[0].race_id == RaceId(1377868, 8)


def test_optional_fields_that_cannot_be_read_are_kept() -> None:
    race = {"meetingId": 1, "eventNumber": 2, "utcTime": "2022-11-25T01:00:00Z", "distance": "1200m", "eventName": 5}
    [read] = decode(race).races
    assert (read.distance, read.name, read.extra) == (None, None, {"distance": "1200m", "eventName": 5})


def test_a_runner_without_a_number_is_kept_beside_the_others() -> None:
    runners = [{"runnerNumber": 1}, {"runnerName": "Nobody"}, 7]
    [race] = decode({"meetingId": 1, "eventNumber": 2, "utcTime": "2022-11-25T01:00:00Z", "runners": runners}).races
    assert (race.runners, race.extra) == ((CardRunner(1),), {"runners": [{"runnerName": "Nobody"}, 7]})


def test_fields_that_are_null_are_as_if_they_were_not_there() -> None:
    race = {"meetingId": 1, "eventNumber": 2, "utcTime": "2022-11-25T01:00:00Z", "eventName": None, "new": None}
    assert decode(race).races == (CardRace(RaceId(1, 2), NOON),)
    assert decode([{"meetingId": 1, "events": None}]).meetings == (CardMeeting(1),)


def test_everything_that_is_missing_is_reported_with_its_path() -> None:
    day = [{"meetingId": 1, "events": [{"eventNumber": 1}, {"startTime": "2022-11-25T01:00:00Z"}]}, {"venue": "SALE"}]
    assert faults(day) == {
        "$[0].events[0].utcTime": "nothing",
        "$[0].events[1].eventNumber": "nothing",
        "$[1].meetingId": "nothing",
    }


def test_what_cannot_be_read_is_reported_with_its_path() -> None:
    assert faults({"payload": {"meetingId": 1, "Events": {}}}) == {"$.payload.Events": "an object with 0 fields"}
    assert faults([7]) == {"$[0]": "7"}
    assert faults({"meetingId": 1, "eventNumber": "x", "startTime": "soon"}) == {
        "$.eventNumber": '"x"',
        "$.startTime": '"soon"',
    }
    assert faults({"eventId": "x", "utcTime": "2022-11-25T01:00:00Z"}) == {"$.eventId": '"x"'}
    assert faults({"eventNumber": 1, "utcTime": "2022-11-25T01:00:00Z"}) == {"$.meetingId": "nothing"}


def test_ids_that_disagree_are_reported() -> None:
    race = {"meetingId": 2, "eventNumber": 1, "utcTime": "2022-11-25T01:00:00Z"}
    assert faults([{"meetingId": 1, "events": [race]}]) == {"$[0].events[0].meetingId": "1, 2"}
    assert faults({**race, "eventId": "2-3"}) == {"$.eventNumber": "1, 3"}


def test_a_race_that_is_listed_twice_is_reported() -> None:
    assert faults([FORM, FORM]) == {"$": "race 1397808-3 twice"}


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"null", b'"day"'])
def test_what_is_no_card_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError, match="not a RaceCard"):
        RaceCard.decode(raw)


def test_a_document_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(DecodeError, match="at most 3 bytes"):
        RaceCard.decode(b"    ", max_bytes=3)


NAMES = ["meetingId", "eventNumber", "eventId", "events", "utcTime", "runners", "runnerNo", "venue", "payload", "new"]
documents = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.sampled_from(["1-2", "2022-11-25T01:00:00Z"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, min_size=2, max_size=6)
    ),
    max_leaves=12,
)


@given(documents)
def test_any_document_is_a_card_or_a_decode_error(document: Any) -> None:
    try:
        card = decode(document)
    except DecodeError as error:
        paths = [fault.path for fault in error.faults]
    else:
        assert len({race.race_id for race in card.races}) == len(card.races)
        paths = []
    assert all(path.startswith("$") for path in paths)


def test_lists_in_lists_end_somewhere() -> None:
    assert decode([[[DAY]]]) == decode(DAY)
    [path] = faults(json.loads("[" * 300 + "]" * 300))
    assert path == "$" + "[0]" * 9


# cards of an application's own, and look-ups

CARD = RaceCard(
    (
        CardMeeting(2, "Sale", (CardRace(RaceId(2, 1), NOON + timedelta(minutes=5)),)),
        CardMeeting(
            1,
            "Albury",
            (
                CardRace(RaceId(1, 1), NOON, "Maiden", (CardRunner(4, "Fourth Estate"), CardRunner(5))),
                CardRace(RaceId(1, 2), NOON + timedelta(minutes=40)),
            ),
        ),
    )
)


def test_races_are_found_by_their_id() -> None:
    race = CARD.race(RaceId(1, 1))
    assert race is not None
    assert race.name == "Maiden"
    assert (CARD.race(RaceId(9, 9)), CARD.start_time(RaceId(9, 9))) == (None, None)
    assert CARD.start_time(RaceId(1, 2)) == NOON + timedelta(minutes=40)
    assert CARD.meeting(2) is CARD.meetings[0]
    assert CARD.meeting(9) is None


def test_runners_have_names() -> None:
    names = [CARD.runner_name(RaceId(1, 1), 4), CARD.runner_name(RaceId(1, 1), 5), CARD.runner_name(RaceId(9, 9), 4)]
    assert names == ["Fourth Estate", None, None]


def test_the_races_of_a_period_begin_with_it_and_end_before_its_end() -> None:
    def jumps(begin: int, end: int) -> list[str]:
        period = NOON + timedelta(minutes=begin), NOON + timedelta(minutes=end)
        races = CARD.races_between(*period)
        assert CARD.jumps_between(*period) == tuple(race.start_time for race in races)
        return [str(race.race_id) for race in races]

    assert jumps(0, 40) == ["1-1", "2-1"]
    assert jumps(1, 41) == ["2-1", "1-2"]
    assert jumps(6, 6) == jumps(50, 60) == jumps(40, 0) == []
    with pytest.raises(ValueError, match="begin="):
        CARD.jumps_between(datetime(2022, 11, 25), NOON)  # noqa: DTZ001


def test_the_card_can_be_the_schedule_of_the_health() -> None:
    schedule = HealthRules(schedule=CARD.jumps_between).schedule
    assert schedule is not None
    assert list(schedule(NOON, NOON + timedelta(minutes=6))) == [NOON, NOON + timedelta(minutes=5)]


def test_a_start_has_a_time_zone() -> None:
    with pytest.raises(ValueError, match=r"^start_time="):
        CardRace(RaceId(1, 2), datetime(2022, 11, 25))  # noqa: DTZ001
    brisbane = timezone(timedelta(hours=10))
    assert CardRace(RaceId(1, 2), datetime(2022, 11, 25, 11, tzinfo=brisbane)).start_time == NOON


def test_a_race_belongs_to_its_meeting_and_is_listed_once() -> None:
    race = CardRace(RaceId(1, 1), NOON)
    with pytest.raises(ValueError, match="race 1-1 does not belong to meeting 2"):
        CardMeeting(2, races=(race,))
    with pytest.raises(ValueError, match="a race is listed twice"):
        RaceCard((CardMeeting(1, races=(race, race)),))
    with pytest.raises(ValueError, match="a meeting is listed twice"):
        RaceCard((CardMeeting(1), CardMeeting(1)))


def test_a_card_is_a_value() -> None:
    copy = pickle.loads(pickle.dumps(CARD))
    assert (copy, hash(copy), copy.races) == (CARD, hash(CARD), CARD.races)
