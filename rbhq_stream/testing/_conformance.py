"""Whether an application survives a bad day: `assert_idempotent` and `assert_survives`."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import pprint
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from random import Random, SystemRandom
from typing import Any, Protocol, Union

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.feed import Feed
from rbhq_stream._wire import encode
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.record import RawRecord
from rbhq_stream.testing._memory import MemorySource
from rbhq_stream.testing._simulated_race import TimedEvent
from rbhq_stream.testing.faults import ALL, DayRecord, Fault, Plan

_TOPICS = Topics(prices="prices", race_status="status", race_results="results")
_RECORDS_PER_POLL = 20
_SHOWN_LINES = 40

Day = Iterable[Union[TimedEvent, Event]]
"""A day: the events of a `Simulator`, or events without times, in the order in which they are published."""


class Application(Protocol):
    """The application under test: an object that handles events, and whose state is the result."""

    def handle(self, event: Any, /) -> object:
        """Handles an event. It may be a coroutine function."""
        ...

    def state(self) -> object:
        """Returns a value to compare, such as the rows of its tables, the bets that it paid, or the prices that it
        shows."""
        ...


def assert_idempotent(make: Callable[[], Application], day: Day) -> None:
    """Checks that an application has the same state after a day on which every record is delivered twice.

    Args:
        make: returns a new application, without any state.
        day: the day.

    Raises:
        AssertionError: the states differ. The text shows the difference.
    """
    plan = _plan_of(day)
    twice: Plan = [step for record in plan for step in (record, record)]
    _compare(_state_after(make(), plan), _state_after(make(), twice), "every record was delivered twice")


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
        AssertionError: the states differ. The text names the faults and the seed, and shows the difference.
        Exception: what the application raised.
    """
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    what = f"{', '.join(map(str, faults)) or 'no faults'}; seed={seed}"
    print(f"assert_survives: {what}")
    plan = good = _plan_of(day)
    for fault in faults:
        plan = fault.change(plan, Random(f"{seed} {fault}"))  # noqa: S311  # a bad day that can be repeated is the point
    _compare(_state_after(make(), good), _state_after(make(), plan), what)


class _DaySource(MemorySource):
    """Publishes a plan piece by piece, each time the feed polls, and reports when all of it is handled."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(_TOPICS)
        self._plan = iter(plan)
        self._published: dict[str, int] = dict.fromkeys(_TOPICS.names, 0)
        self._is_over = False
        self.when_handled: Callable[[], None] = lambda: None

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        """Performs the next steps of the plan, and returns the records to read."""
        if self._is_over:
            handled = {partition.topic: offset for partition, offset in self.committed.items()}
            if all(handled.get(topic, 0) == count for topic, count in self._published.items()):
                self.when_handled()
            return super().poll(min(timeout, 0.01))
        self._take_steps()
        return super().poll(0.0)

    def _take_steps(self) -> None:
        for _ in range(_RECORDS_PER_POLL):
            step = next(self._plan, None)
            if step is None:
                self._is_over = True
                self.reconnect()
                return
            if not isinstance(step, DayRecord):
                step.do(self)
                return
            written = datetime.fromtimestamp(step.at, timezone.utc)
            self.publish_raw(step.topic, step.value, key=step.key, timestamp=written)
            self._published[step.topic] += 1


def _plan_of(day: Day) -> Plan:
    plan: Plan = []
    at = 0.0
    for item in day:
        event, at = (item.event, item.at.timestamp()) if isinstance(item, TimedEvent) else (item, at + 1.0)
        plan.append(DayRecord(_TOPICS.of(type(event)), encode(event), str(event.race_id).encode(), at))
    return plan


def _state_after(application: Application, plan: Plan) -> object:
    """Runs the application on the day through a feed, and returns its state."""
    source = _DaySource(plan)
    config = FeedConfig(
        bootstrap_servers="unused", security="PLAINTEXT", topics=_TOPICS, group_id="test", commit_interval=0.02
    )
    if inspect.iscoroutinefunction(application.handle):
        asyncio.run(_handle_all(application, source, config))
    else:
        feed = Feed(config, source=source, on_bad_record="skip")
        source.when_handled = feed.stop
        feed.on(RaceEvent)(application.handle)
        feed.run()
    return application.state()


async def _handle_all(application: Application, source: _DaySource, config: FeedConfig) -> None:
    feed = AsyncFeed(config, source=source, on_bad_record="skip")
    source.when_handled = feed.stop
    feed.on(RaceEvent)(application.handle)
    await feed.run()


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
