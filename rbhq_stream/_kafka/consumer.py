"""`KafkaSource`: records from a consumer group.

Rebalances come as callbacks from within `poll` and `consume`. What they tell goes straight into the owner's
books. Two things about them are subtle. A batch that was being collected when a partition went away may still
hold its records: they are dropped. And of a partition that was assigned in the middle of a batch the records
can't be told from those of an earlier assignment: they are dropped as well, and read again from where the
assignment began.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka.asking import MAX_TIMEOUT, ReplyTimeout
from rbhq_stream._kafka.batches import fetched
from rbhq_stream._kafka.commits import Commits
from rbhq_stream._kafka.connecting import check, make_consumer
from rbhq_stream._kafka.ends import PartitionEnds, is_end, partition_of
from rbhq_stream._kafka.faults import NEVER_PASSES, UNKNOWN_TOPIC, Reports, said, standing_error
from rbhq_stream._kafka.starting import Offsets, Question, starting_offsets
from rbhq_stream._kafka.topics import TopicWatch
from rbhq_stream.errors import AuthenticationError, ConnectError
from rbhq_stream.record import RawRecord
from rbhq_stream.source import Owner, TopicPartition

log = logging.getLogger("rbhq_stream.kafka")

BATCH = 500
"""Most records taken from the client at once."""
RETRY_AFTER = 1.0
"""Seconds until the position of a partition is asked for again, if the brokers did not reply."""
POLL_SHARE = 8
"""A question to the brokers may take this part of `max_poll_interval`, so that several in a row don't exceed it."""
END_TIMEOUT = 1.0
"""Seconds to wait, when closing, for the client to say that the offsets after the last record hold no record. It does
so `fetch.wait.max.ms` after that record, which is half a second by default."""
BROKERLESS_AFTER = 2
"""So many times in a row the client must say that it knows no broker until it is replaced: for a moment that is so
while it makes a new list of them."""


