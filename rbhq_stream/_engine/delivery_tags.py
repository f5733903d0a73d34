"""Delivery tags, by which `ack` recognises the events that this feed handed over.

An offset is not enough: two feeds of one topic hand over the same offsets, each to its own application, and an
application can make a record with any offset. So with `commit="manual"` a feed tags each record with the feed, the
epoch of the ledger in which the record was read, and its topic, partition and offset.
"""

from __future__ import annotations

import uuid

import attrs

from rbhq_stream.events import RaceEvent
from rbhq_stream.record import RawRecord, Record


class DeliveryTags:
    """The tags of one feed. The application's thread calls `tagged`; any thread may call `check`."""

    def __init__(self) -> None:
        self._feed = uuid.uuid4().hex

    def tagged(self, raw: RawRecord, epoch: int) -> Record:
        """Returns the record with its tag. The events that are decoded from it have this record."""
        record = Record.of(raw)
        return attrs.evolve(record, delivery_tag=self._tag(record, epoch))

    def check(self, event: RaceEvent) -> tuple[Record, int]:
        """Returns the record of an event that this feed handed over, and the epoch in which the record was read.

        A copy of the event counts as the event.

        Raises:
            TypeError: it is not an event.
            ValueError: this feed did not hand it over.
        """
        if not isinstance(event, RaceEvent):
            raise TypeError(f"ack({event!r}): expected an event that this feed handed over")
        record = event.record
        if record is None:
            raise ValueError(
                "this event was constructed by the application: only events that came from the feed can be acknowledged"
            )
        epoch = int((record.delivery_tag or "0").partition(":")[0])
        if record.delivery_tag != self._tag(record, epoch):
            raise ValueError(
                f"the event of {record} was not handed over by this feed, so nothing is acknowledged: it came from"
                " another feed or from an earlier run, or its record was constructed by the application. Pass ack() the"
                " event, or a copy of it, at the feed that handed it over"
            )
        return record, epoch

    def _tag(self, record: Record, epoch: int) -> str:
        return f"{epoch}:{self._feed}:{record}"
