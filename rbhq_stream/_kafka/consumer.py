"""`KafkaSource`: records from a consumer group.

The module `client` has the states of the client. The module `partitions` has those of the partitions, which decide
which records are handed over. Rebalances are callbacks from within the client's `poll` and `consume`. They call the
owner at once and never raise: an exception is kept, and raised after `poll` has returned.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import attrs
from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka import codes
from rbhq_stream._kafka.asking import MAX_TIMEOUT, ReplyTimeout
from rbhq_stream._kafka.batches import fetched
from rbhq_stream._kafka.client import Client, ClientState
from rbhq_stream._kafka.commits import Commits
from rbhq_stream._kafka.ends import PartitionEnds, is_end, partition_of
from rbhq_stream._kafka.limited_log import LimitedLog
from rbhq_stream._kafka.partitions import Partitions, PartitionState
from rbhq_stream._kafka.pauses import Pauses
from rbhq_stream._kafka.positioning import Positioning
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.topics import TopicWatch
from rbhq_stream._kafka.translation import PERMANENT, UNKNOWN_TOPIC, permanent_error, text_and_broker
from rbhq_stream.errors import AuthenticationError, ConnectError
from rbhq_stream.record import RawRecord
from rbhq_stream.source import Owner, SourceStatus, TopicPartition

_log = logging.getLogger("rbhq_stream.kafka")

MAX_BATCH = 500
"""How many records are taken from the client at once, at most."""
POLL_SHARE = 8
"""A request to the brokers may take this part of `max_poll_interval`, so that several in a row don't exceed it."""
DEFAULT_FETCH_WAIT_MS = 500
"""librdkafka's default of `fetch.wait.max.ms`: how long an idle broker holds a fetch request back."""
END_TIMEOUT = 2.0
"""Seconds to wait at most, when closing, for the client to say that the offsets after the last record hold no record.
It does so `fetch.wait.max.ms` after that record, half a second by default, and a round trip."""

_Callback = Callable[[Consumer, list[KafkaPartition]], None]


