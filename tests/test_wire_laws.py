"""Properties of every event and every document, including documents of arbitrary bytes."""
# ruff: noqa: E501  # tables

from __future__ import annotations

import json
import pickle
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbhq_stream._wire import MAX_BYTES, decode, encode, fast_path, lenient
from rbhq_stream._wire import names as wire_names
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import (
    Event,
    PayoutFactors,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceStatus,
    Scratching,
)
from tests import strategies as ours
from tests.fuzz import decode_laws

_settings = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=timezone.utc)
CORPUS = sorted((Path(__file__).parent / "fuzz" / "corpus").iterdir())


@_settings
@given(ours.events)
def test_an_encoded_event_decodes_to_the_same_event(event: Event) -> None:
    raw = encode(event)
    assert decode(type(event), raw) == (event,)
    assert encode(decode(type(event), raw)[0]) == raw
    assert pickle.loads(pickle.dumps(event)) == event


@_settings
@given(ours.events)
def test_an_encoded_event_is_plain_json(event: Event) -> None:
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
def test_prices_of_several_races_give_one_event_for_each_race(data: st.DataObject, event: PriceEvent) -> None:
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


_PLAIN = ours.to_json(
    ours.from_json((Path(__file__).parent / "fuzz" / "corpus" / "prices-plain").read_bytes()[1:])
    | {"unscratchings": []}
)
"""A document for the fast path."""
_SNIPPETS = [
    b'"price":"\xff",', b'"price":["\\q"],', b'"scratchings":[{"x":"\xe9"}],', b'"runnerNumber":7,', b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"0", b"9" * 20, b".5", b"e9", b"NaN", b"\xff", b"\\u0034",
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
@given(
    st.lists(_scalars, min_size=20, max_size=20), st.lists(st.integers(0, 19), max_size=3), st.booleans(), st.booleans()
)
def test_the_paths_agree_on_every_kind_of_value(
    scalars: list[str], where: list[int], twice: bool, reinstated: bool
) -> None:
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
    if not reinstated:
        raw = raw.partition(',"unscratchings":')[0] + "}"
    if twice:
        raw = raw.replace('"scratchType":', '"scratchType":1,"scratchType":', 1)
    decode_laws.check(PriceEvent, raw.encode())


@_settings
@given(st.sampled_from(decode_laws.KINDS), st.one_of(st.binary(max_size=60), ours.json_values.map(ours.to_json)))
def test_any_bytes_give_events_or_a_decode_error(kind: type[Event], raw: bytes) -> None:
    decode_laws.check(kind, raw)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_of_the_fuzzer_passes(path: Path) -> None:
    data = path.read_bytes()
    for kind in decode_laws.KINDS:
        decode_laws.check(kind, data[1:])
    if not path.name.startswith(("nested", "surrogate", "long-numbers", "prices-faulty", "found-")):
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
        decode(PriceEvent, b" " * (MAX_BYTES + 1))


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
    started = time.process_time()
    for kind in decode_laws.KINDS:
        try:
            decode(kind, raw)
        except DecodeError as error:
            assert 1 <= len(error.faults) <= 1_003  # noqa: PT017  # a valid price event is among them
            assert len(str(error)) < 5_000  # noqa: PT017
    assert time.process_time() - started < 20


def test_the_memory_of_the_fast_path_is_bounded() -> None:
    class SmallMemo(fast_path.Memo[str]):
        MAX_ENTRIES, MAX_LENGTH = 100, 10

    read: list[str] = []
    memo = SmallMemo(lambda text: read.append(text) or text * 2)  # type: ignore[func-returns-value]
    for number in range(1000):
        assert [memo[str(number)], memo[str(number)]] == [str(number) * 2] * 2
        assert len(memo) <= 100
    assert len(read) == 1000, "each was read once"
    assert [memo["x" * 11], memo["x" * 11]] == ["x" * 22] * 2
    assert "x" * 11 not in memo


def _scratching(runner: int) -> Scratching:
    cents = Decimal("0.07")
    return Scratching(runner, cents, cents, cents, cents, cents, 1, NOW)


def test_only_numbers_are_remembered() -> None:
    reader = fast_path.PriceReader()
    for number in range(100):
        event = PriceEvent(1, number, (PriceUpdate(number, "ep", 12, 2),), (_scratching(number),))
        assert reader.read(encode(event), None) == event
    assert dict(reader.prices) == {"2": 2}
    assert dict(reader.deductions) == {"0.07": Decimal("0.07")}


def test_a_number_that_is_remembered_is_not_taken_for_a_boolean() -> None:
    document = (
        '{"meetingId":1,"eventNumber":2,"priceUpdates":[{"runnerNumber":1,"property":"ep","propertyId":12,"price":%s}]}'
    )
    for token in ("1", '"1"', "1.0", "true", "1", "false", "0", "null", '"true"', "[]"):
        decode_laws.check(PriceEvent, (document % token).encode())
    with pytest.raises(DecodeError, match="found true"):
        decode(PriceEvent, (document % "true").encode())


class _Number(IntEnum):
    ONE = 1


_texts = st.text(st.characters(), max_size=5)  # with half surrogate pairs
_numbers = st.one_of(st.decimals(), st.integers(), ours.fractions, ours.prices, st.just(10**5000))
_integers = st.one_of(st.integers(), st.just(-1), st.just(2**63), st.just(10**5000), st.sampled_from(_Number))
_times = st.one_of(
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.sampled_from([datetime(1, 1, 1), datetime(9999, 12, 31, 23)]).map(  # noqa: DTZ001  # it gets one
        lambda time: time.replace(tzinfo=timezone(timedelta(hours=14)))
    ),
)
_anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.decimals(),
        _texts,
        st.binary(),
        st.just(object()),
        _times,
    ),
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner),
        st.sets(st.integers()),
        st.dictionaries(st.one_of(_texts, st.integers()), inner),
    ),
    max_leaves=4,
)
_extras = st.one_of(
    st.just({}), st.dictionaries(st.one_of(_texts, st.sampled_from(sorted(ours.WIRE_NAMES))), _anything, max_size=2)
)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def _built(cls: type[Any]) -> st.SearchStrategy[Any]:
    """A value of a class with any arguments that its constructor takes."""
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        int: _integers, Decimal: _numbers, str: _texts, datetime: _times,
        PriceType: _texts.filter(str.strip), RaceStatus: _texts.filter(str.strip),
    }  # fmt: skip
    arguments = {}
    for field in wire_names.FIELDS[cls]:
        values = kinds[field.kind] if field.kind in kinds else st.deferred(lambda kind=field.kind: _built(kind))  # type: ignore[misc]
        values = st.lists(values, max_size=2).map(tuple) if field.is_tuple else values
        may_be_none = not field.is_required and not field.is_tuple and field.kind is not PayoutFactors
        arguments[field.attribute] = _maybe(values) if may_be_none else values
    return st.builds(cls, extra=_extras, **arguments)


