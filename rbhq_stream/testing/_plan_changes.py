"""Changes of a day's plan at random positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from random import Random

from attrs import evolve

from rbhq_stream.testing._plan import Action, DayRecord, Plan

_LISTS = re.compile(rb'"(\w+)":\[[^\]]')


def repeated(count: int, once: Callable[[Plan, Random], Plan]) -> Callable[[Plan, Random], Plan]:
    """Returns a change that makes another one so many times, each time in the plan that the last one has changed."""

    def change(plan: Plan, random: Random) -> Plan:
        for _ in range(count):
            plan = once(plan, random)
        return plan

    return change


def some_topic(plan: Plan, random: Random) -> str:
    """Returns one of the topics that have records."""
    return random.choice(sorted({step.topic for step in plan if isinstance(step, DayRecord)}))


def by_contents(plan: Plan) -> Collection[list[int]]:
    """Returns the indexes of the records, in groups that have the same topic and the same lists that are not empty."""
    groups: dict[tuple[str, frozenset[bytes]], list[int]] = {}
    for index, step in enumerate(plan):
        if isinstance(step, DayRecord):
            lists = frozenset(_LISTS.findall(step.value or b""))
            groups.setdefault((step.topic, lists), []).append(index)
    return groups.values()


def with_stretch(
    plan: Plan,
    random: Random,
    begin: Sequence[Action],
    end: Sequence[Action],
    topic: str | None = None,
    *,
    at_least: int = 1,
) -> Plan:
    """Returns the plan with actions before and after a random stretch of up to 50 records.

    Args:
        plan: the plan.
        random: chooses the stretch.
        begin: what happens before it.
        end: what happens after it.
        topic: the topic of the first record of the stretch; any by default.
        at_least: the minimum number of records in the stretch, as far as the day has so many.
    """
    records = [
        index for index, step in enumerate(plan) if isinstance(step, DayRecord) and step.topic == (topic or step.topic)
    ]
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
