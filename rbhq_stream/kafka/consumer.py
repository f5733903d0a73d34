"""`KafkaSource`: records from a consumer group.

Rebalances come as callbacks from within `poll` and `consume`. What they tell goes straight into the owner's
books. Two things about them are subtle. A batch that was being collected when a partition went away may still
hold its records: they are dropped. And of a partition that was assigned in the middle of a batch the records
can't be told from those of an earlier assignment: they are dropped as well, and read again from where the
assignment began.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream.config import FeedConfig
from rbhq_stream.errors import AuthorizationError, ConnectError, DataLossError, UnknownTopicError
from rbhq_stream.kafka.connecting import check, make_consumer
from rbhq_stream.kafka.faults import UNKNOWN_TOPIC, Reports, connect_error, said
from rbhq_stream.record import RawRecord
from rbhq_stream.source import Owner, TopicPartition

log = logging.getLogger("rbhq_stream.kafka")

BATCH = 500
"""Most records taken from the client at once."""
ASK_TIMEOUT = 10.0
"""Seconds that a question to the brokers may take while the feed runs."""


class KafkaSource:
    """A `Source` that is a member of a consumer group."""

    def __init__(self, config: FeedConfig) -> None:
        self._config = config
        self._reports = Reports(config.group_id)
        properties = config.kafka_properties()
        self._incremental = properties.get("group.protocol") == "consumer" or "cooperative" in str(
            properties.get("partition.assignment.strategy")
        )
        self._consumer: Consumer | None = None
        self._owner: Owner | None = None
        self._fault: BaseException | None = None  # from within a callback, which must not raise
        self._fresh: set[TopicPartition] = set()  # assigned since the last poll
        self._unplaced: set[TopicPartition] = set()  # assigned, and where to read them is not known yet
        self._given: set[TopicPartition] = set()  # the application said where to read them
        self._rebalanced = False
        self._paused = False
        self._committing = False

    # Source

    def open(self, owner: Owner) -> None:
        self._owner = owner
        self._consumer = consumer = make_consumer(self._config, self._reports, self._on_commit)
        check(self._config, consumer, self._reports, owner.is_wanted)
        consumer.subscribe(
            list(self._config.topics.names), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        consumer = self._opened()
        first = consumer.poll(timeout)
        if first is None:
            self._after_callbacks()
            return ()
        # what was assigned before the first record came is settled; what is assigned while the rest is collected is not
        self._after_callbacks()
        messages = [first, *consumer.consume(BATCH, 0)]
        records = [message for message in messages if message.error() is None]
        if self._rebalanced:
            records = self._still_ours(records)
        self._after_callbacks()
        for message in messages if len(records) < len(messages) else ():
            error = message.error()
            if error is not None:
                self._on_error(message, error)
        return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self._committing:
            return  # one at a time: while the coordinator is away they would pile up
        try:
            self._opened().commit(offsets=_kafka_offsets(offsets), asynchronous=True)
        except KafkaException as error:
            self._reports.line(logging.WARNING, "commit", "commit failed, will be tried again", str(error.args[0]))
        else:
            self._committing = True

    def pause(self) -> None:
        self._paused = True
        consumer = self._opened()
        consumer.pause(consumer.assignment())

    def resume(self) -> None:
        self._paused = False
        consumer = self._opened()
        consumer.resume(consumer.assignment())

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        deadline = time.monotonic() + timeout
        if offsets:
            self._commit_by(consumer, offsets, deadline)
        consumer.close()

    # commits

    def _commit_by(self, consumer: Consumer, offsets: Mapping[TopicPartition, int], deadline: float) -> None:
        """Commits and waits for the answer, but not longer than until the deadline."""
        try:
            consumer.pause(consumer.assignment())
            while self._committing and time.monotonic() < deadline:
                consumer.poll(0.02)
            consumer.commit(offsets=_kafka_offsets(offsets), asynchronous=True)
            self._committing = True
            while self._committing and time.monotonic() < deadline:
                consumer.poll(0.02)
        except KafkaException as error:
            log.warning("the last commit failed, these records come again: %s", error.args[0])
        if self._committing:
            log.warning("the last commit was not confirmed in time; what was done since the one before may come again")

    def _on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        """`on_commit`: never raises."""
        try:
            self._committing = False
            failed = error or next((p.error for p in partitions if p.error is not None), None)
            if failed is not None:
                self._reports.line(
                    logging.WARNING, failed.name(), "commit failed, will be tried again", said(failed)[0]
                )
            self._owner_of_callbacks().committed(_committed(partitions) if error is None else {})
        except BaseException as fault:  # noqa: BLE001  # see the module `faults`
            self._fault = fault

    # rebalances

    def _assigned(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """`on_assign`: never raises. If nothing is assigned here the client does it, at the committed offsets."""
        try:
            ours = _partitions(partitions)
            self._fresh.update(ours)
            self._rebalanced = True
            given = self._owner_of_callbacks().assigned(ours)
            self._given.difference_update(ours)
            self._given.update(given)
            if given:
                places = [KafkaPartition(*p, given.get(p, OFFSET_STORED)) for p in ours]
                (consumer.incremental_assign if self._incremental else consumer.assign)(places)
            log.info("assigned: %s%s", _listed(ours), f", from where the application says: {given}" if given else "")
        except BaseException as fault:  # noqa: BLE001  # see the module `faults`
            self._fault = fault

    def _revoked(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """`on_revoke`: never raises. The last chance to commit for these partitions."""
        try:
            gone = _partitions(partitions)
            offsets = self._owner_of_callbacks().revoked(gone)
            self._fresh.difference_update(gone)
            self._unplaced.difference_update(gone)
            self._given.difference_update(gone)
            self._rebalanced = True
            if offsets and self._consumer is not None:  # when closing, the last commit was made before
                answers = consumer.commit(offsets=_kafka_offsets(offsets), asynchronous=False)
                self._owner_of_callbacks().committed(_committed(answers))
            log.info("revoked: %s", _listed(gone))
        except KafkaException as error:
            log.warning("commit before a rebalance failed, these records come again: %s", error.args[0])
        except BaseException as fault:  # noqa: BLE001  # see the module `faults`
            self._fault = fault

    def _lost(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """`on_lost`: never raises. They are another member's already, so nothing may be committed for them."""
        try:
            gone = _partitions(partitions)
            self._owner_of_callbacks().revoked(gone)
            self._fresh.difference_update(gone)
            self._unplaced.difference_update(gone)
            self._given.difference_update(gone)
            self._rebalanced = True
            log.warning("lost, what was not committed comes again at another member of the group: %s", _listed(gone))
        except BaseException as fault:  # noqa: BLE001  # see the module `faults`
            self._fault = fault

    def _after_callbacks(self) -> None:
        """Acts on what was noted by callbacks that may not act themselves."""
        self._rebalanced = False
        if self._fresh:
            self._fresh.clear()
            if self._paused:
                self.pause()
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if self._reports.fatal is not None:
            raise self._reports.fatal
        if self._unplaced:
            self._place_all()

    def _still_ours(self, records: Sequence[Message]) -> list[Message]:
        """The records of a batch in which a rebalance fell, less those of partitions that changed hands."""
        owner = self._owner_of_callbacks()
        kept = []
        for record in records:
            partition = TopicPartition(str(record.topic()), int(record.partition() or 0))
            if partition in self._fresh:
                self._unplaced.add(partition)
            elif owner.owns(partition):
                kept.append(record)
        return kept

    # positions

    def _on_error(self, message: Message, error: KafkaError) -> None:
        """An error that came in place of a record."""
        code = error.code()
        topic = message.topic()
        if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # the client's public code
            self._unplaced.add(TopicPartition(str(topic), int(message.partition() or 0)))
            self._place_all()
        elif code in UNKNOWN_TOPIC:
            raise UnknownTopicError(f"topic {topic!r} is gone: {error.str()}", topic=str(topic))
        else:
            ours = connect_error(error, resource=topic)
            if isinstance(ours, AuthorizationError) or error.fatal():
                raise ours or ConnectError(error.str())
            self._reports.line(logging.WARNING, str(topic), error.name(), error.str())

    def _place_all(self) -> None:
        """Has the partitions that have no place to read from read from the right one."""
        placed = {}
        for partition in sorted(self._unplaced):
            try:
                placed[partition] = self._place(partition)
            except KafkaException as error:  # asked again at the next poll
                self._reports.line(
                    logging.WARNING, str(partition), f"{partition}: can't find where to start yet", str(error.args[0])
                )
        if placed:
            self._reassign(placed)
            self._unplaced.difference_update(placed)

    def _place(self, partition: TopicPartition) -> int:
        """The offset to read the partition from."""
        consumer = self._opened()
        at = KafkaPartition(*partition)
        committed = consumer.committed([at], timeout=ASK_TIMEOUT)[0].offset
        low, high = consumer.get_watermark_offsets(at, timeout=ASK_TIMEOUT)
        if committed < 0 and partition not in self._given:
            offset = self._start(at, low, high)
            start = self._config.start
            log.info("%s: the group has committed nothing yet, starting at offset %d (%s)", partition, offset, start)
            return offset
        expected = self._owner_of_callbacks().expected(partition)
        next_offset = committed if expected is None else expected
        if low <= next_offset <= high:
            return next_offset
        loss = DataLossError(partition.topic, partition.partition, next_offset, low)
        policy = self._config.on_data_loss
        if policy == "raise":
            raise loss
        offset = low if policy == "earliest" else high
        log.error("%s. Going on at offset %d, as on_data_loss=%r says", loss, offset, policy)
        return offset

    def _reassign(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Reads these partitions from these offsets, and the others as they are."""
        consumer = self._opened()
        owner = self._owner_of_callbacks()
        for partition, offset in offsets.items():
            owner.positioned(partition, offset)
        if self._incremental:
            consumer.incremental_unassign([KafkaPartition(*partition) for partition in offsets])
            consumer.incremental_assign(_kafka_offsets(offsets))
        else:
            ours = _partitions(consumer.assignment())
            expected = {partition: owner.expected(partition) for partition in ours}
            consumer.assign(
                [KafkaPartition(*p, OFFSET_STORED if offset is None else offset) for p, offset in expected.items()]
            )
        if self._paused:
            self.pause()

    def _start(self, at: KafkaPartition, low: int, high: int) -> int:
        start = self._config.start
        if start == "earliest":
            return low
        if start == "latest":
            return high
        at.offset = int(start.timestamp() * 1000)
        found = self._opened().offsets_for_times([at], timeout=ASK_TIMEOUT)[0]
        if found.error is not None:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else high

    # what is there once opened

    def _opened(self) -> Consumer:
        assert self._consumer is not None, "open() comes first"
        return self._consumer

    def _owner_of_callbacks(self) -> Owner:
        assert self._owner is not None, "open() comes first"
        return self._owner


def _partitions(partitions: list[KafkaPartition]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]


def _committed(partitions: list[KafkaPartition]) -> dict[TopicPartition, int]:
    """Those that the commit succeeded for."""
    return {TopicPartition(p.topic, p.partition): p.offset for p in partitions if p.error is None}


def _kafka_offsets(offsets: Mapping[TopicPartition, int]) -> list[KafkaPartition]:
    return [KafkaPartition(*partition, offset) for partition, offset in offsets.items()]


def _listed(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "no partitions"
