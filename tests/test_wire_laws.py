"""What holds for every event and every document, and what a document of any bytes can't do."""
# ruff: noqa: E501 - tables

from __future__ import annotations

import json
import pickle
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbhq_stream._wire import codec as wire
from rbhq_stream._wire import decode, encode, forms
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event, PriceEvent, PriceUpdate
from tests import strategies as ours
from tests.fuzz import decode_laws

_settings = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
CORPUS = sorted((Path(__file__).parent / "fuzz" / "corpus").iterdir())


@_settings
@given(ours.events)
def test_what_is_encoded_decodes_to_the_same(event: Event) -> None:
    raw = encode(event)
    assert decode(type(event), raw) == (event,)
    assert encode(decode(type(event), raw)[0]) == raw
    assert pickle.loads(pickle.dumps(event)) == event


@_settings
@given(ours.events)
def test_what_is_encoded_is_plain_json(event: Event) -> None:
    document = json.loads(encode(event))
    assert document["meetingId"] == event.meeting_id
    assert all(value is not None for name, value in document.items() if name in ours.WIRE_NAMES)


@_settings
@given(st.data(), ours.events)
def test_every_form_decodes_to_the_same(data: st.DataObject, event: Event) -> None:
    raw = data.draw(ours.documents(event))
    assert decode_laws.check(type(event), raw) == (event,)


@_settings
@given(st.data(), ours.price_events)
def test_one_event_for_each_race(data: st.DataObject, event: PriceEvent) -> None:
    ids = [data.draw(st.sampled_from([(1, 1), (1, 2), (2, 1)])) for _ in event.price_updates]
    document = ours.from_json(encode(event))
    del document["meetingId"], document["eventNumber"], document["eventId"]
    document["scratchings"] = document["unscratchings"] = None
    for part, (meeting_id, event_number) in zip(document["priceUpdates"], ids, strict=True):
        part |= {"meetingId": meeting_id, "eventNumber": event_number}
    if not ids:
        return
    expected = tuple(
        PriceEvent(
            *race,
            price_updates=tuple(
                part for part, its_race in zip(event.price_updates, ids, strict=True) if its_race == race
            ),
            extra=event.extra,
        )
        for race in dict.fromkeys(ids)
    )
    assert decode(PriceEvent, ours.to_json(document)) == expected


_PLAIN = (Path(__file__).parent / "fuzz" / "corpus" / "prices-plain").read_bytes()[1:]
_SNIPPETS = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"0", b"9" * 20, b".5", b"e9", b"NaN", b"\xff", b"\\u0034",
    b'"meetingId":1,', b'"price":"4.4",', b'"priceUpdates":[],', b'"x":1,', b" ", b"\xef\xbb\xbf", b"1_0", b"+1", b"00",
]  # fmt: skip


@_settings
@given(st.lists(st.tuples(st.integers(0, len(_PLAIN)), st.integers(0, 12), st.sampled_from(_SNIPPETS)), max_size=3))
def test_the_paths_agree_on_damaged_documents(damage: list[tuple[int, int, bytes]]) -> None:
    raw = _PLAIN
    for start, length, snippet in damage:
        raw = raw[:start] + snippet + raw[start + length :]
    decode_laws.check(PriceEvent, raw)


_scalars = st.sampled_from(
    ["null", "true", '""', '" "', "0", "-0", "-1", "3", "3.0", "3.5", "1e2", "1E400", "0.99", "1", '"3"', '"3.0"', '" 3"', '"03"', '"1_0"',
     '"1e2"', '"+3"', '".5"', '"5."', '"NaN"', '"\\u0033"', '"\u0663"', "NaN", "Infinity", "01", "1.", "[]", "{}", '{"a":1}', '"a:b"',
     "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" * 101, f'"{"1" * 101}"', '"2022-11-27T20:25:30"',
     '"2022-11-27T20:25:30.99999995Z"', '"2022-11-27T20:25:30.4400201+10:30"', '"2022-11-27 20:25:30z"', '"2022-11-27"',
     '"9999-12-31T23:59:59.9999999Z"', '"9999-12-31T23:59:59-01:00"', '"0001-01-01T00:00:00+01:00"', "1619767450", '"1-2"', '"1:2"',
     '"01-2"', '"1-3"', '"ep"', '"EP"', '"new"', '"\\ud800"', '"\u00e9"']
)  # fmt: skip


