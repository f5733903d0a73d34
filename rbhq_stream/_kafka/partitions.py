"""The states of the partitions of a consumer.

Rebalances come as callbacks from within the client's `poll` and `consume`, also while a batch is being collected. The
batch may then still hold records of a partition that was revoked. And of a partition that was assigned meanwhile, its
records can't be distinguished from those of an earlier assignment. The states decide which records are handed over:

| state | meaning | its records |
|---|---|---|
| gone | not assigned, or not any more | dropped |
| FRESH | assigned since the last call of `settle` | dropped, and the partition becomes UNPLACED |
| UNPLACED | assigned, but its position has to be looked up first | dropped |
| FLOWING | read from a known position | handed over |

| from | to | when |
|---|---|---|
| gone | FRESH | it is assigned |
| FRESH | FLOWING | a call of the client returned without a record of it |
| FRESH | UNPLACED | a record of it came within the batch in which it was assigned |
| FRESH, FLOWING | UNPLACED | the client reports that it has no committed offset, or that its offset is out of range |
| UNPLACED | FLOWING | its position was looked up and given to the client |
| any | gone | it is revoked or lost |
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto

from rbhq_stream.source import TopicPartition


class PartitionState(Enum):
    """See the module."""

    FRESH = auto()
    UNPLACED = auto()
    FLOWING = auto()


class Partitions:
    """The partitions that are assigned, each with its state. Used by the polling thread only."""

    def __init__(self) -> None:
        self._states: dict[TopicPartition, PartitionState] = {}
        self._changed = False  # since the last call of `settle`
        self._has_new = False

    @property
    def assigned(self) -> list[TopicPartition]:
        """The assigned partitions."""
        return list(self._states)

    @property
    def unplaced(self) -> list[TopicPartition]:
        """The partitions whose position has to be looked up."""
        return [partition for partition, state in self._states.items() if state is PartitionState.UNPLACED]

    @property
    def are_all_flowing(self) -> bool:
        """Whether all records are to be handed over: nothing was assigned, revoked or lost since the last `settle`, and
        all positions are known.
        """
        return not self._changed and not self.unplaced

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are assigned."""
        self._states.update(dict.fromkeys(partitions, PartitionState.FRESH))
        self._changed = self._has_new = True

    def remove(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are revoked or lost."""
        for partition in partitions:
            self._states.pop(partition, None)
        self._changed = True

    def settle(self) -> bool:
        """The records that come from now on are those of the present assignment.

        Returns:
            Whether a partition was assigned since the last call.
        """
        for partition, state in self._states.items():
            if state is PartitionState.FRESH:
                self._states[partition] = PartitionState.FLOWING
        has_new, self._changed, self._has_new = self._has_new, False, False
        return has_new

    def unplace(self, partition: TopicPartition) -> bool:
        """The position of the partition has to be looked up. Returns whether the partition is assigned at all."""
        if partition not in self._states:
            return False
        self._states[partition] = PartitionState.UNPLACED
        return True

    def place(self, partitions: Collection[TopicPartition]) -> None:
        """The client reads these partitions from the right position."""
        for partition in partitions:
            if partition in self._states:
                self._states[partition] = PartitionState.FLOWING

    def state(self, partition: TopicPartition) -> PartitionState | None:
        """Returns the state of a partition, or `None` for one that is gone."""
        return self._states.get(partition)
