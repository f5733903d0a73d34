"""`KafkaSource` with a scripted Kafka client, for behaviour that a broker can't produce on demand."""

from __future__ import annotations

import itertools
import json
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream import (
    AuthenticationError,
    AuthorizationError,
    ConnectError,
    DataLossError,
    FeedConfig,
    TlsError,
    Topics,
    UnknownTopicError,
    UnreachableError,
)
from rbhq_stream._engine.ledger import Ledger
from rbhq_stream._kafka import KafkaSource, client, commits, connecting, consumer
from rbhq_stream._kafka.asking import ReplyTimeout
from rbhq_stream._kafka.client import BROKERLESS_AFTER
from rbhq_stream._kafka.limited_log import MAX_KINDS, LimitedLog
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.translation import connect_error
from rbhq_stream.source import PartitionEnd, TopicPartition
from tests.waiting import wait_for

TOPIC = "rbhq.race-status"
P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


class Message:
    def __init__(self, partition: int, offset: int = 0, error: KafkaError | None = None, topic: str | None = TOPIC):
        self._topic, self._partition, self._offset, self._error = topic, partition, offset, error

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error


class Metadata:
    def __init__(self, error: KafkaError | None) -> None:
        self.error = error
        self.partitions = {0: None, 1: None}


class Listing:
    def __init__(self, error: KafkaError | None) -> None:
        self.topics = {TOPIC: Metadata(error)}


Step = Message | Callable[[], object]


class Client:
    """A Kafka client: `script` has the messages that `poll` and `consume` return, and the callbacks that they call."""

    def __init__(self) -> None:
        self.script: deque[Step] = deque()
        self.group: dict[TopicPartition, int] = {}
        self.ends = {P0: (0, 1000), P1: (0, 1000)}
        self.assigned: dict[TopicPartition, int] = {}
        self.commits: list[dict[TopicPartition, int]] = []
        self.metadata: dict[TopicPartition, str | None] = {}
        self.notes: dict[TopicPartition, str | None] = {}
        self.paused: set[TopicPartition] = set()
        self.unanswered: list[KafkaError] = []
        self.topic_error: KafkaError | None = None
        self.closed = False

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def give(self, *partitions: TopicPartition) -> None:
        self.callbacks["on_assign"](self, [KafkaPartition(*partition) for partition in partitions])
        for partition in partitions:
            self.assigned.setdefault(partition, self.group.get(partition, -1))

    def take(self, *partitions: TopicPartition, how: str = "on_revoke") -> None:
        self.callbacks[how](self, [KafkaPartition(*partition) for partition in partitions])
        for partition in partitions:
            self.assigned.pop(partition, None)
            self.paused.discard(partition)

    def poll(self, timeout: float) -> Message | None:
        while self.script:
            step = self.script.popleft()
            if isinstance(step, Message):
                return step
            step()
        return None

    def consume(self, count: int, timeout: float) -> list[Message]:
        found: list[Message] = []
        while self.script and len(found) < count and (message := self.poll(0)) is not None:
            found.append(message)
        return found

    def _asked(self) -> None:
        if self.unanswered:
            raise KafkaException(self.unanswered.pop(0))

    def committed(self, partitions: list[KafkaPartition], timeout: float) -> list[KafkaPartition]:
        self._asked()
        return [
            KafkaPartition(*key, self.group.get(key, -1001), self.notes.get(key) or "")
            for key in [TopicPartition(p.topic, p.partition) for p in partitions]
        ]

    def offsets_for_times(self, partitions: list[KafkaPartition], timeout: float) -> list[KafkaPartition]:
        self._asked()
        at = {OFFSET_BEGINNING: 0, OFFSET_END: 1}
        return [
            KafkaPartition(p.topic, p.partition, self.ends[TopicPartition(p.topic, p.partition)][at[p.offset]])
            for p in partitions
        ]

    def get_watermark_offsets(self, partition: KafkaPartition, cached: bool) -> tuple[int, int]:
        return self.ends[TopicPartition(partition.topic, partition.partition)]

    def list_topics(self, topic: str, timeout: float) -> Listing:
        self._asked()
        return Listing(self.topic_error)

    def assignment(self) -> list[KafkaPartition]:
        return [KafkaPartition(*partition) for partition in self.assigned]

    def assign(self, partitions: list[KafkaPartition]) -> None:
        self.assigned = {TopicPartition(p.topic, p.partition): p.offset for p in partitions}
        self.paused.clear()

    def incremental_assign(self, partitions: list[KafkaPartition]) -> None:
        for p in partitions:
            self.assigned[TopicPartition(p.topic, p.partition)] = p.offset

    def incremental_unassign(self, partitions: list[KafkaPartition]) -> None:
        for p in partitions:
            del self.assigned[TopicPartition(p.topic, p.partition)]
            self.paused.discard(TopicPartition(p.topic, p.partition))

    def pause(self, partitions: list[KafkaPartition]) -> None:
        self.paused.update(TopicPartition(p.topic, p.partition) for p in partitions)

    def resume(self, partitions: list[KafkaPartition]) -> None:
        self.paused.difference_update(TopicPartition(p.topic, p.partition) for p in partitions)

    def commit(self, offsets: list[KafkaPartition], asynchronous: bool) -> list[KafkaPartition]:
        self._asked()
        self.commits.append({TopicPartition(p.topic, p.partition): p.offset for p in offsets})
        self.metadata = {TopicPartition(p.topic, p.partition): p.metadata for p in offsets}
        return offsets

    def close(self) -> None:
        self.closed = True


