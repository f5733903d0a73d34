"""Changes of a day's plan at random positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random

from attrs import evolve

from rbhq_stream.testing._plan import Action, DayRecord, Plan

_CONTENTS = re.compile(rb'"(\w+)":\[(?!\])|"status":"(\w+)"')


def repeated(count: int, once: Callable[[Plan, Random], Plan]) -> Callable[[Plan, Random], Plan]:
    """Returns a change that makes another one so many times, each time in the plan that the last one has changed."""

    def change(plan: Plan, random: Random) -> Plan:
        for _ in range(count):
            plan = once(plan, random)
        return plan

    return change


def topics_of(plan: Plan) -> list[str]:
    """Returns the topics that have records."""
    return sorted({step.topic for step in plan if isinstance(step, DayRecord)})


def reordered(plan: Plan, records: Iterable[DayRecord]) -> Plan:
    """Returns the plan with its records in another order. What happens between them happens where it did before."""
    in_order = iter(records)
    return [next(in_order) if isinstance(step, DayRecord) else step for step in plan]


def by_contents(plan: Plan) -> Collection[list[int]]:
    """Returns the indexes of the records, in groups that have the same topic, status and lists that are not empty."""
    groups: dict[tuple[str, frozenset[tuple[bytes, bytes]]], list[int]] = {}
    for index, step in enumerate(plan):
        if isinstance(step, DayRecord):
            contents = frozenset(_CONTENTS.findall(step.value or b""))
            groups.setdefault((step.topic, contents), []).append(index)
    return groups.values()


def overtaken(plan: Plan, random: Random) -> dict[int, float]:
    """Chooses one record of each kind, as far as other topics follow it, and as few races as possible.

    Of each race it chooses records of one topic only: if all of its topics were late, their order would not change.

    Returns:
        For the index of each record, when the last record of another topic about the same race was written.
    """
    last: dict[bytes, dict[str, tuple[int, float]]] = {}
    for index, step in enumerate(plan):
        if isinstance(step, DayRecord):
            last.setdefault(step.key, {})[step.topic] = index, step.at
    topic_of: dict[bytes, str] = {}
    chosen: dict[int, float] = {}
    kinds = list(by_contents(plan))
    random.shuffle(kinds)
    for alike in kinds:
        candidates: list[tuple[bool, int, float, int, DayRecord]] = []
        for index in alike:
            step = plan[index]
            assert isinstance(step, DayRecord)
            times = [at for topic, (at_index, at) in last[step.key].items() if topic != step.topic and at_index > index]
            if times and topic_of.get(step.key, step.topic) == step.topic:
                candidates.append((step.key not in topic_of, -len(times), max(times), index, step))
        if candidates:
            random.shuffle(candidates)
            _, _, at, index, step = min(candidates, key=lambda candidate: (candidate[1], candidate[0]))
            topic_of[step.key] = step.topic
            chosen[index] = at
    return chosen


def with_stretch(
    plan: Plan, random: Random, begin: Sequence[Action], end: Sequence[Action], *, at_least: int = 1
) -> Plan:
    """Returns the plan with actions before and after a random stretch of up to 50 records.

    Args:
        plan: the plan.
        random: chooses the stretch.
        begin: what happens before it.
        end: what happens after it.
        at_least: the minimum number of records in the stretch, as far as the day has so many.
    """
    records = [index for index, step in enumerate(plan) if isinstance(step, DayRecord)]
    at = random.choice(records[: max(1, len(records) - at_least + 1)])
    until = min(len(plan), at + random.randint(at_least, max(50, at_least)))
    return [*plan[:at], *begin, *plan[at:until], *end, *plan[until:]]


def sprinkled(plan: Plan, random: Random, count: int, values: Sequence[bytes | None]) -> Plan:
    """Returns the plan with records of these values at random positions."""
    records = [step for step in plan if isinstance(step, DayRecord)]
    changed = list(plan)
    for number in range(count):
        near = random.choice(records)
        changed.insert(random.randint(0, len(changed)), evolve(near, value=values[number % len(values)]))
    return changed
