"""`DeadLetterTopic`: stores bad records in a topic of your own Kafka, each confirmed before the sink returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType

from attrs import field, frozen
from typing_extensions import Self

from rbhq_stream._config import checks
from rbhq_stream._config.properties import KafkaProperties, PropertyValue, Secret, property_field
from rbhq_stream._config.tracebacks import without_frames
from rbhq_stream._dead_letter.letter import DeadLetterError, record_of
from rbhq_stream._kafka.producer import ADDRESSES, ConfirmedProducer, NotConfirmedError
from rbhq_stream.errors import ConfigError, DecodeError
from rbhq_stream.record import Record

MAX_FAULTS_IN_HEADER = 5

_GUARANTEE = "can't be set: a bad record must not be acknowledged before all in-sync replicas have stored it"
_CALLBACK = "can't be set: the sink needs the Kafka client's callbacks"
_REFUSED = {
    "acks": _GUARANTEE,
    "request.required.acks": _GUARANTEE,
    "enable.idempotence": _GUARANTEE,
    "transactional.id": "can't be set: each record is written on its own, without a transaction",
    "message.timeout.ms": "can't be set here: use timeout (in seconds)",
    "delivery.timeout.ms": "can't be set here: use timeout (in seconds)",
    "logger": "can't be set: the Kafka client's log goes to the logger rbhq_stream.kafka",
    "on_delivery": _CALLBACK,
    "delivery.report.only.error": _CALLBACK,
}


class DeadLetterTopic:
    """Writes bad records to a topic of your own Kafka cluster, with their key, value and headers unchanged.

    It adds headers with the record's coordinates and its faults; docs/bad-records.md lists them. The call returns when
    all in-sync replicas have stored the record. The sink connects when the first record arrives. Several threads may
    use a sink; it stores one record at a time. `close` (or leaving `with`) disconnects, and the next record connects
    again.

    Args:
        topic: The name of the topic, which should exist. The record's key selects the partition, as with any producer.
        kafka: The librdkafka properties for the cluster: `bootstrap.servers` and, if it requires a password,
            `security.protocol`, `sasl.mechanism`, `sasl.username`, `sasl.password` and so on. Secrets are never shown.
        timeout: Seconds that storing a record may take, 0.001 to 3600.

    Raises:
        ConfigError: an argument is wrong, or the Kafka client refuses a property.
    """

    @without_frames
    def __init__(self, topic: str, kafka: Mapping[str, PropertyValue], *, timeout: float = 30.0) -> None:
        arguments = _TopicArguments(topic, kafka, timeout)
        self.topic = arguments.topic
        self._kafka = arguments.kafka
        self._timeout = arguments.timeout
        self._producer = ConfirmedProducer(self._kafka, self._timeout)
        self._producer.check()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.topic!r}, {self._kafka!r}, timeout={self._timeout!r})"

    def __call__(self, error: DecodeError) -> None:
        """Stores the bad record.

        Args:
            error: The error of a record that could not be decoded.

        Raises:
            DeadLetterError: it could not be stored, or the brokers did not confirm it in time, in which case it may
                have been stored.
            ValueError: the error has no record.
        """
        record = record_of(error)
        try:
            self._producer.write(self.topic, record.key, record.value, [*record.headers, *_headers_of(error, record)])
        except NotConfirmedError as problem:
            brokers = ",".join(str(self._kafka[name]) for name in ADDRESSES if name in self._kafka)
            raise DeadLetterError(f"topic {self.topic!r} of {brokers}", str(problem), record) from problem

    def close(self) -> None:
        """Disconnects. Safe to call more than once."""
        self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _headers_of(error: DecodeError, record: Record) -> Iterator[tuple[str, bytes]]:
    yield "rbhq.topic", record.topic.encode()
    yield "rbhq.partition", str(record.partition).encode()
    yield "rbhq.offset", str(record.offset).encode()
    if record.timestamp is not None:
        yield "rbhq.timestamp", record.timestamp.isoformat().encode()
    yield "rbhq.kind", error.kind.encode()
    first = error.faults[:MAX_FAULTS_IN_HEADER]
    faults = "; ".join(map(str, first))
    more = len(error.faults) - len(first)
    yield "rbhq.fault", (f"{faults}; and {more} more" if more else faults).encode()


def _to_kafka(value: Mapping[str, PropertyValue]) -> KafkaProperties:
    if not isinstance(value, Mapping):
        raise ConfigError("kafka", f"expected a mapping of librdkafka properties, got {type(value).__name__}")
    for name in value:
        if name in _REFUSED or str(name).endswith("_cb"):
            raise ConfigError(property_field(name), _REFUSED.get(name, _CALLBACK))
    if not any(name in value for name in ADDRESSES):
        raise ConfigError(property_field("bootstrap.servers"), "is required: the brokers, as host:port,host:port")
    return KafkaProperties({name: each.reveal() if isinstance(each, Secret) else each for name, each in value.items()})


@frozen
class _TopicArguments:
    """The arguments of a `DeadLetterTopic`, checked."""

    topic: str = field(validator=checks.kafka_name)
    kafka: KafkaProperties = field(converter=_to_kafka)
    timeout: float = field(validator=checks.seconds(3600))
