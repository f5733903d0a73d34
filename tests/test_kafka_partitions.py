"""The states of the assigned partitions, transition by transition as the module's tables have them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rbhq_stream._kafka.partitions import Partitions, PartitionState
from rbhq_stream.source import TopicPartition

A, B = TopicPartition("prices", 0), TopicPartition("prices", 1)
FRESH, UNPLACED, FLOWING = PartitionState.FRESH, PartitionState.UNPLACED, PartitionState.FLOWING


def in_state(state: PartitionState | None) -> Partitions:
    partitions = Partitions()
    if state is not None:
        partitions.assign([A])
        if state is not FRESH:
            partitions.settle()
        if state is UNPLACED:
            partitions.unplace(A)
    assert partitions.state(A) is state
    return partitions


Step = Callable[[Partitions], object]
STEPS: dict[str, tuple[Step, dict[PartitionState | None, PartitionState | None]]] = {
    "assign": (lambda p: p.assign([A]), {None: FRESH}),
    "settle": (lambda p: p.settle(), {None: None, FRESH: FLOWING, UNPLACED: UNPLACED, FLOWING: FLOWING}),
    "unplace": (lambda p: p.unplace(A), {None: None, FRESH: UNPLACED, UNPLACED: UNPLACED, FLOWING: UNPLACED}),
    "place": (lambda p: p.place([A]), {None: None, UNPLACED: FLOWING}),
    "remove": (lambda p: p.remove([A]), dict.fromkeys((None, FRESH, UNPLACED, FLOWING))),
}


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [(name, before, after) for name, (_, table) in STEPS.items() for before, after in table.items()],
)
def test_each_transition_of_the_table_is_made(
    step: str, before: PartitionState | None, after: PartitionState | None
) -> None:
    partitions = in_state(before)
    STEPS[step][0](partitions)
    assert partitions.state(A) is after
    assert partitions.assigned == ([] if after is None else [A])
    assert partitions.unplaced == ([A] if after is UNPLACED else [])


def test_records_are_checked_one_by_one_while_any_partition_changes() -> None:
    partitions = in_state(FLOWING)
    assert partitions.are_all_flowing
    partitions.assign([B])
    assert not partitions.are_all_flowing
    assert partitions.settle(), "a partition was assigned"
    assert partitions.are_all_flowing
    partitions.remove([B])
    assert not partitions.are_all_flowing
    assert not partitions.settle(), "none was assigned"
    partitions.unplace(A)
    assert not partitions.are_all_flowing
    partitions.settle()
    assert not partitions.are_all_flowing, "until it is placed"
    partitions.place([A])
    assert partitions.are_all_flowing


def test_a_partition_that_was_assigned_and_revoked_counts_as_changed() -> None:
    """The client may have kept it paused."""
    partitions = in_state(FLOWING)
    partitions.assign([B])
    partitions.remove([B])
    assert partitions.settle()


def test_before_the_first_assignment_nothing_has_changed() -> None:
    partitions = Partitions()
    assert partitions.are_all_flowing
    assert partitions.settle() is False


def test_only_the_position_of_an_assigned_partition_is_looked_up() -> None:
    partitions = in_state(FLOWING)
    assert partitions.unplace(A) is True
    assert partitions.unplace(B) is False
