"""What can go wrong, as a tree: whoever catches `RbhqStreamError` catches everything the library raises of its own.

Each error has its facts as fields; the text is made from them, says what to do, and never holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from attrs import frozen

from rbhq_stream.record import Record

_E = TypeVar("_E", bound="RbhqStreamError")


class RbhqStreamError(Exception):
    """The base of every error of this library. All of them can be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is restored by calling its class with `args`, which fails for every keyword-only argument
        return _without_init, (type(self), self.args), vars(self)


def _without_init(cls: type[_E], args: tuple[Any, ...]) -> _E:
    return cls.__new__(cls, *args)


class ConfigError(RbhqStreamError, ValueError):
    """A configuration that can't work, found before anything touches the network.

    `field` is the name of the `FeedConfig` field; `origin` is where it came from (an environment variable, a key of a
    TOML file) or `None` when given in code; `problem` says what is wrong and what is expected.
    """

    def __init__(self, field: str, problem: str, *, origin: str | None = None) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem
        self.origin = origin

    def __str__(self) -> str:
        where = f"{self.field} (from {self.origin})" if self.origin else self.field
        # a name, a path or an environment variable may hold what UTF-8 cannot write, and then no log could show it
        return f"{where}: {self.problem}".encode(errors="backslashreplace").decode()


class ConnectError(RbhqStreamError):
    """The feed could not be reached, or not be read. `broker` is `host:port` where one is to blame; `reason`
    is the cause
    in the Kafka client's words; `hint` is what to do."""

    hint = "This does not pass by itself. See the reason."

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
    """No broker answered in time: nothing listens there, the name doesn't resolve, or the network drops the packets."""

    hint = (
        "Check bootstrap_servers, that outbound TCP to the broker port (9196 for RBHQ) is open, and that RBHQ has"
        " whitelisted this host's public IP address: from any other address connections hang or are dropped."
    )


class TlsError(ConnectError):
    """The broker answered but the TLS handshake failed: its certificate is not trusted, or it doesn't speak TLS."""

    hint = (
        "Check that ca_file or ca_pem holds the authority that signed the broker's certificate, that bootstrap_servers"
        " has the names that are in the certificate, that the certificate has not expired by this host's clock, and"
        " that the port is the TLS one. rbhq-stream check tells which it is."
    )


class AuthenticationError(ConnectError):
    """The broker refused the username or the password."""

    hint = "Check username and password as RBHQ gave them. Retrying with the same ones may lock the account."


class AuthorizationError(ConnectError):
    """The credentials are good, but RBHQ doesn't let them read `resource` (a topic or a consumer group)."""

    hint = "Ask RBHQ to let this user read it, or correct the name in the configuration."

    def __init__(self, reason: str, *, resource: str, broker: str | None = None, hint: str | None = None) -> None:
        super().__init__(reason if resource in reason else f"{reason}: {resource!r}", broker=broker, hint=hint)
        self.resource = resource


class UnknownTopicError(ConnectError):
    """The broker has no topic `topic`, or hides it from this user."""

    hint = "Check the topic names in the configuration against what RBHQ gave you."

    def __init__(self, reason: str, *, topic: str, broker: str | None = None) -> None:
        super().__init__(reason, broker=broker)
        self.topic = topic


@frozen
class Fault:
    """One thing wrong in a document."""

    path: str
    """Where, as in `$.scratchings[1].scratchTime`."""
    found: str
    """What stood there: shortened, on one line."""
    expected: str


class DecodeError(RbhqStreamError, ValueError):
    """A record that is not what RBHQ documents.

    `faults` has all that is wrong with it, `path`, `found` and `expected` the first of them; `record` has
    where it stood and its raw bytes (`None` when `decode` was called with bare bytes); `kind` is the name of
    the event class it was read as.
    """

    def __init__(self, kind: str, faults: Sequence[Fault], *, record: Record | None = None) -> None:
        super().__init__(kind, tuple(faults))
        self.kind = kind
        self.faults = tuple(faults)
        self.record = record

    @property
    def path(self) -> str:
        return self.faults[0].path

    @property
    def found(self) -> str:
        return self.faults[0].found

    @property
    def expected(self) -> str:
        return self.faults[0].expected

    def __str__(self) -> str:
        where = f"{self.record}: " if self.record else ""
        told = [f"at {fault.path} found {fault.found}, expected {fault.expected}" for fault in self.faults[:20]]
        if len(self.faults) > len(told):
            told.append(f"and {len(self.faults) - len(told)} more")
        return f"{where}not a {self.kind}: {'; '.join(told)}"


class DataLossError(RbhqStreamError):
    """Records that were not handled yet are gone from the broker: its retention overtook the committed offset.

    The offsets from `expected_offset` up to, not including, `available_offset` of the partition are gone. Some of them
    may never have held a record, but a control record of a transaction, or an aborted or compacted record: once they
    are gone, nobody can tell.

    Or, when `is_beyond_end`, the partition ends before `expected_offset`, at `available_offset`: its topic was
    recreated, or the brokers lost its end; how much is missing can't be known then.
    """

    def __init__(self, topic: str, partition: int, expected_offset: int, available_offset: int) -> None:
        super().__init__(topic, partition, expected_offset, available_offset)
        self.topic = topic
        self.partition = partition
        self.expected_offset = expected_offset
        self.available_offset = available_offset

    @property
    def is_beyond_end(self) -> bool:
        """Whether there are fewer records than were read before."""
        return self.expected_offset > self.available_offset

    @property
    def lost(self) -> int:
        """How many offsets are gone, and so at most how many records; 0 when `is_beyond_end`."""
        return max(0, self.available_offset - self.expected_offset)

    def __str__(self) -> str:
        where = f"topic {self.topic!r} partition {self.partition}: the next record to read was {self.expected_offset}"
        if self.is_beyond_end:
            return (
                f"{where}, but the partition ends at {self.available_offset}: the topic was made anew, the brokers lost"
                " records, or the offset is another cluster's. Take the races' state from RBHQ by other means, then say"
                " with on_data_loss, or with positions, where to go on"
            )
        return (
            f"{where}, but the broker's first is {self.available_offset}: up to {self.lost} records are gone. Take the"
            " races' state from RBHQ by other means, then say with on_data_loss, or with positions, where to go on"
        )


class FeedClosedError(RbhqStreamError):
    """The feed was asked for something after it was closed. Make a new `Feed`."""


class FeedInUseError(RbhqStreamError, RuntimeError):
    """An `AsyncFeed` was asked for events in one event loop while another one was waiting for them."""


class ForkedFeedError(RbhqStreamError, RuntimeError):
    """A feed that was entered before `os.fork` was used in the child. Make a new `Feed` there.

    `owner` is the id of the process that the feed belongs to.
    """

    def __init__(self, owner: int) -> None:
        super().__init__(owner)
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"this feed was entered by process {self.owner}, and this is another one, which was forked from it: the"
            " threads that connect the feed to Kafka exist only there. Make a new feed in this process, or fork before"
            " the feed is entered"
        )
