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
    TlsError,
    UnknownTopicError,
    UnreachableError,
)

log = logging.getLogger("rbhq_stream.kafka")

_BROKER = re.compile(r"^(?:GroupCoordinator: )?(?:[a-z_]+://)?(?P<broker>[^/\s]+:\d+)(?:/(?:bootstrap|\d+))?: ?")
_AFTER = re.compile(r" \(after \d+ms in state (?P<state>\w+)(?:, \d+ identical error\(s\) suppressed)?\)")
_LINE = re.compile(r"^(?P<kind>[A-Z0-9_]+) \[[^\]]*\] (?:\[thrd:[^\]]*\]: )?(?P<text>.*)$", re.DOTALL)
_DIGITS = re.compile(r"\d+")
_TLS_ON_PLAINTEXT = ("connecting to a SSL listener", "connecting to a PLAINTEXT broker listener")
_NO_SUCH_NAME = re.compile(r"not known|No such host is known")  # Linux and macOS; Windows
_KNOWN_BROKER = re.compile(r'"source":\s*"(configured|learned)"')
_CUT_SHORT = re.compile(r"transport failure|[Tt]imed out|Disconnected", re.ASCII)
"""An attempt to log in that the network ended, which the client reports like a refused one."""

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


NEVER_PASSES = (
    FATAL_FOR_A_CONNECTION
    | UNAUTHORIZED
    | {
        KafkaError._FATAL,  # noqa: SLF001  # the client's public code
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNRELEASED_INSTANCE_ID,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.GROUP_MAX_SIZE_REACHED,
        KafkaError.UNSUPPORTED_VERSION,
    }
)
"""What a running feed can't wait for to pass. The client would: it tries for ever."""

_ENDED_HANDSHAKE = (
    "Check that the port is the TLS one (9196 for RBHQ). If it is, something on the way ends the connection: a"
    " firewall, or RBHQ has not whitelisted this host's public IP address."
)
_TLS_EXPECTED = (
    "The broker ends connections that are not encrypted: check that the port is the one without TLS, or use"
    ' security="SASL_SSL".'
)
_TAKEN = (
    "Another member of the group has the same group_instance_id: give each process its own. If it was this process,"
    " before it was killed, wait until its session has ended."
)
_HINTS = {
    KafkaError.FENCED_INSTANCE_ID: _TAKEN,
    KafkaError.UNRELEASED_INSTANCE_ID: _TAKEN,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "Other members of the group share out partitions in another way: use the same group.protocol and"
        " partition.assignment.strategy in all of them, or another group_id."
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: "The broker has limits for session_timeout: choose one nearer to its default.",
}


def standing_error(error: KafkaError, *, resource: str | None = None) -> ConnectError:
    """The error as one of ours, for one that doesn't pass."""
    code = error.code()
    text, broker = said(error)
    if code == KafkaError._FATAL:  # noqa: SLF001  # it has the cause as text only
        code = next((cause for cause in NEVER_PASSES if KafkaError(cause).str() in text), code)
        if code in UNAUTHORIZED:
            return AuthorizationError(text, resource=resource or "?", broker=broker)
    hint = _HINTS.get(code)
    if hint is not None:
        return ConnectError(text, broker=broker, hint=hint)
    return connect_error(error, resource=resource) or ConnectError(text, broker=broker)


def connect_error(error: KafkaError, *, resource: str | None = None) -> ConnectError | None:
    """The error as one of ours; `None` for one that passes by itself."""
    code = error.code()
    text, broker = said(error)
    if code in FATAL_FOR_A_CONNECTION:
        return (UnreachableError if _CUT_SHORT.search(text) else AuthenticationError)(text, broker=broker)
    if code in UNAUTHORIZED:
        return AuthorizationError(text, resource=resource or "?", broker=broker)
    if code in UNKNOWN_TOPIC:
        return UnknownTopicError(text, topic=resource or "?", broker=broker)
    if any(words in text for words in _TLS_ON_PLAINTEXT):
        return TlsError(text, broker=broker, hint=_ENDED_HANDSHAKE)
    if code == KafkaError._SSL:  # noqa: SLF001
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

    def __init__(
        self, group_id: str, clock: Callable[[], float] = time.monotonic, *, is_encrypted: bool = True
    ) -> None:
        self._group_id = group_id
        self._is_encrypted = is_encrypted
        self.fatal: ConnectError | None = None
        """What never passes."""
        self.trouble: dict[str, ConnectError] = {}
        """The last that was wrong with each broker."""
        self.nameless: set[str] = set()
        """The brokers whose host name doesn't exist."""
        self.brokerless = 0
        """So many times in a row the client has said that it knows no broker."""
        self._flood = Flood(clock)

    def error(self, error: KafkaError) -> None:
        """`error_cb`."""
        try:
            # a report names no topic; what names none and is forbidden is the group
            ours = connect_error(error, resource=self._group_id)
            text, broker = said(error)
            if error.code() in NEVER_PASSES and not isinstance(ours, UnreachableError):
                self.fatal = standing_error(error, resource=self._group_id)
            # the client's "all brokers down" says less than what it said of the brokers before
            elif ours is not None and (error.code() != KafkaError._ALL_BROKERS_DOWN or not self.trouble):  # noqa: SLF001
                self.trouble[broker or ""] = ours
            if broker is not None and error.code() == KafkaError._RESOLVE and _NO_SUCH_NAME.search(text):  # noqa: SLF001
                self.nameless.add(broker)
            # of what happens to a broker the client writes a line in its log, too
            level = logging.DEBUG if broker or text.startswith("GroupCoordinator:") else logging.WARNING
            self.line(level, error.name(), f"broker {broker}" if broker else error.name(), text)
        except Exception:  # see the module
            log.debug("could not take in a report of the Kafka client", exc_info=True)

    def log(self, level: int, line: str, *arguments: object) -> None:
        """What the client calls as its logger's method, with `%` arguments."""
        try:
            whole = line % arguments if arguments else line
            match = _LINE.match(whole)
            text = match["text"] if match else whole
            where = _BROKER.match(text)
            broker = where["broker"] if where else None
            said_of = text[where.end() :] if where else text
            after = _AFTER.search(said_of)
            said_of = _AFTER.sub("", said_of)
            if broker and not self._is_encrypted and after and after["state"] == "APIVERSION_QUERY":
                # a broker that expects TLS ends the connection without a word, and the client reports no error
                self.trouble[broker] = TlsError(said_of, broker=broker, hint=_TLS_EXPECTED)
            elif broker and "setup timed out" in said_of:  # of which the client reports no error, either
                self.trouble[broker] = UnreachableError(said_of, broker=broker)
            # the client's own errors are our warnings: it goes on by itself; what doesn't pass is raised
            about = f"broker {broker}" if broker else match["kind"] if match else "client"
            self.line(min(level, logging.WARNING), "log", about, said_of)
        except Exception:  # see the module
            log.debug("could not take in a log line of the Kafka client", exc_info=True)

    def statistics(self, text: str) -> None:
        """`stats_cb`."""
        self.brokerless = 0 if _KNOWN_BROKER.search(text) else self.brokerless + 1

    def line(self, level: int, key: str, name: str, text: str) -> None:
        """A line for the log that begins with `name`, unless there were too many of its kind: the same but for
        numbers in the text.
        """
        left_out = self._flood.admits(f"{key} {name} {_DIGITS.sub('#', text)}")
        if left_out is not None:
            log.log(level, "%s: %s%s", name, text, f" ({left_out} more like this were left out)" if left_out else "")


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