class Books(Ledger):
    """An owner: the ledger, and a record of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[TopicPartition, int] = {}

    def is_wanted(self) -> bool:
        return True

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        """Every partition is as good as another."""

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.assign(partitions)
        for partition, offset in self.given.items():
            self.position(partition, offset)
        return self.given

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        self.position(partition, offset)

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self.revoke(partitions)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        self.revoke(partitions)


class Stage:
    """A source, its client and its owner."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, strategy: str, **fields: Any) -> None:
        self.client, self.books = Client(), Books()
        self.now = 1000.0
        monkeypatch.setattr(client, "make_consumer", lambda *_: self.client)
        monkeypatch.setattr(client, "check", lambda *_: [P0, P1])
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        config = FeedConfig(
            bootstrap_servers="localhost:1",
            security="PLAINTEXT",
            topics=Topics(race_status=TOPIC),
            group_id="app",
            kafka={"partition.assignment.strategy": strategy},
            **fields,
        )
        self.source = KafkaSource(config)
        self.source.open(self.books)

    def poll(self, *steps: Step) -> list[tuple[int, int]]:
        """Returns the coordinates of the records that these steps produce. The owner has read them."""
        self.client.script.extend(steps)
        found: list[Any] = list(self.source.poll(0.1))
        for record in found:
            self.books.read((record.topic(), record.partition()), record.offset())
        return [(record.partition(), record.offset()) for record in found]


@pytest.fixture(params=["cooperative-sticky", "range"])
def make_stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    return lambda **fields: Stage(monkeypatch, request.param, **fields)


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


def records(partition: int, *offsets: int) -> list[Message]:
    return [Message(partition, offset) for offset in offsets]


# a rebalance in the middle of a batch


def test_records_of_a_revoked_partition_are_dropped(stage: Stage) -> None:
    stage.client.group = {P0: 5, P1: 5}
    got = stage.poll(
        lambda: stage.client.give(P0, P1),
        *records(0, 5),
        *records(1, 5, 6),
        lambda: stage.client.take(P1),
        *records(0, 6),
    )
    assert got == [(0, 5), (0, 6)]


@pytest.mark.parametrize("how", ["on_revoke", "on_lost"])
def test_a_partition_that_was_revoked_and_assigned_again_is_read_from_the_committed_offset(
    stage: Stage, how: str
) -> None:
    """Its records in the batch may be from before or after the revocation; they can't be distinguished."""
    stage.client.group = {P0: 5, P1: 5}

    def back() -> None:
        stage.client.group[P1] = 6  # meanwhile another member handled one
        stage.client.give(P1)

    got = stage.poll(
        lambda: stage.client.give(P0, P1),
        *records(0, 5),
        *records(1, 5),
        lambda: stage.client.take(P1, how=how),
        back,
        *records(1, 6),
        *records(0, 6),
    )
    assert got == [(0, 5), (0, 6)]
    stage.poll()
    assert stage.client.assigned[P1] == 6, "where the assignment begins"
    assert stage.poll(*records(1, 6, 7)) == [(1, 6), (1, 7)]


def test_no_record_is_skipped_while_the_position_is_not_known(stage: Stage) -> None:
    stage.client.group = {P0: 5, P1: 5}
    timed_out = KafkaError(KafkaError._TIMED_OUT)
    stage.client.unanswered = [timed_out, timed_out]
    first = stage.poll(
        lambda: stage.client.give(P0), *records(0, 5), lambda: stage.client.give(P1), *records(1, 5), *records(0, 6)
    )
    assert first == [(0, 5), (0, 6)]
    assert stage.poll(*records(1, 6), *records(0, 7)) == [(0, 7)], "6 must not come before 5"
    stage.now += 2
    assert stage.poll(*records(1, 7)) == [], "asked again, in vain"
    stage.now += 2
    assert stage.poll(*records(1, 5, 6, 7)) == [(1, 5), (1, 6), (1, 7)]
    assert stage.client.assigned[P1] == 5


