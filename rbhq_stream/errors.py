"""The hierarchy of errors. Catching `RbhqStreamError` catches every error that the library itself defines.

Each error has its facts as attributes. Its text is made from them, and describes what happened, where, and what to do.
It never contains a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from attrs import frozen

from rbhq_stream.record import Record

_E = TypeVar("_E", bound="RbhqStreamError")


class RbhqStreamError(Exception):
    """The base class of this library's errors. All of them can be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is restored by calling its class with `args`, which fails for every keyword-only argument
        return _without_init, (type(self), self.args), vars(self)


def _without_init(cls: type[_E], args: tuple[Any, ...]) -> _E:
    return cls.__new__(cls, *args)


class ConfigError(RbhqStreamError, ValueError):
    """A configuration that cannot work. Most problems are found before anything uses the network.

    Attributes:
        field: The field of `FeedConfig` or the argument that is wrong.
        problem: What is wrong with it, and what is expected.
        origin: Where its value came from: an environment variable or a key of a TOML file. `None` if it was given in
            code.
    """

    def __init__(self, field: str, problem: str, *, origin: str | None = None) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem
        self.origin = origin

    def __str__(self) -> str:
        where = f"{self.field} (from {self.origin})" if self.origin else self.field
        # a name, a path or an environment variable may hold lone surrogates, which no log can write
        return f"{where}: {self.problem}".encode(errors="backslashreplace").decode()


