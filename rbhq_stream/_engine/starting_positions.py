"""Checks the application's `positions`, and returns where to start reading the partitions that are assigned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from rbhq_stream._engine.unfinished_work import check_function, check_result
from rbhq_stream.errors import ConfigError
from rbhq_stream.positions import Positions
from rbhq_stream.source import TopicPartition

MAX_OFFSET = 2**63 - 1
MAX_PARTITION = 2**31 - 1
_SAME = "configure all topics of the source, such as topics=recording.topics for a recording"


class StartingPositions:
    """The application's `positions`, checked. After construction, only the poll thread uses it."""

    def __init__(self, positions: Positions | None, topics: Collection[str]) -> None:
        self._callable: Callable[[Collection[TopicPartition]], Mapping[tuple[str, int], int]] | None = None
        self._mapping: dict[TopicPartition, int] = {}
        self._topics = topics
        if isinstance(positions, Mapping):
            self._mapping = _checked(positions)
            for partition in self._mapping:
                if partition.topic not in topics:
                    raise ValueError(f"positions: {partition} is of no topic of this feed; it has {sorted(topics)}")
        elif positions is None or callable(positions):
            check_function(positions, "positions")
            self._callable = positions
        else:
            raise TypeError(
                f"positions={positions!r}: expected a mapping of (topic, partition) to offset or a callable"
            )

    def check_exist(self, existing: Collection[TopicPartition]) -> None:
        """Checks that the partitions which a mapping names exist. Another member of the group may own them.

        A callable is not checked: it is called for assigned partitions, and may return more than these.

        Args:
            existing: all partitions of the source.

        Raises:
            ConfigError: the mapping names a partition that does not exist, or the source has a topic that the feed does
                not have.
        """
        unknown = sorted({partition.topic for partition in existing}.difference(self._topics))
        if unknown:
            raise ConfigError("topics", f"the source has {unknown}, and the feed {sorted(self._topics)}: {_SAME}")
        for partition in self._mapping:
            if partition not in existing:
                last = max((other.partition for other in existing if other.topic == partition.topic), default=-1)
                has = f"partitions 0 to {last}" if last else "partition 0 only"
                raise ConfigError("positions", f"there is no partition {partition}: the topic has {has}")

    def of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Returns the offsets at which to start reading those of these partitions that the application names.

        Raises:
            TypeError: the application's callable did not return a mapping.
            ValueError: the mapping it returned holds something other than partitions and offsets.
            Exception: what the application's callable raises.
        """
        if not partitions:
            return {}
        if self._callable is None:
            positions = self._mapping
        else:
            returned = self._callable(partitions)
            check_result(returned, "positions", self._callable)
            positions = _checked(returned)
        return {partition: positions[partition] for partition in partitions if partition in positions}

    def committed(self, partitions: Collection[TopicPartition]) -> None:
        """Notes that the group has committed these partitions: from now on a mapping is ignored for them."""
        for partition in partitions:
            self._mapping.pop(partition, None)


def _checked(positions: Mapping[tuple[str, int], int] | Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    if not isinstance(positions, Mapping):
        raise TypeError(f"positions: expected a mapping of (topic, partition) to offset, got {positions!r}")
    checked = {}
    for partition, offset in positions.items():
        match partition:
            case (str(topic), int(number)) if _is_within(number, MAX_PARTITION) and _is_within(offset, MAX_OFFSET):
                checked[TopicPartition(topic, number)] = int(offset)
            case _:
                raise ValueError(
                    f"positions: expected (topic, partition) and an offset of 0 to {MAX_OFFSET},"
                    f" got {partition!r}: {offset!r}"
                )
    return checked


def _is_within(number: object, maximum: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= maximum
