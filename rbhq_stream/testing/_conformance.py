"""Whether an application survives a bad day: `assert_idempotent` and `assert_survives`."""

from __future__ import annotations

import difflib
import pprint
from collections.abc import Callable, Iterable, Sequence
from random import Random, SystemRandom
from typing import Union

from rbhq_stream._wire import encode
from rbhq_stream.events import Event
from rbhq_stream.testing._application import Application, state_after
from rbhq_stream.testing._day_source import TOPICS
from rbhq_stream.testing._plan import DayRecord, Fault, Plan
from rbhq_stream.testing._simulated_race import TimedEvent
from rbhq_stream.testing.faults import ALL, evictions

_GOOD = "a day without faults"
_SHOWN_LINES = 40

Day = Iterable[Union[TimedEvent, Event]]
"""A day: the events of a `Simulator`, or events without times, in the order in which they are published."""


def assert_idempotent(make: Callable[[], Application], day: Day) -> None:
    """Checks that an application has the same state after a day on which every record is delivered twice.

    That happens as a feed does it: its process is evicted ten times, and each time, the records since the last eviction
    are delivered again, with the same offsets. For records that are *published* twice, see `faults.duplicates`.

    Args:
        make: returns a new application, without any state. It is called several times.
        day: the day.

    Raises:
        AssertionError: the states differ. The text shows the difference.
        ValueError: the day has no events, the state is `None`, or the applications share their state.
        TypeError: the state can't be compared.
        Exception: what the application raised.
    """
    plan = _plan_of(day)
    twice = evictions(10).change(plan, Random(0))  # noqa: S311  # the same day each time is the point
    _compare_days(make, plan, [("every record was delivered twice", twice)])


def assert_survives(
    make: Callable[[], Application], day: Day, faults: Sequence[Fault] = ALL, *, seed: int | None = None
) -> None:
    """Checks that an application has the same state after a bad day as after the same day without faults.

    Several faults are tried one by one first, each with a new application, and then all together: one can hide what
    another would show. Records that can't be decoded are skipped, as with `on_bad_record="skip"`.

    Args:
        make: returns a new application, without any state. It is called several times.
        day: the day.
        faults: what happens on it: see `rbhq_stream.testing.faults`.
        seed: determines when and where the faults happen. By default it is random. It is printed, so that pytest shows
            it when the test fails.

    Raises:
        AssertionError: the states differ, or records were lost and the application has no method `resynchronise`. The
            text names the fault and the seed, and shows the difference.
        ValueError: the day has no events, the state is `None`, or the applications share their state.
        TypeError: `faults` is not a sequence of faults, or the state can't be compared.
        Exception: what the application raised. From Python 3.11 on, it has a note that names the fault and the seed.
    """
    _check_faults(faults)
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    print(f"assert_survives: {', '.join(map(str, faults))}; seed={seed}")
    plan = _plan_of(day)
    each = [[fault] for fault in faults] if len(faults) > 1 else []
    bad = [(f"{_named(some)}; seed={seed}", _changed(plan, some, seed)) for some in [*each, faults]]
    _compare_days(make, plan, bad)


def _named(faults: Sequence[Fault]) -> str:
    together = "all of these together: " if len(faults) > 1 else ""
    return together + (", ".join(map(str, faults)) or "no faults")


def _changed(plan: Plan, faults: Sequence[Fault], seed: int) -> Plan:
    for fault in faults:
        plan = fault.change(plan, Random(f"{seed} {fault}"))  # noqa: S311  # a bad day that can be repeated is the point
    return plan


def _check_faults(faults: object) -> None:
    if not isinstance(faults, Sequence):
        raise TypeError(f"faults={faults!r}: expected a sequence of faults, such as [faults.duplicates()]")
    for fault in faults:
        if not isinstance(fault, Fault):
            raise TypeError(f"{fault!r} is not a fault: call its function, as in [faults.duplicates()]")


def _plan_of(day: Day) -> Plan:
    plan: Plan = []
    at = 0.0
    for item in day:
        event, at = (item.event, item.at.timestamp()) if isinstance(item, TimedEvent) else (item, at + 1.0)
        plan.append(DayRecord(TOPICS.of(type(event)), encode(event), str(event.race_id).encode(), at))
    if not plan:
        raise ValueError("the day has no events. An iterator can be used only once: pass tuple(simulator.events())")
    return plan


def _compare_days(make: Callable[[], Application], good: Plan, bad: Iterable[tuple[str, Plan]]) -> None:
    """Runs an application on a good day, and a new one on each bad day, and compares their states."""
    unused = make()
    first = make()
    if first is unused:
        raise ValueError("make() has returned the same application twice: return a new one each time")
    untouched = state_after(unused, [], _GOOD)
    expected = state_after(first, good, _GOOD)
    if state_after(make(), [], _GOOD) != untouched:
        raise ValueError(
            "the applications that make() returns share their state: a new one has the state of another one, which has"
            " handled a day. Each has to have its own, or make() has to clear it"
        )
    for what, plan in bad:
        _compare(expected, state_after(make(), plan, what), what)


def _compare(expected: object, found: object, what: str) -> None:
    if found == expected:
        return
    lines = difflib.unified_diff(
        pprint.pformat(expected).splitlines(), pprint.pformat(found).splitlines(), "a good day", "this day", lineterm=""
    )
    shown = list(lines)
    rest = [f"… and {len(shown) - _SHOWN_LINES} more lines"] if len(shown) > _SHOWN_LINES else []
    difference = "\n".join([*shown[:_SHOWN_LINES], *rest]) or "(but both are printed in the same way)"
    raise AssertionError(f"the state differs from that after a day without faults: {what}\n{difference}")