class KafkaSource:
    """A `Source` that is a member of a consumer group."""

    def __init__(self, config: FeedConfig) -> None:
        self._config = config
        self._reports = Reports(config.group_id, is_encrypted=config.security != "PLAINTEXT")
        properties = config.kafka_properties()
        self._incremental = properties.get("group.protocol") == "consumer" or "cooperative" in str(
            properties.get("partition.assignment.strategy")
        )
        self._consumer: Consumer | None = None
        self._owner: Owner | None = None
        self._fault: BaseException | None = None  # from within a callback, which must not raise
        self._fresh: set[TopicPartition] = set()  # assigned since the last poll
        self._unplaced: set[TopicPartition] = set()  # assigned, and where to read them is not known yet
        self._known: set[TopicPartition] = set()  # there were when the feed connected
        self._ask_again = 0.0  # when to ask once more what was not answered
        self._reply_timeout = ReplyTimeout(min(MAX_TIMEOUT, config.max_poll_interval / POLL_SHARE))
        self._topics = TopicWatch(config.topics.names)
        self._ends = PartitionEnds()
        self._rebalanced = False
        self._gone: set[TopicPartition] = set()  # revoked or lost since closing began
        self._paused = False
        self._commits = self._new_commits()

    # Source

    def open(self, owner: Owner) -> None:
        try:
            self._open(owner)
        except AuthenticationError as error:
            refused = error
        else:
            return
        raise self._refused(refused)

    def _open(self, owner: Owner) -> None:
        self._owner = owner
        self._consumer = consumer = make_consumer(self._config, self._reports, self._commits.answered)
        self._known.update(check(self._config, consumer, self._reports, self._reply_timeout, owner.is_wanted))
        owner.connected(self._known)
        self._subscribe(consumer)

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        try:
            return self._poll(timeout)
        except KafkaException as error:
            failure: ConnectError = standing_error(error.args[0])
        except AuthenticationError as error:
            failure = error
        raise self._refused(failure) if isinstance(failure, AuthenticationError) else failure

    def _poll(self, timeout: float) -> Sequence[RawRecord]:
        if self._reports.brokerless >= BROKERLESS_AFTER:
            self._replace()
        consumer = self._opened()
        self._ends.pass_on(self._owner_of_callbacks())
        if self._topics.is_due():
            owner = self._owner_of_callbacks()
            self._topics.look({p: owner.expected(p) for p in _partitions(consumer.assignment())})
        self._ask(consumer)
        first = consumer.poll(timeout)
        # what was assigned before the first record came is settled; what is assigned while the rest is collected is not
        self._after_callbacks()
        if first is None:
            return ()
        messages = [first, *fetched(consumer, BATCH)]
        if self._rebalanced or self._unplaced:
            messages = self._still_ours(messages)
        records = [message for message in messages if message.error() is None]
        self._after_callbacks()
        if len(records) < len(messages):
            for message in messages:
                if message.error() is not None:
                    self._on_error(message)
        return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._commits.start(self._opened(), offsets)

    def pause(self) -> None:
        self._paused = True
        consumer = self._opened()
        consumer.pause(consumer.assignment())

    def resume(self) -> None:
        self._paused = False
        consumer = self._opened()
        consumer.resume(consumer.assignment())

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        consumer = self._consumer
        if consumer is None:
            if offsets:
                log.warning("not connected any more: not committed, and their records come again: %s", _listed(offsets))
            return
        deadline = time.monotonic() + timeout
        self._gone.clear()
        try:
            offsets = self._with_ends(consumer, offsets, min(timeout / 2, END_TIMEOUT))
            if offsets:
                consumer.pause(consumer.assignment())
                self._commits.finish(consumer, offsets, deadline, self._gone)
        finally:
            if isinstance(self._reports.fatal, AuthenticationError):
                del consumer  # to close it would take a log-in, which it would try again and again
                self._abandon()
            else:
                self._consumer = None
                consumer.close()

    # rebalances

    def _assigned(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """`on_assign`: never raises. If nothing is assigned here the client does it, at the committed offsets."""
        try:
            ours = _partitions(partitions)
            self._fresh.update(ours)
            self._rebalanced = True
            given = self._owner_of_callbacks().assigned(ours)
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
            self._forget(gone)
            if offsets and self._consumer is not None:  # when it is being closed, the last commit was made before
                self._commits.now(consumer, offsets)
            log.info("revoked: %s", _listed(gone))
        except BaseException as fault:  # noqa: BLE001  # see the module `faults`
            self._fault = fault

    def _lost(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """`on_lost`: never raises. They are another member's already, so nothing may be committed for them."""
        try:
            self._lose(_partitions(partitions))
        except BaseException as fault:  # noqa: BLE001  # see the module `faults`
            self._fault = fault

    def _lose(self, gone: Collection[TopicPartition]) -> None:
        self._owner_of_callbacks().lost(gone)
        self._forget(gone)
        log.warning("lost, what was not committed comes again at another member of the group: %s", _listed(gone))

    def _forget(self, gone: Collection[TopicPartition]) -> None:
        self._gone.update(gone)
        self._fresh.difference_update(gone)
        self._unplaced.difference_update(gone)
        self._ends.forget(gone)
        self._rebalanced = True

    def _after_callbacks(self) -> None:
        """Acts on what was noted by callbacks that may not act themselves."""
        self._rebalanced = False
        if self._fresh:
            self._fresh.clear()
            # the client remembers that a partition was paused when it went away
            (self.pause if self._paused else self.resume)()
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if self._reports.fatal is not None:
            raise self._reports.fatal

    def _still_ours(self, messages: Sequence[Message]) -> list[Message]:
        """The messages less the records and ends of partitions that were revoked or assigned meanwhile, or whose
        position is still to be found.
        """
        owner = self._owner_of_callbacks()
        kept = []
        for message in messages:
            if message.error() is not None and not is_end(message):
                kept.append(message)
                continue
            partition = partition_of(message)
            if partition in self._fresh:
                self._unplace(partition)
            elif partition not in self._unplaced and owner.owns(partition):
                kept.append(message)
        return kept

    def _with_ends(
        self, consumer: Consumer, offsets: Mapping[TopicPartition, int], timeout: float
    ) -> Mapping[TopicPartition, int]:
        """Returns the last offsets to commit: these, and beyond the ends of partitions whose records are all handled.

        Where the client knows that there is more, but all that was read is handled, the rest may be the end of a
        transaction. The client says so only after its next fetch, so this waits for it. If a record comes instead, it
        is dropped: nobody would handle it any more.
        """
        owner = self._owner_of_callbacks()
        ours = _partitions(consumer.assignment())
        before = {partition: owner.processed(partition) for partition in ours}
        self._ends.pass_on(owner)
        waiting = set()
        if not self._paused:
            waiting = {p for p in ours if p not in self._unplaced and self._is_behind_its_end(consumer, p)}
        deadline = time.monotonic() + timeout
        while waiting and self._reports.fatal is None and (left := deadline - time.monotonic()) > 0:
            message = consumer.poll(left)
            if message is not None and (message.error() is None or is_end(message)):
                waiting.discard(partition_of(message))
                if is_end(message):
                    self._ends.report(message)
        self._ends.pass_on(owner)
        processed = {partition: owner.processed(partition) for partition in ours}
        return {**offsets, **{p: at for p, at in processed.items() if at is not None and at != before[p]}}

    def _is_behind_its_end(self, consumer: Consumer, partition: TopicPartition) -> bool:
        """Returns whether all that was read of the partition is handled, and yet that is not all there is."""
        owner = self._owner_of_callbacks()
        expected = owner.expected(partition)
        if expected is None or owner.processed(partition) != expected or self._ends.is_at_end(partition, expected):
            return False
        _, end = consumer.get_watermark_offsets(KafkaPartition(*partition), cached=True)
        return end > expected

    # positions

    def _on_error(self, message: Message) -> None:
        """An error that came in place of a record."""
        if is_end(message):
            self._ends.report(message)
            return
        error = message.error()
        assert error is not None
        code, topic, number = error.code(), message.topic(), message.partition()
        about = str(topic) if number is None or number < 0 else f"{topic}[{number}]"
        if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # the client's public code
            self._unplace(partition_of(message))
            return
        if code in UNKNOWN_TOPIC and topic is not None:
            self._topics.doubt(topic)
        elif code in NEVER_PASSES:
            raise standing_error(error, resource=topic or self._config.group_id)
        self._reports.line(logging.WARNING, about, error.name(), f"{about}: {said(error)[0]}")

    def _unplace(self, partition: TopicPartition) -> None:
        """Has the position of a partition looked up. Until then nothing of it is handed over."""
        self._unplaced.add(partition)
        self._ends.forget([partition])
        self._ask_again = 0.0

    def _ask(self, consumer: Consumer) -> None:
        """Asks the brokers for what has to be known to go on. What they don't reply to is asked again later."""
        about = f"where to read from in {_listed(self._unplaced)}" if self._unplaced else "whether the topics exist"
        try:
            if not self._unplaced:
                self._topics.ask(consumer, self._reply_timeout)
            elif time.monotonic() >= self._ask_again:
                self._place(consumer)
        except KafkaException as error:
            self._ask_again = time.monotonic() + RETRY_AFTER
            text = said(error.args[0])[0]
            name = f"the brokers don't say {about}, will be asked again"
            self._reports.line(logging.WARNING, error.args[0].name(), name, text)

    def _place(self, consumer: Consumer) -> None:
        """Has the partitions that have no place to read from read from the right one."""
        owner = self._owner_of_callbacks()
        expected = {partition: owner.expected(partition) for partition in self._unplaced}
        offsets = Offsets(consumer, self._config.group_id, self._reply)
        places = starting_offsets(offsets, self._config, expected, self._known, self._ends)
        for partition, offset in places.items():
            if offset != expected[partition]:
                owner.positioned(partition, offset)
        self._reassign(consumer, places)
        self._unplaced.difference_update(places)

    def _reply(self, question: Question) -> list[KafkaPartition]:
        """Returns the brokers' reply to one of several questions in a row.

        Raises:
            KafkaException: there was none, or the feed is to be closed and there is no more time for questions.
        """
        if not self._owner_of_callbacks().is_wanted():
            raise KafkaException(KafkaError(KafkaError._DESTROY))  # noqa: SLF001  # the client's public code
        return self._reply_timeout.ask(question)

    def _reassign(self, consumer: Consumer, places: Mapping[TopicPartition, int]) -> None:
        """Reads these partitions from these offsets, and the others as they are."""
        ours = _partitions(consumer.assignment())
        if self._incremental:
            consumer.incremental_unassign([KafkaPartition(*partition) for partition in places if partition in ours])
            consumer.incremental_assign([KafkaPartition(*partition, offset) for partition, offset in places.items()])
        else:
            owner = self._owner_of_callbacks()
            expected = {partition: owner.expected(partition) for partition in ours}
            consumer.assign(
                [KafkaPartition(*p, OFFSET_STORED if offset is None else offset) for p, offset in expected.items()]
            )
        if self._paused:
            consumer.pause(consumer.assignment())

    # the client

    def _subscribe(self, consumer: Consumer) -> None:
        consumer.subscribe(
            list(self._config.topics.names), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def _replace(self) -> None:
        """Goes on with a new client. The old one has forgotten all brokers, because the last one said, while it shut
        down, that there are none; and it looks for them no more.
        """
        log.warning("the Kafka client knows no broker any more: going on with a new one")
        ours = _partitions(self._opened().assignment())
        if ours:
            self._lose(ours)
        self._abandon()
        self._reports.brokerless = 0
        self._commits = self._new_commits()
        self._consumer = make_consumer(self._config, self._reports, self._commits.answered)
        self._subscribe(self._consumer)

    def _refused(self, error: AuthenticationError) -> AuthenticationError:
        """Lets go of the client, which would go on logging in while the application finishes, and lock the account."""
        error = error.with_traceback(None)  # its frames hold the client
        self._abandon()
        return error

    def _abandon(self) -> None:
        """Ends the client without a word to the brokers, and without waiting until it has ended."""
        last_reference = [self._consumer]
        self._consumer = None
        threading.Thread(target=last_reference.clear, name="rbhq_stream client's end", daemon=True).start()

    def _new_commits(self) -> Commits:
        return Commits(self._config.group_id, self._reports, self._on_committed, self._ends.metadata)

    # what is there once opened

    def _on_committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._owner_of_callbacks().committed(offsets)

    def _opened(self) -> Consumer:
        assert self._consumer is not None, "open() comes first"
        return self._consumer

    def _owner_of_callbacks(self) -> Owner:
        assert self._owner is not None, "open() comes first"
        return self._owner


def _partitions(partitions: list[KafkaPartition]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]


def _listed(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "no partitions"
