"""The Kafka client's errors as those of this library: translated once, here."""

from __future__ import annotations

import re

from confluent_kafka import KafkaError

from rbhq_stream._kafka import codes
from rbhq_stream.errors import (
    AuthenticationError,
    AuthorizationError,
    ConfigError,
    ConnectError,
    TlsError,
    UnknownTopicError,
    UnreachableError,
)

BROKER = re.compile(r"^(?:GroupCoordinator: )?(?:[a-z_]+://)?(?P<broker>[^/\s]+:\d+)(?:/(?:bootstrap|\d+))?: ?")
"""The beginning of the client's text about a broker."""
AFTER = re.compile(r" \(after \d+ms in state (?P<state>\w+)(?:, \d+ identical error\(s\) suppressed)?\)")
"""The end of the client's text about a connection."""
_CUT_SHORT = re.compile(r"transport failure|[Tt]imed out|Disconnected", re.ASCII)
"""A log-in that the network ended, which the client reports like one that was refused."""
_TLS_ON_PLAINTEXT = ("connecting to a SSL listener", "connecting to a PLAINTEXT broker listener")

LOGIN_REFUSED = frozenset({codes.AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
UNAUTHORIZED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
UNKNOWN_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, codes.UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_ID})
PERMANENT = (
    LOGIN_REFUSED
    | UNAUTHORIZED
    | {
        codes.FATAL,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNRELEASED_INSTANCE_ID,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.GROUP_MAX_SIZE_REACHED,
        KafkaError.UNSUPPORTED_VERSION,
    }
)
"""Permanent errors. The client itself would retry for ever."""

_ENDED_HANDSHAKE = (
    "Check that the port is the TLS one (9196 for RBHQ). If it is, something on the way closes the connection: a"
    " firewall, or RBHQ has not whitelisted this host's public IP address."
)
_NAME_TAKEN = (
    "Another member of the group has the same group_instance_id: give each process its own. If it was this process,"
    " before it was killed, wait until its session has ended."
)
_HINTS = {
    KafkaError.FENCED_INSTANCE_ID: _NAME_TAKEN,
    KafkaError.UNRELEASED_INSTANCE_ID: _NAME_TAKEN,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "Other members of the group assign partitions by another strategy: use the same group.protocol and"
        " partition.assignment.strategy in all of them, or another group_id."
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: "The broker limits session_timeout: choose a value closer to the default.",
}


def permanent_error(error: KafkaError, *, resource: str | None = None) -> ConnectError:
    """Returns the error of this library for an error of the client that is permanent.

    Args:
        error: the client's error.
        resource: the topic or the group that it is about.
    """
    code = error.code()
    text, broker = text_and_broker(error)
    if code == codes.FATAL:  # the cause is only in its text
        code = next((cause for cause in PERMANENT if KafkaError(cause).str() in text), code)
        if code in UNAUTHORIZED:
            return AuthorizationError(text, resource=resource or "?", broker=broker)
    hint = _HINTS.get(code)
    if hint is not None:
        return ConnectError(text, broker=broker, hint=hint)
    return connect_error(error, resource=resource) or ConnectError(text, broker=broker)


def connect_error(error: KafkaError, *, resource: str | None = None) -> ConnectError | None:
    """Returns the error of this library for an error of the client, or `None` if the error by itself has no meaning.

    Args:
        error: the client's error.
        resource: the topic or the group that it is about.
    """
    code = error.code()
    text, broker = text_and_broker(error)
    if code in LOGIN_REFUSED:
        return (UnreachableError if _CUT_SHORT.search(text) else AuthenticationError)(text, broker=broker)
    if code in UNAUTHORIZED:
        return AuthorizationError(text, resource=resource or "?", broker=broker)
    if code in UNKNOWN_TOPIC:
        return UnknownTopicError(text, topic=resource or "?", broker=broker)
    if any(words in text for words in _TLS_ON_PLAINTEXT):
        return TlsError(text, broker=broker, hint=_ENDED_HANDSHAKE)
    if code == codes.SSL:
        return TlsError(text, broker=broker)
    if code == codes.RESOLVE:
        return UnreachableError(
            text, broker=broker, hint="Check the host names in bootstrap_servers and this host's DNS."
        )
    if code in (codes.TRANSPORT, codes.ALL_BROKERS_DOWN, codes.TIMED_OUT):
        return UnreachableError(text, broker=broker)
    return None


def text_and_broker(error: KafkaError) -> tuple[str, str | None]:
    """Returns the client's text for the error without what it adds to it, and the broker that it names."""
    text = error.str()
    match = BROKER.match(text)
    broker = match["broker"] if match else None
    return AFTER.sub("", text[match.end() :] if match else text).strip(), broker


def config_error(error: KafkaError) -> ConfigError:
    """Returns the error of this library for a property that the client refuses."""
    text = error.str().strip()
    quoted = re.findall(r'"([\w.]+)"', text)
    if quoted:
        name = quoted[-1] if text.startswith("Invalid value") else quoted[0]
        return ConfigError(f'kafka["{name}"]', f"the Kafka client refuses it: {text}")
    field = "ca_file" if "ssl.ca.location" in text else "ca_pem" if "ssl.ca.pem" in text else "kafka"
    return ConfigError(field, f"the Kafka client refuses the configuration: {text}")
