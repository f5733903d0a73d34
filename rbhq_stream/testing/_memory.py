"""Records from memory instead of Kafka, for tests that need no broker: `Feed(config, source=MemorySource(topics))`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from rbhq_stream._config import Topics
from rbhq_stream._wire import encode
from rbhq_stream.errors import DataLossError
from rbhq_stream.events import Event
from rbhq_stream.record import RawRecord
from rbhq_stream.source import Owner, PartitionEnd, SourceStatus, TopicPartition
from rbhq_stream.testing._memory_record import MemoryRecord
from rbhq_stream.testing._unhandled import unhandled


class MemorySource:
    """A `Source` in memory, with one partition for each topic. It remembers what was committed.

    A feed gets the records in the order in which they were published, across all topics. Give the same source to a
    second feed to test which events are delivered again after a restart: it starts at the committed offsets. `revoke`,
    `lose`, `assign` and `fail` cause events that a broker can't produce on demand; they take effect in the feed's next
    poll. So do `cut_off`, `slow_down`, `ignore_commits` and `expire`, which are a broker's faults.

    Args:
        topics: the names of the topics.
    """

    def __init__(self, topics: Topics) -> None:
        self.committed: dict[TopicPartition, int] = {}
        """The offset of the next record to read, by partition."""
        self.closed_in: str | None = None
        """The name of the thread that closed the source; `None` while it is open."""
        self._topics = topics
        # the records of each partition, each with its number in the order of publishing
        self._logs: dict[TopicPartition, list[tuple[int, MemoryRecord]]] = {
            TopicPartition(name, 0): [] for name in topics.names
        }
        self._next: dict[TopicPartition, int] = {}
        self._changed = threading.Condition()
        self._actions: deque[Callable[[], None]] = deque()
        self._owner: Owner | None = None
        self._paused = False
        self._held: set[TopicPartition] = set()
        self._unreachable: dict[TopicPartition, str] = {}
        self._first = dict.fromkeys(self._logs, 0)  # the first record of each partition that has not expired
        self._ignored: set[TopicPartition] = set()  # the partitions whose commits are ignored
        self._response_time = 0.0
        self._responds_at: float | None = None  # when a slow response arrives, if one is on its way

    def publish(self, *events: Event, timestamp: datetime | None = None) -> None:
        """Appends events, each to the topic of its class. The feed's next poll returns all of them, or none.

        Args:
            events: what to append, in this order.
            timestamp: when they were written; now by default.

        Raises:
            ValueError: there is no topic for an event.
        """
        with self._changed:
            for event in events:
                topic, key = self._topics.of(type(event)), str(event.race_id).encode()
                self.publish_raw(topic, encode(event), key=key, timestamp=timestamp)

    def publish_raw(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, timestamp: datetime | None = None
    ) -> None:
        """Appends a record with any bytes.

        Args:
            topic: the topic's name.
            value: the record's bytes; `None` for a tombstone.
            key: the record's key.
            timestamp: when it was written; now by default.

        Raises:
            KeyError: there is no such topic.
        """
        written = time.time() if timestamp is None else timestamp.timestamp()
        with self._changed:
            number = sum(map(len, self._logs.values()))
            log = self._logs[TopicPartition(topic, 0)]
            log.append((number, MemoryRecord(topic, 0, len(log), value, key, written)))
            self._changed.notify_all()

    def wait_until_handled(self, *, timeout: float = 10) -> None:
        """Waits until the feed has handled everything that was published.

        A record counts as handled when the feed has committed an offset beyond it. It does so when the application has
        acknowledged the event: by requesting the next one, by returning from its handlers, or with `ack`. A feed
        without a consumer group commits nothing, so its records never count as handled.

        Args:
            timeout: the longest wait, in seconds.

        Raises:
            TimeoutError: not everything was handled in time. The text lists what is left.
        """

        def left() -> dict[tuple[str, int], int]:
            handled = {p: max(first, self.committed.get(p, 0)) for p, first in self._first.items()}
            return {p: len(log) - handled[p] for p, log in self._logs.items() if len(log) > handled[p]}

        with self._changed:
            if not self._changed.wait_for(lambda: not left(), timeout):
                raise TimeoutError(unhandled("the feed", timeout, left()))

    def fail(self, error: BaseException) -> None:
        """Makes the feed's next poll raise an error."""
        self._act(partial(_raise, error))

    def revoke(self, *topics: str) -> None:
        """Takes topics away, all of them by default, as a rebalance does: the feed can commit first."""
        self._act(partial(self._revoke, self._partitions(topics)))

    def lose(self, *topics: str) -> None:
        """Takes topics away, all of them by default, as an eviction from the group does: the feed can't commit."""
        self._act(partial(self._lose, self._partitions(topics)))

    def cut_off(self, *topics: str) -> None:
        """Makes topics unreachable, all of them by default, as when their broker is down: nothing is read from them."""
        with self._changed:
            self._unreachable.update(dict.fromkeys(self._partitions(topics), "it was cut off by the test"))

    def reconnect(self) -> None:
        """Makes all topics reachable again."""
        with self._changed:
            self._unreachable.clear()
            self._changed.notify_all()

    def slow_down(self, seconds: float) -> None:
        """Makes the source slow: each response takes this long and has one record. 0 makes it fast again."""
        with self._changed:
            self._response_time = seconds
            self._responds_at = None
            self._changed.notify_all()

    @property
    def is_slow(self) -> bool:
        """Whether the source was made slow."""
        return self._response_time > 0

    def ignore_commits(self, *topics: str) -> None:
        """Ignores what the feed commits of topics, all of them by default, until they are lost. So it is delivered
        again then."""
        with self._changed:
            self._ignored.update(self._partitions(topics))

    def expire(self) -> None:
        """Deletes all records that were published so far, as retention does.

        If the feed has not read all of them, it ends with a `DataLossError`. It does so whatever `on_data_loss` is. A
        second feed can continue if its `positions` are at the records that are left.
        """
        with self._changed:
            self._first = {partition: len(log) for partition, log in self._logs.items()}
            self._changed.notify_all()

    def assign(self, *topics: str) -> None:
        """Gives topics to the feed (again), all of them by default, from their committed offsets on."""
        self._act(partial(self._assign, self._partitions(topics)))

    def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, 0) for topic in topics or self._topics.names]

    def _act(self, action: Callable[[], None]) -> None:
        with self._changed:
            self._actions.append(action)
            self._changed.notify_all()

    # Source

    def open(self, owner: Owner) -> None:
        """Assigns all partitions to the feed. Called by the feed."""
        self._owner = owner
        self.closed_in = None
        owner.connected(self._logs)
        self._assign(list(self._logs))

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        """Returns what was published since the last call. Called by the feed."""
        with self._changed:
            self._changed.wait_for(lambda: self._actions or self._has_records(), timeout)
            while self._actions:
                self._actions.popleft()()
            if self._paused:
                return ()
            self._check_retention()
            at_most = self._respond_slowly(timeout) if self.is_slow else None
            found: list[tuple[int, MemoryRecord]] = []
            for partition, offset in self._flowing().items():
                found += self._logs[partition][offset:]
            found.sort(key=lambda numbered: numbered[0])
            records = [record for _, record in found[:at_most]]
            self._next.update({TopicPartition(record.topic(), 0): record.offset() + 1 for record in records})
            return records

    def status(self) -> SourceStatus:
        """Returns the ends of the partitions, and which of them are cut off. Called by the feed."""
        with self._changed:
            now = time.monotonic()
            reachable = self._readable()
            return SourceStatus(
                brokers_known=1,
                brokers_up=0 if self._unreachable and not reachable else 1,
                ends={partition: PartitionEnd(len(self._logs[partition]), now) for partition in reachable},
                unreachable={p: reason for p, reason in self._unreachable.items() if p in self._next},
            )

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remembers the offsets. Called by the feed."""
        self._commit(offsets)
        self._opened().committed({p: offset for p, offset in offsets.items() if p not in self._ignored})

    def pause(self) -> None:
        """Hands over no records until `resume`. Called by the feed."""
        self._paused = True

    def resume(self) -> None:
        """Hands over records again. Called by the feed."""
        self._paused = False

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """Hands over no records of these partitions. Called by the feed."""
        self._held = set(partitions)

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:  # noqa: ARG002  # as in Source
        """Remembers the last offsets. Called by the feed."""
        self._commit(offsets)
        self._next.clear()
        self._actions.clear()
        self._paused = False
        self._held.clear()
        self.closed_in = threading.current_thread().name

    def _readable(self) -> dict[TopicPartition, int]:
        return {partition: offset for partition, offset in self._next.items() if partition not in self._unreachable}

    def _flowing(self) -> dict[TopicPartition, int]:
        return {partition: offset for partition, offset in self._readable().items() if partition not in self._held}

    def _has_records(self) -> bool:
        return not self._paused and any(offset < len(self._logs[p]) for p, offset in self._flowing().items())

    def _respond_slowly(self, timeout: float) -> int:
        """Waits for the next slow response, and returns how many records it has: 1, or 0 if it takes longer."""
        if not self._has_records():
            return 0
        now = time.monotonic()
        if self._responds_at is None:
            self._responds_at = now + self._response_time
        if self._responds_at > now + timeout:
            self._changed.wait(timeout)
            return 0
        self._changed.wait_for(lambda: self._responds_at is None, self._responds_at - now)
        self._responds_at = None
        return 1

    def _check_retention(self) -> None:
        for partition, offset in self._flowing().items():
            if offset < self._first[partition]:
                raise DataLossError(*partition, offset, self._first[partition])

    def _commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        with self._changed:
            self.committed.update({p: offset for p, offset in offsets.items() if p not in self._ignored})
            self._changed.notify_all()

    def _revoke(self, partitions: Sequence[TopicPartition]) -> None:
        self._take_away(partitions)
        self._commit(self._opened().revoked(partitions))

    def _lose(self, partitions: Sequence[TopicPartition]) -> None:
        self._take_away(partitions)
        self._ignored.difference_update(partitions)
        self._opened().lost(partitions)

    def _take_away(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._next.pop(partition, None)
        self._held.difference_update(partitions)

    def _assign(self, partitions: Sequence[TopicPartition]) -> None:
        owner = self._opened()
        given = owner.assigned(partitions)
        for partition in partitions:
            end, first = len(self._logs[partition]), self._first[partition]
            self._next[partition] = offset = given.get(partition, self.committed.get(partition, first))
            if not first <= offset <= end:
                raise DataLossError(*partition, offset, first if offset < first else end)
            owner.positioned(partition, offset)

    def _opened(self) -> Owner:
        assert self._owner is not None, "open() comes first"
        return self._owner


def _raise(error: BaseException) -> None:
    raise error