class ConnectError(RbhqStreamError):
    """The feed cannot connect, or cannot read its topics. Retrying does not help. The subclasses name the cause.

    Attributes:
        reason: The cause, in the words of the Kafka client where it has some.
        broker: The broker concerned, as `host:port`; `None` if the error does not concern one particular broker.
    """

    hint = "This error is permanent: the cause has to be fixed before the feed can connect."
    """What to do."""

    def __init__(self, reason: str, *, broker: str | None = None, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.broker = broker
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        at = f" (broker {self.broker})" if self.broker else ""
        return f"{self.reason}{at}. {self.hint}"


class UnreachableError(ConnectError):
    """No broker responded in time: its name does not resolve, nothing listens there, or the network drops packets."""

    hint = (
        "Check bootstrap_servers, that outbound TCP to the broker port (9196 for RBHQ) is open, and that RBHQ has"
        " whitelisted this host's public IP address: connections from any other address hang or are dropped."
    )


class TlsError(ConnectError):
    """The broker responded, but the TLS handshake failed: its certificate is not trusted, or it does not use TLS."""

    hint = (
        "Check that ca_file or ca_pem contains the authority that signed the broker's certificate, that"
        " bootstrap_servers has the names that are in the certificate, that the certificate has not expired by this"
        " host's clock, and that the port is the one for TLS. The command 'rbhq-stream check' shows which of these is"
        " wrong."
    )


class AuthenticationError(ConnectError):
    """The broker refused the username or the password."""

    hint = "Compare username and password with what RBHQ gave you. Retrying with the same ones may lock the account."


class AuthorizationError(ConnectError):
    """The username and the password are right, but the user may not read a topic or use a consumer group.

    Attributes:
        resource: The name of the topic or of the group.
    """

    hint = "Ask RBHQ to allow it for this user, or correct the name in the configuration."

    def __init__(self, reason: str, *, resource: str, broker: str | None = None, hint: str | None = None) -> None:
        super().__init__(reason if resource in reason else f"{reason}: {resource!r}", broker=broker, hint=hint)
        self.resource = resource


class UnknownTopicError(ConnectError):
    """The brokers do not have the topic, or hide it from this user.

    Attributes:
        topic: The name of the topic.
    """

    hint = "Compare the topic names in the configuration with what RBHQ gave you."

    def __init__(self, reason: str, *, topic: str, broker: str | None = None) -> None:
        super().__init__(reason, broker=broker)
        self.topic = topic


@frozen
class Fault:
    """One thing that is wrong in a document."""

    path: str
    """Where it is, as the document spells it: `$.scratchings[1].scratchTime`."""
    found: str
    """The value that was found there: shortened, on one line, in ASCII."""
    expected: str
    """What was expected instead."""

    def __str__(self) -> str:
        return f"at {self.path} found {self.found}, expected {self.expected}"


class DecodeError(RbhqStreamError, ValueError):
    """A record that cannot be decoded without guessing.

    Attributes:
        kind: The name of the event class that it was decoded as.
        faults: Everything that is wrong with it, up to a thousand faults.
        record: The Kafka record, with its raw bytes; `None` if `decode` was called without one.
    """

    def __init__(self, kind: str, faults: Sequence[Fault], *, record: Record | None = None) -> None:
        if not faults:
            raise ValueError("a DecodeError has at least one fault")
        super().__init__(kind, tuple(faults))
        self.kind = kind
        self.faults = tuple(faults)
        self.record = record

    @property
    def path(self) -> str:
        """The path of the first fault."""
        return self.faults[0].path

    @property
    def found(self) -> str:
        """What the first fault found."""
        return self.faults[0].found

    @property
    def expected(self) -> str:
        """What was expected where the first fault is."""
        return self.faults[0].expected

    def __str__(self) -> str:
        where = f"{self.record}: " if self.record else ""
        faults = list(map(str, self.faults[:20]))
        if len(self.faults) > len(faults):
            faults.append(f"and {len(self.faults) - len(faults)} more")
        return f"{where}not a {self.kind}: {'; '.join(faults)}"


class DataLossError(RbhqStreamError):
    """Records that have not been processed are gone from the brokers, because retention has deleted them.

    The offsets from `expected_offset` up to, not including, `available_offset` are gone. Some of them may never have
    held a record for the feed, but a control record of a transaction, or an aborted or compacted record. Once they are
    gone, it is impossible to find out.

    If `is_beyond_end`, the partition ends before `expected_offset`, at `available_offset`: its topic was recreated, or
    the brokers lost its end. How much is missing cannot be known then.

    Attributes:
        topic: The topic's name.
        partition: The partition's number.
        expected_offset: The offset of the next record to read.
        available_offset: The first offset that the brokers still have; if `is_beyond_end`, the partition's end.
    """

    def __init__(self, topic: str, partition: int, expected_offset: int, available_offset: int) -> None:
        super().__init__(topic, partition, expected_offset, available_offset)
        self.topic = topic
        self.partition = partition
        self.expected_offset = expected_offset
        self.available_offset = available_offset

    @property
    def is_beyond_end(self) -> bool:
        """Whether the partition ends before the next record to read."""
        return self.expected_offset > self.available_offset

    @property
    def lost(self) -> int:
        """How many offsets are gone, and so at most how many records; 0 when `is_beyond_end`."""
        return max(0, self.available_offset - self.expected_offset)

    def __str__(self) -> str:
        next_record = (
            f"topic {self.topic!r} partition {self.partition}: the next record to read is {self.expected_offset}"
        )
        what_to_do = (
            "Resynchronise the state of the races with RBHQ, then set on_data_loss or positions to choose where to"
            " continue"
        )
        if self.is_beyond_end:
            return (
                f"{next_record}, but the partition ends at {self.available_offset}: the topic was recreated, the"
                f" brokers lost records, or the offset belongs to another cluster. {what_to_do}"
            )
        return (
            f"{next_record}, but the first on the brokers is {self.available_offset}: up to {self.lost} records are"
            f" gone. {what_to_do}"
        )


class RecordingError(RbhqStreamError):
    """A recording that can't be written or read.

    Attributes:
        path: The file or folder.
        problem: What is wrong, and what to do if something can be done.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"recording {self.path}: {self.problem}"


class FeedClosedError(RbhqStreamError):
    """The feed was used after it was closed. Make a new `Feed`."""


class FeedInUseError(RbhqStreamError, RuntimeError):
    """An `AsyncFeed` was used in one event loop while another event loop was waiting for its events."""


class ForkedFeedError(RbhqStreamError, RuntimeError):
    """A feed that was entered before `os.fork` was used in the child process. Make a new `Feed` there.

    Attributes:
        owner: The id of the process that the feed belongs to.
    """

    def __init__(self, owner: int) -> None:
        super().__init__(owner)
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"this feed was entered by process {self.owner}, of which this process is a fork; the threads that connect"
            " the feed to Kafka exist only there. Make a new feed in this process, or fork before the feed is entered"
        )
