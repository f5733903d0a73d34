"""The text of the error when `EmbeddedBroker` or `MemorySource` has waited too long."""

from __future__ import annotations

from collections.abc import Mapping


def unhandled(who: str, timeout: float, left: Mapping[tuple[str, int], int]) -> str:
    """Returns a text that lists the records that were not handled.

    Args:
        who: the feed or the group that should have handled them.
        timeout: how long that was waited for, in seconds.
        left: the number of records that are left, by topic and partition.
    """
    records = ", ".join(f"{count} in {topic}[{partition}]" for (topic, partition), count in sorted(left.items()))
    return (
        f"{who} has not handled everything within {timeout:g} s; records left: {records}. Check that a feed is running,"
        " that it requests another event after the last one, and that its handlers return"
    )
