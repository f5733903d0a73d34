"""Writes records to the embedded broker, and waits until it has them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import define
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from rbhq_stream._kafka.producer import close_producer
from rbhq_stream._timestamps import from_milliseconds, to_milliseconds
from rbhq_stream.errors import RbhqStreamError
from rbhq_stream.record import Record


class PublishError(RbhqStreamError):
    """A record was not written to the embedded broker."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(topic, reason)
        self.topic = topic
        """The name of the topic."""
        self.reason = reason
        """The cause, in the Kafka client's words."""

    def __str__(self) -> str:
        return f"the record was not written to topic {self.topic!r}: {self.reason}"


def checked_milliseconds(moment: datetime | None) -> int | None:
    """Returns an aware time as Kafka writes it, in milliseconds since 1970.

    Raises:
        ValueError: the time has no time zone.
    """
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: pass an aware datetime, for example with tzinfo=timezone.utc")
    return to_milliseconds(moment)


@define
class Outgoing:
    """A record to write, and what became of it."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: Mapping[str, bytes] | None = None
    milliseconds: int | None = None
    """The record's time, in milliseconds since 1970; the time of sending by default."""
    partition: int | None = None
    _error: KafkaError | None = None
    _offset: int | None = None

    def send(self, producer: Producer) -> None:
        """Queues the record in the client.

        Raises:
            BufferError: the client's queue is full.
            KafkaException: the client refuses the record.
        """
        if self.milliseconds is None:
            self.milliseconds = time.time_ns() // 1_000_000
        producer.produce(
            self.topic,
            self.value,
            self.key,
            partition=-1 if self.partition is None else self.partition,
            headers=dict(self.headers or {}),
            timestamp=self.milliseconds,
            on_delivery=self._on_delivery,
        )

    @property
    def is_waiting(self) -> bool:
        """Whether the client has not reported yet what became of the record."""
        return self._offset is None and self._error is None

    def delivered(self) -> Record:
        """Returns the record as it was written.

        Raises:
            PublishError: it was not written.
        """
        if self._error is not None:
            raise PublishError(self.topic, self._error.str())
        assert self.partition is not None
        assert self._offset is not None
        assert self.milliseconds is not None
        return Record(
            topic=self.topic,
            partition=self.partition,
            offset=self._offset,
            timestamp=from_milliseconds(self.milliseconds),
            key=self.key,
            value=self.value,
            headers=tuple((self.headers or {}).items()),
        )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        self.partition = message.partition()
        self._error = error
        self._offset = message.offset()


class Publisher:
    """Writes records. Any thread may do so; each waits for its own records."""

    def __init__(self, bootstrap_servers: str, *, timeout: float, logger: logging.Logger) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "security.protocol": "PLAINTEXT",
                "socket.nagle.disable": True,
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 100,
                "linger.ms": 0,
                # keeps the order when a record is sent again; so does idempotence, but it takes a second to start
                "max.in.flight.requests.per.connection": 1,
                "allow.auto.create.topics": False,
                "message.timeout.ms": int(timeout * 1000),
                "message.max.bytes": 64 * 1024 * 1024,
            },
            logger=logger,
        )
        self._closing = False
        self._writers = 0
        self._writers_left = threading.Condition()

    def write(self, outgoing: Sequence[Outgoing]) -> list[Record]:
        """Writes the records in order, and returns them as they were written.

        Raises:
            PublishError: a record was not written.
        """
        with self._writers_left:
            self._writers += 1
        try:
            for item in outgoing:
                self._send(item)
            # this ends, because the client reports every record within message.timeout.ms
            for item in outgoing:
                while item.is_waiting:
                    # only for a moment: another thread that writes may get the report
                    self._poll(item, 0.01)
        finally:
            with self._writers_left:
                self._writers -= 1
                self._writers_left.notify_all()
        return [item.delivered() for item in outgoing]

    def close(self) -> None:
        """Discards records that are not written yet, and disconnects."""
        self._closing = True
        # no thread may be inside the client when it is closed
        with self._writers_left:
            self._writers_left.wait_for(lambda: self._writers == 0)
        self._producer.purge()
        close_producer(self._producer)
        del self._producer

    def _send(self, item: Outgoing) -> None:
        while True:
            self._check_open(item)
            try:
                return item.send(self._producer)
            except BufferError:
                self._poll(item, 0.05)
            except KafkaException as error:
                raise PublishError(item.topic, error.args[0].str()) from error

    def _poll(self, item: Outgoing, seconds: float) -> None:
        self._check_open(item)
        self._producer.poll(seconds)

    def _check_open(self, item: Outgoing) -> None:
        if self._closing:
            raise PublishError(item.topic, "the broker was closed")
