"""Ask one certain broker what it knows, in Kafka's own protocol.

A Kafka client asks any broker it likes. A test needs to know that *every* broker has heard of a
new topic or permission before it goes on, so these questions go to the port they are given: one
connection, one request, one answer. Only the oldest and simplest form of each request is used.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_LIST_OFFSETS, _METADATA, _OFFSET_FETCH, _FIND_COORDINATOR, _DESCRIBE_ACLS = 2, 3, 9, 10, 29
EARLIEST, LATEST = -2, -1
_ANY = 1
# still loading, not available (yet), somewhere else
_COORDINATOR_IS_MOVING = (14, 15, 16)


class NoAnswerError(Exception):
    """The broker is not there, not ready, or did not answer in time."""


@dataclass(frozen=True)
class Metadata:
    """The brokers that are up, and each topic's partitions with the broker that leads them."""

    brokers: frozenset[int]
    leaders: dict[str, dict[int, int]]  # topic -> partition -> broker, -1 for none


@dataclass(frozen=True)
class Acl:
    """One permission, in the numbers the protocol uses (those of the AdminClient's enums)."""

    resource_type: int
    resource_name: str
    pattern_type: int
    principal: str
    host: str
    operation: int
    permission: int


class _Reader:
    """Takes the fields out of an answer one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def int8(self) -> int:
        return int.from_bytes(self.take(1), "big", signed=True)

    def int16(self) -> int:
        return int.from_bytes(self.take(2), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def int64(self) -> int:
        return int.from_bytes(self.take(8), "big", signed=True)

    def string(self) -> str:
        return self.take(max(0, self.int16())).decode()


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _ask(port: int, api: int, version: int, body: bytes, timeout: float) -> _Reader:
    request = struct.pack(">hhi", api, version, 1) + _string("rbhq-stream-tests") + body
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                (length,) = struct.unpack(">i", stream.read(4))
                answer = stream.read(length)
    except (OSError, struct.error) as error:
        raise NoAnswerError(f"no answer from port {port}: {error!r}") from error
    if len(answer) != length:
        raise NoAnswerError(f"port {port} closed the connection in the middle of its answer")
    return _Reader(answer[4:])  # without the number of the request


def metadata(port: int, timeout: float = 2) -> Metadata:
    """Which brokers and topics the broker at this port knows of."""
    answer = _ask(port, _METADATA, 1, struct.pack(">i", -1), timeout)
    brokers = set()
    for _ in range(answer.int32()):
        brokers.add(answer.int32())
        answer.string()  # host
        answer.int32()  # port
        answer.string()  # rack
    answer.int32()  # the controller
    leaders: dict[str, dict[int, int]] = {}
    for _ in range(answer.int32()):
        answer.int16()  # error
        partitions = leaders.setdefault(answer.string(), {})
        answer.int8()  # whether it is an internal topic
        for _ in range(answer.int32()):
            answer.int16()  # error
            partition = answer.int32()
            partitions[partition] = answer.int32()
            answer.take(4 * answer.int32())  # replicas
            answer.take(4 * answer.int32())  # in-sync replicas
    return Metadata(frozenset(brokers), leaders)


def offset(port: int, topic: str, partition: int, which: int, *, committed: bool = False, timeout: float = 2) -> int:
    """The earliest or latest offset of a partition that the broker at this port leads.

    With ``committed``, the latest one a reader of committed messages gets to.
    """
    body = struct.pack(">ibi", -1, int(committed), 1) + _string(topic)
    answer = _ask(port, _LIST_OFFSETS, 2, body + struct.pack(">iiq", 1, partition, which), timeout)
    answer.int32()  # throttle time
    answer.int32()  # one topic
    answer.string()
    answer.int32()  # one partition
    answer.int32()
    error = answer.int16()
    if error:
        raise NoAnswerError(f"port {port} answered with error {error}")
    answer.int64()  # timestamp
    return answer.int64()


def group_coordinator(port: int, group: str, timeout: float = 2) -> int | None:
    """The broker that looks after a consumer group; None while there is none."""
    answer = _ask(port, _FIND_COORDINATOR, 1, _string(group) + b"\0", timeout)
    answer.int32()  # throttle time
    error = answer.int16()
    message = answer.string()
    if error in _COORDINATOR_IS_MOVING:
        return None
    if error:
        raise NoAnswerError(f"port {port} answered with error {error}: {message}")
    return answer.int32()


def committed(port: int, group: str, timeout: float = 2) -> dict[tuple[str, int], int] | None:
    """(topic, partition) -> offset a group committed, for the port of its coordinator.

    None when this broker is not, or not yet, the coordinator.
    """
    answer = _ask(port, _OFFSET_FETCH, 2, _string(group) + struct.pack(">i", -1), timeout)
    found = {}
    for _ in range(answer.int32()):
        topic = answer.string()
        for _ in range(answer.int32()):
            partition = answer.int32()
            found[topic, partition] = answer.int64()
            answer.string()  # the metadata committed along with it
            answer.int16()  # error
    error = answer.int16()
    if error in _COORDINATOR_IS_MOVING:
        return None
    if error:
        raise NoAnswerError(f"port {port} answered with error {error}")
    return found


def acls(port: int, timeout: float = 2) -> set[Acl]:
    """Every permission the broker at this port applies."""
    nothing = struct.pack(">h", -1)
    body = struct.pack(">b", _ANY) + nothing + struct.pack(">b", _ANY) + nothing + nothing
    answer = _ask(port, _DESCRIBE_ACLS, 1, body + struct.pack(">bb", _ANY, _ANY), timeout)
    answer.int32()  # throttle time
    error = answer.int16()
    message = answer.string()
    if error:
        raise NoAnswerError(f"port {port} answered with error {error}: {message}")
    found = set()
    for _ in range(answer.int32()):
        resource = (answer.int8(), answer.string(), answer.int8())
        for _ in range(answer.int32()):
            who = (answer.string(), answer.string())
            found.add(Acl(*resource, *who, answer.int8(), answer.int8()))
    return found
