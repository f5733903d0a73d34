"""The steps that take a Kafka client: the log-in, the brokers, the topics, the group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

import attrs
from attrs import define, field

from rbhq_stream._config import FeedConfig
from rbhq_stream._diagnose.findings import Finding, failed
from rbhq_stream._diagnose.sheet import Sheet
from rbhq_stream._kafka.probe import Cluster, Newest, Probe, Topic
from rbhq_stream.errors import RbhqStreamError, UnreachableError

CLUSTER = "cluster"
"""The target of the steps that are about no broker in particular."""
LOGIN_MOST, STEP_MOST = 15.0, 10.0
"""Seconds that the log-in, and each step after it, may take at most."""
CLOCK_SKEW = 2.0
"""Seconds that a record may lie in the future before the clocks are worth a warning."""
OLD = 86_400.0
"""Seconds after which the newest record is worth a warning: there is racing every day."""

_LEADERLESS = "The cluster is in trouble, or is being restarted: try again in a minute, then tell RBHQ."

_SENT_AWAY = (
    "The cluster sends its clients on to this broker, and it can't be reached from here: see its own steps. Names and"
    " ports that the cluster gives (advertised.listeners) have to work from this host too."
)


def plan(sheet: Sheet, config: FeedConfig) -> None:
    """The steps that `examine_cluster` will make."""
    sheet.plan(["login", "brokers"], CLUSTER)
    for topic in config.topics.names:
        sheet.plan(["topic", "read", "newest"], topic)
    sheet.plan(["group"], config.group_id)
    for topic in config.topics.names:
        sheet.plan(["position"], topic)


def examine_cluster(
    sheet: Sheet,
    config: FeedConfig,
    brokers: Sequence[str],
    deadline: float,
    found: Callable[[Sequence[str]], None],
) -> None:
    """Makes them. `found` is called with the addresses of the cluster's brokers as soon as they are known."""
    try:
        probe = Probe(config, brokers)
    except RbhqStreamError as error:
        sheet.note("login", CLUSTER, Finding("failed", str(error)))
        sheet.skip("not tried: there is no Kafka client")
        return
    try:
        _Examination(sheet, config, probe, deadline).make(found)
    finally:
        probe.close()


@define
class _Examination:
    _sheet: Sheet
    _config: FeedConfig
    _probe: Probe
    _deadline: float
    _left: int = field(init=False)
    """How many steps share the time that is left."""

    def make(self, found: Callable[[Sequence[str]], None]) -> None:
        names = self._config.topics.names
        self._left = 2 * len(names) + 1
        cluster = self._log_in()
        found(tuple(cluster.brokers.values()) if cluster is not None else self._probe.sent_to)
        if cluster is None:
            self._sheet.skip("not tried: no answer from the cluster")
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
        # whether the group may be used can be asked with any partition
        asked = {name: tuple(topic.leaders) for name, topic in topics.items()} or {names[0]: (0,)}
        committed = self._sheet.run("group", self._config.group_id, lambda: self._group(asked))
        for name in names:
            if committed is None or name not in topics:
                why = "nothing is known of the group" if committed is None else "the step topic failed"
                self._sheet.note("position", name, Finding("skipped", f"not tried: {why}"))
            else:
                ends = newest[name].ends if name in newest else {}
                self._sheet.note("position", name, _position(self._config, committed.get(name, {}), ends))

    def _by(self, most: float = STEP_MOST) -> float:
        """The deadline of the next step: its share of the time that is left."""
        now = time.monotonic()
        share = (self._deadline - now) / max(1, self._left)
        self._left -= 1
        return now + min(most, share)

    def _log_in(self) -> Cluster | None:
        user = self._config.username
        left = self._deadline - time.monotonic()
        by = time.monotonic() + min(LOGIN_MOST, left / 2)

        def ask() -> tuple[Finding, Cluster]:
            cluster = self._probe.cluster(self._config.topics.names[0], by)
            return _brokers(cluster) if user is None else _logged_in(user), cluster

        def log_in() -> tuple[Finding, Cluster | None]:
            try:
                return ask()
            except UnreachableError as error:
                # whom the cluster has sent to other brokers, it had let in
                if user is None or not self._probe.sent_to:
                    raise
                self._sheet.note("brokers", CLUSTER, attrs.evolve(failed(error), hint=_SENT_AWAY))
                return _logged_in(user), None

        if user is None:
            self._sheet.note("login", CLUSTER, Finding("skipped", "security is PLAINTEXT: nobody logs in"))
            return self._sheet.run("brokers", CLUSTER, ask)
        cluster = self._sheet.run("login", CLUSTER, log_in)
        if cluster is not None:
            self._sheet.note("brokers", CLUSTER, _brokers(cluster))
        return cluster

    def _topic(self, name: str) -> Topic | None:
        def ask() -> tuple[Finding, Topic]:
            topic = self._probe.topic(name, self._by())
            count = _count(len(topic.leaders), "partition")
            facts = {"partitions": len(topic.leaders), "leaderless": list(topic.leaderless)}
            if topic.leaderless:
                numbers = ", ".join(map(str, topic.leaderless))
                return Finding("failed", f"{count}, without a leader: {numbers}", _LEADERLESS, facts), topic
            return Finding("ok", f"{count}, all with a leader", facts=facts), topic

        topic = self._sheet.run("topic", name, ask)
        if topic is None:
            self._sheet.skip("not tried: the step topic failed", name)
        return topic

    def _read(self, name: str, topic: Topic) -> Newest | None:
        def ask() -> tuple[Finding, Newest]:
            newest = self._probe.newest(name, topic.leaders, self._by())
            if newest.offset is None:
                return Finding("ok", "allowed; there is no record to be read"), newest
            return Finding("ok", f"read offset {newest.offset} of partition {newest.partition}"), newest

        newest = self._sheet.run("read", name, ask)
        if newest is None:
            self._sheet.note("newest", name, Finding("skipped", "not tried: the step read failed"))
        else:
            self._sheet.note("newest", name, _age(newest, datetime.now(timezone.utc)))
        return newest

    def _group(self, asked: Mapping[str, Sequence[int]]) -> tuple[Finding, dict[str, dict[int, int]]]:
        committed = self._probe.committed(asked, self._by())
        return Finding("ok", "may be used"), committed


