"""Whether the feed can be trusted at present, as values: `Health`, its states and reasons, and the limits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, get_args

from attrs import Factory, asdict, field, frozen, validators
from typing_extensions import Self

from rbhq_stream import _field_checks as checks
from rbhq_stream.events import Event
from rbhq_stream.source import TopicPartition


class HealthState(Enum):
    """How far the feed can be trusted. Only `LIVE` means that the application knows what RBHQ has published."""

    CONNECTING = "connecting"
    """The feed is connecting, or joining its consumer group."""
    CATCHING_UP = "catching up"
    """Records that were published before the feed (re)connected are still being processed."""
    LIVE = "live"
    """Everything that was published is processed, except for what is arriving at this moment."""
    DELAYED = "delayed"
    """Records arrive, but the application processes them too late."""
    STALE = "stale"
    """The feed works, but what it delivers is not up to date: the publisher is silent, or a clock is wrong."""
    DOWN = "down"
    """Records are not arriving, from some partitions at least."""
    CLOSED = "closed"
    """The feed was closed."""


class HealthReason(Enum):
    """Why the feed is in its state. Each reason belongs to one state, and `value` is its name as a string."""

    state: HealthState
    """The state that the reason belongs to."""
    clears_when: str
    """What has to happen for the reason to go away."""

    def __new__(cls, value: str, state: HealthState, clears_when: str) -> Self:
        reason = object.__new__(cls)
        reason._value_ = value
        reason.state = state
        reason.clears_when = clears_when
        return reason

    NOT_STARTED = ("not_started", HealthState.CONNECTING, "the feed is entered, iterated or run")
    """The feed has not been entered, iterated or run yet."""
    CONNECTING = ("connecting", HealthState.CONNECTING, "a broker responds and the topics are found")
    """The feed is connecting to the brokers."""
    JOINING_GROUP = (
        "joining_group",
        HealthState.CONNECTING,
        "the consumer group has assigned partitions to this process",
    )
    """The feed is connected and waits for its consumer group to assign partitions to it."""
    CATCHING_UP = ("catching_up", HealthState.CATCHING_UP, "the records up to the ends of the partitions are processed")
    """Records that were published before the feed (re)connected are not processed yet."""
    UP_TO_DATE = ("up_to_date", HealthState.LIVE, "nothing has to happen")
    """Nothing is wrong."""
    HANDLER_STUCK = ("handler_stuck", HealthState.DELAYED, "the application requests the next event")
    """One event has been with the application for longer than `max_delay`."""
    HANDLER_SLOW = ("handler_slow", HealthState.DELAYED, "the backlog is processed")
    """The application processes each event, but falls behind: records wait for longer than `max_delay`."""
    TOPIC_SILENT = ("topic_silent", HealthState.STALE, "a record arrives from the topic")
    """No record came from a topic for longer than its `max_silence`."""
    SILENT_BEFORE_JUMP = (
        "silent_before_jump",
        HealthState.STALE,
        "a price arrives, or the race has jumped by the schedule",
    )
    """A race is about to jump by the schedule, and no price came for longer than `max_silence_before_jump`."""
    SCHEDULE_FAILED = ("schedule_failed", HealthState.STALE, "the schedule returns the times of the next jumps")
    """The application's `schedule` raised an exception, or does not return, so silence cannot be judged."""
    CLOCK_DISAGREES = (
        "clock_disagrees",
        HealthState.STALE,
        "the timestamps of new records agree with this host's clock",
    )
    """The timestamps of new records differ from this host's clock by more than `max_clock_skew`."""
    NO_PARTITIONS = ("no_partitions", HealthState.STALE, "a partition is assigned to this feed")
    """No partition is assigned to this feed, by its consumer group or by its source, so nothing that it knows is kept
    up to date."""
    BROKERS_UNREACHABLE = ("brokers_unreachable", HealthState.DOWN, "a broker responds again")
    """None of the partitions that are assigned to this process can be read."""
    PARTITIONS_UNREACHABLE = (
        "partitions_unreachable",
        HealthState.DOWN,
        "the brokers of these partitions respond again",
    )
    """Some of the partitions that are assigned to this process cannot be read, while others can."""
    EVICTED = ("evicted", HealthState.DOWN, "the feed has rejoined its consumer group")
    """The consumer group has evicted this process. See `PartitionsLost`."""
    NOT_POLLING = ("not_polling", HealthState.DOWN, "the feed's poll thread polls again")
    """The feed's poll thread is waiting for something else: for brokers that do not reply, or for a slow host."""
    SUSPENDED = ("suspended", HealthState.DOWN, "the feed has confirmed that it is up to date")
    """The whole process, or its host, did not run for some seconds: it was suspended, frozen or starved of processor
    time."""
    CREDENTIALS_REFUSED = (
        "credentials_refused",
        HealthState.DOWN,
        "the credentials are corrected and a new feed is made",
    )
    """The brokers refused the credentials, or a permission was revoked. The feed has ended."""
    DATA_LOST = ("data_lost", HealthState.DOWN, "a new feed is made with another position or another `on_data_loss`")
    """Records that were not processed are gone from the brokers. The feed has ended."""
    FAILED = ("failed", HealthState.DOWN, "the cause is removed and a new feed is made")
    """The feed has ended with another error."""
    CLOSED = ("closed", HealthState.CLOSED, "a new feed is made")
    """The feed was closed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


@frozen(kw_only=True)
class TopicHealth:
    """The newest record of a topic."""

    newest: datetime | None = None
    """The timestamp of the record that arrived last (UTC); `None`: none has arrived, or it has no timestamp."""
    silent_for: float = 0.0
    """Seconds since a record arrived, or since the feed began to read the topic."""


@frozen(kw_only=True)
class PartitionHealth:
    """How far a partition is read and processed."""

    records: int = 0
    """How many of its records this feed has read so far."""
    processed: int | None = None
    """The offset before which all records are processed."""
    end: int | None = None
    """The offset of the next record that will be written, as last reported by the broker."""
    lag: int | None = None
    """How many records are published and not processed."""
    delay: float = 0.0
    """For how many seconds the oldest of them has been known to exist."""
    is_caught_up: bool = False
    """Whether all records are processed that had been published when the partition was assigned, or when the feed had
    last reconnected."""
    unreachable: str | None = None
    """Why the partition cannot be read at present."""


@frozen(kw_only=True)
class HealthFigures:
    """The figures behind a `Health`."""

    brokers_known: int = 0
    """How many brokers the cluster has."""
    brokers_up: int = 0
    """How many of them the feed is connected to. It connects only to those that it needs."""
    topics: Mapping[str, TopicHealth] = field(default=Factory(dict), hash=False)
    """Each topic that has a partition in `partitions`."""
    partitions: Mapping[TopicPartition, PartitionHealth] = field(default=Factory(dict), hash=False)
    """Each partition that is assigned to this process."""
    waiting_records: int = 0
    """Records in the buffer: read and not processed yet."""
    waiting_bytes: int = 0
    """The bytes of their values."""
    buffer_fill: float = 0.0
    """How full the buffer is, from 0 to about 1. At 1, reading is paused."""
    handler_running: float = 0.0
    """For how many seconds the application has had the current event. Measured to a quarter of a second."""
    events: int = 0
    """Events handed over so far."""
    bad_records: int = 0
    """Records so far that could not be decoded."""
    uncommitted: int = 0
    """Records that are processed and not yet committed."""

    @property
    def lag(self) -> int:
        """How many records are published and not processed, in all partitions together, as far as is known."""
        return sum(partition.lag or 0 for partition in self.partitions.values())

    @property
    def delay(self) -> float:
        """For how many seconds the oldest record that is not processed has been known to exist."""
        return max((partition.delay for partition in self.partitions.values()), default=0.0)


@frozen(kw_only=True)
class Health:
    """Whether the feed can be trusted, and why. A snapshot: `feed.health` returns a new one."""

    reason: HealthReason
    """The cause, for code."""
    detail: str
    """The cause in words, for people."""
    since: datetime
    """Since when the reason holds (UTC)."""
    at: datetime
    """When this was determined (UTC)."""
    figures: HealthFigures = field(default=HealthFigures(), repr=False)
    """The figures behind it."""

    @property
    def state(self) -> HealthState:
        """The state, which follows from the reason."""
        return self.reason.state

    @property
    def ok(self) -> bool:
        """Whether the application knows what RBHQ has published: the state is `LIVE`."""
        return self.state is HealthState.LIVE

    @property
    def clears_when(self) -> str:
        """What has to happen for the reason to go away."""
        return self.reason.clears_when

    def is_alive(self, *, stuck_after: float = 300.0) -> bool:
        """Returns `False` if a restart of the process can help, for a liveness probe.

        A feed that has ended with an error, was closed, or whose poll thread no longer polls is not alive. Neither is
        one whose application has had one event for too long. An outage of the brokers is no reason for a restart.
        Refused credentials are none either: each restart would try them again, until the account is locked.

        Args:
            stuck_after: seconds that one event may be with the application.
        """
        if self.reason in (HealthReason.DATA_LOST, HealthReason.FAILED, HealthReason.CLOSED, HealthReason.NOT_POLLING):
            return False
        return self.figures.handler_running < stuck_after

    def is_ready(self) -> bool:
        """Returns whether the data of the process are up to date, for a readiness probe. The same as `ok`."""
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """Returns the health as data that `json.dumps` can write.

        Returns:
            The attributes and properties by their names. Enumerations are their `value`, times are strings in ISO 8601,
            and the key of a partition is a string such as `"prices[0]"`.
        """
        figures = self.figures
        return {
            "state": self.state.value,
            "ok": self.ok,
            "reason": self.reason.value,
            "detail": self.detail,
            "clears_when": self.clears_when,
            "since": self.since.isoformat(),
            "at": self.at.isoformat(),
            "figures": {
                **asdict(figures, recurse=False),
                "lag": figures.lag,
                "delay": figures.delay,
                "topics": {name: asdict(topic, value_serializer=_plain) for name, topic in figures.topics.items()},
                "partitions": {str(name): asdict(partition) for name, partition in figures.partitions.items()},
            },
        }

    def __str__(self) -> str:
        return f"{self.state.value} since {self.since:%H:%M:%S} UTC: {self.detail}"


@frozen(kw_only=True)
class Gap:
    """The time for which the feed was not live, and what it then caught up with."""

    began: datetime
    """When the feed stopped being live (UTC). If the process stood still, this is when it was last known to be live."""
    ended: datetime
    """When it was live again (UTC)."""
    records: Mapping[TopicPartition, int] = field(hash=False)
    """How many offsets of each partition were processed in between. None of them was skipped, unless a `DataLossError`
    or, with another `on_data_loss`, a WARNING reported it. A partition that was assigned in the meantime is not listed.
    """


_MAX_BEFORE_JUMP = 86_400
"""Seconds."""

Schedule = Callable[[datetime, datetime], Iterable[datetime]]
"""Returns the scheduled jumps between two times (UTC): `schedule(since, until)`."""


def _plain(_: Any, __: Any, value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _positive(_: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"{attribute.name}={value!r}: expected a positive number of seconds")


def _before_jump(_: Any, attribute: Any, value: Any) -> None:
    _positive(None, attribute, value)
    if value > _MAX_BEFORE_JUMP:
        raise ValueError(f"{attribute.name}={value!r}: expected at most {_MAX_BEFORE_JUMP} seconds, a day")


def _silences(_: Any, attribute: Any, value: Any) -> None:
    known = get_args(Event)
    for kind, seconds in dict(value).items():
        if kind not in known:
            raise ValueError(f"{attribute.name}: {kind!r} is not the class of a kind of event, such as PriceEvent")
        _positive(None, attribute, seconds)


@frozen(kw_only=True)
class HealthRules:
    """The limits by which a feed's health is judged. All durations are in seconds.

    Raises:
        ValueError: a limit is not a positive number, or `before_jump` is more than a day.
    """

    max_delay: float = field(default=5.0, validator=_positive)
    """How long a record may be known to exist before it is processed. Beyond it the feed is `DELAYED`, until the oldest
    unprocessed record is younger than half of it."""
    max_silence: Mapping[type[Event], float] = field(default=Factory(dict), validator=_silences, hash=False)
    """How long a topic may be silent at any time of the day, by the class of its events: `{PriceEvent: 60.0}`. Without
    an entry a topic may be silent for ever, as RBHQ documents no heartbeat."""
    schedule: Schedule | None = field(default=None, validator=validators.optional(validators.is_callable()))
    """The scheduled jumps, so that silence counts shortly before one of them, and not at night. It is
    called about every five seconds, with two times (UTC), on a thread of its own, so it delays nothing. If it raises an
    exception, or has not returned after three seconds, the feed is `STALE` with the reason `SCHEDULE_FAILED`. So have
    it look up what is in memory already, such as a `RaceCard`."""
    before_jump: float = field(default=120.0, validator=_before_jump)
    """How long before a scheduled jump prices are expected to move. At most a day."""
    max_silence_before_jump: float = field(default=30.0, validator=_positive)
    """How long the topic of prices may be silent in that time."""
    max_clock_skew: float | None = field(default=10.0, validator=checks.optional(_positive))
    """By how much the timestamps of new records may differ from this host's clock; `None`: by any amount."""