def test_an_error_with_the_committed_offset_is_not_taken_for_a_missing_offset(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed would start at the end, and skip unhandled records."""
    stage = make_stage(start="latest")

    def refused(partitions: list[KafkaPartition], timeout: float) -> list[Any]:
        class Answer:
            topic, partition, offset = TOPIC, 0, -1001
            error = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)

        return [Answer()]

    monkeypatch.setattr(stage.client, "committed", refused)
    reset = Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
    stage.poll(lambda: stage.client.give(P0), reset)
    with pytest.raises(AuthorizationError) as raised:
        stage.poll()
    assert raised.value.resource == "app"


# the ends of partitions


def end(partition: int, offset: int) -> Message:
    return Message(partition, offset, KafkaError(KafkaError._PARTITION_EOF))


def test_an_end_is_reported_after_the_records_before_it(stage: Stage) -> None:
    stage.client.group = {P0: 5}
    assert stage.poll(lambda: stage.client.give(P0), *records(0, 5, 6), end(0, 8)) == [(0, 5), (0, 6)]
    stage.poll()
    assert stage.books.expected(P0) == 8
    stage.books.mark_processed(P0, 5, stage.books.epoch)
    assert stage.books.committable() == {P0: 6}
    stage.books.mark_processed(P0, 6, stage.books.epoch)
    assert stage.books.committable() == {P0: 8}


def test_an_end_that_records_have_passed_is_ignored(stage: Stage) -> None:
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5), end(0, 6), *records(0, 6, 7))
    stage.poll(end(0, 7))
    stage.poll()
    assert stage.books.expected(P0) == 8


def test_an_end_without_a_record_before_it_is_committed(stage: Stage) -> None:
    """For example, all records from the committed offset on were aborted."""
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), end(0, 9))
    stage.poll()
    assert stage.books.committable() == {P0: 9}


@pytest.mark.parametrize("how", ["on_revoke", "on_lost"])
def test_the_end_of_a_revoked_partition_is_ignored(stage: Stage, how: str) -> None:
    stage.client.group = {P0: 5, P1: 5}
    stage.poll(lambda: stage.client.give(P0, P1), *records(0, 5), end(1, 9), lambda: stage.client.take(P1, how=how))
    stage.poll(end(1, 9))
    stage.poll(lambda: stage.client.give(P1))
    stage.poll()
    assert stage.books.expected(P1) is None
    assert stage.books.committable() == {}
    assert stage.client.commits == []


def test_an_end_from_before_a_partition_was_assigned_again_is_ignored(stage: Stage) -> None:
    """The end may belong to an earlier assignment, and the group's offset may have changed."""
    stage.client.group = {P0: 5, P1: 9}
    stage.poll(
        lambda: stage.client.give(P0, P1),
        *records(0, 5),
        lambda: stage.client.take(P1),
        lambda: stage.client.give(P1),
        end(1, 5),
        *records(0, 6),
    )
    stage.poll()
    assert stage.client.assigned[P1] == stage.books.expected(P1) == 9


def test_the_end_from_before_a_topic_was_recreated_is_ignored(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(on_data_loss="earliest")
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5), end(0, 8))
    stage.poll(end(0, 8), Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
    stage.client.ends[P0] = (0, 3)
    stage.poll()
    assert stage.books.expected(P0) == 0
    stage.source.commit({P0: 8})
    assert stage.client.metadata == {P0: None}


def test_an_end_is_committed_with_the_first_offset_that_holds_no_record(stage: Stage) -> None:
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5), end(0, 8))
    stage.poll(end(0, 11))
    stage.poll()
    stage.source.commit({P0: 11})
    assert stage.client.metadata == {P0: "no records from 6"}
    stage.source._client.commits.on_reply(None, [KafkaPartition(*P0, 11)])
    stage.poll(*records(0, 11))
    stage.source.commit({P0: 12})
    assert stage.client.metadata == {P0: None}


