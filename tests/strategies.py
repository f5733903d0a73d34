"""Hypothesis strategies for everything that the feed delivers, as events and as documents."""

from __future__ import annotations

import json
import string
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from rbhq_stream._wire import encode
from rbhq_stream._wire.lenient import PROPERTY_IDS
from rbhq_stream._wire.names import EVENT_ID, NAMES_OF
from rbhq_stream.events import (
    Dividend,
    Event,
    Extra,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Unscratching,
)

WIRE_NAMES = frozenset(name for names in NAMES_OF.values() for name in names.values())
"""Every field name of RBHQ's."""
_TAKEN = {name.lower() for name in WIRE_NAMES} | {"payload"}
_LISTS = ("priceUpdates", "scratchings", "unscratchings")

# values

int64s = st.integers(-(2**63), 2**63 - 1)
naturals = st.one_of(st.integers(0, 30), st.integers(0, 2**63 - 1))
times = st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001
fractions = st.one_of(
    st.decimals(0, 1, places=2),
    st.decimals(-10, 10**30, places=30),
    st.sampled_from([Decimal("1E+20"), Decimal("7E-2")]),
)
prices = st.one_of(st.decimals(1, 1001, places=2), st.decimals(1, 10**25, places=20), st.just(Decimal("1E+2")))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
new_names = st.one_of(st.text(string.ascii_letters + "_", min_size=1, max_size=8), texts).filter(
    lambda name: name.lower() not in _TAKEN
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), int64s, fractions, texts, st.integers(10**20, 10**40)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)
extras = st.one_of(st.just(Extra()), st.just(Extra()), st.dictionaries(new_names, json_values, max_size=3).map(Extra))


def _members(kind: Any) -> SearchStrategy[Any]:
    known = {member.value.lower() for member in kind}
    new = texts.filter(lambda text: bool(text.strip()) and text.lower() not in known).map(kind)
    return st.one_of(st.sampled_from(kind), st.sampled_from(kind), new)


# events

price_types: SearchStrategy[PriceType] = _members(PriceType)
race_statuses: SearchStrategy[RaceStatus] = _members(RaceStatus)


def _maybe(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def _tuples(values: SearchStrategy[Any], most: int = 4) -> SearchStrategy[Any]:
    return st.lists(values, max_size=most).map(tuple)


price_updates = st.one_of(
    st.builds(PriceUpdate, naturals, price_types, property_id=_maybe(int64s), price=_maybe(prices), extra=extras),
    st.sampled_from(sorted(PROPERTY_IDS)).flatmap(
        lambda number: st.builds(
            PriceUpdate, naturals, st.just(PROPERTY_IDS[number]), property_id=st.just(number), price=_maybe(prices)
        )
    ),
)
_deductions = {
    f"{name}_deduction": _maybe(fractions) for name in ("win", "place", "two_place", "three_place", "four_place")
}
scratchings = st.builds(
    Scratching, naturals, **_deductions, scratch_type=_maybe(int64s), scratch_time=_maybe(times), extra=extras
)
unscratchings = st.builds(Unscratching, naturals, unscratch_time=_maybe(times), extra=extras)
price_events = st.builds(
    PriceEvent,
    naturals,
    naturals,
    price_updates=_tuples(price_updates),
    scratchings=_tuples(scratchings),
    unscratchings=_tuples(unscratchings),
    extra=extras,
)
race_status_events = st.builds(
    RaceStatusEvent, naturals, naturals, race_statuses, runner_number=_maybe(naturals), extra=extras
)
payout_factors = st.builds(
    PayoutFactors, **{name: _maybe(fractions) for name in ("win", "place2", "place3", "place4")}, extra=extras
)
runner_results = st.builds(
    RunnerResult,
    naturals,
    outcome_name=_maybe(texts),
    final_position=_maybe(int64s),
    payout_factor=_maybe(fractions),
    payout_factors=payout_factors,
    extra=extras,
)
pool_dividends = st.builds(PoolDividend, selections=_tuples(naturals), amount=fractions, extra=extras)
dividends = st.builds(Dividend, texts, pool_dividends=_tuples(pool_dividends, 2), extra=extras)
race_result_events = st.builds(
    RaceResultEvent,
    naturals,
    naturals,
    status=race_statuses,
    venue=_maybe(texts),
    source=_maybe(texts),
    host=_maybe(texts),
    date_created=_maybe(times),
    results=_tuples(runner_results),
    dividends=_tuples(dividends, 2),
    extra=extras,
)
events: SearchStrategy[Event] = st.one_of(price_events, race_status_events, race_result_events)

# documents


def to_json(document: Any) -> bytes:
    """Compact JSON; `Decimal`s as numbers."""
    return msgspec.json.Encoder(decimal_format="number").encode(document)


def from_json(raw: bytes) -> Any:
    return json.loads(raw, parse_float=Decimal)


@st.composite
def documents(draw: DrawFn, event: Event) -> bytes:
    """One of the documents of this event: all of them must decode to it."""
    document = from_json(encode(event))
    if isinstance(event, PriceEvent) and draw(st.booleans()):
        document = draw(_ids_on_parts(document))
    if draw(st.booleans()):
        document = draw(_respelled(document))
    wrap = draw(st.sampled_from(["", "list", "object", "objects"]))
    if wrap == "list":
        document = [document]
    elif wrap:
        document = {draw(_casings("payload")): document if wrap == "object" else [document]}
    raw = to_json(document)
    if draw(st.booleans()):
        raw = msgspec.json.format(raw, indent=draw(st.sampled_from([0, 2])))
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b" \n"])) + raw


