"""Every documented format is accepted, and every documented refusal raises."""
# ruff: noqa: E501  # documents and tables of faults, a line each

from __future__ import annotations

import pickle
import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, IntEnum
from typing import Any

import attrs
import pytest

from rbhq_stream._wire import decode, encode, lenient
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import (
    Dividend,
    Event,
    Extra,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Unscratching,
)
from rbhq_stream.record import RawRecord, Record
from rbhq_stream.testing import MemoryRecord

UTC = timezone.utc
RECORD = Record("prices", 3, 42, value=b"raw")

PRICES = b"""{
  "meetingId": 1397808, "eventNumber": 7, "eventId": "1397808-7",
  "priceUpdates": [ { "runnerNumber": 3, "property": "ep", "propertyId": 12, "price": "4.40" },
                    { "runnerNumber": 3, "property": "epPlace", "propertyId": 13, "price": "1.75" } ],
  "scratchings": [ { "runnerNumber": 5, "winDeduction": 0.07, "placeDeduction": 0.07, "twoPlaceDeduction": 0.07,
                     "threePlaceDeduction": 0.07, "fourPlaceDeduction": 0.04, "scratchType": 1,
                     "scratchTime": "2022-11-27T20:25:30.4400201Z" } ],
  "unscratchings": [ { "runnerNumber": 9, "unscratchTime": "2022-11-27T20:12:58.94Z" } ] }"""
PRICE_EVENT = PriceEvent(
    1397808,
    7,
    price_updates=(
        PriceUpdate(3, PriceType.WIN, 12, Decimal("4.4")),
        PriceUpdate(3, PriceType.PLACE, 13, Decimal("1.75")),
    ),
    scratchings=(
        Scratching(
            5,
            win_deduction=Decimal("0.07"),
            place_deduction=Decimal("0.07"),
            two_place_deduction=Decimal("0.07"),
            three_place_deduction=Decimal("0.07"),
            four_place_deduction=Decimal("0.04"),
            scratch_type=1,
            scratch_time=datetime(2022, 11, 27, 20, 25, 30, 440020, UTC),
        ),
    ),
    unscratchings=(Unscratching(9, datetime(2022, 11, 27, 20, 12, 58, 940000, UTC)),),
)
RESULT = b"""{
  "venue": "Randwick", "meetingId": 1397808, "eventNumber": 7, "eventId": "1397808-7", "status": "FINAL",
  "source": "RBHQ", "host": "RBHQ", "dateCreated": "2022-11-28T02:47:52.1430238Z",
  "results": [ { "runnerNumber": 3, "outcomeName": null, "finalPosition": 1, "payoutFactor": 1,
                 "payoutFactors": { "winPayoutFactor": 0.5, "place2PayoutFactor": 1, "place3PayoutFactor": 1,
                                    "place4PayoutFactor": 1 } },
               { "runnerNumber": 8, "outcomeName": "Third Home", "finalPosition": 3, "payoutFactor": 1,
                 "payoutFactors": { "place3PayoutFactor": 1 } } ],
  "dividends": [ { "wageringProduct": "SP", "poolDividends": [ { "selections": [3], "amount": 4.60 } ] } ] }"""
RESULT_EVENT = RaceResultEvent(
    1397808,
    7,
    venue="Randwick",
    status=RaceStatus.FINAL,
    source="RBHQ",
    host="RBHQ",
    date_created=datetime(2022, 11, 28, 2, 47, 52, 143024, UTC),  # rounded
    results=(
        RunnerResult(
            3,
            final_position=1,
            payout_factor=Decimal(1),
            payout_factors=PayoutFactors(Decimal("0.5"), Decimal(1), Decimal(1), Decimal(1)),
        ),
        RunnerResult(8, "Third Home", 3, Decimal(1), PayoutFactors(place3=Decimal(1))),
    ),
    dividends=(Dividend("SP", (PoolDividend((3,), Decimal("4.6")),)),),
)
CLOSED = RaceStatusEvent(1, 2, RaceStatus.CLOSED)
ENVELOPE = {"signature": "ab", "timestamp": 1619767450}
ONE_PRICE = PriceEvent(1, 2, price_updates=(PriceUpdate(3, PriceType.WIN, price=Decimal("4.4")),))


# forms