@pytest.mark.parametrize(
    ("position", "is_loss"), [(5, True), (6, False), (8, False), (9, False)], ids=["before", "first", "between", "end"]
)
def test_a_position_of_the_application_that_is_gone_is_no_loss_where_there_was_no_record(
    stage: Stage, position: int, is_loss: bool
) -> None:
    stage.client.group = {P0: 11}
    stage.client.notes = {P0: "no records from 6"}
    stage.client.ends[P0] = (10, 20)
    stage.books.given = {P0: position}
    stage.poll(lambda: stage.client.give(P0), Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
    if is_loss:
        with pytest.raises(DataLossError):
            stage.poll()
        return
    stage.poll()
    assert stage.client.assigned[P0] == 11
    assert stage.books.committable() == {P0: 11}
    stage.source.commit({P0: 11})
    assert stage.client.metadata == {P0: "no records from 6"}, "the next start needs it too"


@pytest.mark.parametrize(
    ("committed", "notes"), [(9, "no records from 6"), (11, None), (11, "somebody's own"), (11, "")]
)
def test_a_missing_position_without_known_gaps_is_a_loss(stage: Stage, committed: int, notes: str | None) -> None:
    stage.client.group = {P0: committed}
    stage.client.notes = {P0: notes}
    stage.client.ends[P0] = (10, 20)
    stage.books.given = {P0: 7}
    stage.poll(lambda: stage.client.give(P0), Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
    with pytest.raises(DataLossError):
        stage.poll()


@pytest.mark.parametrize(
    ("steps", "offset"),
    [([end(0, 8)], 8), (records(0, 7), 6), ([], 6), ([end(1, 5)], 6)],
    ids=["end", "record", "silence", "another's end"],
)
def test_closing_waits_for_the_end_of_a_partition_whose_records_are_all_handled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, steps: list[Step], offset: int
) -> None:
    stage.client.group = {P0: 5, P1: 5}
    stage.client.ends[P0] = (0, 8)
    stage.poll(lambda: stage.client.give(P0, P1), *records(0, 5))
    stage.books.mark_processed(P0, 5, stage.books.epoch)
    script = deque(steps)

    def poll(timeout: float) -> Step | None:
        if stage.client.commits:
            stage.source._client.commits.on_reply(None, [KafkaPartition(*P0, offset)])
            return None
        stage.now += timeout
        return script.popleft() if script else None

    monkeypatch.setattr(stage.client, "poll", poll)
    began = stage.now
    stage.source.close({P0: 6}, 10.0)
    assert stage.client.commits[-1][P0] == offset
    assert stage.now - began <= consumer.END_TIMEOUT


def test_closing_does_not_wait_when_the_ends_are_known(stage: Stage) -> None:
    """The partition was read to its end, and after it is a transaction that is still open."""
    stage.client.group = {P0: 5}
    stage.client.ends[P0] = (0, 8)
    stage.poll(lambda: stage.client.give(P0), *records(0, 5), end(0, 6))
    stage.books.mark_processed(P0, 5, stage.books.epoch)
    stage.source.commit({P0: 6})
    stage.books.committed({P0: 6})
    stage.source.close({}, 10.0)
    assert stage.client.commits == [{P0: 6}]
    assert stage.client.closed


def test_an_end_is_committed_before_a_partition_is_revoked(stage: Stage) -> None:
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5), end(0, 8))
    stage.books.mark_processed(P0, 5, stage.books.epoch)
    stage.poll(lambda: stage.client.take(P0))
    assert stage.client.commits == [{P0: 8}]
    assert stage.client.metadata == {P0: "no records from 6"}


