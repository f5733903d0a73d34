"""A feed under flow: records are published all the time, members of a group read them, and what they saw is kept."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaException
from typing_extensions import Self

from rbhq_stream import Feed, FeedConfig, Topics
from rbhq_stream._kafka import KafkaSource
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.broker.node import BrokerError
from tests.partner_configs import partner_config

VALUE = b'{"meetingId":1,"eventNumber":2,"status":"OPEN"}'
LONG = bool(os.environ.get("RBHQ_LONG"))
"""Whether the tests run in their long form."""
Places = set[tuple[int, int]]


def status_config(cluster: KafkaCluster, partner: Partner, **fields: Any) -> FeedConfig:
    """What RBHQ would have given the partner, for the one topic of race status."""
    return partner_config(
        cluster, partner, **{"topics": Topics(race_status=partner.topics.race_status), "commit_interval": 0.2, **fields}
    )


def publish(cluster: KafkaCluster, partner: Partner, count: int = 1, partition: int = 0) -> None:
    cluster.publish(partner.topics.race_status, [(b"k", VALUE)] * count, partition=partition)


def everything(cluster: KafkaCluster, partner: Partner) -> Places:
    """Where each record of the topic stands."""
    topic = partner.topics.race_status
    begins = cluster.begin_offsets(topic)
    return {(p, offset) for p, end in cluster.end_offsets(topic).items() for offset in range(begins[p], end)}


class Flow(threading.Thread):
    """Publishes to all partitions in turn until it is left."""

    def __init__(self, cluster: KafkaCluster, partner: Partner, partitions: int = 1, pause: float = 0.02) -> None:
        super().__init__(name="flow")
        self._cluster, self._partner, self._partitions, self._pause = cluster, partner, partitions, pause
        self._over = threading.Event()
        self.failures = 0

    def run(self) -> None:
        turn = 0
        while not self._over.wait(self._pause):
            turn += 1
            try:
                publish(self._cluster, self._partner, 5, turn % self._partitions)
            except (KafkaException, BrokerError):  # a broker is down at the moment
                self.failures += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


class CountingSource(KafkaSource):
    """Knows which partitions are its, and how often each was assigned."""

    def __init__(self, config: FeedConfig) -> None:
        super().__init__(config)
        self.assignments: Counter[int] = Counter()
        self.owned: frozenset[int] = frozenset()

    def _assigned(self, consumer: Any, partitions: Any) -> None:
        self.assignments.update(at.partition for at in partitions)
        super()._assigned(consumer, partitions)
        self.owned |= {at.partition for at in partitions}

    def _revoked(self, consumer: Any, partitions: Any) -> None:
        super()._revoked(consumer, partitions)
        self.owned -= {at.partition for at in partitions}

    def _lost(self, consumer: Any, partitions: Any) -> None:
        super()._lost(consumer, partitions)
        self.owned -= {at.partition for at in partitions}


class Member(threading.Thread):
    """A feed in a thread of its own: handles events until it is stopped, and keeps where they stood."""

    def __init__(self, config: FeedConfig, pace: float = 0.0, source: KafkaSource | None = None) -> None:
        super().__init__(name="member")
        self.config, self._pace = config, pace
        self.seen: list[tuple[int, int]] = []
        self.error: BaseException | None = None
        self._source = source or CountingSource(config)
        self.feed = Feed(config, source=self._source)
        self.closed_in = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        try:
            self.feed.__enter__()
            while not self._over.is_set():
                event = self.feed.poll(0.05)
                if event is not None and event.record is not None:
                    self.seen.append((event.record.partition, event.record.offset))
                    if self._pace:
                        time.sleep(self._pace)
        except BaseException as error:  # noqa: BLE001  # a thread has no caller: the test raises it
            self.error = error
        began = time.monotonic()
        self.feed.close()
        self.closed_in = time.monotonic() - began

    @property
    def source(self) -> CountingSource:
        assert isinstance(self._source, CountingSource), "given is another one"
        return self._source

    def leave(self) -> None:
        self._over.set()
        self.join()
        if self.error is not None:
            raise self.error

    def fails_with(self, kind: type[BaseException], timeout: float = 30) -> Any:
        """The error that it ends with; leaving it doesn't raise that again."""
        self.join(timeout)
        assert not self.is_alive(), f"no {kind.__name__} after {timeout:g} s"
        assert isinstance(self.error, kind), repr(self.error)
        error, self.error = self.error, None
        return error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self.join()
        if kind is None and self.error is not None:
            raise self.error

    def assert_in_order(self) -> None:
        """Within each ownership of a partition its records came one after the other, none twice, none left out."""
        last: dict[int, int] = {}
        jumps: Counter[int] = Counter()
        for partition, offset in self.seen:
            jumps[partition] += offset != last.get(partition, -2) + 1
            last[partition] = offset
        assert all(count <= self.source.assignments[p] for p, count in jumps.items()), (jumps, self.source.assignments)


class CommitWatch(threading.Thread):
    """Looks at the group's committed offsets all the time: they never go back."""

    def __init__(self, cluster: KafkaCluster, partner: Partner, group_id: str | None) -> None:
        super().__init__(name="commit watch")
        self._cluster, self._topic, self._group_id = cluster, partner.topics.race_status, group_id
        self._over = threading.Event()
        self.highest: dict[int, int] = {}
        self.went_back: list[tuple[int, int, int]] = []
        self.looks = 0

    def run(self) -> None:
        while not self._over.wait(0.05):
            with suppress(BrokerError):  # no coordinator just now
                for partition, offset in self._cluster.committed(self._group_id, self._topic).items():
                    before = self.highest.get(partition, 0)
                    if offset < before:
                        self.went_back.append((partition, before, offset))
                    self.highest[partition] = max(offset, before)
                self.looks += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self.join()
        if kind is None:
            assert self.looks, "the offsets were never seen"
            assert not self.went_back, "the committed offset went back"