def _casings(name: str) -> SearchStrategy[str]:
    return st.sampled_from([name, name[0].upper() + name[1:], name.upper(), name.lower()])


@st.composite
def _ids_on_parts(draw: DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """The race on each part; at the top, as well or not at all."""
    ids = {"meetingId": document["meetingId"], "eventNumber": document["eventNumber"]}
    joined = {"eventId": "{meetingId}{mark}{eventNumber}".format(mark=draw(st.sampled_from("-:")), **ids)}
    if any(document[name] for name in _LISTS) and draw(st.booleans()):
        document = {name: value for name, value in document.items() if name not in {*ids, "eventId"}}
    lists = {
        name: [{**part, **draw(st.sampled_from([ids, joined, {**ids, **joined}]))} for part in document[name]]
        for name in _LISTS
    }
    return {**document, **lists}


def _can_go(fields: dict[str, Any], name: str) -> bool:
    """Whether the field is redundant."""
    if name == "property":
        return bool(PROPERTY_IDS.get(fields.get("propertyId", 0)) == fields[name])
    return (
        fields[name] is None or (name in _LISTS and fields[name] == []) or (name == EVENT_ID and "meetingId" in fields)
    )


@st.composite
def _respelled(draw: DrawFn, value: Any, name: str | None = None) -> Any:
    """RBHQ's names in other casings, numbers as strings and vice versa, empty fields left out, in any order."""
    if isinstance(value, dict):
        respelled = {}
        for key, item in draw(st.permutations(list(value.items()))):
            if key not in WIRE_NAMES:
                respelled[key] = item
            elif not _can_go(value, key) or draw(st.booleans()):
                respelled[draw(_casings(key))] = draw(_respelled(item, key))
        return respelled
    if isinstance(value, list):
        return [draw(_respelled(item, name)) for item in value]
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return draw(st.sampled_from([value, str(value)]))
    if name == "price":
        return draw(
            st.sampled_from([None, "", 0, "0", Decimal("0.99"), -1] if value is None else [value, Decimal(value)])
        )
    if isinstance(value, str) and name in {"status", "property"} and value.upper() in {*RaceStatus, "EP", "EPPLACE"}:
        return draw(st.sampled_from([value, value.lower(), value.upper(), value.title()]))
    return value