def test_closing_commits_although_a_topic_was_deleted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not have the partition any more."""

    def unknown(partition: KafkaPartition, cached: bool) -> tuple[int, int]:
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))

    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5))
    stage.books.mark_processed(P0, 5, stage.books.epoch)
    monkeypatch.setattr(stage.client, "get_watermark_offsets", unknown)

    def answer(timeout: float) -> None:
        if stage.client.commits:
            stage.source._client.commits.on_reply(None, [KafkaPartition(*P0, 6)])

    monkeypatch.setattr(stage.client, "poll", answer)
    stage.source.close({P0: 6}, 10.0)
    assert stage.client.commits == [{P0: 6}]


# where to read


def test_the_position_of_a_partition_that_was_revoked_is_not_looked_up(stage: Stage) -> None:
    """The feed would assign it to itself, although it belongs to another member."""
    reset = Message(1, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
    stage.client.group = {P0: 5, P1: 5}
    stage.poll(lambda: stage.client.give(P0, P1), *records(0, 5), lambda: stage.client.take(P1), reset)
    stage.poll()
    assert set(stage.client.assigned) == {P0}


def test_an_offset_that_is_out_of_range_for_a_moment_commits_no_unprocessed_record(stage: Stage) -> None:
    """For example, the leader changed. The records before it are in the buffer and not processed."""
    stage.client.group = {P0: 5}
    reset = Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
    assert stage.poll(lambda: stage.client.give(P0), *records(0, 5, 6, 7), reset) == [(0, 5), (0, 6), (0, 7)]
    stage.poll()
    assert stage.client.assigned[P0] == 8, "it continues after what was read, no record twice"
    assert stage.books.committable() == {}
    stage.books.mark_processed(P0, 5, stage.books.epoch)
    assert stage.books.committable() == {P0: 6}


def test_a_loss_is_counted_from_what_was_read(stage: Stage) -> None:
    stage.client.group = {P0: 5}
    reset = Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
    assert stage.poll(lambda: stage.client.give(P0), *records(0, 5, 6), reset) == [(0, 5), (0, 6)]
    stage.client.ends[P0] = (10, 20)
    with pytest.raises(DataLossError) as raised:
        stage.poll()
    assert (raised.value.expected_offset, raised.value.available_offset, raised.value.lost) == (7, 10, 3)


def test_after_a_loss_the_offsets_of_a_recreated_topic_are_committed(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(on_data_loss="earliest")
    stage.client.group = {P0: 500}
    reset = Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
    stage.poll(lambda: stage.client.give(P0), *records(0, 500))
    stage.books.committed({P0: 501})
    stage.client.ends[P0] = (0, 3)
    stage.poll(reset)
    stage.poll()
    assert stage.poll(*records(0, 0, 1)) == [(0, 0), (0, 1)]
    stage.books.mark_processed(P0, 1, stage.books.epoch)
    assert stage.books.committable() == {P0: 2}, "though the group had committed more of the old one"


@pytest.mark.parametrize(("partition", "start"), [(P0, 1000), (P1, 0)], ids=["old", "added"])
def test_a_partition_added_to_a_topic_is_read_from_its_beginning(
    make_stage: Callable[..., Stage], partition: TopicPartition, start: int
) -> None:
    stage = make_stage(start="latest")
    stage.source._positioning._old.discard(P1)
    reset = Message(partition.partition, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
    stage.poll(lambda: stage.client.give(partition), reset)
    stage.poll()
    assert stage.client.assigned[partition] == start


@pytest.mark.parametrize("round_trip", [0.05, 0.6, 1.5, 3.0])
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_position_is_found_over_a_slow_network(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, round_trip: float, start: str
) -> None:
    """Although no records came from the topic for a while, so its existence is in doubt as well."""
    stage = make_stage(start=start)
    replies: list[str] = []

    def slow(name: str, question: Callable[..., Any]) -> Callable[..., Any]:
        def ask(asked: Any, timeout: float) -> Any:
            stage.now += min(timeout, 2 * round_trip)  # some questions take two
            if timeout < 2 * round_trip:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            replies.append(name)
            return question(asked, timeout=timeout)

        return ask

    for name in ("committed", "offsets_for_times", "list_topics"):
        monkeypatch.setattr(stage.client, name, slow(name, getattr(stage.client, name)))
    stage.now += 60
    began = stage.now
    stage.poll(lambda: stage.client.give(P0), Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
    while stage.client.assigned[P0] < 0:
        assert stage.now < began + 20 * round_trip + 10, "it is asked for ever"
        stage.now += 0.1
        stage.poll()
    assert stage.client.assigned[P0] == (0 if start == "earliest" else 1000)
    positions = [name for name in replies if name != "list_topics"]
    assert positions == ["committed", "offsets_for_times", "offsets_for_times"], "no reply is asked for twice"


def test_a_feed_that_is_being_closed_sends_no_more_requests(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the current request, not for those after it."""
    asked: list[Any] = []

    def committed(partitions: list[KafkaPartition], timeout: float) -> list[KafkaPartition]:
        asked.append(partitions)
        monkeypatch.setattr(stage.books, "is_wanted", lambda: False)
        return partitions

    monkeypatch.setattr(stage.client, "committed", committed)
    monkeypatch.setattr(stage.client, "offsets_for_times", committed)
    stage.poll(lambda: stage.client.give(P0), Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
    stage.poll()
    assert len(asked) == 1


# back-pressure


def test_partitions_assigned_while_the_buffer_is_full_are_paused_too(stage: Stage) -> None:
    stage.client.group = {P0: 5, P1: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5))
    stage.source.pause()
    assert stage.client.paused == {P0}
    stage.poll(lambda: stage.client.give(P1))
    assert stage.client.paused == {P0, P1}
    stage.poll(lambda: stage.client.take(P1))
    stage.poll(lambda: stage.client.give(P1))
    assert stage.client.paused == {P0, P1}, "and again when it comes back"
    stage.poll(Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
    stage.poll()
    assert stage.client.paused == {P0, P1}, "including those that get a position"
    stage.source.resume()
    assert stage.client.paused == set()


def test_a_partition_that_is_held_stays_paused_until_it_is_released(stage: Stage) -> None:
    stage.client.group = {P0: 5, P1: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5))
    stage.source.hold([P0])
    assert stage.client.paused == {P0}
    stage.poll(lambda: stage.client.give(P1))
    assert stage.client.paused == {P0}, "the other one is read"
    stage.poll(Message(0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
    stage.poll()
    assert stage.client.paused == {P0}, "also after it got a position"
    stage.source.pause()
    assert stage.client.paused == {P0, P1}
    stage.source.hold([P1])
    assert stage.client.paused == {P0, P1}, "all are paused"
    stage.source.resume()
    assert stage.client.paused == {P1}
    stage.poll(lambda: stage.client.take(P1))
    stage.poll(lambda: stage.client.give(P1))
    assert stage.client.paused == set(), "it is no longer held once it was revoked"


def test_a_partition_that_is_held_is_not_unreachable(stage: Stage) -> None:
    """Nothing is fetched from its broker, so the broker sends nothing."""
    stage.client.group = {P0: 5, P1: 5}
    stage.poll(lambda: stage.client.give(P0, P1), *records(0, 5))
    leaderless = {TOPIC: {"partitions": {"0": {"leader": -1}, "1": {"leader": -1}}}}
    stage.source._reports.statistics(json.dumps({"brokers": {}, "topics": leaderless}))
    assert set(stage.source.status().unreachable) == {P0, P1}
    stage.source.hold([P0])
    assert set(stage.source.status().unreachable) == {P1}


def test_the_end_of_a_partition_that_is_held_is_not_confirmed_by_a_fetch_of_the_others(stage: Stage) -> None:
    """Or else the feed would be live before it had read what was written to it during an outage."""
    stage.client.group = {P0: 5, P1: 5}
    stage.poll(lambda: stage.client.give(P0, P1), *records(0, 5))
    fetches = itertools.count()

    def fetch() -> dict[TopicPartition, PartitionEnd]:
        for _ in range(3):
            broker = {"nodeid": 1, "state": "UP", "req": {"Fetch": next(fetches)}}
            ends = {"broker": 1, "leader": 1, "hi_offset": 9, "ls_offset": 9}
            document = {"brokers": {"b": broker}, "topics": {TOPIC: {"partitions": {"0": ends, "1": ends}}}}
            stage.now += 1
            stage.source._reports.statistics(json.dumps(document))
        return dict(stage.source.status().ends)

    fetch()
    outage = stage.now
    stage.source.hold([P0])
    held = fetch()
    assert held[P0].offset == 9
    assert held[P0].as_of < outage < held[P1].as_of
    stage.source.hold([])
    released = stage.now
    assert stage.source.status().ends[P0].as_of < outage, "it has not been fetched since"
    assert fetch()[P0].as_of >= released


# commits


def test_commits_are_made_one_at_a_time(stage: Stage) -> None:
    stage.poll(lambda: stage.client.give(P0))
    stage.source.commit({P0: 1})
    stage.source.commit({P0: 2})
    assert stage.client.commits == [{P0: 1}]
    stage.source._client.commits.on_reply(None, [KafkaPartition(*P0, 1)])
    stage.source.commit({P0: 3})
    assert stage.client.commits == [{P0: 1}, {P0: 3}]


def test_a_commit_whose_reply_is_lost_does_not_block_later_commits(stage: Stage) -> None:
    stage.poll(lambda: stage.client.give(P0))
    stage.source.commit({P0: 1})
    stage.now += commits.REPLY_TIMEOUT - 1
    stage.source.commit({P0: 2})
    stage.now += 2
    stage.source.commit({P0: 3})
    assert stage.client.commits == [{P0: 1}, {P0: 3}]


def test_closing_commits_although_the_reply_to_the_commit_before_was_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.poll(lambda: stage.client.give(P0))
    stage.source.commit({P0: 1})

    def poll(timeout: float) -> None:
        stage.now += timeout

    monkeypatch.setattr(stage.client, "poll", poll)
    began = stage.now
    stage.source.close({P0: 2}, 5.0)
    assert stage.client.commits == [{P0: 1}, {P0: 2}]
    assert stage.client.closed
    assert stage.now - began < 5.1


@pytest.mark.parametrize("is_moved", [False, True], ids=["ours", "another's"])
def test_the_last_commit_is_repeated_when_it_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, is_moved: bool
) -> None:
    """For example, in the middle of a rebalance. But not for partitions that then belong to another member."""
    stage.poll(lambda: stage.client.give(P0, P1))
    failing = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)

    def poll(timeout: float) -> None:
        stage.now += timeout
        if is_moved and len(stage.client.commits) == 1 and P1 in stage.client.assigned:
            stage.client.take(P1)
        error = failing if len(stage.client.commits) < 3 else None
        stage.source._client.commits.on_reply(error, [KafkaPartition(*P0, 2), KafkaPartition(*P1, 2)])

    monkeypatch.setattr(stage.client, "poll", poll)
    stage.source.close({P0: 2, P1: 2}, 5.0)
    last = {P0: 2} if is_moved else {P0: 2, P1: 2}
    assert stage.client.commits == [{P0: 2, P1: 2}, last, last]


