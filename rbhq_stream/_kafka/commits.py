"""The commits of a consumer, one at a time, so that they don't pile up while the group's coordinator is down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._kafka.limited_log import LimitedLog
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.translation import PERMANENT, UNAUTHORIZED, UNKNOWN_TOPIC, permanent_error, text_and_broker
from rbhq_stream.source import TopicPartition

_log = logging.getLogger("rbhq_stream.kafka")

REPLY_TIMEOUT = 60.0
"""Seconds to wait for the reply to a commit before the next commit is sent without it."""
RETRY_INTERVAL = 0.1
"""Seconds until a last commit that failed is repeated. A rebalance may have been in progress."""
POLL_TIMEOUT = 0.02
"""Seconds that a poll waits for the reply to a last commit, before the deadline is checked."""


class Commits:
    """Sends the commits of one consumer, and handles their outcome. Used by the polling thread only.

    Args:
        group_id: the consumer group, if there is one. Without a group no commit is ever made.
        reports: takes in errors that are permanent.
        lines: where other errors are logged.
        committed: called with the offsets that were committed.
        metadata: returns the metadata to commit with an offset.
    """

    def __init__(
        self,
        group_id: str | None,
        reports: Reports,
        lines: LimitedLog,
        committed: Callable[[Mapping[TopicPartition, int]], None],
        metadata: Callable[[TopicPartition, int], str | None],
    ) -> None:
        self._group_id = group_id
        self._reports = reports
        self._lines = lines
        self._committed = committed
        self._metadata = metadata
        self._pending_since: float | None = None  # when the commit was sent whose reply is pending
        self._failed: set[int] = set()  # the codes with which the last one failed

    def start(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Starts to commit, unless the reply to the previous commit is still pending."""
        if self._pending_since is not None and time.monotonic() < self._pending_since + REPLY_TIMEOUT:
            return
        try:
            self._make(consumer, offsets)
        except KafkaException as error:
            text, _ = text_and_broker(error.args[0])
            self._lines.write(logging.WARNING, "commit", "commit failed, will be tried again", text)

    def now(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits and waits for the reply. Called in a rebalance, after which other members own these partitions."""
        try:
            self._committed(_succeeded(consumer.commit(offsets=self._to_commit(offsets), asynchronous=False)))
        except KafkaException as error:
            _log.warning(
                "the commit before a rebalance failed, so these records are delivered again: %s: %s",
                ", ".join(map(str, offsets)),
                text_and_broker(error.args[0])[0],
            )

    def finish(
        self,
        consumer: Consumer,
        offsets: Mapping[TopicPartition, int],
        deadline: float,
        removed: Container[TopicPartition],
    ) -> None:
        """Commits for the last time, and again if that fails.

        Args:
            consumer: the client.
            offsets: what to commit.
            deadline: the time (of the monotonic clock) by which it ends.
            removed: the partitions that are revoked or lost in the meantime; the client's callbacks add to it. Other
                members may have committed higher offsets for them.
        """
        try:
            began = time.monotonic()
            while self._is_pending() and time.monotonic() < (began + deadline) / 2:
                consumer.poll(POLL_TIMEOUT)
            while self._reports.permanent is None:
                while consumer.poll(0) is not None and time.monotonic() < deadline:
                    pass  # before the first commit, too: the client may be about to report that partitions are lost
                offsets = {partition: offset for partition, offset in offsets.items() if partition not in removed}
                if not offsets:
                    return
                self._make(consumer, offsets)
                while self._is_pending():
                    if time.monotonic() >= deadline:
                        _log.warning("the last commit was not confirmed in time; it may have failed: %s", offsets)
                        return
                    consumer.poll(POLL_TIMEOUT)
                if not self._failed or self._failed & (PERMANENT | UNKNOWN_TOPIC):
                    return
                again_at = time.monotonic() + RETRY_INTERVAL
                while (left := again_at - time.monotonic()) > 0:
                    consumer.poll(left)
        except KafkaException as error:
            text, _ = text_and_broker(error.args[0])
            _log.warning("the last commit failed, so these records are delivered again: %s", text)

    def on_reply(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        """Handles the reply to a commit: the client's `on_commit`. Never raises, because that would lose a record."""
        try:
            self._pending_since = None
            failed = {p: error or p.error for p in partitions if error is not None or p.error is not None}
            self._failed = {reason.code() for reason in failed.values() if reason is not None}
            for p, reason in failed.items():
                assert reason is not None
                if reason.code() in UNAUTHORIZED:
                    is_group = reason.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
                    resource = self._group_id if is_group else p.topic
                    self._reports.end_with(permanent_error(reason, resource=resource))
                subject = f"commit of {p.topic}[{p.partition}] failed, will be tried again"
                self._lines.write(logging.WARNING, reason.name(), subject, text_and_broker(reason)[0])
            self._committed(_succeeded(partitions) if error is None else {})
        except Exception:  # noqa: BLE001  # a callback of the client must not raise
            _log.debug("could not handle the reply to a commit", exc_info=True)

    def _is_pending(self) -> bool:
        """Whether there is a reply to wait for."""
        return self._pending_since is not None and self._reports.permanent is None

    def _make(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        consumer.commit(offsets=self._to_commit(offsets), asynchronous=True)
        self._pending_since = time.monotonic()

    def _to_commit(self, offsets: Mapping[TopicPartition, int]) -> list[KafkaPartition]:
        return [
            KafkaPartition(*partition, offset, metadata)
            if (metadata := self._metadata(partition, offset)) is not None
            else KafkaPartition(*partition, offset)
            for partition, offset in offsets.items()
        ]


def _succeeded(partitions: list[KafkaPartition]) -> dict[TopicPartition, int]:
    return {TopicPartition(p.topic, p.partition): p.offset for p in partitions if p.error is None}
