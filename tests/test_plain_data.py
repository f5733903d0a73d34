"""Events as data: `to_dict`, and the tools that write JSON, Parquet or dictionaries, each with an event from Kafka."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Annotated, Any

import attrs
import cattrs
import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pydantic_core
import pytest
from cattrs.preconf.json import make_converter as json_converter
from cattrs.preconf.msgspec import make_converter as msgspec_converter
from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from hypothesis import given

from rbhq_stream import (
    Event,
    Extra,
    Feed,
    PriceEvent,
    PriceUpdate,
    RaceEvent,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Record,
    decode,
    encode,
    to_dict,
)
from rbhq_stream.testing import EmbeddedBroker, MemoryRecord
from tests import strategies

RAW = b"""{
  "meetingId": 1397808, "eventNumber": 7, "going": {"rating": [4.50, true, null, 9]},
  "priceUpdates": [{"runnerNumber": 3, "property": "ep", "propertyId": 12, "price": "4.40"},
                   {"runnerNumber": 4, "property": "newType", "propertyId": 99, "price": null, "by": 1.10}],
  "scratchings": [{"runnerNumber": 5, "winDeduction": 0.070, "scratchTime": "2022-11-27T20:25:30.44Z"}]
}"""
UPDATES: list[Any] = [
    {"runner_number": 3, "price_type": "ep", "property_id": 12, "price": "4.40", "extra": {}},
    {"runner_number": 4, "price_type": "newType", "property_id": 99, "price": None, "extra": {"by": "1.10"}},
]
SCRATCHING: dict[str, Any] = {
    "runner_number": 5,
    "win_deduction": "0.070",
    "place_deduction": None,
    "two_place_deduction": None,
    "three_place_deduction": None,
    "four_place_deduction": None,
    "scratch_type": None,
    "scratch_time": "2022-11-27T20:25:30.440000+00:00",
    "extra": {},
}
PLAIN: dict[str, Any] = {
    "meeting_id": 1397808,
    "event_number": 7,
    "price_updates": UPDATES,
    "scratchings": [SCRATCHING],
    "unscratchings": [],
    "extra": {"going": {"rating": ["4.50", True, None, 9]}},
}


@pytest.fixture(scope="module")
def event() -> PriceEvent:
    """An event as a feed hands it over: with the message of the real Kafka client behind it."""
    with EmbeddedBroker(partitions=1) as broker:
        broker.publish_raw(broker.topics.prices or "", RAW)
        with Feed(broker.config()) as feed:
            event = next(feed)
    assert isinstance(event, PriceEvent)
    assert type(event._record).__module__.startswith("confluent_kafka")
    return event


def test_to_dict_returns_plain_data(event: PriceEvent) -> None:
    assert to_dict(event) == PLAIN
    assert json.loads(json.dumps(to_dict(event))) == PLAIN
    assert [to_dict(update) for update in event.price_updates] == UPDATES
    assert to_dict(event.race_id) == {"meeting_id": 1397808, "event_number": 7}


@given(strategies.events)
def test_to_dict_returns_data_that_json_writes_and_reads_back(event: Event) -> None:
    assert json.loads(json.dumps(to_dict(event), allow_nan=False)) == to_dict(event)
    assert set(to_dict(event)) == {a.name for a in attrs.fields(type(event))}


@pytest.mark.parametrize("value", [None, 7, "1-2", {}, object(), Decimal(1), RaceStatus.OPEN])
def test_to_dict_refuses_anything_but_events_and_parts(value: Any) -> None:
    with pytest.raises(TypeError, match=f"to_dict expects an event or a part of one, got {type(value).__name__}"):
        to_dict(value)


def test_json_dumps_writes_events_with_to_dict_as_default(event: PriceEvent) -> None:
    assert json.loads(json.dumps(event, default=to_dict)) == PLAIN
    both = json.dumps({"race": event.race_id, "events": [event]}, default=to_dict)
    assert json.loads(both) == {"race": to_dict(event.race_id), "events": [PLAIN]}
    assert json.dumps({str(event.race_id): 1}) == '{"1397808-7": 1}'
    assert json.dumps(Extra({"a": [1]})) == '{"a": [1]}'


def test_attrs_asdict_and_cattrs_leave_the_kafka_message_out(event: PriceEvent) -> None:
    for plain in (attrs.asdict(event), cattrs.unstructure(event), cattrs.Converter().unstructure(event)):
        assert plain.keys() == PLAIN.keys()
        assert plain["price_updates"][0]["price"] == Decimal("4.40")
        assert plain["extra"] == {"going": {"rating": [Decimal("4.50"), True, None, 9]}}
    assert attrs.astuple(event)[:2] == (1397808, 7)
    assert [a.name for a in attrs.fields(PriceEvent)] == list(PLAIN)
    assert attrs.fields(PriceEvent).price_updates.name == "price_updates"
    assert event.record is not None, "it is still there"


def test_an_evolved_event_is_made_by_hand(event: PriceEvent) -> None:
    changed = attrs.evolve(event, event_number=8)
    assert (changed.race_id, changed.record) == (RaceId(1397808, 8), None)
    assert attrs.evolve(event, event_number=8, record=event.record).record is event.record


def test_cattrs_json_converters_write_events(event: PriceEvent) -> None:
    converter = json_converter()
    converter.register_unstructure_hook(RaceEvent, to_dict)
    assert json.loads(converter.dumps(event)) == PLAIN
    assert json.loads(converter.dumps([event], unstructure_as=list[RaceEvent])) == [PLAIN]
    assert json.loads(msgspec_converter().dumps(event))["price_updates"] == UPDATES


def test_msgspec_writes_events_as_they_are(event: PriceEvent) -> None:
    written = msgspec.json.decode(msgspec.json.encode(event))
    assert written == {**PLAIN, "scratchings": [{**SCRATCHING, "scratch_time": "2022-11-27T20:25:30.440000Z"}]}
    assert msgspec.json.decode(msgspec.json.encode([event.race_id, event.extra])) == [
        {"meeting_id": 1397808, "event_number": 7},
        PLAIN["extra"],
    ]
    assert msgspec.to_builtins(event)["extra"] == PLAIN["extra"]


def test_pydantic_writes_events(event: PriceEvent) -> None:
    assert json.loads(pydantic_core.to_json(event, fallback=to_dict)) == PLAIN
    assert pydantic_core.to_jsonable_python({"events": [event]}, fallback=to_dict) == {"events": [PLAIN]}

    quotes = pydantic.TypeAdapter(
        list[Annotated[PriceEvent, pydantic.PlainSerializer(to_dict)]],
        config=pydantic.ConfigDict(arbitrary_types_allowed=True),
    )
    assert json.loads(quotes.dump_json([event])) == [PLAIN]


def test_fastapi_sends_events(event: PriceEvent) -> None:
    app = FastAPI()

    app.add_api_route("/event", lambda: to_dict(event))

    async def get() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            return (await client.get("/event")).json()

    assert asyncio.run(get()) == PLAIN
    assert jsonable_encoder({"events": [event]}, custom_encoder={RaceEvent: to_dict}) == {"events": [PLAIN]}


def test_parquet_keeps_events_with_exact_prices_and_times(event: PriceEvent, tmp_path: Any) -> None:
    rows = [attrs.asdict(e, filter=attrs.filters.exclude("extra")) for e in [event, event]]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "prices.parquet")
    read = pq.read_table(tmp_path / "prices.parquet").to_pylist()
    assert read[1]["price_updates"][0] == {
        "runner_number": 3,
        "price_type": "ep",
        "property_id": 12,
        "price": Decimal("4.40"),
    }
    assert read[1]["scratchings"][0]["win_deduction"] == Decimal("0.070")
    assert read[1]["scratchings"][0]["scratch_time"] == event.scratchings[0].scratch_time
    pq.write_table(
        pa.Table.from_pylist([to_dict(update) | {"extra": None} for update in event.price_updates]),
        tmp_path / "updates",
    )
    assert pq.read_table(tmp_path / "updates").column("price").to_pylist() == ["4.40", None]


def test_a_race_id_unpacks() -> None:
    meeting, race = RaceId(1397808, 7)
    assert (meeting, race) == (1397808, 7)
    assert [*RaceId(1, 2)] == [1, 2]


def test_extra_is_a_read_only_dict() -> None:
    extra = Extra({"a": 1})
    assert extra == {"a": 1}
    assert {**extra, "b": 2} == {"a": 1, "b": 2} == extra | {"b": 2}
    changes: list[Any] = [
        lambda: extra.__setitem__("b", 2),
        lambda: extra.__delitem__("a"),
        lambda: extra.__ior__({"b": 2}),
        extra.clear,
        lambda: extra.pop("a"),
        extra.popitem,
        lambda: extra.setdefault("b", 2),
        lambda: extra.update(b=2),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="Extra is read-only"):
            change()
    assert extra == {"a": 1}
    assert hash(extra) == hash(Extra({"a": 2}))


class CountedRecord(MemoryRecord):
    asked = 0

    def headers(self) -> None:
        type(self).asked += 1


def test_the_record_is_made_once_at_its_first_use() -> None:
    status = RaceStatusEvent(1, 2, RaceStatus.OPEN)
    (event,) = decode(RaceStatusEvent, encode(status), record=CountedRecord("status", 0, 5, b""))
    assert CountedRecord.asked == 0
    assert event.record is event.record is event.require_record()
    assert event.require_record().offset == 5
    assert CountedRecord.asked == 1
    assert event == status


def test_threads_that_use_the_record_at_once_get_the_same_object() -> None:
    status = encode(RaceStatusEvent(1, 2, RaceStatus.OPEN))
    events = [decode(RaceStatusEvent, status, record=MemoryRecord("status", 0, n, b""))[0] for n in range(300)]
    start, interval = threading.Barrier(4), sys.getswitchinterval()

    def ask() -> list[Record]:
        start.wait()
        return [event.require_record() for event in events]

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            asked = [future.result() for future in [pool.submit(ask) for _ in range(4)]]
    finally:
        sys.setswitchinterval(interval)
    assert all(len({id(record) for record in records}) == 1 for records in zip(*asked, strict=True))


def test_require_record_raises_for_an_event_made_by_hand() -> None:
    with pytest.raises(
        ValueError, match="RaceStatusEvent of race 1-2 was constructed by the application: it has no record"
    ):
        RaceStatusEvent(1, 2, RaceStatus.OPEN).require_record()
    record = Record("status", 0, 5)
    assert RaceStatusEvent(1, 2, RaceStatus.OPEN, record=record).require_record() is record


def test_a_subclass_of_an_event_has_no_record_but_does_not_break() -> None:
    @attrs.frozen
    class Graded(RaceResultEvent):
        grade: str = attrs.field(default="", kw_only=True)

    graded = Graded(1, 2, RaceStatus.FINAL, grade="A")
    assert graded.record is None
    assert to_dict(graded)["grade"] == "A"
    assert to_dict(PriceUpdate(3, "ep", price="4.40")) == UPDATES[0] | {"property_id": None}
