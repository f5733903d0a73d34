"""The application that is tested with the fault kit: what it has to have, and how it is run through a day."""

from __future__ import annotations

import asyncio
import copy
import inspect
import sys
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from rbhq_stream._config import FeedConfig
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.feed import Feed
from rbhq_stream.errors import DataLossError
from rbhq_stream.events import Event, RaceEvent
from rbhq_stream.health import HealthRules
from rbhq_stream.signals import HealthChanged, Signal
from rbhq_stream.testing._day_source import TOPICS, DaySource
from rbhq_stream.testing._plan import Plan

_CONFIG = FeedConfig(
    bootstrap_servers="unused", security="PLAINTEXT", topics=TOPICS, group_id="test", commit_interval=0.02
)
_HEALTH = HealthRules(max_clock_skew=None)  # a day has its own times


class Application(Protocol):
    """The application under test: an object that handles events, and whose state is the result.

    It may have more methods: those of `HandlesSignals` and of `Resynchronises`.
    """

    def handle(self, event: Any, /) -> object:
        """Handles an event. It may be a coroutine function."""
        ...

    def state(self) -> object:
        """Returns a value to compare, such as the rows of its tables, the bets that it paid, or the prices it shows.

        It is also called for an application that has handled nothing. It may be a coroutine function if `handle` is
        one."""
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


def state_after(application: Application, plan: Plan, what: str) -> object:
    """Runs the application on the day through a feed, or several if records are lost, and returns its state.

    Args:
        application: the application.
        plan: the day; nothing is run if it is empty.
        what: what happens on that day, for the texts of errors.

    Returns:
        A copy of the state, if it can be copied: other applications may change what is in it.

    Raises:
        AssertionError: records were lost and the application has no method `resynchronise`.
        ValueError: the state is `None`.
        TypeError: the state can't be compared.
        RuntimeError: the application is asynchronous, and an event loop is running.
        Exception: what the application raised, with a note of what happened on the day.
    """
    source = DaySource(plan, must_be_live=isinstance(application, HandlesSignals))
    try:
        if inspect.iscoroutinefunction(application.handle):
            _check_no_loop()
            state = asyncio.run(_run_async(application, source, what))
        else:
            state = _run(application, source, what)
    except Exception as error:
        if sys.version_info >= (3, 11):
            error.add_note(f"The application was run through this day: {what}")
        raise
    return _copied(state)


def _run(application: Application, source: DaySource, what: str) -> object:
    while source.has_steps:
        feed = Feed(_CONFIG, source=source, on_bad_record="skip", health=_HEALTH)
        _register(feed, application, source)
        try:
            feed.run()
            break
        except DataLossError as loss:
            _resynchronised(application, source, loss, what)
    return application.state()


async def _run_async(application: Application, source: DaySource, what: str) -> object:
    while source.has_steps:
        feed = AsyncFeed(_CONFIG, source=source, on_bad_record="skip", health=_HEALTH)
        _register(feed, application, source)
        try:
            await feed.run()
            break
        except DataLossError as loss:
            resynchronising = _resynchronised(application, source, loss, what)
            if inspect.isawaitable(resynchronising):
                await resynchronising
    state = application.state()
    return await state if inspect.isawaitable(state) else state


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


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "the application is asynchronous and gets an event loop of its own: call this from a plain function (def, not"
        " async def)"
    )


def _copied(state: object) -> object:
    if state is None:
        raise ValueError(
            "state() has returned None, which shows nothing: return what the application has made of the day"
        )
    if isinstance(state, (Awaitable, Iterator)):
        if inspect.iscoroutine(state):
            state.close()
        raise TypeError(f"state() has returned {state!r}, which can't be compared: return a value, such as a list")
    try:
        copied = copy.deepcopy(state)
    except Exception:  # noqa: BLE001  # whatever can't be copied is compared as it is
        return state
    if copied != state:
        raise TypeError(
            f"state() has returned {state!r}, which is not equal to a copy of it: return values that can be compared,"
            " such as dictionaries of strings and numbers"
        )
    return copied
