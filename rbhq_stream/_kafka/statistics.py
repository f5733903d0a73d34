"""What can be derived from the client's statistics about the brokers and the partitions that this process reads.

The client reports its statistics at an interval. They do not contain the time at which an end offset was fetched, so it
is derived from the number of fetch requests. At most one of them is in flight to a broker at a time. So if two more
have been sent than at an earlier report, a request was sent after that report and its response has arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import msgspec
from attrs import define, field

from rbhq_stream.source import PartitionEnd, SourceStatus, TopicPartition

UNRESPONSIVE_AFTER = 2.0
"""Seconds without a byte from a broker, while records are fetched from it, after which its partitions count as
unreachable. An idle broker responds to a fetch request after `fetch.wait.max.ms`, half a second by default. Round trips
are added."""
MAX_ROUND_TRIPS = 6.0
"""The maximum that is added for round trips, in seconds."""
REMEMBERED_REPORTS = 8
"""How many reports about a broker are kept, to date the ends of its partitions and to know its round trips."""
_UP = frozenset({"UP", "UPDATE"})
_COORDINATOR = "GroupCoordinator"


class _RoundTrips(msgspec.Struct):
    max: int = 0  # microseconds


class _Broker(msgspec.Struct):
    nodeid: int = -1
    name: str = ""
    source: str = ""
    state: str = ""
    connects: int = 0
    waitresp_cnt: int = 0  # requests that have no response yet
    rxidle: int = -1  # microseconds
    req: dict[str, int] = {}  # msgspec copies the default of a field
    rtt: _RoundTrips = msgspec.field(default_factory=_RoundTrips)

    @property
    def is_up(self) -> bool:
        return self.state in _UP


class _Partition(msgspec.Struct):
    broker: int = -1  # the one that records are fetched from
    leader: int = -1
    fetch_state: str = ""
    fetchq_cnt: int = 0
    hi_offset: int = -1
    ls_offset: int = -1


class _Topic(msgspec.Struct):
    partitions: dict[str, _Partition] = {}  # msgspec copies the default of a field


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = {}  # msgspec copies the default of a field
    topics: dict[str, _Topic] = {}  # msgspec copies the default of a field


_decoder = msgspec.json.Decoder(_Statistics)


@define
class _History:
    """The reports about one connection of one broker."""

    connects: int
    fetches: deque[tuple[float, int]] = field(factory=lambda: deque(maxlen=REMEMBERED_REPORTS))
    round_trips: deque[int] = field(factory=lambda: deque(maxlen=REMEMBERED_REPORTS))

    def fetched_since(self) -> float | None:
        """Returns the latest time such that a fetch request was sent after it and its response has arrived."""
        newest = self.fetches[-1][1]
        return max((at for at, fetches in self.fetches if newest >= fetches + 2), default=None)


class Statistics:
    """The newest statistics of one client. Used by the poll thread only.

    Args:
        fetch_wait: how many seconds an idle broker holds a fetch request back.
    """

    def __init__(self, fetch_wait: float) -> None:
        self._fetch_wait = fetch_wait
        self._newest = _Statistics()
        self._histories: dict[int, _History] = {}
        self._coordinator_connects = 0
        self._heartbeats = 0  # how many had been sent at the last report
        self._reported_at: float | None = None
        self._waiting_since: float | None = None  # the report before the first heartbeat without a response
        self.heartbeat_at: float | None = None
        """A time (monotonic) after which a heartbeat was sent that the group's coordinator has responded to."""

    def take_in(self, text: str, now: float) -> None:
        """Takes in a report of the client.

        Args:
            text: the JSON document.
            now: when it arrived (`time.monotonic`).
        """
        self._newest = _decoder.decode(text)
        for broker in self._newest.brokers.values():
            if broker.nodeid < 0:
                if broker.name == _COORDINATOR:
                    self._take_in_heartbeats(broker)
                continue
            history = self._histories.get(broker.nodeid)
            if history is None or history.connects != broker.connects:
                self._histories[broker.nodeid] = history = _History(broker.connects)
            history.fetches.append((now, broker.req.get("Fetch", 0)))
            history.round_trips.append(broker.rtt.max)
        self._reported_at = now

    def _take_in_heartbeats(self, coordinator: _Broker) -> None:
        if coordinator.connects != self._coordinator_connects:
            self._coordinator_connects = coordinator.connects
            self._waiting_since = None  # requests over the old connection get no response
        heartbeats = coordinator.req.get("Heartbeat", 0) + coordinator.req.get("ConsumerGroupHeartbeat", 0)
        if heartbeats != self._heartbeats:
            self._heartbeats = heartbeats
            self._waiting_since = self._waiting_since or self._reported_at
        if self._waiting_since is not None and coordinator.waitresp_cnt == 0 and coordinator.is_up:
            self.heartbeat_at, self._waiting_since = self._waiting_since, None

    @property
    def has_brokers(self) -> bool:
        """Whether the client knows a broker, from its configuration or from the cluster."""
        return any(broker.source in ("configured", "learned") for broker in self._newest.brokers.values())

    def status(self, partitions: Collection[TopicPartition], reading_for: float) -> SourceStatus:
        """Returns the status of the partitions and brokers by the newest report.

        Args:
            partitions: those that are assigned to this process.
            reading_for: for how many seconds the client has been fetching from all of them; 0 while they are paused.
        """
        brokers = {broker.nodeid: broker for broker in self._newest.brokers.values() if broker.nodeid >= 0}
        unreachable: dict[TopicPartition, str] = {}
        ends: dict[TopicPartition, PartitionEnd] = {}
        for partition in partitions:
            report = self._report(partition)
            if report is None:
                continue
            broker = brokers.get(report.broker if report.broker >= 0 else report.leader)
            reason = self._why_unreachable(report, broker, reading_for)
            if reason is not None:
                unreachable[partition] = reason
            elif broker is not None and (end := self._end(report, self._histories[broker.nodeid])) is not None:
                ends[partition] = end
        return SourceStatus(
            brokers_known=len(brokers),
            brokers_up=sum(broker.is_up for broker in brokers.values()),
            ends=ends,
            unreachable=unreachable,
        )

    def _report(self, partition: TopicPartition) -> _Partition | None:
        topic = self._newest.topics.get(partition.topic)
        return None if topic is None else topic.partitions.get(str(partition.partition))

    def _why_unreachable(self, report: _Partition, broker: _Broker | None, reading_for: float) -> str | None:
        if report.leader < 0:
            return "it has no leader"
        if broker is None:
            return f"its leader, broker {report.leader}, is not known"
        if not broker.is_up:
            return f"broker {broker.name} is not connected ({broker.state})"
        if report.fetchq_cnt or report.fetch_state != "active":
            return None  # nothing needs to be fetched at present, so the broker's silence means nothing
        silent = min(broker.rxidle / 1e6, reading_for)
        slowest = max(self._histories[broker.nodeid].round_trips, default=0) / 1e6 - self._fetch_wait
        if silent > max(UNRESPONSIVE_AFTER, self._fetch_wait + 1) + min(2 * max(0, slowest), MAX_ROUND_TRIPS):
            return f"broker {broker.name} is connected but has not responded for {silent:.0f} s"
        return None

    @staticmethod
    def _end(report: _Partition, history: _History) -> PartitionEnd | None:
        offset = report.ls_offset if report.ls_offset >= 0 else report.hi_offset
        as_of = history.fetched_since()
        return None if offset < 0 or as_of is None else PartitionEnd(offset, as_of)
