"""What the feed says about itself, told in line with the events: attrs classes only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from rbhq_stream.source import TopicPartition


@frozen(kw_only=True)
class Signal:
    """Something about the feed itself. Handlers are registered with `on`, and called however the feed is read."""

    at: datetime
    """When the feed heard of it, in UTC."""


@frozen(kw_only=True)
class PartitionsLost(Signal):
    """The consumer group has thrown this process out: the partitions are another member's already.

    The group heard nothing of the process for `session_timeout`, or the feed's own thread could not poll for
    `max_poll_interval`: the process was frozen or swapped out, or the network was away. Nothing is committed for these
    partitions any more, and no more of their events are handed over. The feed joins the group again by itself.
    """

    partitions: tuple[TopicPartition, ...]
    uncommitted: Mapping[TopicPartition, int] = field(hash=False)
    """Where events were handled here and that was not committed: the offset of the first record after them. They come
    again, where the partition is now; what was handled later than this process was thrown out may be handled twice.
    """