def test_a_commit_that_the_client_refuses_is_repeated_later(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.poll(lambda: stage.client.give(P0))
    stage.client.unanswered = [KafkaError(KafkaError._STATE)] * 3
    for _ in range(4):
        stage.source.commit({P0: 1})
    assert stage.client.commits == [{P0: 1}]
    assert len(caplog.records) == 1, "once in 10 s"


@pytest.mark.parametrize(
    ("code", "resource"),
    [(KafkaError.GROUP_AUTHORIZATION_FAILED, "app"), (KafkaError.TOPIC_AUTHORIZATION_FAILED, TOPIC)],
)
def test_a_commit_that_is_forbidden_ends_the_feed(stage: Stage, code: int, resource: str) -> None:
    stage.poll(lambda: stage.client.give(P0))
    with pytest.raises(AuthorizationError) as raised:
        stage.poll(lambda: stage.source._client.commits.on_reply(KafkaError(code), [KafkaPartition(*P0, 1)]))
    assert raised.value.resource == resource


def test_processed_records_are_committed_before_a_partition_is_revoked(stage: Stage) -> None:
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5, 6))
    stage.books.mark_processed(P0, 5, stage.books.epoch)
    stage.poll(lambda: stage.client.take(P0))
    assert stage.client.commits == [{P0: 6}]
    stage.poll(lambda: stage.client.give(P0), *records(0, 6))
    stage.books.mark_processed(P0, 6, stage.books.epoch)
    stage.poll(lambda: stage.client.take(P0, how="on_lost"))
    assert stage.client.commits == [{P0: 6}], "but not when it was lost"


