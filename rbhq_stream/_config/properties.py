"""The properties of the Kafka client: which of them a user may set, and how they are kept and printed.

`RawProperties` has what a user set, `KafkaProperties` has what the client gets. Neither prints a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Union

from typing_extensions import Self

from rbhq_stream._config.tracebacks import without_frames
from rbhq_stream.errors import ConfigError

MASK = "***"


class Secret:
    """A string that must not be printed: `repr`, `str` and `format` show `***`, and only `reveal()` returns it."""

    __slots__ = ("__text",)

    @without_frames
    def __init__(self, text: str | Secret) -> None:
        if isinstance(text, Secret):
            text = text.reveal()
        if not isinstance(text, str):
            raise TypeError(f"a Secret holds a str, not {type(text).__name__}")
        self.__text = text

    def reveal(self) -> str:
        """Returns the string in plain text. Pass it on; do not store it."""
        return self.__text

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return self.__text == other.__text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self.__text,)


PropertyValue = Union[str, int, float, bool, Secret]
"""What a property of librdkafka may be set to. A `Secret` is revealed only to the Kafka client."""


class RawProperties(Mapping[str, PropertyValue]):
    """The properties that a user set: checked, immutable, hashable. Sensitive values are `Secret`s."""

    # not a dict, which can be changed, and which attrs.asdict would copy
    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, PropertyValue] | Iterable[tuple[str, PropertyValue]] = ()) -> None:
        self._values: dict[str, PropertyValue] = {
            name: _checked(name, value) for name, value in sorted(_named(dict(values)).items())
        }

    def __getitem__(self, name: str) -> PropertyValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)

    def __reduce__(self) -> tuple[type[RawProperties], tuple[dict[str, PropertyValue]]]:
        return RawProperties, (dict(self._values),)


class KafkaProperties(dict[str, Any]):
    """The properties that the Kafka client gets, with passwords in plain text. Its `repr` and `str` mask them."""

    def __repr__(self) -> str:
        return repr({name: MASK if is_sensitive(name) else value for name, value in self.items()})

    __str__ = __repr__

    def copy(self) -> Self:
        return type(self)(self)

    def __or__(self, other: Mapping[str, Any]) -> Self:  # type: ignore[override] # stays masked, as dict's doesn't
        return type(self)({**self, **other})

    def __ror__(self, other: Mapping[str, Any]) -> Self:  # type: ignore[override] # stays masked, as dict's doesn't
        return type(self)({**other, **self})


def is_sensitive(name: str) -> bool:
    """Returns whether the value of a property must not be printed."""
    return _SENSITIVE.search(name.lower()) is not None


# what librdkafka itself redacts, and similar names that later versions may add; a username may be shown
_SENSITIVE = re.compile(
    r"password|passphrase|secret|credential|token|key\.pem|^ssl_key$|^sasl\.oauthbearer\.(config|extensions)$"
)


def property_field(name: object) -> str:
    """Returns the name that errors use for a property: `kafka["fetch.min.bytes"]`."""
    return f'kafka["{str(name)[:80]}"]'


def _named(values: dict[Any, Any]) -> dict[str, Any]:
    for name in values:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise ConfigError(
                property_field(name), "is not the name of a property of librdkafka, such as fetch.min.bytes"
            )
        reason = refusal(name)
        if reason is not None:
            raise ConfigError(property_field(name), reason)
    return values


def _checked(name: str, given: Any) -> PropertyValue:
    value = _value(name, given)
    if name in MINIMUM:
        text = value.reveal() if isinstance(value, Secret) else str(value)
        least, reason = MINIMUM[name]
        if not _WHOLE.fullmatch(text) or int(text) < least:
            raise ConfigError(property_field(name), f"expected an integer of at least {least}: {reason}")
    return value


def _value(name: str, value: Any) -> PropertyValue:
    def wrong(problem: str) -> ConfigError:
        return ConfigError(property_field(name), problem)

    if isinstance(value, Secret):
        clear = value.reveal()
        _check_text(clear, wrong)
        return value
    if isinstance(value, str):
        _check_text(value, wrong)
        if _COUNTED.search(name) and not _WHOLE.fullmatch(value):
            # librdkafka reads "5s" and "5e3" as 5
            raise wrong(f"expected an integer, got {value[:40]!r}" if not is_sensitive(name) else "expected an integer")
        return Secret(value) if is_sensitive(name) else value
    if isinstance(value, bool):
        if _COUNTED.search(name):
            raise wrong(f"expected an integer, got {value}")
        return value
    if isinstance(value, float):
        if not math.isfinite(value) or not value.is_integer():
            raise wrong(f"expected an integer, got {value}: librdkafka would drop the fraction")
        value = int(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise wrong("expected an integer of at most 64 bits")
        return Secret(str(value)) if is_sensitive(name) else value
    raise wrong(f"expected a string, an integer or a bool, got {type(value).__name__}")


def _check_text(text: str, wrong: Callable[[str], ConfigError]) -> None:
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise wrong("contains a NUL character or half a surrogate pair, which the Kafka client does not accept")


_COUNTED = re.compile(r"\.(ms|bytes|kbytes|messages|seconds)$|^log_level$")
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})")


def refusal(name: str) -> str | None:
    """Returns why a property may not be set and what to do instead; `None` if it may be set."""
    # librdkafka accepts topic properties with this prefix, too
    for spelling in (name, re.sub(r"^(topic\.)+", "", name)):
        if spelling in REFUSED:
            return REFUSED[spelling]
        for pattern, reason in REFUSED_PATTERNS.items():
            if re.fullmatch(pattern, spelling):
                return reason
    return None


_COMMITS = (
    "can't be set: offsets would be committed before their events are handled, so a crash would lose events. The feed"
    " commits an offset once the application has handled the event"
)
_WHERE_TO_BEGIN = (
    "can't be set: it could skip events silently. Use the field start for a new group, and on_data_loss for the case"
    " that the next events are no longer on the broker"
)
_TLS = (
    "can't be set: it would let any server impersonate the broker. To trust a certificate authority of your own, use"
    " ca_file or ca_pem"
)
_CALLBACK = "can't be set: the feed needs the Kafka client's callbacks, and a callback that raises would lose records"
_NATIVE = "can't be set: it would run third-party code inside the Kafka client"
_LOG = (
    "the feed finds out from the Kafka client's log why a connection fails. To see less of that log, set the logger"
    " rbhq_stream.kafka to a higher level"
)
_OLD_PROTOCOL = (
    "can't be set: the feed would use the protocol of very old brokers, which does not show which records were aborted"
)
_STORM = "a refused password would be tried many times in quick succession, which can lock the account"
_STORE = "can't be set: offsets have to be stored on the brokers, where every member of the group can read them"


def _use(field: str) -> str:
    return f"can't be set here: use the field {field}"


REFUSED: dict[str, str] = {
    "bootstrap.servers": _use("bootstrap_servers"),
    "metadata.broker.list": _use("bootstrap_servers"),
    "group.id": _use("group_id"),
    "group.instance.id": _use("group_instance_id"),
    "client.id": _use("client_id"),
    "security.protocol": _use("security"),
    "sasl.mechanism": "can't be set: RBHQ accepts SCRAM-SHA-512 only, and the feed sets it",
    "sasl.mechanisms": "can't be set: RBHQ accepts SCRAM-SHA-512 only, and the feed sets it",
    "sasl.username": _use("username"),
    "sasl.password": _use("password"),
    "ssl.ca.location": _use("ca_file"),
    "ssl.ca.pem": _use("ca_pem"),
    "ssl_ca": _use("ca_pem"),
    "session.timeout.ms": _use("session_timeout (in seconds)"),
    "max.poll.interval.ms": _use("max_poll_interval (in seconds)"),
    "auto.commit.interval.ms": _use("commit_interval (in seconds)"),
    "enable.auto.commit": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "auto.offset.reset": _WHERE_TO_BEGIN,
    "offset.store.method": _STORE,
    "offset.store.path": _STORE,
    "offset.store.sync.interval.ms": _STORE,
    "statistics.interval.ms": "can't be set: the feed checks in the Kafka client's statistics that the client works",
    "enable.partition.eof": "can't be set: the feed uses it to detect that it has caught up",
    "group.protocol.type": "can't be set: only consumer works, and it is the default",
    "isolation.level": "can't be set: the feed would deliver records of transactions that are open or were aborted",
    "api.version.request": _OLD_PROTOCOL,
    "api.version.fallback.ms": _OLD_PROTOCOL,
    "broker.version.fallback": _OLD_PROTOCOL,
    "socket.max.fails": "can't be set: the client would never close a connection on which nothing arrives any more",
    "enable.sparse.connections": f"can't be set: with a connection to each broker, {_STORM}",
    "topic.blacklist": "can't be set: it would hide topics silently. Leave the topic out of the field topics instead",
    "allow.auto.create.topics": "can't be set: a mistyped topic name must be an error, not create an empty topic",
    "ssl.endpoint.identification.algorithm": _TLS,
    "enable.ssl.certificate.verification": _TLS,
    "client.dns.lookup": "can't be set: certificates would be checked against the name that reverse DNS returns",
    "enabled_events": "can't be set: the feed's callbacks would not be called for errors and rebalances any more",
    "log.queue": "can't be set: the Kafka client's log goes to the logger rbhq_stream.kafka",
    "logger": "can't be set: the Kafka client's log goes to the logger rbhq_stream.kafka",
    "log.connection.close": f"can't be set: {_LOG}",
    "on_commit": _CALLBACK,
    "opaque": _CALLBACK,
    "interceptors": _NATIVE,
    "plugin.library.paths": _NATIVE,
    "ssl.engine.location": _NATIVE,
    "ssl.engine.id": _NATIVE,
    "ssl.providers": _NATIVE,
    "ssl_engine_callback_data": _NATIVE,
    "ssl_key": _use('kafka["ssl.key.pem"]'),
    "ssl_certificate": _use('kafka["ssl.certificate.pem"]'),
    "default.topic.config": "can't be set: give its properties one by one in kafka",
    "default_topic_conf": "can't be set: give its properties one by one in kafka",
    "internal.termination.signal": "can't be set: the signal would interrupt the application's own threads",
}
"""The properties that can't be set, each with the reason and what to use instead."""

REFUSED_PATTERNS: dict[str, str] = {
    r".*_cb": _CALLBACK,
    r"test\..*|ut_.*": "can't be set: it is for librdkafka's own tests. For yours, rbhq_stream.testing has a broker",
}
"""The same for groups of names, as regular expressions."""

MINIMUM: dict[str, tuple[int, str]] = {
    "log_level": (6, _LOG),
    "reconnect.backoff.ms": (100, f"with less, {_STORM}"),
    "reconnect.backoff.max.ms": (100, f"with less, {_STORM}"),
    "topic.metadata.refresh.interval.ms": (1, "with 0, partitions that are added to a topic would never be read"),
}
"""The smallest value that a property may be set to, and why."""
