"""The steps that need a Kafka client: the log-in, the brokers, the topics, the group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

import attrs
from attrs import define, field

from rbhq_stream._config import FeedConfig
from rbhq_stream._diagnose.findings import Finding, failed
from rbhq_stream._diagnose.progress import Progress
from rbhq_stream._kafka.probe import Cluster, Newest, Probe, Topic
from rbhq_stream._plurals import counted
from rbhq_stream.errors import RbhqStreamError, UnreachableError

CLUSTER = "cluster"
"""The target of the steps that concern no particular broker."""
MAX_LOGIN_SECONDS, MAX_STEP_SECONDS = 15.0, 10.0
"""The maximum time for the log-in, and for each step after it, in seconds."""
CLOCK_SKEW = 2.0
"""Seconds that a record may be in the future before there is a warning about the clocks."""
OLD = 86_400.0
"""Age of the newest record, in seconds, from which there is a warning. There is racing every day."""

_LEADERLESS = (
    "The cluster has a problem or is being restarted: try again in a minute. If that does not help, report it to RBHQ."
)

_REDIRECTED = (
    "The cluster directs clients to this broker, but it can't be reached from this host: see the steps of that address."
    " The host names and ports that the cluster advertises (advertised.listeners) must work from this host too."
)


def plan(progress: Progress, config: FeedConfig) -> None:
    """Plans the steps that `examine_cluster` runs."""
    progress.plan(["login", "brokers"], CLUSTER)
    for topic in config.topics.names:
        progress.plan(["topic", "read", "newest"], topic)
    progress.plan(["group"], _group_name(config))
    for topic in config.topics.names:
        progress.plan(["position"], topic)


def examine_cluster(
    progress: Progress,
    config: FeedConfig,
    brokers: Sequence[str],
    deadline: float,
    found: Callable[[Sequence[str]], None],
) -> None:
    """Runs the planned steps. Calls `found` with the addresses of the cluster's brokers as soon as they are known."""
    try:
        probe = Probe(config, brokers)
    except RbhqStreamError as error:
        progress.note("login", CLUSTER, Finding("failed", str(error)))
        progress.skip("not tried: the Kafka client could not be created")
        return
    try:
        _Examination(progress, config, probe, deadline).make(found)
    finally:
        probe.close()


@define
class _Examination:
    _progress: Progress
    _config: FeedConfig
    _probe: Probe
    _deadline: float
    _left: int = field(init=False)
    """How many steps share the remaining time."""

    def make(self, found: Callable[[Sequence[str]], None]) -> None:
        names = self._config.topics.names
        self._left = 2 * len(names) + 1
        cluster = self._log_in()
        found(tuple(cluster.brokers.values()) if cluster is not None else self._probe.sent_to)
        if cluster is None:
            self._progress.skip("not tried: the cluster did not respond")
            return
        topics: dict[str, Topic] = {}
        newest: dict[str, Newest] = {}
        for name in names:
            topic = self._topic(name)
            if topic is not None:
                topics[name] = topic
                read = self._read(name, topic)
                if read is not None:
                    newest[name] = read
        # any partition will do to find out whether the group may be used
        partitions = {name: tuple(topic.leaders) for name, topic in topics.items()} or {names[0]: (0,)}
        committed = self._committed(partitions)
        for name in names:
            if committed is None or name not in topics:
                why = "the step group failed" if committed is None else "the step topic failed"
                self._progress.note("position", name, Finding("skipped", f"not tried: {why}"))
            else:
                ends = newest[name].ends if name in newest else {}
                self._progress.note("position", name, _position(self._config, committed.get(name, {}), ends))

    def _by(self) -> float:
        """Returns the deadline of the next step: its share of the remaining time."""
        now = time.monotonic()
        share = (self._deadline - now) / max(1, self._left)
        self._left -= 1
        return now + min(MAX_STEP_SECONDS, share)

    def _log_in(self) -> Cluster | None:
        user = self._config.username
        left = self._deadline - time.monotonic()
        by = time.monotonic() + min(MAX_LOGIN_SECONDS, left / 2)

        def ask() -> tuple[Finding, Cluster]:
            cluster = self._probe.cluster(self._config.topics.names[0], by)
            return _brokers(cluster) if user is None else _logged_in(user), cluster

        def log_in() -> tuple[Finding, Cluster | None]:
            try:
                return ask()
            except UnreachableError as error:
                # the cluster directs clients to other brokers only after they have logged in
                if user is None or not self._probe.sent_to:
                    raise
                self._progress.note("brokers", CLUSTER, attrs.evolve(failed(error), hint=_REDIRECTED))
                return _logged_in(user), None

        if user is None:
            self._progress.note("login", CLUSTER, Finding("skipped", "security is PLAINTEXT: there is no log-in"))
            return self._progress.run("brokers", CLUSTER, ask)
        cluster = self._progress.run("login", CLUSTER, log_in)
        if cluster is not None:
            self._progress.note("brokers", CLUSTER, _brokers(cluster))
        return cluster

    def _topic(self, name: str) -> Topic | None:
        def ask() -> tuple[Finding, Topic]:
            topic = self._probe.topic(name, self._by())
            count = counted(len(topic.leaders), "partition")
            facts = {"partitions": len(topic.leaders), "leaderless": list(topic.leaderless)}
            if topic.leaderless:
                numbers = ", ".join(map(str, topic.leaderless))
                return Finding("failed", f"{count}, without a leader: {numbers}", _LEADERLESS, facts), topic
            return Finding("ok", f"{count}, all with a leader", facts=facts), topic

        topic = self._progress.run("topic", name, ask)
        if topic is None:
            self._progress.skip("not tried: the step topic failed", name)
        return topic

    def _read(self, name: str, topic: Topic) -> Newest | None:
        def ask() -> tuple[Finding, Newest]:
            newest = self._probe.newest(name, topic.leaders, self._by())
            if newest.offset is None:
                return Finding("ok", "allowed; there is no record to read"), newest
            return Finding("ok", f"read offset {newest.offset} of partition {newest.partition}"), newest

        newest = self._progress.run("read", name, ask)
        if newest is None:
            self._progress.note("newest", name, Finding("skipped", "not tried: the step read failed"))
        else:
            self._progress.note("newest", name, _age(newest, datetime.now(timezone.utc)))
        return newest

    def _committed(self, partitions: Mapping[str, Sequence[int]]) -> dict[str, dict[int, int]] | None:
        name = _group_name(self._config)
        if self._config.group_id is None:
            self._progress.note("group", name, Finding("skipped", "group_id is None: a feed reads every partition"))
            return {}
        return self._progress.run("group", name, lambda: self._group(partitions))

    def _group(self, partitions: Mapping[str, Sequence[int]]) -> tuple[Finding, dict[str, dict[int, int]]]:
        committed = self._probe.committed(partitions, self._by())
        return Finding("ok", "may be used"), committed


