"""What the Kafka client reports, in our words: its errors as ours, its logs in our tree.

The client reports through callbacks, inside `poll`. An exception there would destroy the next record, so
nothing here raises: a report is noted, and acted on after `poll` has returned.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from rbhq_stream.errors import (
    AuthenticationError,
    AuthorizationError,
    ConfigError,
    ConnectError,
    RbhqStreamError,
    TlsError,
    UnknownTopicError,
    UnreachableError,
)

log = logging.getLogger("rbhq_stream.kafka")

_BROKER = re.compile(r"^(?:[a-z_]+://)?(?P<broker>[^/\s]+:\d+)/(?:bootstrap|\d+): ?")
_AFTER = re.compile(r" \((?:after \d+ms in state|[^()]*suppressed)[^()]*\)")
_TLS_ON_PLAINTEXT = ("connecting to a SSL listener", "connecting to a PLAINTEXT broker listener")

FATAL_FOR_A_CONNECTION = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})  # noqa: SLF001  # the client's public codes
UNAUTHORIZED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
UNKNOWN_TOPIC = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_ID}  # noqa: SLF001
)


def connect_error(error: KafkaError, *, resource: str | None = None) -> ConnectError | None:
    """The error as one of ours; `None` for one that passes by itself."""
    code = error.code()
    text, broker = said(error)
    if code in FATAL_FOR_A_CONNECTION:
        return AuthenticationError(text, broker=broker)
    if code in UNAUTHORIZED:
        return AuthorizationError(text, resource=resource or "?", broker=broker)
    if code in UNKNOWN_TOPIC:
        return UnknownTopicError(text, topic=resource or "?", broker=broker)
    if code == KafkaError._SSL or any(words in text for words in _TLS_ON_PLAINTEXT):  # noqa: SLF001
        return TlsError(text, broker=broker)
    if code == KafkaError._RESOLVE:  # noqa: SLF001
        return UnreachableError(
            text, broker=broker, hint="Check the host names in bootstrap_servers and this host's DNS."
        )
    if code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT):  # noqa: SLF001
        return UnreachableError(text, broker=broker)
    return None


def said(error: KafkaError) -> tuple[str, str | None]:
    """The client's text for the error without its decorations, and the broker it names."""
    text = error.str()
    match = _BROKER.match(text)
    broker = match["broker"] if match else None
    return _AFTER.sub("", text[match.end() :] if match else text).strip(), broker


def config_error(error: KafkaError) -> ConfigError:
    """What the client says of a property that it won't take."""
    text = error.str().strip()
    quoted = re.findall(r'"([\w.]+)"', text)
    if quoted:
        name = quoted[-1] if text.startswith("Invalid value") else quoted[0]
        return ConfigError(f'kafka["{name}"]', f"the Kafka client refuses it: {text}")
    field = "ca_file" if "ssl.ca.location" in text else "ca_pem" if "ssl.ca.pem" in text else "kafka"
    return ConfigError(field, f"the Kafka client refuses the configuration: {text}")


class Reports:
    """What the client reported since it was last asked. Its methods are the client's callbacks: they never raise."""

    def __init__(self, group_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._group_id = group_id
        self.fatal: RbhqStreamError | None = None
        self.trouble: dict[str, ConnectError] = {}
        self._flood = Flood(clock)

    def error(self, error: KafkaError) -> None:
        """`error_cb`."""
        try:
            # a report names no topic; what names none and is forbidden is the group
            ours = connect_error(error, resource=self._group_id)
            if error.code() in FATAL_FOR_A_CONNECTION | UNAUTHORIZED:
                self.fatal = ours
            # the client's "all brokers down" says less than what it said of the brokers before
            elif ours is not None and (error.code() != KafkaError._ALL_BROKERS_DOWN or not self.trouble):  # noqa: SLF001
                self.trouble[ours.broker or ""] = ours
            self.line(logging.WARNING, said(error)[0], error.name(), error.str())
        except Exception:  # see the module
            log.debug("could not take in a report of the Kafka client", exc_info=True)

    def log(self, level: int, line: str, *arguments: object) -> None:
        """What the client calls as its logger's method, with `%` arguments."""
        try:
            text = line % arguments if arguments else line
            # the client's own errors are our warnings: it goes on by itself; what doesn't pass is raised
            self.line(min(level, logging.WARNING), _DIGITS.sub("#", text), "log", text)
        except Exception:  # see the module
            log.debug("could not take in a log line of the Kafka client", exc_info=True)

    def line(self, level: int, key: str, name: str, text: str) -> None:
        """A line for the log, unless there are too many of its like."""
        left_out = self._flood.admits(f"{name} {key}")
        if left_out is not None:
            log.log(level, "%s: %s%s", name, text, f" ({left_out} more like this were left out)" if left_out else "")


_DIGITS = re.compile(r"\d+")


class Flood:
    """Lets one line of a kind through every `every` seconds, and counts the others."""

    def __init__(self, clock: Callable[[], float], every: float = 10.0, kinds: int = 1000) -> None:
        self._clock = clock
        self._every = every
        self._kinds = kinds
        self._seen: dict[str, tuple[float, int]] = {}

    def admits(self, kind: str) -> int | None:
        """How many of the kind were left out before this one; `None`: leave this one out too."""
        now = self._clock()
        last, left_out = self._seen.get(kind, (float("-inf"), 0))
        if now - last < self._every:
            self._seen[kind] = (last, left_out + 1)
            return None
        if len(self._seen) >= self._kinds:
            self._seen.clear()
        self._seen[kind] = (now, 0)
        return left_out
