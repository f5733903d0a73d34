"""Faults for the tests of an application: what can go wrong with a feed on a bad day.

A fault changes the plan of a day, which is the list of steps in which its records are delivered. `assert_survives`
takes any number of faults. A seeded generator makes all choices, so the same seed produces the same bad day."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import pairwise
from random import Random

from rbhq_stream._plurals import counted
from rbhq_stream.testing._fault_checks import check_counts, check_delay, check_seconds, check_share, check_size
from rbhq_stream.testing._memory import MemorySource
from rbhq_stream.testing._plan import Action, DayRecord, Fault, Plan, Step
from rbhq_stream.testing._plan_changes import (
    by_contents,
    overtaken,
    reordered,
    repeated,
    sprinkled,
    topics_of,
    with_stretch,
)

__all__ = [
    "ALL",
    "Action",
    "DayRecord",
    "Fault",
    "Plan",
    "Step",
    "bad_records",
    "duplicates",
    "evictions",
    "expired_records",
    "late_records",
    "outages",
    "oversized_records",
    "rebalances",
    "silences",
    "slow_broker",
    "tombstones",
    "topics_out_of_order",
]


def duplicates(share: float = 0.1) -> Fault:
    """Some records are published twice in a row, as by a producer that missed the acknowledgement and sent them again.

    The second one has an offset of its own. Among them is at least one of each kind, such as prices with scratchings or
    a FINAL, so that a short day has them all.

    Args:
        share: the share of the records, from 0 to 1.

    Raises:
        ValueError: the share is out of range.
    """
    check_share(share)

    def change(plan: Plan, random: Random) -> Plan:
        chosen = {index for index, step in enumerate(plan) if isinstance(step, DayRecord) and random.random() < share}
        chosen.update(random.choice(alike) for alike in by_contents(plan))
        return [copy for index, step in enumerate(plan) for copy in ((step, step) if index in chosen else (step,))]

    return Fault(f"{share:.0%} of the records are published twice, at two offsets", change)


def late_records(share: float = 0.02, by: timedelta = timedelta(seconds=90)) -> Fault:
    """Some records are published late, and later ones about the same race in the same topic follow them.

    So the order of each race within its topic is kept, as RBHQ promises. Among them is one of each kind that is later
    than all of the other topics about its race, where others follow it: a scratching arrives after the FINAL.

    Args:
        share: the share of the records, from 0 to 1.
        by: how late they are at least.

    Raises:
        ValueError: the share is out of range, or they would not be late.
    """
    check_share(share)
    check_delay(by)
    delay = by.total_seconds()

    def change(plan: Plan, random: Random) -> Plan:
        others_end = overtaken(plan, random)
        held: dict[tuple[str, bytes], float] = {}
        keyed: list[tuple[float, int, Step]] = []
        now = 0.0
        for index, step in enumerate(plan):
            if not isinstance(step, DayRecord):
                keyed.append((now, index, step))
                continue
            now = max(now, step.at)
            race = step.topic, step.key
            if random.random() < share:
                held[race] = max(step.at + delay, held.get(race, 0.0))
            if index in others_end:
                # twice, because the last of the others may be late, too
                held[race] = max(others_end[index] + 2 * delay, held.get(race, 0.0))
            keyed.append((max(now, held.get(race, now)), index, step))
        return [step for _, _, step in sorted(keyed, key=lambda entry: entry[:2])]

    return Fault(f"{share:.0%} of the records are {delay:.0f} s late or more, and those behind them", change)


def topics_out_of_order() -> Fault:
    """The topics are delivered one after the other, as may happen after a restart.

    It happens twice: first with one half of the races, then with the other half and the topics in reverse order. So of
    any two topics, either one comes first.
    """

    def change(plan: Plan, random: Random) -> Plan:
        records = [step for step in plan if isinstance(step, DayRecord)]
        topics = topics_of(plan)
        random.shuffle(topics)
        races = sorted({record.key for record in records})
        first_half = set(random.sample(races, len(races) // 2))

        def turn(record: DayRecord) -> int:
            nth = topics.index(record.topic) + 1
            return -nth if record.key in first_half else nth

        return reordered(plan, sorted(records, key=turn))

    return Fault("one topic comes after the other", change)


def bad_records(count: int = 5) -> Fault:
    """Some records can't be decoded: truncated, not JSON, not UTF-8, or without the fields that identify the race.

    Raises:
        ValueError: the count is below 1.
    """
    check_counts(count=count)
    values = (b'{"meetingId": 1, "eventNumber":', b"hello", b"\xff\xfe", b"[1, 2]", b'{"eventNumber": 7}', b"null")
    return Fault(counted(count, "bad record"), lambda plan, random: sprinkled(plan, random, count, values))


def oversized_records(count: int = 1, size: int = 17 * 1024 * 1024) -> Fault:
    """Some records are larger than `max_record_bytes` allows, and so are bad records.

    Args:
        count: how many.
        size: about their size in bytes, more than 16 MiB.

    Raises:
        ValueError: the count is below 1, or the size is not above the default of `max_record_bytes`.
    """
    check_counts(count=count)
    check_size(size)
    value = b'{"meetingId":1,"eventNumber":1,"note":"' + b"x" * size + b'"}'
    return Fault(
        counted(count, "record") + f" of {size} bytes", lambda plan, random: sprinkled(plan, random, count, (value,))
    )


def tombstones(count: int = 5) -> Fault:
    """Some records have no value, or an empty one.

    Raises:
        ValueError: the count is below 1.
    """
    check_counts(count=count)
    return Fault(counted(count, "tombstone"), lambda plan, random: sprinkled(plan, random, count, (None, b"")))


def outages(count: int = 2, seconds: float = 0.0) -> Fault:
    """All topics are unreachable for a while. What is published in the meantime is delivered afterwards.

    Args:
        count: how often.
        seconds: the minimum duration, in real time. The feed's health is `DOWN` only if it is more than a second.

    Raises:
        ValueError: the count is below 1, or the duration is negative.
    """
    check_counts(count=count)
    check_seconds(seconds, may_be_zero=True)

    def once(plan: Plan, random: Random) -> Plan:
        end = Action("end of the outage", _reconnect, after=seconds)
        return with_stretch(plan, random, [Action("outage", _cut_off)], [end])

    return Fault(counted(count, "outage") + _lasting(seconds), repeated(count, once))


def expired_records(count: int = 1) -> Fault:
    """Records are deleted by retention before they were read, as after a long outage.

    Each topic with such records ends the feed with a `DataLossError`. The kit passes the error to the method
    `resynchronise` of the application, which has to exist (see `Resynchronises`), and continues with a new feed.

    Args:
        count: how often.

    Raises:
        ValueError: the count is below 1.
    """
    check_counts(count=count)

    def once(plan: Plan, random: Random) -> Plan:
        end = [Action("retention", MemorySource.expire), Action("end of the outage", _reconnect)]
        return with_stretch(plan, random, [Action("outage", _cut_off)], end)

    return Fault(counted(count, "time") + ", records expire before they were read", repeated(count, once))


def evictions(count: int = 3) -> Fault:
    """The process is evicted from its group and rejoins it. What was not committed is delivered again.

    That is everything since the eviction before, as if no commit had succeeded since. The last eviction comes at the
    end, so everything is delivered twice, after the application has handled it.

    Raises:
        ValueError: the count is below 1.
    """
    check_counts(count=count)

    def change(plan: Plan, random: Random) -> Plan:
        begin = Action("no commits", MemorySource.ignore_commits, once_handled=True)
        evict = Action("eviction", _evict, once_handled=True)
        ends = [*sorted(random.choices(range(1, len(plan) + 1), k=count - 1)), len(plan)]
        changed: Plan = []
        for start, end in pairwise([0, *ends]):
            changed += [begin, *plan[start:end], evict]
        return changed

    return Fault(counted(count, "eviction"), change)


def rebalances(count: int = 3) -> Fault:
    """A topic is revoked with time to commit, and assigned again: each of the topics in turn.

    Raises:
        ValueError: the count is below 1.
    """
    check_counts(count=count)

    def change(plan: Plan, random: Random) -> Plan:
        topics = topics_of(plan)
        random.shuffle(topics)
        for topic in (topics * count)[:count]:
            rebalance = Action(f"rebalance ({topic})", partial(_rebalance, topic), once_handled=True)
            at = 1 + random.choice(
                [index for index, step in enumerate(plan) if isinstance(step, DayRecord) and step.topic == topic]
            )
            plan = [*plan[:at], rebalance, *plan[at:]]
        return plan

    return Fault(counted(count, "rebalance"), change)


def silences(count: int = 1, seconds: float = 0.3) -> Fault:
    """No records arrive for a while.

    Args:
        count: how often.
        seconds: how long, in real time.

    Raises:
        ValueError: the count is below 1, or the duration is not positive.
    """
    check_counts(count=count)
    check_seconds(seconds)

    def once(plan: Plan, random: Random) -> Plan:
        at = random.randint(0, len(plan))
        return [*plan[:at], Action("silence", lambda _: None, after=seconds, once_handled=True), *plan[at:]]

    return Fault(counted(count, "silence") + _lasting(seconds), repeated(count, once))


def slow_broker(count: int = 1, responses: int = 3, seconds: float = 0.1) -> Fault:
    """The broker is slow for a while: each of its responses takes long and has one record.

    Args:
        count: how often.
        responses: the number of slow responses each time.
        seconds: how long a response takes, in real time.

    Raises:
        ValueError: a count is below 1, or the duration is not positive.
    """
    check_counts(count=count, responses=responses)
    check_seconds(seconds)

    def once(plan: Plan, random: Random) -> Plan:
        begin = Action("slow broker", lambda source: source.slow_down(seconds))
        # half a response more, so that the last one is not a question of luck
        end = Action("end of the slow broker", lambda source: source.slow_down(0), (responses + 0.5) * seconds)
        return with_stretch(plan, random, [begin], [end], at_least=responses)

    answers = counted(responses, "response")
    what = counted(count, "time") + f", {answers} of the broker after {seconds:g} s each"
    return Fault(what, repeated(count, once))


def _cut_off(source: MemorySource) -> None:
    source.cut_off()


def _reconnect(source: MemorySource) -> None:
    source.reconnect()


def _evict(source: MemorySource) -> None:
    source.lose()
    source.assign()


def _rebalance(topic: str, source: MemorySource) -> None:
    source.revoke(topic)
    source.assign(topic)


def _lasting(seconds: float) -> str:
    return f" of {seconds:g} s" if seconds else ""


ALL = (
    duplicates(),
    late_records(),
    bad_records(),
    tombstones(),
    outages(),
    evictions(),
    rebalances(),
)
"""A bad day: the faults that every application should survive, and that take no time. Not among them are
`topics_out_of_order`, which requires an application that does not rely on the order of topics, such as one with a
`RaceBook`; `expired_records`, which requires a method `resynchronise`; and `oversized_records`, `silences` and
`slow_broker`, which take long.
"""
