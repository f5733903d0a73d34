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
    """The consumer group has thrown this process out: the partitions may be another member's already.

    The group heard nothing of the process for `session_timeout`, or the feed's own thread could not poll for
    `max_poll_interval`: the process was frozen or swapped out, or the network or all brokers were away. Nothing is
    committed for what was lost, and nothing of it that waits in the buffer is handed over. The feed joins the group
    again by itself, and partitions that it gets then begin at the group's committed offsets.
    """

    partitions: tuple[TopicPartition, ...]
    uncommitted: Mapping[TopicPartition, int] = field(hash=False)
    """How far this process was done with each partition, as far as that was not committed: the offset of the next
    record. The events before it that come again, here or at another member, were handled here.
    """