# the client itself

BROKERLESS = '{"brokers": {":0/internal": {"source":"internal"}, "GroupCoordinator": {"source":"logical"}}}'
WITH_A_BROKER = BROKERLESS.replace("internal", "learned")


def ended(client: weakref.ref[Client]) -> bool:
    """Nothing refers to it any more: the real client is destroyed then, without waiting for the brokers."""
    wait_for(lambda: client() is None, "the client is let go of")
    return True


def test_a_client_that_knows_no_brokers_is_replaced(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5, 6))
    stage.source.commit({P0: 6})  # which will never be answered
    for text in [*[BROKERLESS] * (BROKERLESS_AFTER - 1), WITH_A_BROKER, *[BROKERLESS] * (BROKERLESS_AFTER - 1)]:
        stage.source._reports.statistics(text)
        assert stage.poll() == []
    assert not caplog.records, "for a moment it may be so"
    old = weakref.ref(stage.client)
    stage.client = Client()
    stage.client.group = {P0: 6}
    stage.source._reports.statistics(BROKERLESS)
    assert stage.poll() == []
    assert ended(old)
    assert P0 not in stage.books.owned_since(), "the old one's partitions are lost"
    assert [record.getMessage() for record in caplog.records] == [
        "the Kafka client knows no brokers any more and is replaced by a new one",
        "partitions lost; uncommitted records are delivered again to another member: rbhq.race-status[0]",
    ]
    assert stage.poll(lambda: stage.client.give(P0), *records(0, 6)) == [(0, 6)]
    stage.source.commit({P0: 7})
    assert stage.client.commits == [{P0: 7}]


def test_a_client_that_knows_no_brokers_is_replaced_even_without_partitions(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.poll()
    for _ in range(BROKERLESS_AFTER):
        stage.source._reports.statistics(BROKERLESS)
    stage.poll()
    assert [record.getMessage() for record in caplog.records] == [
        "the Kafka client knows no brokers any more and is replaced by a new one"
    ]


def test_a_client_whose_password_was_refused_is_ended_at_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """It would keep logging in while the application handles the records read before."""
    stage.client.group = {P0: 5}
    stage.poll(lambda: stage.client.give(P0), *records(0, 5, 6))
    client = weakref.ref(stage.client)
    refused = KafkaError(KafkaError._AUTHENTICATION, "sasl_ssl://b1:9196/1: SASL authentication error: invalid")
    with pytest.raises(AuthenticationError):
        stage.poll(lambda: stage.source._reports.error(refused))
    del stage.client
    assert ended(client)
    caplog.clear()
    stage.source.close({}, 5.0)
    assert not caplog.records
    stage.source.close({P0: 6}, 5.0)
    assert "so records of these partitions are delivered again: rbhq.race-status[0]" in caplog.text


# errors


PASSING = [
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._SSL,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError._WAIT_COORD,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REQUEST_TIMED_OUT,
]


@pytest.mark.parametrize("code", PASSING)
def test_transient_errors_do_not_end_the_feed(stage: Stage, caplog: pytest.LogCaptureFixture, code: int) -> None:
    stage.client.group = {P0: 5}
    error = Message(0, error=KafkaError(code))
    got = stage.poll(lambda: stage.client.give(P0), *records(0, 5), error, error, *records(0, 6))
    assert got == [(0, 5), (0, 6)]
    stage.source._reports.error(KafkaError(code))
    assert stage.poll(*records(0, 7)) == [(0, 7)]
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 <= len(lines) <= 2
    assert f"{TOPIC}[0]" in lines[0], "the line names the partition"


FENCED = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
STANDING: list[tuple[KafkaError, type[ConnectError], str]] = [
    (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), AuthorizationError, TOPIC),
    (KafkaError(KafkaError.FENCED_INSTANCE_ID), ConnectError, "group_instance_id"),
    (KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL), ConnectError, "partition.assignment.strategy"),
    (KafkaError(KafkaError.INVALID_SESSION_TIMEOUT), ConnectError, "session_timeout"),
    (KafkaError(KafkaError._FATAL, f"Fatal error: {FENCED}", fatal=True), ConnectError, "group_instance_id"),
    (KafkaError(KafkaError._FATAL, "Fatal error: something else", fatal=True), ConnectError, "something else"),
]


@pytest.mark.parametrize(("error", "kind", "text"), STANDING, ids=lambda value: getattr(value, "name", str)() or None)
def test_permanent_errors_end_the_feed(stage: Stage, error: KafkaError, kind: type[ConnectError], text: str) -> None:
    with pytest.raises(kind) as raised:
        stage.poll(Message(0, error=error))
    assert text in str(raised.value)