@_settings
@given(st.lists(_scalars, min_size=20, max_size=20), st.lists(st.integers(0, 19), max_size=3), st.booleans())
def test_the_paths_agree_on_every_kind_of_value(scalars: list[str], where: list[int], twice: bool) -> None:
    plain = [
        "1", "2", '"1-2"', "3", '"ep"', "12", '"4.4"', "5", *["0.07"] * 5, "1", '"2022-11-27T20:25:30.4400201Z"', "6", '"2022-11-27T20:12:58Z"',
        "0", "0", "0",
    ]  # fmt: skip
    for place in where:
        plain[place] = scalars[place]
    raw = (
        '{{"meetingId":{},"eventNumber":{},"eventId":{},"priceUpdates":[{{"runnerNumber":{},"property":{},"propertyId":{},"price":{}}}],'
        '"scratchings":[{{"runnerNumber":{},"winDeduction":{},"placeDeduction":{},"twoPlaceDeduction":{},"threePlaceDeduction":{},'
        '"fourPlaceDeduction":{},"scratchType":{},"scratchTime":{}}}],"unscratchings":[{{"runnerNumber":{},"unscratchTime":{}}}]}}'
    ).format(*plain)
    if twice:
        raw = raw.replace('"scratchType":', '"scratchType":1,"scratchType":', 1)
    decode_laws.check(PriceEvent, raw.encode())


