"""How the Kafka client is tuned: its read-ahead, its connections and its heartbeats, as properties of librdkafka."""

from __future__ import annotations

PREFETCH_RECORDS = 20_000
"""How many records of a partition the Kafka client reads ahead: a fifth of its default, about 10 MB."""
MAX_READ_AHEAD_BYTES = 16 * 1024 * 1024
"""How many bytes the Kafka client reads ahead at most, for all partitions together: a quarter of its default."""
PREFETCH_RETRY_MS = 10
"""How soon the client checks again whether it may read ahead, in milliseconds. Its default of one second suits a larger
read-ahead. Ours is used up much sooner, and the feed would wait for the rest of the second."""
SOCKET_TIMEOUT_MS = 15_000
"""How long a broker may take to respond before the client reconnects, in milliseconds. Only this time-out detects a
connection whose packets a firewall drops silently. With librdkafka's default of a minute, the feed would be evicted
from its group first."""
MAX_FETCH_BYTES = 4 * 1024 * 1024
"""How much is fetched at once. A whole response must arrive within `SOCKET_TIMEOUT_MS`, which requires 2.3 Mbit/s."""
RECONNECT_MS, MAX_RECONNECT_MS = 500, 5_000
"""The first and the longest pause between two attempts to connect to a broker. Each is twice the one before."""
MIN_FETCH_BYTES = 1_000_000
"""librdkafka's `message.max.bytes`. It refuses to fetch less at once."""
CONNECTION_SETUP_MS = 10_000
"""How long one attempt to connect may take; a third of `connect_timeout` if that is longer. It is shorter than
`connect_timeout`, so that before the feed gives up, it has found out why an attempt hangs and has tried another broker.
TCP, TLS and SCRAM take seven round trips together."""
HEARTBEAT_MS = 3_000
"""librdkafka's default. A session needs three heartbeats, so a short session has more frequent ones."""


def reading_ahead(max_bytes: int) -> dict[str, int]:
    """Returns the properties of reading ahead.

    Args:
        max_bytes: how much to read ahead at most.
    """
    return {
        "queued.min.messages": PREFETCH_RECORDS,
        "queued.max.messages.kbytes": max(1, max_bytes // 1024),
        "fetch.queue.backoff.ms": PREFETCH_RETRY_MS,
        "fetch.max.bytes": max(MIN_FETCH_BYTES, min(MAX_FETCH_BYTES, max_bytes)),
    }


def connections(connect_timeout: float) -> dict[str, int | bool]:
    """Returns the properties of the connections to the brokers.

    Args:
        connect_timeout: how long connecting may take in all, in seconds.
    """
    return {
        "socket.timeout.ms": SOCKET_TIMEOUT_MS,
        "socket.keepalive.enable": True,
        "socket.connection.setup.timeout.ms": max(CONNECTION_SETUP_MS, milliseconds(connect_timeout / 3)),
        "reconnect.backoff.ms": RECONNECT_MS,
        "reconnect.backoff.max.ms": MAX_RECONNECT_MS,
    }


def membership(session_timeout: float) -> dict[str, int | str]:
    """Returns the properties of a member of a group that uses the classic protocol.

    Args:
        session_timeout: after how long without a heartbeat the member is evicted, in seconds.
    """
    session = milliseconds(session_timeout)
    return {
        "session.timeout.ms": session,
        "heartbeat.interval.ms": max(1, min(HEARTBEAT_MS, session // 3)),
        # a member that joins or leaves does not interrupt the others
        "partition.assignment.strategy": "cooperative-sticky",
    }


def milliseconds(seconds: float) -> int:
    """Returns a duration as librdkafka takes it: an integer of milliseconds, 1 or more."""
    return max(1, round(seconds * 1000))