@_settings
@given(st.one_of([_built(kind) for kind in decode_laws.KINDS]))
def test_encode_writes_whatever_can_be_made_or_raises_a_value_error(event: Event) -> None:
    try:
        raw = encode(event)
    except ValueError as error:
        assert str(error).encode()  # noqa: PT017  # not every event is refused
    else:
        assert decode(type(event), raw) == (event,)


def test_plain_documents_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> Any:
        raise AssertionError("the lenient reader was asked")

    monkeypatch.setattr(lenient, "read", forbidden)
    (event,) = decode(PriceEvent, _PLAIN)
    assert type(event) is PriceEvent
    assert {type(update) for update in event.price_updates} == {PriceUpdate}
    assert {type(scratching) for scratching in event.scratchings} == {Scratching}
    assert "extra={}" in repr(event), "every slot is set"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.price_updates[0].price = None  # type: ignore[misc]
    assert decode(PriceEvent, msgspec.json.format(_PLAIN)) == (event,)
    for name in ("scratchings", "unscratchings", "priceUpdates"):
        shorter = {key: value for key, value in ours.from_json(_PLAIN).items() if key not in {name, "eventId"}}
        assert decode(PriceEvent, ours.to_json(shorter))
    for written, other in (
        (b'"4.4"', b"4.4"),
        (b'"4.4"', b"4"),
        (b'"4.4"', b'""'),
        (b'"4.4"', b"null"),
        (b'"property":"ep"', b'"property":"new"'),
    ):
        assert decode(PriceEvent, _PLAIN.replace(written, other))
    assert decode(PriceEvent, _PLAIN.replace(b'"4.4"', b"4.40"))[0].price_updates[0].price == Decimal("4.4")