@pytest.mark.parametrize(
    ("kind", "raw", "events"),
    [
        (PriceEvent, PRICES, [PRICE_EVENT]),
        (PriceEvent, b"\xef\xbb\xbf" + PRICES, [PRICE_EVENT]),
        (PriceEvent, b"[%s,%s]" % (PRICES, PRICES), [PRICE_EVENT, PRICE_EVENT]),
        (PriceEvent, b'{"payload":%s}' % PRICES, [PRICE_EVENT]),
        (PriceEvent, b'{"meetingId":1,"eventNumber":2}', [PriceEvent(1, 2)]),
        (PriceEvent, b'{"eventId":"1:2","priceUpdates":null}', [PriceEvent(1, 2)]),
        (PriceEvent, b'{"meetingId":"1","eventNumber":2.0,"eventId":""}', [PriceEvent(1, 2)]),
        (PriceEvent, b'{"meetingId":1,"eventNumber":2,"eventId":"01:2"}', [PriceEvent(1, 2)]),
        (PriceEvent, b'{"meetingId":1,"eventNumber":2,"eventId":"01-2"}', [PriceEvent(1, 2)]),
        (PriceEvent, b"[]", []),
        (PriceEvent, b'{"payload":[]}', []),
        (PriceEvent, b'{"payload":{},"signature":"ab"}', []),
        (PriceEvent, b'{"payload":null}', []),
        # the HTTP push: mixed casings, the race on each update
        (
            PriceEvent,
            b"""{"Payload":{"PriceUpdates":[
                {"MeetingId":1,"eventNumber":2,"RunnerNumber":"3","Property":"ep","Price":4.40},
                {"MeetingId":1,"eventNumber":3,"RunnerNumber":"4","Property":"EpPlace","Price":"1.5"},
                {"MeetingId":1,"eventNumber":2,"RunnerNumber":"5","Property":"ep","Price":"0"}],
              "Scratchings":[{"MeetingId":1,"eventNumber":3,"runnerNumber":6}]}}""",
            [
                PriceEvent(
                    1,
                    2,
                    (PriceUpdate(3, PriceType.WIN, None, Decimal("4.4")), PriceUpdate(5, PriceType.WIN, None, None)),
                ),
                PriceEvent(1, 3, (PriceUpdate(4, PriceType.PLACE, None, Decimal("1.5")),), (Scratching(6),)),
            ],
        ),
        (PriceEvent, b'{"eventId":"1-2","runnerNumber":3,"property":"ep","price":"4.4"}', [ONE_PRICE]),
        (PriceEvent, b'{"payload":[{"eventId":"1-2","runnerNumber":3,"property":"ep","price":"4.4"}]}', [ONE_PRICE]),
        (
            PriceEvent,
            b'[{"eventId":"1-2","runnerNumber":3,"scratchType":1},{"eventId":"1-2","runnerNumber":4,"unscratchTime":null}]',
            [
                PriceEvent(1, 2, scratchings=(Scratching(3, scratch_type=1),)),
                PriceEvent(1, 2, unscratchings=(Unscratching(4),)),
            ],
        ),
        (
            PriceEvent,
            b'{"meetingId":1,"payload":{"eventNumber":2,"priceUpdates":[{"runnerNumber":3,"propertyId":"12","price":"4.4"}]}}',
            [PriceEvent(1, 2, (PriceUpdate(3, PriceType.WIN, 12, Decimal("4.4")),))],
        ),
        (RaceStatusEvent, b'{"meetingId":1,"eventNumber":2,"status":"CLOSED"}', [CLOSED]),
        (RaceStatusEvent, b'{"MeetingID":"1","EVENTNUMBER":2,"Status":"Closed"}', [CLOSED]),
        (RaceStatusEvent, b'[{"eventId":"1-2","status":"CLOSED"}]', [CLOSED]),
        (
            RaceStatusEvent,
            b'{"meetingId":1,"eventNumber":2,"status":"CLOSED","runnerNumber":4}',
            [RaceStatusEvent(1, 2, RaceStatus.CLOSED, 4)],
        ),
        (
            RaceStatusEvent,
            b"""{"payload":[{"meetingId":1,"eventNumber":2,"status":"CLOSED"},{"meetingId":1,"eventNumber":3,"status":"OPEN"}],
                "signature":"ab","timestamp":1619767450}""",
            [
                RaceStatusEvent(1, 2, RaceStatus.CLOSED, extra=Extra(ENVELOPE)),
                RaceStatusEvent(1, 3, RaceStatus.OPEN, extra=Extra(ENVELOPE)),
            ],
        ),
        (
            RaceStatusEvent,
            b'{"Payload":{"meetingId":1,"eventNumber":2,"status":"CLOSED","signature":"own"},"signature":"ab"}',
            [RaceStatusEvent(1, 2, RaceStatus.CLOSED, extra=Extra({"signature": "own"}))],
        ),
        # a field called payload doesn't make an envelope of what has a status of its own
        (
            RaceStatusEvent,
            b'{"meetingId":1,"eventNumber":2,"status":"CLOSED","payload":[]}',
            [RaceStatusEvent(1, 2, RaceStatus.CLOSED, extra=Extra({"payload": []}))],
        ),
        (RaceResultEvent, RESULT, [RESULT_EVENT]),
        (
            RaceResultEvent,
            b'{"meetingId":1,"eventNumber":2,"status":"INTERIM","results":[{"runnerNumber":3,"finalPosition":1}]}',
            [RaceResultEvent(1, 2, status=RaceStatus.INTERIM, results=(RunnerResult(3, None, 1),))],
        ),
    ],
)
def test_every_form_of_a_document_is_read(kind: type[Event], raw: bytes, events: list[Event]) -> None:
    assert list(decode(kind, raw)) == events


