"""`Positions`: the application's own offsets, for the partitions that are assigned to the feed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Union

from rbhq_stream.source import TopicPartition

Positions = Union[
    Mapping[tuple[str, int], int],
    Mapping[TopicPartition, int],
    Callable[[Collection[TopicPartition]], Mapping[tuple[str, int], int]],
]
"""Offsets of the next record to read (the last processed one + 1) by topic and partition, or a callable returning them.

A mapping applies to each partition until the group has committed an offset for it. A callable is called on the poll
thread each time partitions are assigned to the feed, with those partitions, so it is used after each rebalance and
restart. Partitions that are not named start at the group's committed offsets or, if there are none, at
`FeedConfig.start`.
"""
