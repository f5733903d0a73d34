"""The ledger: which records are processed and may be committed, by examples and by properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from rbhq_stream._engine.buffer import Ownership
from rbhq_stream._engine.ledger import Ledger
from rbhq_stream.source import TopicPartition

A, B = TopicPartition("prices", 0), TopicPartition("prices", 1)


def a_ledger(*partitions: TopicPartition, at: int | None = None) -> Ledger:
    ledger = Ledger()
    ledger.assign(partitions)
    if at is not None:
        for partition in partitions:
            ledger.position(partition, at)
            ledger.committed({partition: at})
    return ledger


def owns(ledger: Ledger, partition: TopicPartition, epoch: int) -> bool:
    """Whether the application gets a record that was read in this epoch, by what the ledger publishes."""
    return Ownership(ledger.epoch, ledger.owned_since()).includes(partition, epoch)


def test_nothing_can_be_committed_before_a_record_is_processed() -> None:
    assert a_ledger(A).committable() == {}


def test_a_position_is_kept_until_the_first_record_is_processed() -> None:
    ledger = a_ledger(A)
    ledger.position(A, 7)
    assert ledger.committable() == {A: 7}
    assert ledger.expected(A) == 7


def test_marking_a_record_as_processed_includes_all_records_before_it() -> None:
    ledger = a_ledger(A, B)
    ledger.mark_processed(A, 4, ledger.epoch)
    assert ledger.committable() == {A: 5}


def test_the_processed_position_never_goes_back() -> None:
    ledger = a_ledger(A)
    ledger.mark_processed(A, 4, ledger.epoch)
    ledger.mark_processed(A, 2, ledger.epoch)
    assert ledger.committable() == {A: 5}


def test_a_committed_offset_is_not_committed_again() -> None:
    ledger = a_ledger(A)
    ledger.mark_processed(A, 4, ledger.epoch)
    ledger.committed({A: 5})
    assert ledger.committable() == {}
    ledger.committed({A: 3})  # an answer that came late
    assert ledger.committable() == {}
    ledger.mark_processed(A, 5, ledger.epoch)
    assert ledger.committable() == {A: 6}


def test_records_read_before_a_partition_was_assigned_again_are_ignored() -> None:
    ledger = a_ledger(A)
    before = ledger.epoch
    ledger.read(A, 9)
    assert ledger.revoke([A]) == {}
    assert not owns(ledger, A, before)
    ledger.assign([A])
    assert not owns(ledger, A, before)
    ledger.mark_processed(A, 9, before)
    assert ledger.committable() == {}
    assert ledger.expected(A) is None
    ledger.mark_processed(A, 3, ledger.epoch)
    assert ledger.committable() == {A: 4}


def test_other_partitions_keep_their_progress_when_one_is_revoked() -> None:
    ledger = a_ledger(A, B)
    epoch = ledger.epoch
    ledger.mark_processed(A, 1, epoch)
    ledger.mark_processed(B, 2, epoch)
    assert ledger.revoke([A]) == {A: 2}, "the last chance to commit it"
    assert owns(ledger, B, epoch)
    assert ledger.committable() == {B: 3}


def test_commits_of_partitions_that_were_revoked_are_ignored() -> None:
    ledger = a_ledger(A)
    ledger.revoke([A])
    ledger.committed({A: 3})
    ledger.position(A, 3)
    ledger.acknowledge(A, 3, ledger.epoch)
    ledger.mark_processed(A, 3, ledger.epoch)
    assert ledger.committable() == {}
    assert ledger.revoke([A]) == {}


def test_with_single_acknowledgements_the_oldest_record_limits_the_committed_offset() -> None:
    ledger = a_ledger(A)
    for offset in (3, 4, 6):  # 5 is the end of a transaction
        ledger.read(A, offset)
    ledger.acknowledge(A, 6, ledger.epoch)
    ledger.acknowledge(A, 4, ledger.epoch)
    assert ledger.committable() == {}
    ledger.acknowledge(A, 3, ledger.epoch)
    assert ledger.committable() == {A: 7}
    ledger.acknowledge(A, 3, ledger.epoch)
    assert ledger.committable() == {A: 7}


def test_a_later_position_counts_once_the_records_before_it_are_processed() -> None:
    ledger = a_ledger(A, at=3)
    ledger.read_up_to(A, 5)
    ledger.position(A, 10)  # 6 to 9 are gone
    assert ledger.expected(A) == 10
    assert ledger.committable() == {}
    ledger.read_up_to(A, 12)
    ledger.position(A, 20)  # and then 13 to 19
    ledger.mark_processed(A, 4, ledger.epoch)
    assert ledger.committable() == {A: 5}
    ledger.mark_processed(A, 5, ledger.epoch)
    assert ledger.committable() == {A: 10}
    ledger.mark_processed(A, 12, ledger.epoch)
    assert ledger.committable() == {A: 20}


def test_a_later_position_does_not_process_the_records_before_it() -> None:
    ledger = a_ledger(A)
    for offset in (1, 2):
        ledger.read(A, offset)
    ledger.acknowledge(A, 2, ledger.epoch)
    ledger.position(A, 10)
    assert ledger.committable() == {}
    ledger.acknowledge(A, 1, ledger.epoch)
    assert ledger.committable() == {A: 10}


def test_offsets_without_a_record_are_passed_once_all_before_them_is_handled() -> None:
    ledger = a_ledger(A, at=3)
    for offset in (3, 4, 6, 9):
        ledger.read(A, offset)
    ledger.mark_processed(A, 3, ledger.epoch)
    assert ledger.committable() == {A: 4}
    ledger.mark_processed(A, 4, ledger.epoch)
    assert ledger.committable() == {A: 6}, "it does not stay before 5, which is no record"
    ledger.mark_processed(A, 6, ledger.epoch)
    assert ledger.committable() == {A: 9}
    assert ledger.processed(A) == 9


def test_the_end_of_a_partition_is_passed_at_once_when_all_is_handled() -> None:
    ledger = a_ledger(A, at=3)
    ledger.read(A, 3)
    ledger.mark_processed(A, 3, ledger.epoch)
    ledger.committed({A: 4})
    ledger.position(A, 6)
    assert ledger.committable() == {A: 6}
    ledger.position(A, 6)
    ledger.committed({A: 6})
    assert ledger.committable() == {}
    ledger.read(A, 6)
    ledger.mark_processed(A, 6, ledger.epoch)
    assert ledger.committable() == {A: 7}


def test_an_end_that_moves_on_while_a_handler_is_busy_takes_no_memory() -> None:
    ledger = a_ledger(A, at=0)
    ledger.read(A, 0)
    for end in range(2, 1000):  # a producer whose transactions all fail
        ledger.position(A, end)
    assert len(ledger._partitions[A].ahead) == 1
    assert ledger.committable() == {}
    ledger.mark_processed(A, 0, ledger.epoch)
    assert ledger.committable() == {A: 999}


def test_gaps_are_detected_when_offsets_and_records_do_not_match() -> None:
    ledger = a_ledger(A, B, at=5)
    assert not ledger.has_gaps({A: 7, B: 5}, 4)
    assert ledger.has_gaps({A: 8, B: 5}, 4)
    ledger.assign([B])
    assert ledger.has_gaps({A: 7, B: 5}, 4), "where B begins is not known"


def test_records_read_before_a_topic_was_recreated_are_ignored() -> None:
    ledger = a_ledger(A, at=1000)
    ledger.read(A, 1005)
    before = ledger.epoch
    ledger.position(A, 0)
    assert ledger.committable() == {A: 0}
    assert owns(ledger, A, before), "it is handled all the same"
    ledger.mark_processed(A, 1005, before)
    ledger.acknowledge(A, 1005, before)
    ledger.committed({A: 1000})  # the answer to a commit that was on its way
    assert ledger.committable() == {A: 0}
    ledger.read_up_to(A, 2)
    ledger.mark_processed(A, 2, ledger.epoch)
    assert ledger.committable() == {A: 3}


def test_acknowledging_records_of_the_old_topic_does_not_affect_the_new_one() -> None:
    ledger = a_ledger(A, at=5)
    for offset in (5, 6):
        ledger.read(A, offset)
    before = ledger.epoch
    ledger.position(A, 0)
    for offset in (0, 1, 2, 3, 4, 5):
        ledger.read(A, offset)
        if offset < 5:
            ledger.acknowledge(A, offset, ledger.epoch)
    ledger.acknowledge(A, 5, before)
    assert ledger.committable() == {A: 5}
    ledger.acknowledge(A, 5, ledger.epoch)
    assert ledger.committable() == {A: 6}


def test_acknowledgements_of_the_old_topic_do_not_count_for_the_same_offsets_of_the_new_one() -> None:
    ledger = a_ledger(A, at=0)
    ledger.read_up_to(A, 5)
    ledger.handed_over(A, 5, ledger.epoch)
    ledger.acknowledge(A, 5, ledger.epoch)
    ledger.acknowledge(A, 3, ledger.epoch, part=0, parts=2)
    ledger.position(A, 0)
    ledger.read_up_to(A, 5)
    assert ledger.unacknowledged() == {}, "nothing of the new topic was handed over"
    for offset in (0, 1, 2, 4):
        ledger.acknowledge(A, offset, ledger.epoch)
    ledger.acknowledge(A, 3, ledger.epoch, part=1, parts=2)
    assert ledger.committable() == {A: 3}
    ledger.acknowledge(A, 3, ledger.epoch, part=0, parts=2)
    assert ledger.committable() == {A: 5}


def test_a_position_that_is_expected_already_changes_nothing() -> None:
    ledger = a_ledger(A, at=0)
    ledger.read_up_to(A, 5)
    ledger.handed_over(A, 5, ledger.epoch)
    epoch = ledger.epoch
    for _ in range(3):
        ledger.position(A, 6)
    assert ledger.epoch == epoch
    assert ledger.committable() == {}
    assert ledger.unacknowledged() == {A: (0, 0)}
    assert len(ledger._partitions[A].ahead) == 0, "it takes no memory"


def test_each_assignment_and_each_revocation_starts_a_new_epoch() -> None:
    ledger = Ledger()
    epochs = [ledger.epoch]
    for change in (ledger.assign, ledger.assign, ledger.revoke, ledger.assign):
        change([A])
        epochs.append(ledger.epoch)
    assert epochs == sorted(set(epochs))


def test_the_records_of_a_partition_are_counted_over_all_its_assignments() -> None:
    ledger = a_ledger(A)
    assert ledger.records_read(A) == 0
    ledger.read(A, 7)
    ledger.read_up_to(A, 9)
    ledger.revoke([A])
    ledger.assign([A])
    ledger.read(A, 2)
    assert ledger.records_read(A) == 4


def test_a_record_of_several_events_is_processed_when_all_of_them_are() -> None:
    ledger = a_ledger(A)
    for offset in (0, 1):
        ledger.read(A, offset)
    for part in (2, 0, 0, 2):
        ledger.acknowledge(A, 0, ledger.epoch, part, 3)
    assert ledger.committable() == {}
    ledger.acknowledge(A, 0, ledger.epoch, 1, 3)
    assert ledger.committable() == {A: 1}
    for part in range(3):
        ledger.acknowledge(A, 0, ledger.epoch, part, 3)
    assert ledger.committable() == {A: 1}


@given(st.permutations(range(12)), st.integers(0, 12))
def test_every_committed_record_was_acknowledged_whatever_the_order(order: list[int], count: int) -> None:
    ledger = a_ledger(A)
    for offset in range(12):
        ledger.read(A, offset)
    acknowledged = set(order[:count])
    for offset in order[:count]:
        ledger.acknowledge(A, offset, ledger.epoch)
    first_open = min(set(range(12)) - acknowledged, default=12)
    assert ledger.committable() == ({A: first_open} if first_open else {})


class Books(RuleBasedStateMachine):
    """Partitions are assigned and revoked while records are read, handled and committed, in any possible order.

    The model is what happened: per partition the offsets that were handled since it is ours.
    """

    partitions = (A, B)
    read = Bundle("read")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.ours: dict[TopicPartition, int] = {}  # and the epoch since when
        self.next: dict[TopicPartition, int] = {}
        self.start: dict[TopicPartition, int] = {}
        self.handled: dict[TopicPartition, set[int]] = {}
        self.group: dict[TopicPartition, int] = dict.fromkeys(self.partitions, 0)  # what the broker knows
        self.on_the_way: list[tuple[int, dict[TopicPartition, int]]] = []
        self.taken_in = dict.fromkeys(self.partitions, 0)  # how many records, over all assignments

    @rule(partition=st.sampled_from(partitions))
    def assign(self, partition: TopicPartition) -> None:
        if partition not in self.ours:
            self.ledger.assign([partition])
            self.ours[partition] = self.ledger.epoch
            self.next[partition] = self.start[partition] = self.group[partition]
            self.handled[partition] = set()

    @rule(partition=st.sampled_from(partitions), lost=st.booleans())
    def revoke(self, partition: TopicPartition, lost: bool) -> None:
        if partition in self.ours:
            offsets = self.ledger.revoke([partition])
            assert set(offsets) <= {partition}
            self.check(offsets)
            if lost:
                self.group[partition] += 2  # another member went on meanwhile
            else:
                self.group.update(offsets)
            del self.ours[partition]

    @rule(target=read, partition=st.sampled_from(partitions), hole=st.integers(0, 2), count=st.integers(1, 4))
    def take_in(self, partition: TopicPartition, hole: int, count: int) -> object:
        """Reads some records, perhaps after offsets that hold none, as at the end of a transaction."""
        if partition not in self.ours:
            return multiple()
        begin = self.next[partition]
        offsets = range(begin + hole, begin + hole + count)
        self.next[partition] = offsets[-1] + 1
        self.handled[partition].update(range(begin, begin + hole))
        if self.ledger.has_gaps({partition: offsets[-1]}, count):
            for offset in offsets:
                self.ledger.read(partition, offset)
        else:
            self.ledger.read_up_to(partition, offsets[-1])
        assert self.ledger.expected(partition) == self.next[partition]
        self.taken_in[partition] += count
        assert self.ledger.records_read(partition) == self.taken_in[partition]
        return multiple(*[(partition, offset, self.ledger.epoch) for offset in offsets])

    @rule(partition=st.sampled_from(partitions), count=st.integers(1, 4))
    def expire(self, partition: TopicPartition, count: int) -> None:
        """The next records are gone, so the partition is read from a later offset."""
        if partition in self.ours:
            self.handled[partition].update(range(self.next[partition], self.next[partition] + count))
            self.next[partition] += count
            self.ledger.position(partition, self.next[partition])

    @rule(record=consumes(read))
    def acknowledge(self, record: tuple[TopicPartition, int, int]) -> None:
        """Also acknowledges records of an earlier epoch, as a slow application does."""
        partition, offset, epoch = record
        self.ledger.acknowledge(partition, offset, epoch)
        if self.ours.get(partition, epoch + 1) <= epoch:
            self.handled[partition].add(offset)
        assert owns(self.ledger, partition, epoch) == (self.ours.get(partition, epoch + 1) <= epoch)

    @rule()
    def commit(self) -> None:
        offsets = self.ledger.committable()
        self.check(offsets)
        for partition, offset in offsets.items():
            assert offset >= self.group[partition], "what is committed never goes back"
        self.group.update(offsets)
        self.on_the_way.append((self.ledger.epoch, offsets))

    @rule()
    def answer(self) -> None:
        if self.on_the_way:
            epoch, offsets = self.on_the_way.pop(0)
            if epoch == self.ledger.epoch:
                self.ledger.committed(offsets)

    def check(self, offsets: dict[TopicPartition, int]) -> None:
        for partition, offset in offsets.items():
            assert partition in self.ours
            missing = set(range(self.start[partition], offset)) - self.handled[partition]
            assert not missing, f"{partition}: {offset} is committed, and {missing} not handled"

    @invariant()
    def only_ours(self) -> None:
        assert set(self.ledger.committable()) <= set(self.ours)


TestBooks = Books.TestCase