def test_the_events_know_their_record() -> None:
    for kind, raw in ((PriceEvent, PRICES), (RaceResultEvent, RESULT), (PriceEvent, b"[%s]" % PRICES)):
        (event,) = decode(kind, raw, record=RECORD)
        assert event.record is RECORD


@pytest.mark.parametrize("record", [RECORD, MemoryRecord("prices", 3, 42, b"raw")], ids=["Record", "message"])
def test_each_of_several_events_of_a_record_has_its_number(record: Record | RawRecord) -> None:
    raw = b'[{"eventId":"1-2","status":"OPEN"},{"eventId":"1-3","status":"OPEN"}]'
    events = decode(RaceStatusEvent, raw, record=record)
    records = [event.require_record() for event in events]
    assert [(one.coordinates, one.value, one.part, one.parts) for one in records] == [
        (("prices", 3, 42), b"raw", 0, 2),
        (("prices", 3, 42), b"raw", 1, 2),
    ]


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_a_time_out_of_range_in_an_otherwise_plain_document_is_refused(time: str) -> None:
    update = b'{"meetingId":1,"eventNumber":2,"priceUpdates":[{"runnerNumber":3,"property":"ep"}],"scratchings":[{"runnerNumber":5,'
    deductions = (
        b'"winDeduction":1,"placeDeduction":1,"twoPlaceDeduction":1,"threePlaceDeduction":1,"fourPlaceDeduction":1,'
    )
    raw = update + deductions + b'"scratchType":1,"scratchTime":"%s"}]}' % time.encode()
    with pytest.raises(DecodeError, match="a time such as"):
        decode(PriceEvent, raw)


def test_unknown_fields_and_values_are_kept_and_written_again() -> None:
    raw = (
        b'{"meetingId":1,"eventNumber":2,"eventId":"1-2","priceUpdates":[{"runnerNumber":3,"property":"place5","propertyId":150,'
        b'"price":"4.40","why":{"deep":[1.10,null,true]}}],"scratchings":[],"unscratchings":[],"big":123456789012345678901234567890,'
        b'"Odd name":"\xc3\xa9"}'
    )
    (event,) = decode(PriceEvent, raw)
    assert event.extra == {"big": 123456789012345678901234567890, "Odd name": "é"}
    (update,) = event.price_updates
    assert (update.price_type, update.price_type.is_known) == ("place5", False)
    assert update.extra == {"why": {"deep": [Decimal("1.1"), None, True]}}
    assert encode(event) == raw

    (status,) = decode(RaceStatusEvent, b'{"meetingId":1,"eventNumber":2,"status":"Delayed"}')
    assert (status.status.value, status.status.is_known) == ("Delayed", False)
    assert encode(status) == b'{"meetingId":1,"eventNumber":2,"status":"Delayed"}'

    raw = (
        b'{"meetingId":1,"eventNumber":2,"eventId":"1-2","status":"FINAL","results":[{"runnerNumber":3,"outcomeName":null,'
        b'"payoutFactors":{"place5PayoutFactor":0.50}}],"dividends":[{"wageringProduct":"X","poolDividends":[{"selections":[3,4],'
        b'"amount":4.60,"pool":{"a":1}}],"b":[]}]}'
    )
    assert encode(decode(RaceResultEvent, raw)[0]) == raw


def test_the_ids_of_a_race_are_kept_where_no_race_is_expected() -> None:
    runner = b'{"runnerNumber":3,"meetingId":9,"payoutFactors":{"eventNumber":8}}'
    raw = b'{"meetingId":1,"eventNumber":2,"eventId":"1-2","status":"FINAL","results":[%s],"dividends":[]}' % runner
    ((found,),) = (event.results for event in decode(RaceResultEvent, raw))
    assert (found.extra, found.payout_factors.extra) == ({"meetingId": 9}, {"eventNumber": 8})


# values


def price(token: str) -> Decimal | None:
    raw = (
        '{"meetingId":1,"eventNumber":2,"priceUpdates":[{"runnerNumber":3,"property":"ep","propertyId":12,"price":%s}]}'
    )
    (event,) = decode(PriceEvent, (raw % token).encode())
    return event.price_updates[0].price


@pytest.mark.parametrize(
    "token", ["null", '""', "0", '"0"', '"0.00"', "-0.0", "0.99", '"0.999999999999"', "-5", '"-4.4"']
)
def test_values_that_mean_no_price_are_read_as_none(token: str) -> None:
    assert price(token) is None


def test_an_absent_price_is_no_price() -> None:
    raw = b'{"meetingId":1,"eventNumber":2,"priceUpdates":[{"runnerNumber":3,"property":"ep","propertyId":12}]}'
    assert decode(PriceEvent, raw)[0].price_updates[0].price is None


