"""Where to begin, as the application says: explicit offsets for the partitions that the feed is assigned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Union

from rbhq_stream.source import TopicPartition

Positions = Union[
    Mapping[tuple[str, int], int],
    Callable[[Collection[TopicPartition]], Mapping[tuple[str, int], int]],
]
"""Offsets of the next record to read (the last handled one + 1), by topic and partition, or a callable that tells them.

A mapping says where to begin: it counts until the group has committed how far the feed went on from there. A callable
is asked on the poll thread each time partitions are assigned to the feed, with those partitions, and so has the last
word after each rebalance and restart. What isn't named starts at the group's committed offset, else at
`FeedConfig.start`.
"""
