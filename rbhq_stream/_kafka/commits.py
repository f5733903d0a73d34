"""Commits, one at a time: while the group's coordinator is away they would pile up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._kafka.faults import NEVER_PASSES, UNAUTHORIZED, UNKNOWN_TOPIC, Reports, said, standing_error
from rbhq_stream.source import TopicPartition

log = logging.getLogger("rbhq_stream.kafka")

PATIENCE = 60.0
"""Seconds after which the answer to a commit is not waited for any more before the next one is made."""
PAUSE = 0.1
"""Seconds until a last commit that failed is made again: a rebalance may be under way."""


class Commits:
    """Makes a consumer's commits and hears how they went.

    Args:
        group_id: what may be forbidden.
        reports: is told of failures, and of those that don't pass as fatal.
        committed: is told of the offsets that were committed.
        metadata: returns what to store beside an offset.
    """

    def __init__(
        self,
        group_id: str,
        reports: Reports,
        committed: Callable[[Mapping[TopicPartition, int]], None],
        metadata: Callable[[TopicPartition, int], str | None],
    ) -> None:
        self._group_id = group_id
        self._reports = reports
        self._committed = committed
        self._metadata = metadata
        self._since: float | None = None  # there is one whose answer is awaited
        self._failed: set[int] = set()  # with these codes the last one failed

    def start(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Starts to commit, unless the answer to the one before is still to come."""
        if self._since is not None and time.monotonic() < self._since + PATIENCE:
            return
        try:
            self._make(consumer, offsets)
        except KafkaException as error:
            self._reports.line(logging.WARNING, "commit", "commit failed, will be tried again", said(error.args[0])[0])

    def now(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits and waits for the answer, from within a rebalance: afterwards these partitions are another's."""
        try:
            answers = consumer.commit(offsets=self._to_commit(offsets), asynchronous=False)
            self._committed(_succeeded(answers))
        except KafkaException as error:
            log.warning(
                "commit before a rebalance failed, these records come again: %s: %s",
                ", ".join(map(str, offsets)),
                said(error.args[0])[0],
            )

    def finish(
        self,
        consumer: Consumer,
        offsets: Mapping[TopicPartition, int],
        deadline: float,
        gone: Container[TopicPartition],
    ) -> None:
        """Commits for the last time, again if it fails, but not longer than until the deadline. `gone` grows with the
        partitions that change hands meanwhile: another member may have committed more.
        """
        try:
            began = time.monotonic()
            while self._since is not None and self._reports.fatal is None and time.monotonic() < (began + deadline) / 2:
                consumer.poll(0.02)
            while self._reports.fatal is None:
                while consumer.poll(0) is not None and time.monotonic() < deadline:
                    pass  # before the first commit, too: what is still to be told may be that they are gone
                offsets = {partition: offset for partition, offset in offsets.items() if partition not in gone}
                if not offsets:
                    return
                self._make(consumer, offsets)
                while self._since is not None and self._reports.fatal is None:
                    if time.monotonic() >= deadline:
                        log.warning(
                            "the last commit was not confirmed in time, what it says may come again: %s", offsets
                        )
                        return
                    consumer.poll(0.02)
                if not self._failed or self._failed & (NEVER_PASSES | UNKNOWN_TOPIC):
                    return
                again_at = time.monotonic() + PAUSE
                while (left := again_at - time.monotonic()) > 0:
                    consumer.poll(left)
        except KafkaException as error:
            log.warning("the last commit failed, these records come again: %s", said(error.args[0])[0])

    def answered(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        """`on_commit`: never raises."""
        try:
            self._since = None
            failed = {p: error or p.error for p in partitions if error is not None or p.error is not None}
            self._failed = {reason.code() for reason in failed.values() if reason is not None}
            for p, reason in failed.items():
                assert reason is not None
                if reason.code() in UNAUTHORIZED:
                    of_group = reason.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
                    self._reports.fatal = standing_error(reason, resource=self._group_id if of_group else p.topic)
                about = f"commit of {p.topic}[{p.partition}] failed, will be tried again"
                self._reports.line(logging.WARNING, reason.name(), about, said(reason)[0])
            self._committed(_succeeded(partitions) if error is None else {})
        except Exception:  # see the module `faults`
            log.debug("could not take in the answer to a commit", exc_info=True)

    def _make(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        consumer.commit(offsets=self._to_commit(offsets), asynchronous=True)
        self._since = time.monotonic()

    def _to_commit(self, offsets: Mapping[TopicPartition, int]) -> list[KafkaPartition]:
        return [
            KafkaPartition(*partition, offset, metadata)
            if (metadata := self._metadata(partition, offset)) is not None
            else KafkaPartition(*partition, offset)
            for partition, offset in offsets.items()
        ]


def _succeeded(partitions: list[KafkaPartition]) -> dict[TopicPartition, int]:
    return {TopicPartition(p.topic, p.partition): p.offset for p in partitions if p.error is None}