@pytest.mark.parametrize(
    ("token", "exact"),
    [
        ('"4.4"', "4.4"), ('"4.40"', "4.40"), ("4.40", "4.40"), ("4", "4"), ('"1"', "1"), ("1.00", "1.00"), ("1E+2", "1E+2"),
        ("1.234567890123456789012345678901", "1.234567890123456789012345678901"),
        ('"123456789012345678901234567890.1"', "123456789012345678901234567890.1"),
    ],
)  # fmt: skip
def test_a_price_is_exact(token: str, exact: str) -> None:
    with localcontext() as context:
        context.prec = 5
        assert str(price(token)) == exact


def test_deductions_are_exact() -> None:
    raw = b'{"meetingId":1,"eventNumber":2,"scratchings":[{"runnerNumber":3,"winDeduction":0.07,"placeDeduction":"0.070"}]}'
    (event,) = decode(PriceEvent, raw)
    assert event.scratchings[0].win_deduction == event.scratchings[0].place_deduction == Decimal("0.07")
    assert event.scratchings[0].two_place_deduction is None
    assert b'"winDeduction":0.07,"placeDeduction":0.070}' in encode(event)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2022-11-27T20:25:30Z", datetime(2022, 11, 27, 20, 25, 30, 0, UTC)),
        ("2022-11-27T20:25:30.9Z", datetime(2022, 11, 27, 20, 25, 30, 900000, UTC)),
        ("2022-11-27T20:25:30.4400204Z", datetime(2022, 11, 27, 20, 25, 30, 440020, UTC)),
        ("2022-11-27T20:25:30.4400205Z", datetime(2022, 11, 27, 20, 25, 30, 440021, UTC)),
        ("2022-12-31T23:59:59.9999999Z", datetime(2023, 1, 1, 0, 0, 0, 0, UTC)),
        ("2022-11-27T20:25:30", datetime(2022, 11, 27, 20, 25, 30, 0, UTC)),
        ("2022-11-28T07:25:30.5+11:00", datetime(2022, 11, 27, 20, 25, 30, 500000, UTC)),
    ],
)
@pytest.mark.parametrize("plain", [True, False])
def test_times_are_read_as_utc_and_rounded_to_microseconds(text: str, time: datetime, plain: bool) -> None:
    raw = b'{"meetingId":1,"eventNumber":2,%s"unscratchings":[{"runnerNumber":3,"unscratchTime":"%s"}]}'
    (event,) = decode(PriceEvent, raw % (b"" if plain else b'"new":1,', text.encode()))
    unscratch_time = event.unscratchings[0].unscratch_time
    assert unscratch_time == time
    assert unscratch_time is not None and unscratch_time.tzinfo is UTC  # noqa: PT018


# refusals

NATURAL = "an integer from 0 to 9223372036854775807"
RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)
INTEGER = "an integer of at most 64 bits"
TIME = 'a time such as "2022-11-27T20:25:30.44Z"'
EACH = "each field once"
HERE = "an integer, here or in each part"


def update(fields: str) -> str:
    return '{"meetingId":1,"eventNumber":2,"priceUpdates":[{' + fields + "}]}"


def scratching(fields: str) -> str:
    return '{"meetingId":1,"eventNumber":2,"Scratchings":[{"runnerNumber":1},{"runnerNumber":3,' + fields + "}]}"


def result(fields: str) -> str:
    return '{"meetingId":1,"eventNumber":2,"status":"FINAL",' + fields + "}"


WIN = '"runnerNumber":3,"property":"ep"'