def _logged_in(user: str) -> Finding:
    return Finding("ok", f"user {user!r} is logged in with SCRAM-SHA-512")


def _brokers(cluster: Cluster) -> Finding:
    listed = ", ".join(f"{number} at {address}" for number, address in cluster.brokers.items())
    facts = {"cluster_id": cluster.cluster_id, "brokers": {str(n): a for n, a in cluster.brokers.items()}}
    return Finding("ok", f"{_count(len(cluster.brokers), 'broker')}: {listed}", facts=facts)


def _age(newest: Newest, now: datetime) -> Finding:
    if newest.offset is None:
        return Finding(
            "warning",
            "no records",
            "Nothing was published yet, or retention has removed it. With racing on, ask RBHQ whether this is the right"
            " topic.",
            {"age_seconds": None},
        )
    where = f"partition {newest.partition} offset {newest.offset}"
    if newest.at is None:
        return Finding("ok", f"{where}, without a time", facts={"age_seconds": None})
    age = (now - newest.at).total_seconds()
    facts = {"at": newest.at.isoformat(), "age_seconds": round(age, 3)}
    written = f"{newest.at:%Y-%m-%d %H:%M:%S} UTC, {where}"
    if age < -CLOCK_SKEW:
        hint = f"This host's clock says {now:%Y-%m-%d %H:%M:%S} UTC: check that it is synchronised (NTP)."
        return Finding("warning", f"{_duration(-age)} in the future: {written}", hint, facts)
    detail = f"{_duration(max(0.0, age))} old: {written}"
    if age > OLD:
        return Finding(
            "warning", detail, "There is racing every day: ask RBHQ whether this topic is still used.", facts
        )
    return Finding("ok", detail, facts=facts)


def _position(config: FeedConfig, committed: Mapping[int, int], ends: Mapping[int, tuple[int, int]]) -> Finding:
    """`ends` is empty if they are not known."""
    facts: dict[str, object] = {"committed": {str(number): offset for number, offset in committed.items()}}
    if not committed:
        return Finding("ok", f"nothing committed yet: a feed will begin at {config.start!s}", facts=facts)
    known = {number: (*ends[number], offset) for number, offset in committed.items() if number in ends}
    if not known:
        return Finding("ok", f"committed in {_count(len(committed), 'partition')}", facts=facts)
    lag = sum(max(0, high - max(low, offset)) for low, high, offset in known.values())
    fresh = len(ends) - len(known)
    detail = f"{_count(lag, 'record')} behind the end"
    if fresh:
        detail += f"; nothing committed yet in {fresh} of {_count(len(ends), 'partition')}"
    facts["lag"] = lag
    lost = {number: low - offset for number, (low, _, offset) in known.items() if offset < low}
    if lost:
        facts["lost"] = {str(number): count for number, count in lost.items()}
        told = ", ".join(f"{count} of partition {number}" for number, count in lost.items())
        after = (
            "raise DataLossError" if config.on_data_loss == "raise" else f"go on at the {config.on_data_loss} record"
        )
        hint = f"A feed will {after} (on_data_loss). Take the races' state from RBHQ by other means."
        return Finding("warning", f"records that were not handled are gone: {told}; {detail}", hint, facts)
    if any(offset > high for _, high, offset in known.values()):
        return Finding(
            "warning",
            "the group has committed more than there is",
            "The topic was made anew, or the cluster is another one. Choose another group_id, or tell RBHQ.",
            facts,
        )
    return Finding("ok", detail, facts=facts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
