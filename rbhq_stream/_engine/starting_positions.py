"""The application's `positions`, checked: where to begin reading the partitions that the feed is assigned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from rbhq_stream.positions import Positions
from rbhq_stream.source import TopicPartition


class StartingPlaces:
    """The application's `positions`, checked; for the poll thread."""

    def __init__(self, positions: Positions | None, topics: Collection[str]) -> None:
        self._ask: Callable[[Collection[TopicPartition]], Mapping[tuple[str, int], int]] | None = None
        self._given: dict[TopicPartition, int] = {}
        if isinstance(positions, Mapping):
            self._given = _checked(positions)
            for partition in self._given:
                if partition.topic not in topics:
                    raise ValueError(f"positions: {partition} is of no topic of this feed; it has {sorted(topics)}")
        elif positions is None or callable(positions):
            self._ask = positions
        else:
            raise TypeError(
                f"positions={positions!r}: expected a mapping of (topic, partition) to offset or a callable"
            )

    def of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where to read these partitions from, as far as the application says.

        Raises: what the application's callable raises. TypeError, ValueError: it answered no such mapping.
        """
        if not partitions:
            return {}
        given = self._given if self._ask is None else _checked(self._ask(partitions))
        return {partition: given[partition] for partition in partitions if partition in given}

    def committed(self, partitions: Collection[TopicPartition]) -> None:
        """The group's offsets for these partitions say from now on what a mapping said."""
        for partition in partitions:
            self._given.pop(partition, None)


def _checked(positions: Mapping[tuple[str, int], int]) -> dict[TopicPartition, int]:
    if not isinstance(positions, Mapping):
        raise TypeError(f"positions: expected a mapping of (topic, partition) to offset, got {positions!r}")
    checked = {}
    for place, offset in positions.items():
        match place:
            case (str(topic), int(partition)) if _is_natural(partition) and _is_natural(offset):
                checked[TopicPartition(topic, partition)] = int(offset)
            case _:
                raise ValueError(
                    f"positions: expected (topic, partition) and an offset of 0 or more, got {place!r}: {offset!r}"
                )
    return checked


def _is_natural(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