@pytest.mark.parametrize(
    ("kind", "document", "faults"),
    [
        (PriceEvent, "", ["$ nothing, a JSON document"]),
        (PriceEvent, " \n", ["$ nothing, a JSON document"]),
        (PriceEvent, "null", ["$ null, an object"]),
        (PriceEvent, "[[]]", ["$[0] an array of 0, an object"]),
        (PriceEvent, '"test"', ['$ "test", an object']),
        (PriceEvent, '{"payload":5}', ["$.payload 5, an object"]),
        (RaceStatusEvent, '{"Payload":[1,{}]}', ["$.Payload[0] 1, an object", f"$.Payload[1].meetingId nothing, {NATURAL}",
         f"$.Payload[1].eventNumber nothing, {NATURAL}", '$.Payload[1].status nothing, a status such as "OPEN"']),
        (RaceStatusEvent, '{"payload":{"eventId":"1-2","status":"OPEN"},"RunnerNumber":3}',
         ["$.RunnerNumber 3, this field in the payload, not around it"]),
        (RaceResultEvent, '{"payload":{"eventId":"1-2","status":"FINAL"},"venue":{},"dividends":[]}',
         ["$.venue an object with 0 fields, this field in the payload, not around it",
          "$.dividends an array of 0, this field in the payload, not around it"]),
        (PriceEvent, '{"meetingId":1,', ['$ "{\\"meetingId\\":1,", JSON (Expecting property name enclosed in double quotes, at character 15)']),
        (PriceEvent, '{"meetingId":1,"eventNumber":2}x', ['$ "\\":1,\\"eventNumber\\":2}x", JSON (Extra data, at character 31)']),
        # which race
        (PriceEvent, "{}", [f"$.meetingId nothing, {HERE}", f"$.eventNumber nothing, {HERE}"]),
        (PriceEvent, '{"meetingId":1,"priceUpdates":[{"runnerNumber":3,"property":"ep"}]}', [f"$.eventNumber nothing, {HERE}"]),
        (PriceEvent, '{"MeetingId":true,"eventNumber":-2}', [f"$.MeetingId true, {NATURAL}", f"$.eventNumber -2, {NATURAL}"]),
        (PriceEvent, '{"meetingId":9223372036854775808,"eventNumber":2.5}',
         [f"$.meetingId 9223372036854775808, {NATURAL}", f"$.eventNumber 2.5, {NATURAL}"]),
        (PriceEvent, '{"meetingId":"1 ","eventNumber":1e400}', [f'$.meetingId "1 ", {NATURAL}', f"$.eventNumber 1E+400, {NATURAL}"]),
        (PriceEvent, '{"meetingId":1,"eventNumber":2,"eventId":"1-3"}', ['$.eventId "1-3", the race that meetingId and eventNumber name']),
        (PriceEvent, '{"eventId":"1.3"}', ['$.eventId "1.3", a race such as "1397808-7"']),
        (PriceEvent, '{"eventId":"9223372036854775808-3"}', ['$.eventId "9223372036854775808-3", a race such as "1397808-7"']),
        (PriceEvent, '{"meetingId":1,"eventNumber":2,"priceUpdates":[{"meetingId":7,"runnerNumber":3,"property":"ep"}]}',
         ["$.priceUpdates[0].meetingId 7, 1, as in the object around it"]),
        # fields
        (PriceEvent, '{"meetingId":1,"eventNumber":2,"priceUpdates":{}}', ["$.priceUpdates an object with 0 fields, an array"]),
        (PriceEvent, '{"meetingId":1,"eventNumber":2,"priceUpdates":[null]}', ["$.priceUpdates[0] null, an object"]),
        (PriceEvent, update('"property":"ep"'), [f"$.priceUpdates[0].runnerNumber nothing, {NATURAL}"]),
        (PriceEvent, update('"runnerNumber":null,"property":"ep"'), [f"$.priceUpdates[0].runnerNumber null, {NATURAL}"]),
        (PriceEvent, update('"runnerNumber":3'), ['$.priceUpdates[0].property nothing, a property such as "ep"']),
        (PriceEvent, update('"runnerNumber":3,"propertyId":99'), ['$.priceUpdates[0].property nothing, a property such as "ep"']),
        (PriceEvent, update('"runnerNumber":3,"property":5,"propertyId":"x"'),
         ['$.priceUpdates[0].property 5, a property such as "ep"', f'$.priceUpdates[0].propertyId "x", {INTEGER}']),
        (PriceEvent, '{"meetingId":1e999999999,"eventNumber":1e19}', [f"$.meetingId 1E+999999999, {NATURAL}", f"$.eventNumber 1E+19, {NATURAL}"]),
        (PriceEvent, update(WIN + ',"price":NaN'), ['$.priceUpdates[0].price NaN, a price such as "4.40"']),
        (PriceEvent, update(WIN + ',"price":"Infinity"'), ['$.priceUpdates[0].price "Infinity", a price such as "4.40"']),
        (PriceEvent, update(WIN + ',"price":true'), ['$.priceUpdates[0].price true, a price such as "4.40"']),
        (PriceEvent, update(WIN + ',"price":" 4.4"'), ['$.priceUpdates[0].price " 4.4", a price such as "4.40"']),
        (PriceEvent, update(WIN + ',"price":"$4.40"'), ['$.priceUpdates[0].price "$4.40", a price such as "4.40"']),
        (PriceEvent, update(WIN + ',"price":"4,40"'), ['$.priceUpdates[0].price "4,40", a price such as "4.40"']),
        (PriceEvent, update(WIN + ',"Price":1e101'), ['$.priceUpdates[0].Price 1E+101, a price such as "4.40" of at most 100 digits']),
        (PriceEvent, update(WIN + ',"price":1e99999999999999999999'), ['$.priceUpdates[0].price 1e99999999999999999999, a price such as "4.40"']),
        (PriceEvent, scratching('"scratchTime":"yesterday \u00e9\\n"'), [f'$.Scratchings[1].scratchTime "yesterday \\u00e9\\n", {TIME}']),
        (PriceEvent, scratching('"scratchTime":1619767450'), [f"$.Scratchings[1].scratchTime 1619767450, {TIME}"]),
        (PriceEvent, scratching('"scratchTime":"9999-12-31T23:59:59-01:00"'),
         [f'$.Scratchings[1].scratchTime "9999-12-31T23:59:59-01:00", {TIME}']),
        (PriceEvent, scratching('"scratchTime":"9999-12-31T23:59:59.9999999Z"'),
         [f'$.Scratchings[1].scratchTime "9999-12-31T23:59:59.9999999Z", {TIME}']),
        (PriceEvent, scratching('"WinDeduction":"","scratchType":3.5,"fourPlaceDeduction":false'),
         ['$.Scratchings[1].WinDeduction "", a decimal number', "$.Scratchings[1].fourPlaceDeduction false, a decimal number",
          f"$.Scratchings[1].scratchType 3.5, {INTEGER}"]),
        (RaceStatusEvent, '{"eventId":"1-2"}', ['$.status nothing, a status such as "OPEN"']),
        (RaceStatusEvent, '{"eventId":"1-2","Status":5}', ['$.Status 5, a status such as "OPEN"']),
        (RaceStatusEvent, '{"eventId":"1-2","status":" "}', ['$.status " ", a status such as "OPEN"']),
        (RaceStatusEvent, '{"status":"OPEN","meetingId":1.5}', [f"$.meetingId 1.5, {NATURAL}"]),
        (RaceResultEvent, result('"results":[{"runnerNumber":3,"payoutFactors":{"winPayoutFactor":"x"}},{"runnerNumber":[1]}]'),
         ['$.results[0].payoutFactors.winPayoutFactor "x", a decimal number', f"$.results[1].runnerNumber an array of 1, {NATURAL}"]),
        (RaceResultEvent, result('"dividends":[{"wageringProduct":"SP","poolDividends":[{"selections":[3,"x"]}]}]'),
         [f'$.dividends[0].poolDividends[0].selections[1] "x", {NATURAL}', "$.dividends[0].poolDividends[0].amount nothing, a decimal number"]),
        (RaceResultEvent, result('"venue":"\\ud800","results":[{"runnerNumber":3,"outcomeName":"\\udfff"}]'),
         ['$.venue "\\ud800", a string without half a surrogate pair',
          '$.results[0].outcomeName "\\udfff", a string without half a surrogate pair']),
        (RaceResultEvent, result('"venue":5,"dateCreated":""'), ["$.venue 5, a string", f'$.dateCreated "", {TIME}']),
        # twice
        (PriceEvent, '{"meetingId":1,"MeetingID":1,"eventNumber":2}', [f"$.MeetingID meetingId in two spellings, {EACH}"]),
        (PriceEvent, update(WIN + ',"propertyId":12,"price":"4","price":"x"'), ['$.priceUpdates[0].price "x", a price such as "4.40"']),
        # unknown fields
        (RaceStatusEvent, '{"eventId":"1-2","status":"OPEN","a b":[1,{"x":NaN}]}', ['$["a b"][1].x NaN, a number']),
        (RaceStatusEvent, '{"eventId":"1-2","status":"OPEN","x":"\\ud800"}', ['$.x "\\ud800", a string without half a surrogate pair']),
        (RaceStatusEvent, '{"eventId":"1-2","status":"\\ud800"}', ['$.status "\\ud800", a string without half a surrogate pair']),
    ],
)  # fmt: skip
def test_a_bad_document_is_refused_with_all_its_faults(kind: type[Event], document: str, faults: list[str]) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(kind, document.encode(), record=RECORD)
    error = caught.value
    assert [f"{fault.path} {fault.found}, {fault.expected}" for fault in error.faults] == faults
    assert (error.kind, error.record) == (kind.__name__, RECORD)
    assert str(error).startswith("topic 'prices' partition 3 offset 42: not a " + kind.__name__)
    assert pickle.loads(pickle.dumps(error)).faults == error.faults


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe{\0}\0", b'{"meetingId":1,"eventNumber":2,"x":"\xe9"}', b"\x1f\x8b\x08" + bytes(50)]
)
def test_a_document_that_is_not_utf8_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError, match=r"at \$ found b.*, expected UTF-8 \(byte \d+ is not\)") as caught:
        decode(PriceEvent, raw)
    assert caught.value.record is None


