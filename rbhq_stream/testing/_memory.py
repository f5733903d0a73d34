"""Records from memory instead of Kafka, for tests that need no broker: `Feed(config, source=MemorySource(topics))`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

from attrs import frozen

from rbhq_stream._config import Topics
from rbhq_stream._wire import encode
from rbhq_stream.errors import DataLossError
from rbhq_stream.events import Event
from rbhq_stream.record import RawRecord
from rbhq_stream.source import Owner, TopicPartition


@frozen
class MemoryRecord:
    """A `RawRecord` made by hand."""

    _topic: str
    _partition: int
    _offset: int
    _value: bytes | None
    _key: bytes | None = None
    _timestamp: float = 0.0

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, round(self._timestamp * 1000)

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> None:
        return None


class MemorySource:
    """A source of what was `publish`ed, of one partition a topic; it remembers what was committed.

    Give the same one to a second feed to see what comes again after a restart: it begins at the committed offsets.
    `fail` makes the next poll raise, `revoke` and `assign` play a rebalance, `lose` an eviction, before the next poll.
    """

    def __init__(self, topics: Topics) -> None:
        self.committed: dict[TopicPartition, int] = {}
        self.closed_in: str | None = None
        """The name of the thread that closed it; `None` while it is open."""
        self._topics = topics
        self._logs: dict[TopicPartition, list[RawRecord]] = {TopicPartition(name, 0): [] for name in topics.names}
        self._next: dict[TopicPartition, int] = {}
        self._changed = threading.Condition()
        self._orders: deque[BaseException | tuple[str, TopicPartition]] = deque()
        self._owner: Owner | None = None
        self._paused = False

    def publish(self, *events: Event) -> None:
        """Appends the events, each to the topic of its class."""
        for event in events:
            self.publish_raw(self._topics.of(type(event)), encode(event), key=str(event.race_id).encode())

    def publish_raw(self, topic: str, value: bytes | None, *, key: bytes | None = None) -> None:
        """Appends a record with any bytes."""
        with self._changed:
            log = self._logs[TopicPartition(topic, 0)]
            log.append(MemoryRecord(topic, 0, len(log), value, key, time.time()))
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """The next poll raises this."""
        self._order(error)

    def revoke(self, topic: str) -> None:
        """Before the next poll the topic's partition goes to another member of the group."""
        self._order(("revoke", TopicPartition(topic, 0)))

    def lose(self, topic: str) -> None:
        """Before the next poll it turns out that the topic's partition is another member's already."""
        self._order(("lose", TopicPartition(topic, 0)))

    def assign(self, topic: str) -> None:
        """Before the next poll the topic's partition is ours (again), from its committed offset."""
        self._order(("assign", TopicPartition(topic, 0)))

    def _order(self, order: BaseException | tuple[str, TopicPartition]) -> None:
        with self._changed:
            self._orders.append(order)
            self._changed.notify_all()

    # Source

    def open(self, owner: Owner) -> None:
        self._owner = owner
        self.closed_in = None
        owner.connected(self._logs)
        self._take(owner, list(self._logs))

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        with self._changed:
            self._changed.wait_for(lambda: self._orders or self._has_records(), timeout)
            while self._orders:
                self._obey(self._orders.popleft())
            if self._paused:
                return ()
            records: list[RawRecord] = []
            for partition, offset in self._next.items():
                records += self._logs[partition][offset:]
                self._next[partition] = len(self._logs[partition])
            return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed.update(offsets)
        self._owned().committed(offsets)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:  # noqa: ARG002  # as the protocol has it
        self.committed.update(offsets)
        self._next.clear()
        self._orders.clear()
        self._paused = False
        self.closed_in = threading.current_thread().name

    def _has_records(self) -> bool:
        return not self._paused and any(offset < len(self._logs[p]) for p, offset in self._next.items())

    def _obey(self, order: BaseException | tuple[str, TopicPartition]) -> None:
        if isinstance(order, BaseException):
            raise order
        what, partition = order
        if what == "revoke":
            self._next.pop(partition, None)
            self.committed.update(self._owned().revoked([partition]))
        elif what == "lose":
            self._next.pop(partition, None)
            self._owned().lost([partition])
        else:
            self._take(self._owned(), [partition])

    def _take(self, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        given = owner.assigned(partitions)
        for partition in partitions:
            self._next[partition] = offset = given.get(partition, self.committed.get(partition, 0))
            if offset > len(self._logs[partition]):
                raise DataLossError(*partition, offset, len(self._logs[partition]))
            owner.positioned(partition, offset)

    def _owned(self) -> Owner:
        assert self._owner is not None, "open() comes first"
        return self._owner
