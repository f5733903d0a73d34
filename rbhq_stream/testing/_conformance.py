"""Whether an application survives a bad day: `assert_idempotent` and `assert_survives`."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import pprint
from collections.abc import Callable, Iterable, Sequence
from random import Random, SystemRandom
from typing import Any, Protocol, Union, runtime_checkable

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.feed import Feed
from rbhq_stream._wire import encode
from rbhq_stream.errors import DataLossError
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.health import HealthRules
from rbhq_stream.signals import HealthChanged, Signal
from rbhq_stream.testing._day_source import TOPICS, DaySource
from rbhq_stream.testing._plan import DayRecord, Fault, Plan
from rbhq_stream.testing._simulated_race import TimedEvent
from rbhq_stream.testing.faults import ALL

_CONFIG = FeedConfig(
    bootstrap_servers="unused", security="PLAINTEXT", topics=TOPICS, group_id="test", commit_interval=0.02
)
_HEALTH = HealthRules(max_clock_skew=None)  # a day has its own times
_SHOWN_LINES = 40

Day = Iterable[Union[TimedEvent, Event]]
"""A day: the events of a `Simulator`, or events without times, in the order in which they are published."""


class Application(Protocol):
    """The application under test: an object that handles events, and whose state is the result.

    It may have more methods: those of `HandlesSignals` and of `Resynchronises`.
    """

    def handle(self, event: Any, /) -> object:
        """Handles an event. It may be a coroutine function."""
        ...

    def state(self) -> object:
        """Returns a value to compare, such as the rows of its tables, the bets that it paid, or the prices that it
        shows."""
        ...


@runtime_checkable
class HandlesSignals(Protocol):
    """An application that is also notified of what the feed reports about itself."""

    def handle_signal(self, signal: Any, /) -> object:
        """Handles a `Signal`, such as `HealthChanged` or `PartitionsLost`, in order with the events.

        It may be a coroutine function if `handle` is one. The day ends when the application has been notified that the
        feed is live.
        """
        ...


@runtime_checkable
class Resynchronises(Protocol):
    """An application that can take in events that its feed has missed: see `faults.expired_records`."""

    def resynchronise(self, loss: DataLossError, missed: Sequence[Event], /) -> object:
        """Takes in the events that were lost, before a new feed continues after them.

        It may be a coroutine function if `handle` is one.

        Args:
            loss: the error with which the feed has ended. It has the partition and the offsets.
            missed: the events of those records. In production they come from RBHQ outside the feed, or from a recording
                that another process made.
        """
        ...


def assert_idempotent(make: Callable[[], Application], day: Day) -> None:
    """Checks that an application has the same state after a day on which every record is delivered twice.

    Args:
        make: returns a new application, without any state.
        day: the day.

    Raises:
        AssertionError: the states differ. The text shows the difference.
        ValueError: the day has no events, or both applications share their state.
        Exception: what the application raised.
    """
    plan = _plan_of(day)
    twice: Plan = [step for record in plan for step in (record, record)]
    _compare_days(make, plan, twice, "every record was delivered twice")


def assert_survives(
    make: Callable[[], Application], day: Day, faults: Sequence[Fault] = ALL, *, seed: int | None = None
) -> None:
    """Checks that an application has the same state after a bad day as after the same day without faults.

    Records that can't be decoded are skipped, as with `on_bad_record="skip"`.

    Args:
        make: returns a new application, without any state.
        day: the day.
        faults: what happens on it: see `rbhq_stream.testing.faults`.
        seed: determines when and where the faults happen. By default it is random. It is printed, so that pytest shows
            it when the test fails.

    Raises:
        AssertionError: the states differ, or records were lost and the application has no method `resynchronise`. The
            text names the faults and the seed, and shows the difference.
        ValueError: the day has no events, or both applications share their state.
        TypeError: `faults` is not a sequence of faults.
        Exception: what the application raised.
    """
    _check_faults(faults)
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    what = f"{', '.join(map(str, faults)) or 'no faults'}; seed={seed}"
    print(f"assert_survives: {what}")
    plan = good = _plan_of(day)
    for fault in faults:
        plan = fault.change(plan, Random(f"{seed} {fault}"))  # noqa: S311  # a bad day that can be repeated is the point
    _compare_days(make, good, plan, what)


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


def _compare_days(make: Callable[[], Application], good: Plan, bad: Plan, what: str) -> None:
    """Runs an application on each of two days, and compares their states."""
    first = make()
    expected = _state_after(first, good, "a day without faults")
    second = make()
    if second is first:
        raise ValueError("make() has returned the same application twice: return a new one each time")
    found = _state_after(second, bad, what)
    if found is expected and type(found).__hash__ is None:  # it can be changed
        raise ValueError("both applications have the same object as their state: each has to have its own")
    _compare(expected, found, what)


def _state_after(application: Application, plan: Plan, what: str) -> object:
    """Runs the application on the day through a feed, or several if records are lost, and returns its state."""
    source = DaySource(plan, must_be_live=isinstance(application, HandlesSignals))
    if inspect.iscoroutinefunction(application.handle):
        asyncio.run(_handle_all_async(application, source, what))
    else:
        _handle_all(application, source, what)
    return application.state()


def _handle_all(application: Application, source: DaySource, what: str) -> None:
    while True:
        feed = Feed(_CONFIG, source=source, on_bad_record="skip", health=_HEALTH)
        _register(feed, application, source)
        try:
            return feed.run()
        except DataLossError as loss:
            _resynchronised(application, source, loss, what)


async def _handle_all_async(application: Application, source: DaySource, what: str) -> None:
    while True:
        feed = AsyncFeed(_CONFIG, source=source, on_bad_record="skip", health=_HEALTH)
        _register(feed, application, source)
        try:
            return await feed.run()
        except DataLossError as loss:
            resynchronising = _resynchronised(application, source, loss, what)
            if inspect.isawaitable(resynchronising):
                await resynchronising


def _register(feed: Feed | AsyncFeed, application: Application, source: DaySource) -> None:
    source.when_handled = feed.stop
    feed.on(RaceEvent)(application.handle)
    if isinstance(application, HandlesSignals):
        feed.on(Signal)(application.handle_signal)
        feed.on(HealthChanged)(source.note_health)  # after the application's handler


def _resynchronised(application: Application, source: DaySource, loss: DataLossError, what: str) -> object:
    """Has the application take in what it missed, and returns what its method returned."""
    missed = source.continue_after(loss)
    if isinstance(application, Resynchronises):
        return application.resynchronise(loss, missed)
    raise AssertionError(
        f"the feed ended with a DataLossError, and the application has no method resynchronise(loss, missed): {what}\n"
        f"{loss}"
    ) from loss


def _compare(expected: object, found: object, what: str) -> None:
    if found == expected:
        return
    lines = difflib.unified_diff(
        pprint.pformat(expected).splitlines(), pprint.pformat(found).splitlines(), "a good day", "this day", lineterm=""
    )
    shown = list(lines)
    rest = [f"… and {len(shown) - _SHOWN_LINES} more lines"] if len(shown) > _SHOWN_LINES else []
    difference = "\n".join([*shown[:_SHOWN_LINES], *rest])
    raise AssertionError(f"the state differs from that after a day without faults: {what}\n{difference}")