def _group_name(config: FeedConfig) -> str:
    return "no group" if config.group_id is None else config.group_id


def _logged_in(user: str) -> Finding:
    return Finding("ok", f"user {user!r} is logged in with SCRAM-SHA-512")


def _brokers(cluster: Cluster) -> Finding:
    listed = ", ".join(f"{number} at {address}" for number, address in cluster.brokers.items())
    facts = {"cluster_id": cluster.cluster_id, "brokers": {str(n): a for n, a in cluster.brokers.items()}}
    return Finding("ok", f"{counted(len(cluster.brokers), 'broker')}: {listed}", facts=facts)


def _age(newest: Newest, now: datetime) -> Finding:
    if newest.offset is None:
        return Finding(
            "warning",
            "no records",
            "Nothing was published yet, or retention has removed it. If there is racing now, ask RBHQ whether this is"
            " the right topic.",
            {"age_seconds": None},
        )
    where = f"partition {newest.partition} offset {newest.offset}"
    if newest.at is None:
        return Finding("ok", f"{where}, without a timestamp", facts={"age_seconds": None})
    age = (now - newest.at).total_seconds()
    facts = {"at": newest.at.isoformat(), "age_seconds": round(age, 3)}
    written = f"{newest.at:%Y-%m-%d %H:%M:%S} UTC, {where}"
    if age < -CLOCK_SKEW:
        hint = f"This host's clock shows {now:%Y-%m-%d %H:%M:%S} UTC: check that it is synchronised (NTP)."
        return Finding("warning", f"{_duration(-age)} in the future: {written}", hint, facts)
    detail = f"{_duration(max(0.0, age))} old: {written}"
    if age > OLD:
        return Finding(
            "warning", detail, "There is racing every day: ask RBHQ whether this topic is still used.", facts
        )
    return Finding("ok", detail, facts=facts)


def _position(config: FeedConfig, committed: Mapping[int, int], ends: Mapping[int, tuple[int, int]]) -> Finding:
    """Compares the committed offsets with the first and last ones. `ends` is empty if these are not known."""
    facts: dict[str, object] = {"committed": {str(number): offset for number, offset in committed.items()}}
    if not committed:
        nothing = "" if config.group_id is None else "nothing committed yet: "
        return Finding("ok", f"{nothing}a feed will start at {config.start!s}", facts=facts)
    known = {number: (*ends[number], offset) for number, offset in committed.items() if number in ends}
    if not known:
        return Finding("ok", f"committed in {counted(len(committed), 'partition')}", facts=facts)
    lag = sum(max(0, high - max(low, offset)) for low, high, offset in known.values())
    fresh = len(ends) - len(known)
    detail = f"{counted(lag, 'record')} behind the end"
    if fresh:
        detail += f"; nothing committed yet in {fresh} of {counted(len(ends), 'partition')}"
    facts["lag"] = lag
    lost = {number: low - offset for number, (low, _, offset) in known.items() if offset < low}
    if lost:
        facts["lost"] = {str(number): count for number, count in lost.items()}
        listed = ", ".join(f"{count} of partition {number}" for number, count in lost.items())
        after = (
            "raise DataLossError" if config.on_data_loss == "raise" else f"continue at the {config.on_data_loss} record"
        )
        hint = f"A feed will {after} (on_data_loss). Resynchronise the state of the races with RBHQ."
        return Finding("warning", f"records that were not processed are gone: {listed}; {detail}", hint, facts)
    if any(offset > high for _, high, offset in known.values()):
        return Finding(
            "warning",
            "the group has committed an offset beyond the end",
            "The topic was recreated, or this is another cluster. Use another group_id, or ask RBHQ.",
            facts,
        )
    return Finding("ok", detail, facts=facts)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
