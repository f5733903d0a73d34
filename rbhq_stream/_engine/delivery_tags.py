"""Delivery tags: how `ack` knows the events that this feed handed over.

An offset alone does not tell: two feeds of one topic hand over the same offsets, each to an application of its own, and
an offset can be written by hand. So a feed whose application acknowledges tags the record of each event with the feed
and with the epoch of the ledger in which the record was read.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import NamedTuple

from rbhq_stream.events import RaceEvent
from rbhq_stream.record import Record, delivery_tag, tag_delivery


class _DeliveryTag(NamedTuple):
    feed: str
    epoch: int


class DeliveryTags:
    """The tags of one feed. The application's thread tags; any thread asks."""

    def __init__(self) -> None:
        self._latest: _DeliveryTag | None = None  # the events of one epoch share one tag

    def tag(self, events: Iterable[RaceEvent], epoch: int) -> None:
        """Tags events that are about to be handed over. Each must hold a `Record` already."""
        latest = self._latest
        if latest is None:
            latest = self._latest = _DeliveryTag(uuid.uuid4().hex, epoch)
        elif latest.epoch != epoch:
            latest = self._latest = latest._replace(epoch=epoch)
        for event in events:
            record = event.record
            assert record is not None, "decode() has put it there"
            tag_delivery(record, latest)

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
            raise ValueError("this event was made by hand: only an event that came from the feed can be acknowledged")
        tag = delivery_tag(record)
        if self._latest is None or not isinstance(tag, _DeliveryTag) or tag.feed != self._latest.feed:
            raise ValueError(
                f"the event of {record} was not handed over by this feed, so nothing is acknowledged: it came from"
                " another feed or from an earlier run, or its record was made by hand. Pass ack() the event, or a copy"
                " of it, at the feed that handed it over"
            )
        return record, tag.epoch
