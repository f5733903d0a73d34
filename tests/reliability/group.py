"""A consumer group of processes, started and judged by the tests that kill and stop them."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from rbhq_stream import FeedConfig
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.reliability.app import Life, Place
from tests.reliability.flow import everything, publish, status_config


class Group:
    """One group of consumers and what it is judged by."""

    def __init__(self, kafka: KafkaCluster, partner: Partner, folder: Path, partitions: int) -> None:
        self.kafka, self.partner, self.partitions = kafka, partner, partitions
        self.lives: list[Life] = []
        self._folder = folder
        self._numbers = count()

    def config(self, **fields: object) -> FeedConfig:
        # static membership: who comes back within the session takes up its partitions at once
        return status_config(
            self.kafka, self.partner, **{"group_instance_id": "the-one", "commit_interval": 0.1, **fields}
        )

    def start(
        self, variant: str, *, config: FeedConfig | None = None, log: Path | None = None, **options: object
    ) -> Life:
        log = log or self._folder / f"{next(self._numbers)}.log"
        life = Life(variant, config or self.config(), log, **options)
        self.lives.append(life)
        return life

    def publish(self, each: int) -> None:
        for partition in range(self.partitions):
            publish(self.kafka, self.partner, each, partition)

    def committed(self) -> dict[int, int]:
        return self.kafka.committed(self.config().group_id, self.partner.topics.race_status)

    def ends(self) -> list[Place]:
        """The last published record of each partition."""
        return [(p, end - 1) for p, end in self.kafka.end_offsets(self.partner.topics.race_status).items() if end]

    def done(self) -> list[Place]:
        return [place for life in self.lives for place in life.done]

    def assert_all_done(self) -> None:
        missed = everything(self.kafka, self.partner) - set(self.done())
        assert not missed, sorted(missed)[:20]

    def assert_committed_is_done(self) -> None:
        """The committed offsets are the last completed + 1."""
        done = set(self.done())
        committed = self.committed()
        for partition in range(self.partitions):
            after = 1 + max((offset for p, offset in done if p == partition), default=-1)
            assert committed.get(partition, 0) == after, (partition, committed, after)