@_settings
@given(st.sampled_from(decode_laws.KINDS), st.one_of(st.binary(max_size=60), ours.json_values.map(ours.to_json)))
def test_any_bytes_give_events_or_a_decode_error(kind: type[Event], raw: bytes) -> None:
    decode_laws.check(kind, raw)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_of_the_fuzzer(path: Path) -> None:
    data = path.read_bytes()
    for kind in decode_laws.KINDS:
        decode_laws.check(kind, data[1:])
    if not path.name.startswith(("nested", "surrogate", "long-numbers", "prices-faulty", "prices-twice", "found-")):
        assert decode_laws.check(decode_laws.KINDS[data[0]], data[1:])


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"meetingId":1,"eventNumber":2,"x":[', b'{"priceUpdates":['])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting_is_refused(opening: bytes, closed: bool) -> None:
    raw = opening * 100_000
    if closed:
        raw += b"1" + bytes(
            reversed(raw.translate(bytes.maketrans(b"[{", b"]}"), delete=b'":a,meetingId1vNubr2x0pcUs'))
        )
    for kind in decode_laws.KINDS:
        with pytest.raises(DecodeError) as caught:
            decode(kind, raw)
        assert caught.value.path == "$"


def test_unknown_fields_may_be_nested_64_deep_and_no_deeper() -> None:
    document = b'{"meetingId":1,"eventNumber":2,"status":"OPEN","x":%s}'
    kind = decode_laws.KINDS[1]
    assert decode_laws.check(kind, document % (b"[" * 64 + b"]" * 64))
    with pytest.raises(DecodeError) as caught:
        decode(kind, document % (b"[" * 65 + b"]" * 65))
    assert caught.value.path == "$.x" + "[0]" * 64


def test_a_record_of_megabytes_is_refused_unparsed() -> None:
    raw = b'{"meetingId":1,"eventNumber":2,"priceUpdates":[%s]}'
    part = b'{"runnerNumber":1,"property":"ep","propertyId":12,"price":"2"}'
    long = raw % b",".join([part] * 50_000)
    assert len(decode(PriceEvent, long)[0].price_updates) == 50_000
    with pytest.raises(DecodeError, match=r"found 3150048 bytes, expected at most 3000000 bytes") as caught:
        decode(PriceEvent, long, max_bytes=3_000_000)
    assert caught.value.path == "$"
    assert decode(PriceEvent, long, max_bytes=len(long))
    with pytest.raises(DecodeError):
        decode(PriceEvent, b" " * (wire.MAX_BYTES + 1))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"meetingId":1,"eventNumber":2,"priceUpdates":[%s0]}' % (b"0," * 1_000_000),
        b"[%s0]" % (b"0," * 1_000_000),
        b'{"meetingId":1,"eventNumber":2,"new":[%sNaN]}' % (b"NaN," * 500_000),
        b'{"new":0%s,"meetingId":1,"eventNumber":2}' % b"".join(b',"a%d":0' % number for number in range(200_000)),
        b'{"new":0%s,"new":2}' % b"".join(b',"a%d":0' % number for number in range(200_000)),
        b'{"meetingId":%s}' % (b"1" * 3_000_000),
        b'{"meetingId":"%s"}' % (b"1" * 3_000_000),
        b'{"meetingId":1e%s}' % (b"1" * 3_000_000),
    ],
    ids=lambda raw: raw[:60].decode(),
)
def test_megabytes_of_nonsense_take_seconds_at_most(raw: bytes) -> None:
    started = time.monotonic()
    for kind in decode_laws.KINDS:
        try:
            decode(kind, raw)
        except DecodeError as error:
            assert 1 <= len(error.faults) <= 1_003  # noqa: PT017 - a valid price event is among them
            assert len(str(error)) < 5_000  # noqa: PT017
    assert time.monotonic() - started < 20


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_REMEMBERED", 100)
    memos: list[Any] = [wire._price_update_memo, wire._price_memo, wire._race_memo]
    for memo in memos:
        memo.clear()
    for number in range(1000):
        event = PriceEvent(1, number, (PriceUpdate(number, forms.PROPERTY_IDS[12], 12, Decimal(number + 1)),))
        assert decode(PriceEvent, encode(event)) == (event,)
        assert all(len(memo) <= 100 for memo in memos)
    long = b'{"runnerNumber":1,"property":"%s","propertyId":12,"price":"2"}' % (b"x" * wire.LONGEST_REMEMBERED)
    decode(PriceEvent, b'{"meetingId":1,"eventNumber":2,"priceUpdates":[%s]}' % long)
    assert long not in wire._price_update_memo


def test_what_is_remembered_can_not_be_changed_through_an_event() -> None:
    raw = b'{"meetingId":1,"eventNumber":2,"priceUpdates":[{"runnerNumber":1,"property":"ep","price":"2","new":["a"]}]}'
    (event,) = decode(PriceEvent, raw)
    event.price_updates[0].extra["new"].append("b")
    assert decode(PriceEvent, raw)[0].price_updates[0].extra == {"new": ["a"]}


def test_equal_parts_of_two_documents_are_one_value() -> None:
    first, second = (decode(PriceEvent, _PLAIN.replace(b"1397808", number))[0] for number in (b"5", b"6"))
    assert first.race_id != second.race_id
    assert first.price_updates[0] is second.price_updates[0]
    assert first.scratchings[0] is second.scratchings[0]


def test_plain_documents_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> Any:
        raise AssertionError("the patient reader was asked")

    monkeypatch.setattr(forms, "read", forbidden)
    assert decode(PriceEvent, _PLAIN)
    assert decode(PriceEvent, msgspec.json.format(_PLAIN))
    for name in (b"scratchings", b"unscratchings", b"priceUpdates"):
        document = ours.from_json(_PLAIN)
        del document[name.decode()], document["eventId"]
        assert decode(PriceEvent, ours.to_json(document))
    assert decode(PriceEvent, _PLAIN.replace(b'"4.4"', b'"","new":1'))[0].price_updates[0].extra == {"new": 1}
