"""Faults for the tests of an application: what can go wrong with a feed on a bad day.

A fault changes the plan of a day, which is the list of steps in which its records are delivered. `assert_survives`
takes any number of faults. A seeded generator makes all choices, so the same seed produces the same bad day."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Union

from attrs import evolve, frozen

from rbhq_stream.testing._memory import MemorySource

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
    "late_records",
    "outages",
    "oversized_records",
    "rebalances",
    "silences",
    "tombstones",
    "topics_out_of_order",
]


@frozen
class DayRecord:
    """A record of a day, as it is published."""

    topic: str
    value: bytes | None
    key: bytes
    at: float
    """Its timestamp, in seconds since 1970."""


@frozen
class Action:
    """Something that happens between two records."""

    name: str
    do: Callable[[MemorySource], object]


Step = Union[DayRecord, Action]
Plan = list[Step]


@frozen
class Fault:
    """One kind of fault."""

    name: str
    """A description of what happens."""
    change: Callable[[Plan, Random], Plan]
    """Returns the changed plan. The generator makes all choices."""

    def __str__(self) -> str:
        return self.name


def duplicates(share: float = 0.1) -> Fault:
    """Some records are published twice in a row, as by a producer that missed the acknowledgement and sent them again.

    Args:
        share: the share of the records, from 0 to 1.
    """

    def change(plan: Plan, random: Random) -> Plan:
        return [
            copy
            for step in plan
            for copy in ((step, step) if isinstance(step, DayRecord) and random.random() < share else (step,))
        ]

    return Fault(f"{share:.0%} of the records come twice", change)


def late_records(share: float = 0.02, by: timedelta = timedelta(seconds=90)) -> Fault:
    """Some records are published late, and later ones about the same race in the same topic follow them.

    So the order of each race within its topic is kept, as RBHQ promises, but a scratching may arrive after the FINAL.

    Args:
        share: the share of the records, from 0 to 1.
        by: how late they are.
    """

    def change(plan: Plan, random: Random) -> Plan:
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
                held[race] = step.at + by.total_seconds()
            keyed.append((max(now, held.get(race, now)), index, step))
        return [step for _, _, step in sorted(keyed, key=lambda entry: entry[:2])]

    return Fault(f"{share:.0%} of the records are {by.total_seconds():.0f} s late, and those behind them", change)


def topics_out_of_order() -> Fault:
    """Each topic is delivered as a whole, one after the other, as may happen after a restart."""

    def change(plan: Plan, random: Random) -> Plan:
        topics = sorted({step.topic for step in plan if isinstance(step, DayRecord)})
        random.shuffle(topics)
        return [step for topic in topics for step in plan if isinstance(step, DayRecord) and step.topic == topic] + [
            step for step in plan if isinstance(step, Action)
        ]

    return Fault("one topic comes after the other", change)


def bad_records(count: int = 5) -> Fault:
    """Some records can't be decoded: truncated, not JSON, not UTF-8, or without the fields that identify the race."""
    values = (b'{"meetingId": 1, "eventNumber":', b"hello", b"\xff\xfe", b"[1, 2]", b'{"eventNumber": 7}', b"null")
    return Fault(f"{count} bad records", lambda plan, random: _sprinkled(plan, random, count, values))


def oversized_records(count: int = 1, size: int = 17 * 1024 * 1024) -> Fault:
    """Some records are larger than `max_record_bytes` allows, and so are bad records.

    Args:
        count: how many.
        size: their size in bytes.
    """
    value = b'{"meetingId":1,"eventNumber":1,"note":"' + b"x" * size + b'"}'
    return Fault(f"{count} records of {size} bytes", lambda plan, random: _sprinkled(plan, random, count, (value,)))


def tombstones(count: int = 5) -> Fault:
    """Some records have no value, or an empty one."""
    return Fault(f"{count} tombstones", lambda plan, random: _sprinkled(plan, random, count, (None, b"")))


def outages(count: int = 2) -> Fault:
    """All topics are unreachable for a while. What is published in the meantime is delivered afterwards."""

    def end(source: MemorySource) -> None:
        source.reconnect()

    def change(plan: Plan, random: Random) -> Plan:
        for _ in range(count):
            at = random.randint(0, len(plan))
            until = min(len(plan), at + random.randint(1, 50))
            begin = Action("outage", lambda source: source.cut_off())
            plan = [*plan[:at], begin, *plan[at:until], Action("end of the outage", end), *plan[until:]]
        return plan

    return Fault(f"{count} outages", change)


def evictions(count: int = 3) -> Fault:
    """The process is evicted from its group and rejoins it. What was not committed is delivered again."""

    def evict(topic: str, source: MemorySource) -> None:
        source.lose(topic)
        source.assign(topic)

    return Fault(f"{count} evictions", lambda plan, random: _with_actions(plan, random, count, "eviction", evict))


def rebalances(count: int = 3) -> Fault:
    """A topic is revoked with time to commit, and assigned again."""

    def rebalance(topic: str, source: MemorySource) -> None:
        source.revoke(topic)
        source.assign(topic)

    return Fault(f"{count} rebalances", lambda plan, random: _with_actions(plan, random, count, "rebalance", rebalance))


def silences(count: int = 1, seconds: float = 0.3) -> Fault:
    """No records arrive for a while.

    Args:
        count: how often.
        seconds: how long, in real time.
    """

    def keep_silent(_topic: str, _source: MemorySource) -> None:
        time.sleep(seconds)

    return Fault(
        f"{count} silences of {seconds:g} s",
        lambda plan, random: _with_actions(plan, random, count, "silence", keep_silent),
    )


def _sprinkled(plan: Plan, random: Random, count: int, values: Sequence[bytes | None]) -> Plan:
    """Returns the plan with records of these values at random positions."""
    records = [step for step in plan if isinstance(step, DayRecord)]
    if not records:
        return plan
    changed = list(plan)
    for number in range(count):
        near = random.choice(records)
        changed.insert(random.randint(0, len(changed)), evolve(near, value=values[number % len(values)]))
    return changed


def _with_actions(plan: Plan, random: Random, count: int, name: str, do: Callable[[str, MemorySource], None]) -> Plan:
    """Returns the plan with copies of an action, each on a random topic, at random positions."""
    topics = sorted({step.topic for step in plan if isinstance(step, DayRecord)})
    if not topics:
        return plan
    changed = list(plan)
    for _ in range(count):
        topic = random.choice(topics)
        action = Action(f"{name} ({topic})", lambda source, topic=topic: do(topic, source))  # type: ignore[misc]  # a default argument keeps the topic of this round
        changed.insert(random.randint(0, len(changed)), action)
    return changed


ALL = (
    duplicates(),
    late_records(),
    bad_records(),
    tombstones(),
    outages(),
    evictions(),
    rebalances(),
)
"""A bad day: the faults that every application should survive. `topics_out_of_order`, `oversized_records` and
`silences` are not among them: the first one requires `order="time"` or a `RaceBook`, and the others take long.
"""
