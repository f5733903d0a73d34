"""A producer that returns only when the brokers have confirmed: for records that must not be lost, one at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Producer

from rbhq_stream._config.properties import KafkaProperties
from rbhq_stream._config.tuning import milliseconds
from rbhq_stream._forks import forks
from rbhq_stream._kafka import codes
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.translation import config_error, text_and_broker

_log = logging.getLogger("rbhq_stream.kafka")

ADDRESSES = ("bootstrap.servers", "metadata.broker.list")
"""The properties that say where the brokers are: one of them is needed."""
POLL_TIMEOUT = 0.1
"""Seconds that a poll waits for the confirmation, before signals (Ctrl-C) and the client's reports are looked at."""
GRACE_TIMEOUT = 2.0
"""Seconds that the client may take, after a record's time is up, to say so."""
MAX_RECORD_BYTES = 1_000_000_000
"""The client's own limit for a record, as high as it goes: the brokers decide. By default it would refuse records that
the feed accepts."""
UNKNOWN_TOPIC_TIMEOUT_MS = 5_000
"""How long the brokers may report that there is no such topic before the producer accepts it. The client's default is
30 s."""


def close_producer(producer: Producer) -> None:
    """Disconnects a producer. One of a client before 2.13, which has no `close`, does so with its last reference."""
    if hasattr(producer, "close"):
        producer.close()


class NotConfirmedError(Exception):
    """The brokers may have the record or not. The text is the Kafka client's reason."""


class ConfirmedProducer:
    """Writes records one by one, and waits for each. Nothing uses the network before the first `write`.

    A client that failed is discarded, and the next `write` makes a new one: what was in its queue won't arrive later,
    and an idempotent producer may not be used after some failures. A forked child makes one of its own.

    Args:
        properties: those of the client.
        timeout: seconds that a record may take until it is confirmed.
    """

    def __init__(self, properties: KafkaProperties, timeout: float) -> None:
        self._properties = KafkaProperties(
            {
                "linger.ms": 0,
                "message.max.bytes": MAX_RECORD_BYTES,
                "topic.metadata.propagation.max.ms": UNKNOWN_TOPIC_TIMEOUT_MS,
            }
        )
        self._properties.update(properties)
        self._properties.update(
            {"acks": "all", "enable.idempotence": True, "message.timeout.ms": milliseconds(timeout)}
        )
        self._timeout = timeout
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._inherited: Producer | None = None  # kept, as to end it would wait for its threads
        self._reports = Reports("")
        forks.watch(self)

    def note_fork(self) -> None:
        """Notes that this process is a child: the client has no threads here, and a missing one may hold the lock."""
        self._inherited = self._producer or self._inherited
        self._producer = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """Has the client check its properties, without the network.

        Raises:
            ConfigError: it refuses one.
        """
        offline = self._properties | {"log_level": 0}
        for name in ADDRESSES:
            offline.pop(name, None)
        close_producer(self._make(offline))

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> None:
        """Writes the record and waits until all in-sync replicas have it.

        Raises:
            NotConfirmedError: they did not confirm it in time, or refused it.
        """
        with self._lock:
            try:
                self._write(topic, key, value, headers)
            except BaseException:
                self._discard()
                raise

    def close(self) -> None:
        """Disconnects. A later `write` connects again."""
        with self._lock:
            self._discard()

    def _write(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> None:
        producer = self._producer
        if producer is None:
            self._reports = Reports("")
            self._producer = producer = self._make(
                self._properties | {"error_cb": self._reports.error, "logger": self._reports}
            )
        outcome: list[KafkaError | None] = []
        deadline = time.monotonic() + self._timeout + GRACE_TIMEOUT
        try:
            producer.produce(
                topic, value, key, headers=list(headers), on_delivery=lambda error, _: outcome.append(error)
            )
            while not outcome:
                producer.poll(POLL_TIMEOUT)
                if not outcome and (self._reports.permanent is not None or time.monotonic() > deadline):
                    raise NotConfirmedError(self._trouble("no confirmation"))
        except BufferError as error:
            raise NotConfirmedError(str(error)) from None
        except KafkaException as error:  # poll raises what the client can't recover from
            raise NotConfirmedError(text_and_broker(error.args[0])[0]) from None
        failure = outcome[0]
        if failure is not None:
            timed_out = failure.code() == codes.MSG_TIMED_OUT
            raise NotConfirmedError(self._trouble("no confirmation") if timed_out else text_and_broker(failure)[0])

    def _trouble(self, reason: str) -> str:
        """Returns why there was no confirmation, as far as the client has reported it."""
        if self._reports.permanent is not None:
            return getattr(self._reports.permanent, "reason", str(self._reports.permanent))
        reasons = [
            f"{trouble.reason} (broker {trouble.broker})" if trouble.broker else trouble.reason
            for trouble in self._reports.troubles.values()
        ]
        return f"{reason} within {self._timeout:g} s: {'; '.join(reasons) or 'the brokers do not respond'}"

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.purge(blocking=False)
                close_producer(producer)
            except Exception:  # noqa: BLE001  # the failure before this one is what counts
                _log.debug("closing a producer failed", exc_info=True)

    def _make(self, properties: KafkaProperties) -> Producer:
        try:
            return Producer(properties)
        except KafkaException as error:
            raise config_error(error.args[0]) from None
