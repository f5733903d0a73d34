"""`Rows`: collects events, and makes columns of them.

A day has millions of prices, but few distinct ones, and the decoder returns the same object for the same price. So a
column of objects is made in two steps: the distinct objects, found by their identity, are converted once each, and then
the column is taken from them by their indices.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from operator import methodcaller
from typing import Any

import pyarrow as pa

from rbhq_stream import _field_checks as checks
from rbhq_stream._tables.schemas import SCHEMAS
from rbhq_stream._timestamps import MAX_MILLISECONDS
from rbhq_stream.events import Event, PriceEvent, RaceResultEvent, RaceStatusEvent, Unscratching
from rbhq_stream.record import RawRecord, Record

_EVENT_COLUMNS = 7
_topic, _partition, _offset = methodcaller("topic"), methodcaller("partition"), methodcaller("offset")
_timestamp = methodcaller("timestamp")
_DEDUCTIONS = (
    "win_deduction",
    "place_deduction",
    "two_place_deduction",
    "three_place_deduction",
    "four_place_deduction",
)


class Table:
    """The rows of one table: events, each with the parts that become rows."""

    def __init__(self, name: str) -> None:
        self._schema = SCHEMAS[name]
        self.events: list[Event] = []
        self.counts: list[int] = []
        """How many rows each event has."""
        self.parts: list[Any] = []

    def add(self, event: Event, parts: Sequence[Any]) -> None:
        """Adds the rows of an event."""
        self.events.append(event)
        self.counts.append(len(parts))
        self.parts += parts

    def made(self, columns: Sequence[list[Any]]) -> pa.Table:
        """Returns the table with these columns, after those of the event."""
        fields = list(self._schema)
        owner = _array(pa.int64(), list(chain.from_iterable(map(repeat, range(len(self.events)), self.counts))))
        arrays = [
            self._column(field, values).take(owner)
            for field, values in zip(fields[:_EVENT_COLUMNS], _event_columns(self.events), strict=True)
        ]
        arrays += [self._column(field, values) for field, values in zip(fields[_EVENT_COLUMNS:], columns, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self._schema)

    @staticmethod
    def _column(field: pa.Field, values: list[Any]) -> pa.Array:
        try:
            return _array(field.type, values)
        except (pa.ArrowInvalid, OverflowError) as error:
            raise ValueError(f"a {field.name} can't be in a table: {error}") from error


def _array(kind: pa.DataType, values: list[Any]) -> pa.Array:
    if kind == pa.int64() and None not in values:
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(array("q", values))])
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_timestamp(kind):
        return pa.array(values, kind)
    ids = list(map(id, values))
    distinct = dict(zip(ids, values, strict=True))
    numbers = dict(zip(distinct, range(len(distinct)), strict=True))
    return pa.array(list(distinct.values()), kind).take(_array(pa.int64(), list(map(numbers.__getitem__, ids))))


class Rows:
    """Collects the rows of all tables."""

    def __init__(self) -> None:
        self._prices, self._scratchings, self._statuses, self._results, self._dividends = map(Table, SCHEMAS)

    def add(self, events: Iterable[Event]) -> None:
        """Adds events.

        Raises:
            TypeError: one of them is not an event.
        """
        for event in events:
            if isinstance(event, PriceEvent):
                if event.price_updates:
                    self._prices.add(event, event.price_updates)
                if event.scratchings or event.unscratchings:
                    self._scratchings.add(event, (*event.scratchings, *event.unscratchings))
            elif isinstance(event, RaceStatusEvent):
                self._statuses.add(event, (event,))
            elif isinstance(event, RaceResultEvent):
                self._results.add(event, [(event, result) for result in event.results])
                pools = [(event, group, pool) for group in event.dividends for pool in group.pool_dividends]
                self._dividends.add(event, pools)
            else:
                raise TypeError(
                    f"expected events, got {checks.shown(event)}; recording.events() returns those of a recording"
                )

    def tables(self) -> tuple[pa.Table, ...]:
        """Returns the tables, in the order of the schemas."""
        return (
            self._prices.made(_prices(self._prices.parts)),
            self._scratchings.made(_scratchings(self._scratchings.parts)),
            self._statuses.made(_statuses(self._statuses.parts)),
            self._results.made(_results(self._results.parts)),
            self._dividends.made(_dividends(self._dividends.parts)),
        )


def _event_columns(events: Sequence[Event]) -> list[list[Any]]:
    """Returns the columns that every table begins with."""
    raws = [event.raw_record for event in events]
    columns: list[list[Any]]
    if any(raw is None or isinstance(raw, Record) for raw in raws):
        heads = [_record_values(raw) for raw in raws]
        columns = [list(values) for values in zip(*heads, strict=True)]
    else:  # straight from a source, as almost always: no Python code runs for each event
        # Arrow takes the microseconds since 1970 as they are
        stamps = map(_timestamp, raws)
        times = [time * 1000 if kind and 0 <= time <= MAX_MILLISECONDS else None for kind, time in stamps]
        columns = [
            times,
            list(map(_topic, raws)),
            list(map(_partition, raws)),
            list(map(_offset, raws)),
            [0] * len(raws),
        ]
    return [*columns, [event.meeting_id for event in events], [event.event_number for event in events]]


def _record_values(raw: Record | RawRecord | None) -> tuple[Any, ...]:
    if raw is None:
        return None, None, None, None, None
    record = raw if isinstance(raw, Record) else Record.of(raw)
    return record.timestamp, record.topic, record.partition, record.offset, record.part


def _prices(updates: Sequence[Any]) -> list[list[Any]]:
    types = [update.price_type for update in updates]
    texts = {id(kind): kind.value for kind in types}
    return [
        [update.runner_number for update in updates],
        [texts[id(kind)] for kind in types],
        [update.property_id for update in updates],
        [update.price for update in updates],
    ]


def _scratchings(parts: Sequence[Any]) -> list[list[Any]]:
    is_scratched = [not isinstance(part, Unscratching) for part in parts]
    return [
        [part.runner_number for part in parts],
        is_scratched,
        [part.unscratch_time if isinstance(part, Unscratching) else part.scratch_time for part in parts],
        *([getattr(part, name, None) for part in parts] for name in ("scratch_type", *_DEDUCTIONS)),
    ]


def _statuses(events: Sequence[RaceStatusEvent]) -> list[list[Any]]:
    return [[event.status.value for event in events], [event.runner_number for event in events]]


def _results(parts: Sequence[tuple[RaceResultEvent, Any]]) -> list[list[Any]]:
    return [
        [event.status.value for event, _ in parts],
        *([getattr(event, name) for event, _ in parts] for name in ("venue", "source", "host", "date_created")),
        *(
            [getattr(result, name) for _, result in parts]
            for name in ("runner_number", "outcome_name", "final_position", "payout_factor")
        ),
        *(
            [getattr(result.payout_factors, name) for _, result in parts]
            for name in ("win", "place2", "place3", "place4")
        ),
    ]


def _dividends(parts: Sequence[tuple[RaceResultEvent, Any, Any]]) -> list[list[Any]]:
    return [
        [event.status.value for event, _, _ in parts],
        [group.wagering_product for _, group, _ in parts],
        [list(pool.selections) for _, _, pool in parts],
        [pool.amount for _, _, pool in parts],
    ]
