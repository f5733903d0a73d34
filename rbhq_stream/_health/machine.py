"""The state machine of a feed's health. Pure: observations and the time in, `HealthChanged` out.

The rules:

1. A feed is `LIVE` only if nothing is wrong. The conditions of the table below are checked in its order, and the first
   that applies is the reason.
2. A problem is reported as soon as it is detected, and before any recovery. The only exception is a partition that
   becomes unreachable: it counts after `UNREACHABLE_GRACE` seconds, because a partition is unreachable for a moment
   while its leader changes.
3. After `DOWN` the ends of the partitions are no longer known. The source has to confirm them, and all records before
   them have to be processed, before the feed is `LIVE` again. So `DOWN` is always followed by `CATCHING_UP`.
4. A feed that stops being `LIVE` is not `LIVE` again for `LIVE_AGAIN_AFTER` seconds, and a delay is over only when it
   is down to half of its limit. So the state does not flap.
5. `CLOSED` is final. So is `DOWN` when the feed has ended with an error, until it is closed.

| condition, in this order | reason | state |
|---|---|---|
| the feed was closed | CLOSED | CLOSED |
| it ended with an error | CREDENTIALS_REFUSED, DATA_LOST or FAILED | DOWN |
| it has not connected yet | NOT_STARTED or CONNECTING | CONNECTING |
| the process or its host stood still for `SUSPENDED_AFTER` | SUSPENDED | DOWN |
| the poll thread has not polled for `NOT_POLLING_AFTER` | NOT_POLLING | DOWN |
| the consumer group evicted the process | EVICTED | DOWN |
| the consumer group has not assigned anything yet | JOINING_GROUP | CONNECTING |
| partitions are unreachable, all or some | BROKERS_UNREACHABLE or PARTITIONS_UNREACHABLE | DOWN |
| no partition is assigned | NO_PARTITIONS | STALE |
| the application has had one event for too long | HANDLER_STUCK | DELAYED |
| the group has not confirmed for a whole session that the process is a member | CATCHING_UP | CATCHING_UP |
| the ends are not confirmed, or records before them are not processed | CATCHING_UP | CATCHING_UP |
| the oldest unprocessed record has waited for too long | HANDLER_SLOW | DELAYED |
| a topic is silent for too long | TOPIC_SILENT or SILENT_BEFORE_JUMP | STALE |
| the schedule raises or does not return | SCHEDULE_FAILED | STALE |
| the records' timestamps and the clock differ by too much | CLOCK_DISAGREES | STALE |
| none of these | UP_TO_DATE | LIVE |

| from | to | when |
|---|---|---|
| CONNECTING | CATCHING_UP | partitions are assigned |
| CATCHING_UP | LIVE | the records up to the confirmed ends are processed |
| LIVE, DELAYED, STALE | CATCHING_UP | another partition is assigned, even if it is empty |
| LIVE | DELAYED, STALE | a limit is exceeded |
| DELAYED, STALE | LIVE | no limit is exceeded, and `LIVE_AGAIN_AFTER` seconds have passed |
| any but CLOSED | DOWN | see above |
| DOWN | CATCHING_UP, CONNECTING or STALE | the reason is gone |
| any | CLOSED | the feed was closed |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from rbhq_stream._health.arrivals import Arrivals
from rbhq_stream._health.lag import Lag
from rbhq_stream._health.observation import Membership, Observation, Progress
from rbhq_stream._health.standstill import Clocks, standstill
from rbhq_stream.errors import AuthenticationError, AuthorizationError, DataLossError
from rbhq_stream.events import Event
from rbhq_stream.health import (
    Gap,
    Health,
    HealthFigures,
    HealthReason,
    HealthRules,
    HealthState,
    PartitionHealth,
)
from rbhq_stream.signals import HealthChanged
from rbhq_stream.source import TopicPartition

UNREACHABLE_GRACE = 1.0
"""Seconds that a partition may be unreachable before that counts."""
NOT_POLLING_AFTER = 5.0
"""Seconds that the poll thread may spend on something other than polling."""
LIVE_AGAIN_AFTER = 1.0
"""Minimum seconds until a feed that stopped being live is live again."""
MAX_LISTED = 3
"""How many partitions a detail text names."""

_Verdict = tuple[HealthReason, str]


class HealthMachine:
    """The health of one feed. Used by one thread.

    Args:
        rules: the limits.
        topics: the class of the events in each topic.
        clocks: the time now.
        wall: the same (UTC).
    """

    def __init__(self, rules: HealthRules, topics: Mapping[str, type[Event]], clocks: Clocks, wall: datetime) -> None:
        self._rules = rules
        self._arrivals = Arrivals(rules, topics)
        self._lags: dict[TopicPartition, Lag] = {}
        self._new: list[TopicPartition] = []  # assigned since the observation before
        self._unreachable_since: dict[TopicPartition, float] = {}
        self._seen_at = clocks
        self._evictions = 0
        self._not_live_since = float("-inf")  # when it stopped being live
        self._gap_from: tuple[datetime, dict[TopicPartition, int]] | None = None
        self.current = Health(
            reason=HealthReason.NOT_STARTED, detail="the feed has not been started", since=wall, at=wall
        )
        """The health as of the last observation."""

    def step(self, seen: Observation) -> HealthChanged | None:
        """Updates the health by an observation.

        Returns:
            The signal to deliver, if the reason has changed.
        """
        now = seen.now
        stood_still = standstill(self._seen_at, seen.clocks)
        self._seen_at = seen.clocks
        progress = seen.progress or Progress(at=now)
        self._update(progress, now)
        previous = self.current
        reason, detail = self._verdict(seen, progress, stood_still)
        if reason is not HealthReason.SUSPENDED:
            self._evictions = progress.evictions  # otherwise, the next step reports it
        if previous.state in _BEFORE_CATCHING_UP and reason.state in _AFTER_CATCHING_UP:
            reason, detail = HealthReason.CATCHING_UP, "it is being confirmed that nothing was missed"
        elif reason.state is HealthState.LIVE and now < self._not_live_since + LIVE_AGAIN_AFTER:
            reason, detail = previous.reason, previous.detail
        if reason.state is HealthState.DOWN:
            is_partial = reason is HealthReason.PARTITIONS_UNREACHABLE
            for partition in self._unreachable(now) if is_partial else self._lags:
                self._lags[partition].confirm_from(now)
        is_changed = reason is not previous.reason
        since = previous.since
        if is_changed:  # what stood still did so since it was last observed
            since = previous.at if reason is HealthReason.SUSPENDED else seen.wall
        figures = self._figures(seen, progress)
        self.current = Health(reason=reason, detail=detail, since=since, at=seen.wall, figures=figures)
        if not is_changed:
            return None
        gap = None
        if previous.ok:
            self._not_live_since = now
            self._gap_from = since, self._processed()
        elif self.current.ok and self._gap_from is not None:
            began, before = self._gap_from
            lasted = timedelta(seconds=now - self._not_live_since)  # it began earlier if this host's clock was set back
            gap = self._gap(min(began, seen.wall - lasted), before, seen.wall)
        return HealthChanged(at=seen.wall, health=self.current, previous=previous, gap=gap)

    def give_up(self, error: BaseException, wall: datetime) -> HealthChanged:
        """Notes that the health can't be determined any more.

        Args:
            error: the reason.
            wall: the time now by this host's clock.

        Returns:
            The signal to deliver.
        """
        previous = self.current
        detail = f"the feed's health can't be determined: {type(error).__name__}: {error}"
        self.current = Health(reason=HealthReason.FAILED, detail=detail, since=wall, at=wall, figures=previous.figures)
        return HealthChanged(at=wall, health=self.current, previous=previous)

    def _update(self, progress: Progress, now: float) -> None:
        lags = {
            partition: known
            if (known := self._lags.get(partition)) is not None and known.assigned_at == assigned_at
            else Lag(assigned_at)
            for partition, (assigned_at, *_) in progress.partitions.items()
        }
        self._new = [partition for partition, lag in lags.items() if lag is not self._lags.get(partition)]
        self._lags = lags
        for partition, lag in lags.items():
            lag.update(progress.partitions[partition], progress.source.ends.get(partition), now)
        unreachable = progress.source.unreachable
        self._unreachable_since = {
            partition: self._unreachable_since.get(partition, now) for partition in unreachable if partition in lags
        }
        is_current = self.current.ok or self.current.reason is HealthReason.CLOCK_DISAGREES
        self._arrivals.update(progress, now, is_current=is_current)

    def _verdict(self, seen: Observation, progress: Progress, stood_still: str | None) -> _Verdict:
        """Returns the first reason of the table that applies, and the text for it."""
        for verdict in (
            self._of_the_feed(seen, progress, stood_still),
            self._of_partitions(progress, seen.now),
            self._of_the_application(seen, progress),
            self._arrivals.verdict(seen.now, seen.wall, self._delay(seen.now), seen.schedule),
        ):
            if verdict is not None:
                return verdict
        return HealthReason.UP_TO_DATE, "everything that was published is processed"

    def _of_the_feed(self, seen: Observation, progress: Progress, stood_still: str | None) -> _Verdict | None:
        if seen.is_closed:
            return HealthReason.CLOSED, "the feed was closed"
        if seen.failure is not None:
            return _failure_reason(seen.failure), f"the feed has ended: {type(seen.failure).__name__}: {seen.failure}"
        if not seen.is_open:
            return HealthReason.CONNECTING, "the feed is connecting"
        if stood_still is not None and self.current.state is not HealthState.CONNECTING:
            return HealthReason.SUSPENDED, stood_still
        idle = seen.now - progress.at
        if idle > NOT_POLLING_AFTER:
            return HealthReason.NOT_POLLING, f"the feed has not polled for {idle:.0f} s"
        if progress.membership is Membership.EVICTED or progress.evictions > self._evictions:
            return HealthReason.EVICTED, "the consumer group evicted this process, which is rejoining it"
        if progress.membership is Membership.JOINING:
            return HealthReason.JOINING_GROUP, "the feed is connected and waits for the assignment of partitions"
        return None

    def _of_partitions(self, progress: Progress, now: float) -> _Verdict | None:
        unreachable = self._unreachable(now)
        if unreachable:
            reasons = [f"{partition}: {progress.source.unreachable[partition]}" for partition in unreachable]
            if len(unreachable) == len(self._lags):
                return HealthReason.BROKERS_UNREACHABLE, f"no partition can be read: {_listed(reasons)}"
            text = f"{len(unreachable)} of {len(self._lags)} partitions can't be read: {_listed(reasons)}"
            return HealthReason.PARTITIONS_UNREACHABLE, text
        if not self._lags:
            return HealthReason.NO_PARTITIONS, "no partition is assigned to this feed"
        return None

    def _of_the_application(self, seen: Observation, progress: Progress) -> _Verdict | None:
        limit = self._rules.max_delay
        if seen.handler_running > limit:
            text = f"the application has had one event for {seen.handler_running:.0f} s (max_delay is {limit:g} s)"
            return HealthReason.HANDLER_STUCK, text
        delay = self._delay(seen.now)
        is_catching_up = self.current.state in (HealthState.CATCHING_UP, *_BEFORE_CATCHING_UP)
        member_until = progress.source.member_until
        if member_until is not None and seen.now >= member_until:
            text = "the consumer group has not confirmed for a whole session that this process is still a member"
            return HealthReason.CATCHING_UP, text
        behind = [p for p, lag in self._lags.items() if not lag.is_caught_up or p in self._new]
        if behind or (is_catching_up and delay > limit):
            return HealthReason.CATCHING_UP, self._catching_up(behind or list(self._lags))
        if delay > (limit / 2 if self.current.reason is HealthReason.HANDLER_SLOW else limit):
            records = sum(lag.records or 0 for lag in self._lags.values())
            text = (
                f"{records} records wait for the application, the oldest for {delay:.1f} s (max_delay is {limit:g} s)"
            )
            return HealthReason.HANDLER_SLOW, text
        return None

    def _catching_up(self, partitions: list[TopicPartition]) -> str:
        unknown = [str(partition) for partition in partitions if self._lags[partition].target is None]
        if unknown:
            return f"it is not known yet where these partitions end: {_listed(unknown)}"
        records = sum(self._lags[partition].records or 0 for partition in partitions)
        return f"{records} records are published and not processed, in {_listed([str(p) for p in partitions])}"

    def _unreachable(self, now: float) -> list[TopicPartition]:
        """Returns the partitions that have been unreachable for at least `UNREACHABLE_GRACE` seconds."""
        return [p for p, since in self._unreachable_since.items() if now - since >= UNREACHABLE_GRACE]

    def _delay(self, now: float) -> float:
        return max((lag.delay(now) for lag in self._lags.values()), default=0.0)

    def _processed(self) -> dict[TopicPartition, int]:
        return {partition: lag.processed for partition, lag in self._lags.items() if lag.processed is not None}

    def _gap(self, began: datetime, before: Mapping[TopicPartition, int], ended: datetime) -> Gap:
        after = self._processed()
        records = {p: after[p] - offset for p, offset in before.items() if p in after and after[p] >= offset}
        return Gap(began=began, ended=ended, records=records)

    def _figures(self, seen: Observation, progress: Progress) -> HealthFigures:
        return HealthFigures(
            brokers_known=progress.source.brokers_known,
            brokers_up=progress.source.brokers_up,
            topics=self._arrivals.topics(seen.now),
            partitions={
                partition: PartitionHealth(
                    records=progress.partitions[partition].records,
                    processed=lag.processed,
                    end=lag.end,
                    lag=lag.records,
                    delay=lag.delay(seen.now),
                    is_caught_up=lag.is_caught_up,
                    unreachable=progress.source.unreachable.get(partition),
                )
                for partition, lag in self._lags.items()
            },
            waiting_records=seen.waiting_records,
            waiting_bytes=seen.waiting_bytes,
            buffer_fill=seen.buffer_fill,
            handler_running=seen.handler_running,
            events=seen.events,
            bad_records=seen.bad_records,
            uncommitted=progress.uncommitted,
        )


_BEFORE_CATCHING_UP = (HealthState.CONNECTING, HealthState.DOWN)
_AFTER_CATCHING_UP = (HealthState.LIVE, HealthState.DELAYED, HealthState.STALE)


def _failure_reason(failure: BaseException) -> HealthReason:
    if isinstance(failure, (AuthenticationError, AuthorizationError)):
        return HealthReason.CREDENTIALS_REFUSED
    return HealthReason.DATA_LOST if isinstance(failure, DataLossError) else HealthReason.FAILED


def _listed(texts: list[str]) -> str:
    more = len(texts) - MAX_LISTED
    return ", ".join(texts[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