class KafkaSource:
    """A `Source` that is a member of a consumer group."""

    def __init__(self, config: FeedConfig) -> None:
        self._config = config
        properties = config.kafka_properties()
        self._lines = LimitedLog()
        self._reports = Reports(
            config.group_id,
            self._lines,
            is_encrypted=config.security != "PLAINTEXT",
            fetch_wait=float(str(properties.get("fetch.wait.max.ms", DEFAULT_FETCH_WAIT_MS))) / 1000,
        )
        self._reply_timeout = ReplyTimeout(maximum=min(MAX_TIMEOUT, config.max_poll_interval / POLL_SHARE))
        self._ends = PartitionEnds()
        self._client = Client(
            config,
            self._reports,
            self._make_commits,
            on_assign=self._keeping_failures(self._assigned),
            on_revoke=self._keeping_failures(self._revoked),
            on_lost=self._keeping_failures(self._lost),
        )
        self._topics = TopicWatch(config.topics.names)
        self._partitions = Partitions()
        self._positioning = Positioning(config, self._partitions, self._ends, self._reply_timeout)
        self._removed: set[TopicPartition] = set()  # revoked or lost since closing began
        self._pauses = Pauses()
        self._reading_since = 0.0  # all assigned partitions are being fetched from, unless they are paused
        self._member_since: float | None = None  # when the group last assigned partitions to this process
        self._failure: BaseException | None = None  # of a callback
        self._opened_by: Owner | None = None

    # Source

    def open(self, owner: Owner) -> None:
        self._opened_by = owner
        try:
            self._client.connect(self._reply_timeout, owner.is_wanted, self._connected)
        except AuthenticationError as error:
            refused = error
        else:
            return
        raise self._disconnected(refused)

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        try:
            return self._poll(timeout)
        except KafkaException as error:
            failure: ConnectError = permanent_error(error.args[0])
        except AuthenticationError as error:
            failure = error
        raise self._disconnected(failure) if isinstance(failure, AuthenticationError) else failure

    def _poll(self, timeout: float) -> Sequence[RawRecord]:
        if self._client.state is ClientState.BROKERLESS:
            self._replace_client()
        consumer, owner = self._client.consumer, self._owner
        self._ends.pass_on(owner)
        if self._topics.is_due():
            self._topics.look({partition: owner.expected(partition) for partition in self._partitions.assigned})
        self._ask(consumer)
        first = consumer.poll(timeout)
        # what was assigned before the first record came is settled; what is assigned within the batch is not
        self._settle()
        if first is None:
            return ()
        messages = [first, *fetched(consumer, MAX_BATCH)]
        if not self._partitions.are_all_flowing:
            messages = self._positioning.flowing(messages)
        records = [message for message in messages if message.error() is None]
        self._settle()
        if len(records) < len(messages):
            for message in messages:
                if message.error() is not None:
                    self._take_in_error(message)
        return records

    def status(self) -> SourceStatus:
        reading_for = 0.0 if self._pauses.is_paused else time.monotonic() - self._reading_since
        status = self._reports.newest.status(self._partitions.assigned, reading_for)
        unreachable = {p: reason for p, reason in status.unreachable.items() if p not in self._pauses.held}
        member_until = None
        if self._config.group_id is not None and self._member_since is not None:
            confirmed = max(self._member_since, self._reports.newest.heartbeat_at or 0.0)
            member_until = confirmed + self._config.session_timeout
        return attrs.evolve(
            status, ends=self._ends.newest(status.ends), unreachable=unreachable, member_until=member_until
        )

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._client.commits.start(self._client.consumer, offsets)

    def pause(self) -> None:
        self._pauses.pause(self._client.consumer)

    def resume(self) -> None:
        self._reading_since = time.monotonic()
        self._pauses.resume(self._client.consumer)

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        self._reading_since = time.monotonic()
        released = self._pauses.hold(self._client.consumer, partitions)
        self._ends.begin(released, self._reading_since)
        self._ends.hold(partitions)

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        if self._client.state in (ClientState.NEW, ClientState.ENDED):
            if offsets:
                _log.warning(
                    "not connected, so records of these partitions are delivered again: %s",
                    _listed(offsets),
                )
            return
        deadline = time.monotonic() + timeout
        self._client.start_closing()
        self._removed.clear()
        try:
            self._commit_finally(offsets, timeout, deadline)
        finally:
            if isinstance(self._reports.permanent, AuthenticationError):
                self._client.abandon()
            else:
                self._client.close()

    def _commit_finally(self, offsets: Mapping[TopicPartition, int], timeout: float, deadline: float) -> None:
        consumer = self._client.consumer
        if not self._pauses.is_paused:
            flowing = [p for p in self._partitions.assigned if self._partitions.state(p) is PartitionState.FLOWING]
            limit = min(timeout / 2, END_TIMEOUT)
            ends = self._ends.wait(consumer, self._owner, flowing, limit, lambda: self._reports.permanent is None)
            offsets = {**offsets, **ends}
        if offsets:
            consumer.pause(consumer.assignment())
            self._client.commits.finish(consumer, offsets, deadline, self._removed)

    # rebalances

    def _keeping_failures(self, callback: _Callback) -> _Callback:
        """Returns a callback that keeps its exception: raised inside the client, it would destroy the next record."""

        def call(consumer: Consumer, partitions: list[KafkaPartition]) -> None:
            try:
                callback(consumer, partitions)
            except BaseException as failure:  # noqa: BLE001  # it is raised after the client's poll
                self._failure = failure

        return call

    def _assigned(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """Handles an assignment: `on_assign`. The client itself assigns the partitions that are not assigned here, and
        reads them from the committed offsets.
        """
        ours = _converted(partitions)
        given = self._take_over(ours)
        self._member_since = time.monotonic()
        self._ends.begin(ours, self._member_since)
        if given:
            self._positioning.assign(consumer, {partition: given.get(partition) for partition in ours})

    def _take_over(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Notes that these partitions are assigned. Returns the positions that the application gives for them."""
        self._partitions.assign(partitions)
        given = self._owner.assigned(partitions)
        _log.info("assigned: %s%s", _listed(partitions), f", positions of the application: {given}" if given else "")
        return given

    def _revoked(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """Handles a revocation: `on_revoke`. Commits for these partitions, which is not possible afterwards."""
        removed = _converted(partitions)
        offsets = self._owner.revoked(removed)
        if offsets and self._client.state is not ClientState.ENDED:  # or else the last commit was made before
            self._client.commits.now(consumer, offsets)
        self._remove(removed)
        _log.info("revoked: %s", _listed(removed))

    def _lost(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """Handles a loss: `on_lost`. Others may own these partitions already, so nothing may be committed for them."""
        self._lose(_converted(partitions))

    def _lose(self, partitions: Collection[TopicPartition]) -> None:
        self._owner.lost(partitions)
        self._remove(partitions)
        _log.warning(
            "partitions lost; uncommitted records are delivered again to another member: %s", _listed(partitions)
        )

    def _remove(self, partitions: Collection[TopicPartition]) -> None:
        self._removed.update(partitions)
        self._pauses.forget(partitions)
        self._partitions.remove(partitions)
        self._ends.forget(partitions)
        self._positioning.forget_replies()

    def _settle(self) -> None:
        """Does the work that the callbacks noted, because they may not do it themselves."""
        if self._partitions.settle():
            # the client remembers that a partition was paused when it was revoked
            (self.pause if self._pauses.is_paused else self.resume)()
            self._pauses.apply(self._client.consumer)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._reports.permanent is not None:
            raise self._reports.permanent

    def _take_in_error(self, message: Message) -> None:
        """Handles an error that the client returned instead of a record."""
        error = message.error()
        assert error is not None
        code, topic, number = error.code(), message.topic(), message.partition()
        subject = str(topic) if number is None or number < 0 else f"{topic}[{number}]"
        if is_end(message):
            self._ends.report(message)
        elif code == codes.AUTO_OFFSET_RESET:
            self._positioning.unplace(partition_of(message))
        elif code in PERMANENT:
            raise permanent_error(error, resource=topic or self._config.group_id)
        else:
            if code in UNKNOWN_TOPIC and topic is not None:
                self._topics.request_check(topic)
            self._lines.write(logging.WARNING, subject, error.name(), f"{subject}: {text_and_broker(error)[0]}")

    def _ask(self, consumer: Consumer) -> None:
        """Sends the request that is due to the brokers. It is repeated later if they don't reply."""
        unplaced = self._partitions.unplaced
        about = f"the positions in {_listed(unplaced)}" if unplaced else "the existence of the topics"
        try:
            if not unplaced:
                self._found(self._topics.ask(consumer, self._reply_timeout))
            elif self._positioning.look_up(consumer, self._owner):
                self._reading_since = time.monotonic()
                self._pauses.apply(consumer)
        except KafkaException as error:
            subject = f"the brokers don't reply to a request about {about}, which will be repeated"
            self._lines.write(logging.WARNING, error.args[0].name(), subject, text_and_broker(error.args[0])[0])

    def _found(self, partitions: Collection[TopicPartition]) -> None:
        """Handles the current partitions of a topic. The client itself reports new ones to the group."""

    # the client

    @property
    def _owner(self) -> Owner:
        assert self._opened_by is not None, "open() comes first"
        return self._opened_by

    def _connected(self, partitions: Collection[TopicPartition]) -> None:
        self._positioning.connected(partitions)
        self._owner.connected(partitions)

    def _make_commits(self) -> Commits:
        return Commits(self._config.group_id, self._reports, self._lines, self._committed, self._ends.metadata)

    def _committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._owner.committed(offsets)

    def _replace_client(self) -> None:
        """Continues with a new client, because this one knows no brokers. The old client's partitions are lost."""
        _log.warning("the Kafka client knows no brokers any more and is replaced by a new one")
        if self._partitions.assigned:
            self._lose(self._partitions.assigned)
        self._client.replace()

    def _disconnected(self, error: AuthenticationError) -> AuthenticationError:
        """Ends the client, which would keep logging in while the application finishes and so lock the account."""
        error = error.with_traceback(None)  # its frames hold the client
        self._client.abandon()
        return error


def _converted(partitions: Collection[KafkaPartition]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]


def _listed(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "no partitions"
