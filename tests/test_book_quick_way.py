"""Nearly all events have nothing but prices, and follow the one before in every respect. A race applies them in a quick
way, whose effect must be that of the general one. Events with a whole `Record` are always applied in the general way.
"""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from rbhq_stream import Event, PriceEvent, PriceType, PriceUpdate, RaceId, RaceStatus, RaceStatusEvent, Record
from rbhq_stream._book.race import BookedRace
from rbhq_stream._book.races import Races
from rbhq_stream._timestamps import to_micros
from rbhq_stream.record import RawRecord
from rbhq_stream.testing import MemoryRecord
from tests.race_books import START, after, scratching, win

_RACES = RaceId(1, 1), RaceId(1, 2)
_keep = st.sampled_from([None, None, None, timedelta(seconds=20)])


class UntimedRecord(MemoryRecord):
    """A record without a time."""

    def timestamp(self) -> tuple[int, int]:
        return 0, -1


class LateRecord(MemoryRecord):
    """A record with a time that no calendar has."""

    def timestamp(self) -> tuple[int, int]:
        return 1, 253_402_300_800_000


def raw_record(
    topic: str, partition: int, offset: int, at: float, kind: type[MemoryRecord] = MemoryRecord
) -> RawRecord:
    return kind(topic, partition, offset, b"{}", None, START.timestamp() + at)


def with_whole_record(event: Event) -> Event:
    """The same event, which is applied in the general way."""
    raw = event.raw_record
    assert raw is not None
    assert not isinstance(raw, Record)
    values = {field.alias: getattr(event, field.name) for field in attrs.fields(type(event))}
    return type(event)(**values, record=Record.of(raw))


_updates = st.builds(
    PriceUpdate,
    st.integers(1, 3),
    st.sampled_from([PriceType.WIN, PriceType.PLACE]),
    price=st.sampled_from([None, "2", "3", "4.40"]),
)


@st.composite
def sequences(draw: DrawFn) -> list[Event]:
    """Events of two races in one or two partitions of the topic of prices: most follow the one before, some don't."""
    events: list[Event] = []
    offset, at = 0, 0.0
    rarely = st.integers(0, 7).map(lambda number: number == 7)
    for number in range(draw(st.integers(3, 30))):
        meeting_id, event_number = draw(st.sampled_from([_RACES[0], *_RACES]))
        offset += draw(st.sampled_from([1, 1, 1, 1, 0, -1, 3]))
        at += draw(st.sampled_from([0.0, 0.5, 0.5, -1.0, 2.0]))
        kind = draw(st.sampled_from([*[MemoryRecord] * 12, UntimedRecord, LateRecord]))
        if draw(rarely):
            status = draw(st.sampled_from([RaceStatus.OPEN, RaceStatus.CLOSED, RaceStatus.ABANDONED]))
            record = raw_record("status", 0, number, at, kind)
            events.append(RaceStatusEvent(meeting_id, event_number, status, record=record))
            continue
        record = raw_record("prices", int(draw(rarely)), max(offset, 0), at, kind)
        updates = tuple(draw(st.lists(_updates, min_size=1, max_size=3))) if not draw(rarely) else ()
        scratchings = (scratching(draw(st.integers(1, 3))),) if draw(rarely) else ()
        events.append(PriceEvent(meeting_id, event_number, updates, scratchings, record=record))
    return events


@given(sequences(), _keep, st.integers(2, 12), st.data())
def test_the_quick_way_to_apply_an_event_does_what_the_general_one_does(
    events: list[Event], keep: timedelta | None, history: int, data: st.DataObject
) -> None:
    listing, silent, general = books = [Races(keep, history) for _ in range(3)]
    for event in events:
        changes = listing.apply(event, lists_prices=True)
        silent.apply(event, lists_prices=data.draw(st.booleans()))
        assert changes == general.apply(with_whole_record(event), lists_prices=True)
        if data.draw(st.integers(0, 3)) == 0:
            assert len({tuple(race.state() for race in book.all()) for book in books}) == 1
    expected = general.saved({}, {})
    for book in listing, silent:
        assert book.saved({}, {}) == expected
        assert book.positions() == general.positions()
        assert book.newest == general.newest
        for race in book.all():
            same = general.get(race.race_id)
            assert same is not None
            assert race.state() == same.state()
            assert race.state_at(to_micros(after(60))) == same.state_at(to_micros(after(60)))


def test_an_event_that_follows_the_one_before_is_applied_in_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    races = Races(None, 100)
    races.apply(PriceEvent(1, 1, (win(1, "2"),), record=raw_record("prices", 0, 0, 0)), lists_prices=False)
    races.apply(PriceEvent(1, 1, (win(1, "3"),), record=raw_record("prices", 0, 1, 1)), lists_prices=False)
    monkeypatch.delattr(BookedRace, "apply")
    event = PriceEvent(1, 1, (win(1, "4"),), record=raw_record("prices", 0, 2, 1))
    assert races.apply(event, lists_prices=False) == []
    race = races.get(RaceId(1, 1))
    assert race is not None
    assert race.state().price(1, PriceType.WIN) == win(1, "4").price
