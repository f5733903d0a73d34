"""`FeedConfig`: what RBHQ gave the partner and how the feed behaves, and the librdkafka properties made from it.

Everything is checked when a `FeedConfig` is made. Nothing here uses the network, and nothing here prints a secret.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import field, frozen
from typing_extensions import Self

from rbhq_stream._config import checks, settings, tuning
from rbhq_stream._config.properties import KafkaProperties, PropertyValue, Secret, property_field
from rbhq_stream._config.topics import Topics, to_topics
from rbhq_stream._config.tracebacks import built_without_frames, without_frames
from rbhq_stream._config.tuning import milliseconds
from rbhq_stream.errors import ConfigError

NO_GROUP = "rbhq-stream-without-a-group"
"""The `group.id` of a client that reads without a consumer group. The client requires one. No group of this name comes
into being, because the client neither joins it nor commits."""
GROUP_PROPERTIES = (
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "session.timeout.ms",
)
"""The properties that only members of a group need."""

_SECONDS = {settings.FROM_STRING: settings.number}
_COUNT = {settings.FROM_STRING: settings.integer}


@built_without_frames
@frozen(kw_only=True)
class FeedConfig:
    """How to reach RBHQ's feed, and how the feed behaves. All durations are in seconds.

    Raises:
        ConfigError: a field is wrong. The error names the field, where its value came from and what is expected.
    """

    bootstrap_servers: tuple[str, ...] = field(converter=checks.to_servers)
    """The addresses of the brokers: a list, or a string with commas between them. The default port is 9196."""
    username: str | None = field(default=None, validator=checks.optional(checks.text))
    """The username for SASL/SCRAM-SHA-512. Required, except with `security="PLAINTEXT"`."""
    password: Secret | None = field(
        default=None,
        converter=checks.to_secret,
        validator=checks.optional(checks.password),
        metadata={settings.SECRET: True},
    )
    """The password. Give a string; it is kept as a `Secret`, which prints as `***`."""
    topics: Topics = field(converter=to_topics, metadata={settings.PARTS: Topics})
    """The topics to read: `Topics(prices=…, race_status=…, race_results=…)`, or a mapping with those keys."""
    group_id: str | None = field(validator=checks.group, metadata={settings.FROM_STRING: settings.group})
    """The consumer group. Its members share the partitions, and after a restart they continue at the group's committed
    offsets. `None` means no group: the feed reads all partitions from `start`, nothing is committed, and the fields
    that concern groups have no effect."""
    group_instance_id: str | None = field(default=None, validator=checks.optional(checks.kafka_name))
    """A name that only this member of the group has, for static membership. A restart within `session_timeout` then
    causes no rebalance."""
    client_id: str = field(default="rbhq-stream", validator=checks.text)
    """The name of this client in the logs of the brokers."""
    security: Literal["SASL_SSL", "PLAINTEXT"] = field(
        default="SASL_SSL", validator=checks.one_of("SASL_SSL", "PLAINTEXT")
    )
    """`"SASL_SSL"` is TLS with a username and a password. `"PLAINTEXT"` has neither, for a local broker only."""
    ca_file: Path | None = field(
        default=None,
        converter=checks.to_path,
        validator=checks.optional(checks.ca_file),
        metadata={settings.PATH: True},
    )
    """A PEM file with the certificate of the authority that signed the brokers' certificates. Without it, the system's
    authorities are trusted."""
    ca_pem: str | None = field(
        default=None,
        validator=checks.optional(checks.ca_pem),
        repr=checks.shown_pem,
        metadata={settings.FROM_STRING: settings.pem},
    )
    """The same certificate as a string."""
    connect_timeout: float = field(default=30.0, validator=checks.seconds(3600), metadata=_SECONDS)
    """How long connecting may take: reaching a broker, logging in and finding the topics."""
    close_timeout: float = field(default=10.0, validator=checks.seconds(3600), metadata=_SECONDS)
    """How long closing may take: the last commit, and leaving the group."""
    commit_interval: float = field(default=1.0, validator=checks.seconds(3600), metadata=_SECONDS)
    """How often to commit. What was processed since the last commit is delivered again after a crash."""
    session_timeout: float = field(default=45.0, validator=checks.seconds(3600), metadata=_SECONDS)
    """After how long without a heartbeat the group assigns this member's partitions to others."""
    max_poll_interval: float = field(default=300.0, validator=checks.seconds(86_400), metadata=_SECONDS)
    """After how long without a poll this member leaves the group. The feed polls while handlers run, so this only
    happens to a process that hangs."""
    start: Literal["earliest", "latest"] | datetime = field(
        default="earliest", validator=checks.start, metadata={settings.FROM_STRING: settings.moment}
    )
    """Where a group without committed offsets, and each feed without a group, starts to read: at the oldest record,
    with new records only, or at an aware time."""
    on_data_loss: Literal["raise", "earliest", "latest"] = field(
        default="raise", validator=checks.one_of("raise", "earliest", "latest")
    )
    """What to do when records that were not processed are gone from the brokers: raise `DataLossError`, or continue at
    the oldest record or with new ones."""
    buffer_records: int = field(default=10_000, validator=checks.count(10_000_000), metadata=_COUNT)
    """How many records may wait in memory for the application."""
    buffer_bytes: int = field(default=64 * 1024 * 1024, validator=checks.count(1_000_000_000_000), metadata=_COUNT)
    """How many bytes of records may wait in memory, including those that the Kafka client has read ahead."""
    max_record_bytes: int = field(default=16 * 1024 * 1024, validator=checks.count(100_000_000), metadata=_COUNT)
    """A larger record is a bad record: it is refused before it is parsed."""
    kafka: Mapping[str, PropertyValue] = field(
        factory=dict, converter=checks.to_properties, metadata={settings.PROPERTIES: True}
    )
    """Other properties of librdkafka. Those that would break a guarantee of the feed are refused."""

    def __attrs_post_init__(self) -> None:
        self._check_security()
        self._check_group()

    def __repr__(self) -> str:
        # only the fields that are set: a debugger may show an instance that is under construction
        shown = [
            f"{a.name}={a.repr(getattr(self, a.name)) if callable(a.repr) else repr(getattr(self, a.name))}"
            for a in attrs.fields(FeedConfig)
            if hasattr(self, a.name)
        ]
        return f"FeedConfig({', '.join(shown)})"

    def _check_security(self) -> None:
        if self.ca_file is not None and self.ca_pem is not None:
            raise ConfigError("ca_pem", "is given together with ca_file: give only one of them")
        if self.security == "PLAINTEXT":
            for name in ("username", "password", "ca_file", "ca_pem"):
                if getattr(self, name) is not None:
                    raise ConfigError(name, "has no effect with security PLAINTEXT: leave it out, or use SASL_SSL")
            return
        for name in ("username", "password"):
            if getattr(self, name) is None:
                raise ConfigError(
                    name,
                    "is required: set what RBHQ gave you (only a local broker with security PLAINTEXT needs none)",
                )

    def _check_group(self) -> None:
        if self.group_id is None:
            return
        if self._is_next_protocol:
            for name in ("partition.assignment.strategy", "heartbeat.interval.ms"):
                if name in self.kafka:
                    raise ConfigError(
                        property_field(name),
                        "can't be set with group.protocol=consumer: there the broker sets it",
                    )
            if self.session_timeout != attrs.fields(FeedConfig).session_timeout.default:
                raise ConfigError(
                    "session_timeout", "can't be set with group.protocol=consumer: there the broker sets it"
                )
            return
        if self.session_timeout > self.max_poll_interval:
            raise ConfigError(
                "session_timeout",
                f"is {self.session_timeout:g} seconds, longer than max_poll_interval, which is"
                f" {self.max_poll_interval:g} seconds. Shorten session_timeout or lengthen max_poll_interval",
            )
        heartbeat = self.kafka.get("heartbeat.interval.ms")
        if isinstance(heartbeat, (int, str)) and int(heartbeat) >= milliseconds(self.session_timeout):
            raise ConfigError(
                property_field("heartbeat.interval.ms"),
                f"must be shorter than session_timeout, {self.session_timeout:g} seconds: a third of it is usual",
            )

    @property
    def _is_next_protocol(self) -> bool:
        """Whether the group uses the protocol of KIP-848, where the broker sets time-outs and assigns partitions."""
        return str(self.kafka.get("group.protocol", "classic")).lower() == "consumer"

    @classmethod
    @without_frames
    def from_env(cls, environ: Mapping[str, str] = os.environ, prefix: str = "RBHQ_", **overrides: Any) -> Self:
        """Makes a configuration from environment variables: `RBHQ_GROUP_ID` for `group_id`, and so on.

        Args:
            environ: The variables. An empty one counts as not set.
            prefix: What the names begin with. A variable that has the prefix but names no field is an error.
            **overrides: Fields given in code, which take precedence.

        Raises:
            ConfigError: a variable or a field is wrong, or a required one is missing.
        """
        return settings.from_environment(cls, environ, prefix, overrides)

    @classmethod
    @without_frames
    def from_toml(cls, path: str | os.PathLike[str], *, table: str | None = None, **overrides: Any) -> Self:
        """Makes a configuration from a TOML file: a key for each field, and the tables `[topics]` and `[kafka]`.

        Args:
            path: The file. Paths in it are relative to its folder.
            table: The table to read, such as `"services.rbhq"`, if it is not the whole file.
            **overrides: Fields given in code, which take precedence.

        Raises:
            ConfigError: the file cannot be read, a key or a field is wrong, or a required one is missing.
        """
        return settings.from_toml(cls, Path(checks.path_text("path", path)), table, overrides)

    def kafka_properties(self) -> KafkaProperties:
        """Returns all properties for a `confluent_kafka.Consumer`, except callbacks.

        The password is among them in plain text. It is masked when the properties are printed.
        """
        properties = KafkaProperties(
            {
                "bootstrap.servers": ",".join(self.bootstrap_servers),
                "client.id": self.client_id,
                "group.id": NO_GROUP if self.group_id is None else self.group_id,
                # the feed commits an offset once its events are processed, not when they are handed over
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # librdkafka must not skip records by itself: the feed decides, by start and on_data_loss
                "auto.offset.reset": "error",
                "max.poll.interval.ms": milliseconds(self.max_poll_interval),
                **tuning.reading_ahead(read_ahead_bytes(self)),
                **tuning.connections(self.connect_timeout),
            }
        )
        if self.group_instance_id is not None:
            properties["group.instance.id"] = self.group_instance_id
        if not self._is_next_protocol:
            properties |= tuning.membership(self.session_timeout)
        properties.update(self._security_properties())
        for name, value in self.kafka.items():
            properties[name] = value.reveal() if isinstance(value, Secret) else value
        if self.group_id is None:
            for name in GROUP_PROPERTIES:
                properties.pop(name, None)
        return properties

    def _security_properties(self) -> KafkaProperties:
        properties = KafkaProperties({"security.protocol": self.security})
        if self.username is None or self.password is None:
            return properties
        properties |= {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": self.username,
            "ssl.endpoint.identification.algorithm": "https",
        }
        properties["sasl.password"] = self.password.reveal()
        if self.ca_file is not None:
            properties["ssl.ca.location"] = str(self.ca_file)
        elif self.ca_pem is not None:
            properties["ssl.ca.pem"] = self.ca_pem
        elif sys.platform != "win32":
            # the system's authorities, wherever they are; on Windows librdkafka uses the certificate store by itself
            properties["ssl.ca.location"] = "probe"
        return properties


def read_ahead_bytes(config: FeedConfig) -> int:
    """Returns how much of `buffer_bytes` the Kafka client reads ahead.

    The feed's buffer gets the rest, minus the same amount again, because the last batch that is appended before the
    buffer is full may be everything that was read ahead.
    """
    return min(tuning.MAX_READ_AHEAD_BYTES, config.buffer_bytes // 4)


def feed_name(config: FeedConfig) -> str:
    """Returns a name that distinguishes a feed from others in the process, for people."""
    if config.group_id is None:
        return f"feed without a group of {', '.join(config.topics.names)}"
    return f"feed of group {config.group_id!r}"