def test_a_long_value_is_shortened_in_a_fault() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(RaceStatusEvent, b'{"eventId":"%s","status":%s}' % (b"x" * 5000, b"1" * 5000))
    assert [fault.found for fault in caught.value.faults] == ['"' + "x" * 56 + "...", "1" * 57 + "..."]


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ("1" * 60, "1" * 60),
        ("1" * 61, "1" * 57 + "..."),
        ('"%s"' % ("x" * 58), '"%s"' % ("x" * 58)),
        ('"%s"' % ("x" * 59), '"' + "x" * 56 + "..."),
        ('"%s"' % ("x" * 61), '"' + "x" * 56 + "..."),
    ],
)
def test_a_value_of_up_to_sixty_characters_is_shown_whole(document: str, shown: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(RaceStatusEvent, b'{"meetingId":1,"eventNumber":%s,"status":"OPEN"}' % document.encode())
    assert [fault.found for fault in caught.value.faults] == [shown]


def test_the_text_of_many_faults_stays_readable() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(RaceStatusEvent, b"[%s]" % b",".join([b"0"] * 1000))
    assert len(caught.value.faults) == 1000
    assert str(caught.value).endswith("at $[19] found 0, expected an object; and 980 more")


# encode


def test_encode_writes_rbhqs_form() -> None:
    assert encode(PRICE_EVENT) == (
        b'{"meetingId":1397808,"eventNumber":7,"eventId":"1397808-7",'
        b'"priceUpdates":[{"runnerNumber":3,"property":"ep","propertyId":12,"price":"4.4"},'
        b'{"runnerNumber":3,"property":"epPlace","propertyId":13,"price":"1.75"}],'
        b'"scratchings":[{"runnerNumber":5,"winDeduction":0.07,"placeDeduction":0.07,"twoPlaceDeduction":0.07,'
        b'"threePlaceDeduction":0.07,"fourPlaceDeduction":0.04,"scratchType":1,"scratchTime":"2022-11-27T20:25:30.440020Z"}],'
        b'"unscratchings":[{"runnerNumber":9,"unscratchTime":"2022-11-27T20:12:58.940000Z"}]}'
    )
    assert encode(RaceStatusEvent(1, 2, RaceStatus.OPEN, 3)) == (
        b'{"meetingId":1,"eventNumber":2,"status":"OPEN","runnerNumber":3}'
    )
    assert encode(decode(RaceResultEvent, RESULT)[0]) == (
        b'{"meetingId":1397808,"eventNumber":7,"eventId":"1397808-7","venue":"Randwick","status":"FINAL","source":"RBHQ",'
        b'"host":"RBHQ","dateCreated":"2022-11-28T02:47:52.143024Z","results":[{"runnerNumber":3,"outcomeName":null,'
        b'"finalPosition":1,"payoutFactor":1,"payoutFactors":{"winPayoutFactor":0.5,"place2PayoutFactor":1,'
        b'"place3PayoutFactor":1,"place4PayoutFactor":1}},{"runnerNumber":8,"outcomeName":"Third Home","finalPosition":3,'
        b'"payoutFactor":1,"payoutFactors":{"place3PayoutFactor":1}}],"dividends":[{"wageringProduct":"SP","poolDividends":'
        b'[{"selections":[3],"amount":4.60}]}]}'
    )
    no_price = PriceEvent(1, 2, (PriceUpdate(3, PriceType.WIN),))
    assert b'"priceUpdates":[{"runnerNumber":3,"property":"ep","price":null}]' in encode(no_price)


@pytest.mark.parametrize("amount", ["1E-30", "1E+30", "0E-10", "-0.00", "0.000001"])
def test_encode_writes_any_finite_number(amount: str) -> None:
    event = PriceEvent(1, 2, scratchings=(Scratching(3, Decimal(amount)),))
    assert str(decode(PriceEvent, encode(event))[0].scratchings[0].win_deduction) == amount


def test_encode_writes_times_in_utc() -> None:
    sydney = timezone(timedelta(hours=11))
    event = PriceEvent(1, 2, unscratchings=(Unscratching(3, datetime(2022, 11, 28, 7, 25, 30, tzinfo=sydney)),))
    assert b'"unscratchTime":"2022-11-27T20:25:30Z"' in encode(event)


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (PriceEvent(1, 2, (PriceUpdate(3, "ep", price="NaN"),)), '$.priceUpdates[0].price found NaN, expected a price such as "4.40"'),
        (PriceEvent(1, 2, (PriceUpdate(3, "ep", price="0.99"),)),
         "$.priceUpdates[0].price found 0.99, expected a price of 1 or more; None for no price"),
        (PriceEvent(1, 2, (PriceUpdate(3, "ep", price="1E+100"),)),
         '$.priceUpdates[0].price found 1E+100, expected a price such as "4.40" of at most 100 digits'),
        (PriceEvent(1, 2, (PriceUpdate(3, "\ud800"),)),
         '$.priceUpdates[0].property found "\\ud800", expected a string without half a surrogate pair'),
        (PriceEvent(1, 2, scratchings=(Scratching(3), Scratching(3, "-Infinity"))),
         "$.scratchings[1].winDeduction found -Infinity, expected a decimal number"),
        (PriceEvent(1, 2, unscratchings=(Unscratching(3, datetime(2022, 1, 1)),)),  # noqa: DTZ001  # that is the point
         "$.unscratchings[0].unscratchTime found 2022-01-01T00:00:00, expected a time with its time zone"),
        (PriceEvent(1, 2, unscratchings=(Unscratching(3, datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))),)),
         "$.unscratchings[0].unscratchTime found 0001-01-01T00:00:00+01:00, expected a time from year 1 to year 9999 in UTC"),
        (PriceEvent(-1, 2**63, (PriceUpdate(-3, "ep", 2**63),)),
         (f"$.meetingId found -1, expected {NATURAL}; at $.eventNumber found 9223372036854775808, expected {NATURAL}; at "
         f"$.priceUpdates[0].runnerNumber found -3, expected {NATURAL}; at $.priceUpdates[0].propertyId found 9223372036854775808, "
         f"expected {INTEGER}")),
        (RaceResultEvent(1, 2, "FINAL", venue="\udfff", dividends=(Dividend("SP", (PoolDividend((3, -4), 2),)),)),
         ('$.venue found "\\udfff", expected a string without half a surrogate pair; at '
         f"$.dividends[0].poolDividends[0].selections[1] found -4, expected {NATURAL}")),
        (RaceStatusEvent(1, 2, "OPEN", extra={"MeetingID": 5}), "$.MeetingID found a name in extra, expected none that RaceStatusEvent has a field for"),
        (PriceEvent(1, 2, (PriceUpdate(3, "ep", extra={"eventId": "1-2"}),)),
         "$.priceUpdates[0].eventId found a name in extra, expected none that PriceUpdate has a field for"),
        (PriceEvent(1, 2, extra={"new": [1, {"a": 0.5}]}),
         "$.new[1].a found 0.5, expected a JSON value, with a Decimal for a number that is not an integer"),
        (PriceEvent(1, 2, extra={"new": Decimal("sNaN"), "\ud800": 1}),
         '$.new found sNaN, expected a number; at $["\\ud800"] found "\\ud800", expected a string without half a surrogate pair'),
        (PriceEvent(1, 2, extra={"new": [{7: 1}, (1,)]}),
         '$.new[0]["7"] found 7, expected a string; at $.new[1] found a tuple, expected a JSON value'),
        (PriceEvent(1, 2, extra={"new": RECURSIVE}), "expected JSON nested at most 64 levels deep"),
    ],
)  # fmt: skip
def test_encode_refuses_what_decode_would_not_read_back(event: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        encode(event)
    assert str(caught.value).startswith(f"this {type(event).__name__} can't be written: at $")


@pytest.mark.parametrize("value", [None, 7, PriceUpdate(3, "ep"), RaceId(1, 2), PriceEvent])
def test_encode_accepts_events_only(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^encode\(.*\): expected one of PriceEvent, RaceStatusEvent, RaceResultEvent"):
        encode(value)


def test_encode_writes_an_event_of_a_class_of_the_applications_own() -> None:
    @attrs.frozen
    class Quoted(PriceUpdate):
        note: str = attrs.field(default="", kw_only=True)

    @attrs.frozen
    class Noted(PriceEvent):
        note: str = attrs.field(default="", kw_only=True)

    own = Noted(1, 2, (Quoted(3, "ep", price=2, note="n"),), note="n")
    assert decode(PriceEvent, encode(own)) == (PriceEvent(1, 2, (PriceUpdate(3, "ep", price=2),)),)


def test_encode_writes_the_value_of_an_enumeration() -> None:
    class Runner(IntEnum):
        PHAR_LAP = 3

    class Venue(str, Enum):
        RANDWICK = "Randwick"

    event = RaceResultEvent(1, 2, "FINAL", venue=Venue.RANDWICK, results=(RunnerResult(Runner.PHAR_LAP),))
    assert decode(RaceResultEvent, encode(event)) == (event,)


def test_of_a_field_that_is_there_twice_the_last_one_counts() -> None:
    price, nonsense = '"runnerNumber":3,"property":"ep","propertyId":12', '"price":[1e99999999999999999999,"x"]'
    expected = PriceEvent(1, 2, (PriceUpdate(3, "ep", 12, "4.4"),))
    for update in (f'{price},"price":"2","price":"4.4"', f'{price},{nonsense},"price":"4.4"'):
        for document in (
            f'{{"meetingId":1,"eventNumber":2,"priceUpdates":[{{{update}}}]}}',
            f'{{"meetingId":7,"meetingId":1,"eventNumber":2,"priceUpdates":[],"priceUpdates":[{{{update}}}]}}',
        ):
            assert decode(PriceEvent, document.encode()) == (expected,)
            assert lenient.read(PriceEvent, document.encode()) == (expected,)
    raw = b'{"meetingId":1,"eventNumber":2,"status":"OPEN","status":"CLOSED","new":{"a":NaN,"a":2}}'
    assert decode(RaceStatusEvent, raw) == (RaceStatusEvent(1, 2, "CLOSED", extra={"new": {"a": 2}}),)


def test_only_the_three_kinds_can_be_decoded() -> None:
    with pytest.raises(TypeError, match="RBHQ sends PriceEvent, RaceStatusEvent, RaceResultEvent"):
        decode(int, b"{}")  # type: ignore[type-var]
