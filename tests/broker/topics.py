"""Topics, their messages, and how far groups have read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not marked as exported
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from tests.broker import wire
from tests.broker.core import WAIT_SECONDS, ClusterCore, wait_until
from tests.broker.node import BrokerError

Record = tuple["bytes | str | None", "bytes | None"]


class TopicOperations(ClusterCore):
    """Topics come and go; every change is known to every node when the method returns."""

    def __init__(self) -> None:
        super().__init__()
        self._producer: Producer | None = None

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replicas: int | None = None,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        """Create a topic, on all nodes by default, and wait until it has leaders."""
        settings = {key: str(value) for key, value in (config or {}).items()}
        topic = NewTopic(name, partitions, replicas or len(self.nodes), config=settings)
        self.admin.create_topics([topic])[name].result()
        self.wait_leaders(name, partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Raise the number of partitions to ``total``."""
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result()
        self.wait_leaders(topic, total)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until no node knows it."""
        self.admin.delete_topics([name])[name].result()
        self._on_every_node(lambda port: name not in wire.metadata(port).leaders, f"topic {name} is gone")

    def configure_topic(self, topic: str, config: Mapping[str, str | int]) -> None:
        """Change settings of a topic, e.g. ``{"retention.ms": 1}``."""
        self._configure(ResourceType.TOPIC, topic, config)

    def wait_leaders(self, topic: str, partitions: int | None = None) -> None:
        """Wait until every node knows a live leader for every partition of the topic.

        To be used after nodes went away or came back; the other methods do it themselves.
        """

        def led(port: int) -> bool:
            known = wire.metadata(port)
            leaders = known.leaders.get(topic, {})
            complete = len(leaders) == partitions if partitions else bool(leaders)
            return complete and all(leader in known.brokers for leader in leaders.values())

        self._on_every_node(led, f"every partition of {topic} has a leader")
        self.end_offsets(topic)  # which the leaders answer only once they have taken over

    def partition_leader(self, topic: str, partition: int) -> int:
        """The id of the node that leads a partition (``nodes[id - 1]``); -1 when there is none."""
        return self._ask_any(lambda port: wire.metadata(port).leaders[topic][partition])

    def group_coordinator(self, group: str | None) -> int:
        """The id of the node that looks after a consumer group."""
        assert group is not None, "there is no group"
        found: list[int] = []

        def find() -> bool:
            node = self._ask_any(lambda port: wire.group_coordinator(port, group))
            if node is not None:
                found.append(node)
            return bool(found)

        wait_until(find, f"group {group} has a coordinator")
        return found[0]

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """Partition -> offset of the oldest message still there."""
        return self._offsets(topic, wire.EARLIEST)

    def end_offsets(self, topic: str, *, committed: bool = False) -> dict[int, int]:
        """Partition -> the offset the next message will get.

        With ``committed``: where the first transaction that is still open begins, if there is one.
        """
        return self._offsets(topic, wire.LATEST, committed=committed)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Delete a partition's messages below an offset, as retention would."""
        self.admin.list_topics(topic=topic, timeout=WAIT_SECONDS)  # it may not know new partitions yet
        key = TopicPartition(topic, partition, before_offset)
        self.admin.delete_records([key])[key].result()

    def groups(self) -> set[str]:
        """Returns the consumer groups that there are."""
        return {group.group_id for group in self.admin.list_consumer_groups().result(30).valid}

    def committed(self, group: str | None, topic: str) -> dict[int, int]:
        """Partition -> offset the group committed; partitions without a commit are left out."""
        assert group is not None, "there is no group"

        # Not with the AdminClient: its list_consumer_group_offsets crashes the whole process
        # (confluent-kafka 2.16.1) when it asks a broker that is not, or not yet, the coordinator.
        found: list[dict[tuple[str, int], int]] = []

        def find() -> bool:
            coordinator = self.nodes[self.group_coordinator(group) - 1]
            try:
                answer = wire.committed(coordinator.ports.internal, group)
            except wire.NoAnswerError:
                return False
            if answer is not None:
                found.append(answer)
            return bool(found)

        wait_until(find, f"the coordinator tells what group {group} committed")
        return {partition: offset for (name, partition), offset in found[0].items() if name == topic and offset >= 0}

    def publish(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int | Sequence[int] | None = None,
    ) -> list[tuple[int, int]]:
        """Publish (key, value) pairs with acks=all; returns (partition, offset) of each, in order.

        Without ``partition`` the key decides, as with any producer. ``timestamp_ms`` is the time of all, or one for
        each. Raises if one fails.
        """
        self._renew_clients()
        producer = self._producer
        if producer is None:
            producer = self._producer = Producer(self._internal_producer())
        return _send(producer, topic, records, partition, headers, timestamp_ms)

    def publish_transaction(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        commit: bool = True,
        partition: int | None = None,
    ) -> list[tuple[int, int]]:
        """The same in a transaction, which is then committed, or else aborted.

        Either way the end of the transaction takes up one more offset, without a message in it.
        """
        settings = {**self._internal_producer(), "transactional.id": f"tests-{topic}"}
        producer = Producer(settings)
        producer.init_transactions(30)
        producer.begin_transaction()
        sent = _send(producer, topic, records, partition, (), None)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
        # The brokers are told of the end only after the producer has its answer.
        wait_until(lambda: self._none_open(topic, sent), f"the transaction on {topic} has ended")
        return sent

    def _none_open(self, topic: str, sent: list[tuple[int, int]]) -> bool:
        ends = self.end_offsets(topic, committed=True)
        return all(ends[partition] > offset for partition, offset in sent)

    def _internal_producer(self) -> dict[str, Any]:
        return {
            **self._internal_client(),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "message.max.bytes": 16 * 1024 * 1024,
            "message.timeout.ms": 30000,
            "topic.metadata.propagation.max.ms": 0,
        }

    def _forget_clients(self) -> None:
        self._producer = None
        super()._forget_clients()

    def _offsets(self, topic: str, which: int, *, committed: bool = False) -> dict[int, int]:
        """Ask each partition's leader, again while the leaders change."""
        ports = {node.node_id: node.ports.internal for node in self.nodes}
        found: dict[int, int] = {}

        def find() -> bool:
            leaders = self._ask_any(lambda port: wire.metadata(port).leaders.get(topic))
            if leaders is None:
                raise BrokerError(f"there is no topic {topic}")
            try:
                for partition, leader in sorted(leaders.items()):
                    port = ports.get(leader)
                    if port is None:  # there is no leader just now
                        return False
                    found[partition] = wire.offset(port, topic, partition, which, committed=committed)
            except wire.NoAnswerError:
                return False
            return True

        wait_until(find, f"the leaders of {topic} tell its offsets")
        return found

    def _configure(self, kind: ResourceType, name: str, config: Mapping[str, str | int]) -> None:
        operation = AlterConfigOpType.SET
        entries = [ConfigEntry(key, str(value), incremental_operation=operation) for key, value in config.items()]
        resource = ConfigResource(kind, name, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result()


def _send(
    producer: Producer,
    topic: str,
    records: Sequence[Record],
    partition: int | None,
    headers: Sequence[tuple[str, bytes | None]],
    timestamp_ms: int | Sequence[int] | None,
) -> list[tuple[int, int]]:
    sent: dict[int, tuple[int, int]] = {}
    failures: list[KafkaError] = []

    def keep(index: int, error: KafkaError | None, message: Message) -> None:
        where = (message.partition(), message.offset())
        if error is not None:
            failures.append(error)
        elif where[0] is not None and where[1] is not None:
            sent[index] = (where[0], where[1])

    producer.list_topics(topic, timeout=WAIT_SECONDS)  # it may not know new partitions and leaders yet
    options: dict[str, Any] = {"headers": list(headers)}
    if partition is not None:
        options["partition"] = partition
    for index, (key, value) in enumerate(records):
        if timestamp_ms is not None:
            options["timestamp"] = timestamp_ms if isinstance(timestamp_ms, int) else timestamp_ms[index]
        options["on_delivery"] = lambda error, message, index=index: keep(index, error, message)
        while True:
            try:
                producer.produce(topic, value=value, key=key, **options)
                break
            except BufferError:  # the queue is full: let some of it go out first
                producer.poll(0.1)
    producer.flush(WAIT_SECONDS)
    if failures:
        raise KafkaException(failures[0])
    if len(sent) != len(records):
        raise BrokerError(f"only {len(sent)} of {len(records)} messages reached {topic}")
    return [sent[index] for index in range(len(records))]