def test_a_fatal_error_of_the_client_is_a_typed_error(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(timeout: float) -> None:
        raise KafkaException(KafkaError(KafkaError._STATE))

    monkeypatch.setattr(stage.client, "poll", fail)
    with pytest.raises(ConnectError):
        stage.poll()


def test_a_topic_counts_as_deleted_only_when_brokers_report_it_repeatedly(stage: Stage) -> None:
    unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    stage.client.topic_error = unknown
    stage.poll(Message(0, error=unknown))
    stage.poll()
    stage.now += 2
    stage.client.topic_error = None
    stage.poll()
    assert not stage.source._topics._to_check, "it was only new"
    stage.client.topic_error = unknown
    stage.poll(Message(0, error=unknown))
    for _ in range(4):
        stage.now += 1
        stage.poll()
    stage.now += 2
    with pytest.raises(UnknownTopicError) as raised:
        stage.poll()
    assert raised.value.topic == TOPIC


def test_a_topic_without_records_is_checked(stage: Stage) -> None:
    """The client reports nothing when a topic is deleted."""
    stage.client.group = {P0: 5}
    stage.client.topic_error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    stage.poll(lambda: stage.client.give(P0))
    for offset in range(5, 25):
        stage.now += 1
        assert stage.poll(*records(0, offset)) == [(0, offset)], "it is there as long as records come"
    with pytest.raises(UnknownTopicError):
        nothing_comes(stage, seconds=20)


def nothing_comes(stage: Stage, seconds: int) -> None:
    for _ in range(seconds):
        stage.now += 1
        assert stage.poll() == []


# what the client reports


@pytest.mark.parametrize(
    ("text", "kind", "broker"),
    [
        (
            "sasl_ssl://b1:9196/bootstrap: SASL authentication error: invalid credentials",
            AuthenticationError,
            "b1:9196",
        ),
        (
            (
                "sasl_ssl://b1:9196/2: SASL authentication error: SaslAuthenticateRequest failed: Local: Broker"
                " transport failure (after 0ms in state DOWN)"
            ),
            UnreachableError,
            "b1:9196",
        ),
        ("GroupCoordinator: b2:9196: SASL authentication error: Local: Timed out", UnreachableError, "b2:9196"),
    ],
)
def test_a_log_in_that_the_network_interrupted_is_not_a_refusal(
    text: str, kind: type[ConnectError], broker: str
) -> None:
    reports = Reports("app")
    reports.error(KafkaError(KafkaError._AUTHENTICATION, text))
    reported = reports.permanent or reports.troubles[broker]
    assert type(reported) is kind
    assert (reports.permanent is None) is (kind is UnreachableError)
    assert reported.broker == broker
    assert "state" not in reported.reason


def test_decorations_of_the_clients_texts_are_removed() -> None:
    error = connect_error(
        KafkaError(
            KafkaError._SSL,
            "GroupCoordinator: b1:9196: SSL handshake failed: no (after 3ms in state SSL_HANDSHAKE,"
            " 12 identical error(s) suppressed)",
        )
    )
    assert isinstance(error, TlsError)
    assert (error.reason, error.broker) == ("SSL handshake failed: no", "b1:9196")


def test_log_lines_name_the_broker_and_floods_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    reports = Reports("app", LimitedLog(clock=lambda: now[0]))
    caplog.set_level(logging.DEBUG)
    for number in range(100):
        now[0] += 0.11
        for broker in ("b1:9196", "b2:9196"):
            reports.log(
                logging.ERROR,
                "FAIL [rbhq-stream#consumer-1] [thrd:sasl_ssl://%s/1]: sasl_ssl://%s/1: Connect to ipv4#10.0.0.%d:9196"
                " failed: refused (after %dms in state CONNECT, %d identical error(s) suppressed)",
                *(broker, broker, number, number, number),
            )
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4, "two for each broker in 11 s"
    assert lines[0] == "broker b1:9196: Connect to ipv4#10.0.0.0:9196 failed: refused"
    assert lines[1].startswith("broker b2:9196: ")
    assert all(line.endswith("more like this were left out)") for line in lines[2:])


def test_callbacks_never_raise() -> None:
    reports = Reports("app")
    nonsense: Any = object()
    reports.error(nonsense)
    reports.log(3, "%s %s", "too few")
    reports.log(nonsense, nonsense)


def test_a_flood_remembers_a_bounded_number_of_kinds() -> None:
    log = LimitedLog(clock=lambda: 0.0)
    for number in range(MAX_KINDS + 1):
        log.write(logging.DEBUG, "kind", str(number), "")
    assert len(log._written) == 1


def test_a_group_that_stays_busy_is_an_error_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """If brokers respond, a firewall is not the cause."""

    class Busy(Client):
        def committed(self, partitions: Sequence[KafkaPartition], timeout: float) -> list[KafkaPartition]:
            raise KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))

    config = FeedConfig(
        bootstrap_servers="localhost:1",
        security="PLAINTEXT",
        topics=Topics(race_status=TOPIC),
        group_id="app",
        connect_timeout=0.05,
    )
    busy: Any = Busy()
    with pytest.raises(UnreachableError, match="report it to RBHQ") as raised:
        connecting.check(config, busy, Reports("app"), ReplyTimeout(), lambda: True)
    assert "whitelisted" not in str(raised.value)
