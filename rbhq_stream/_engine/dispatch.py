"""Handlers by type: for whole events, for their parts, and for signals."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Protocol, TypeVar, Union, overload

from rbhq_stream._engine.unfinished_work import check_function
from rbhq_stream._kinds import EVENT_KINDS, SIGNALS
from rbhq_stream.events import (
    Event,
    PriceEvent,
    PriceUpdate,
    RaceEvent,
    RaceResultEvent,
    RunnerResult,
    Scratching,
    Unscratching,
)
from rbhq_stream.signals import Signal

Handler = Callable[..., object]
_W = TypeVar("_W", bound=Union[RaceEvent, Signal])
_E = TypeVar("_E", bound=RaceEvent)
_P = TypeVar("_P")
_R = TypeVar("_R")

_PARTS: dict[type[Any], tuple[tuple[type[Any], str], ...]] = {
    **{kind.event: kind.parts for kind in EVENT_KINDS},
    **dict.fromkeys(SIGNALS, ()),
}
_FAMILIES: set[type[Any]] = {RaceEvent, Signal}
_KINDS: set[type[Any]] = {*_FAMILIES, *_PARTS, *(part for parts in _PARTS.values() for part, _ in parts)}


class OnEvent(Protocol[_W]):
    """The decorator for a handler of whole events, or of signals."""

    def __call__(self, handler: Callable[[_W], _R], /) -> Callable[[_W], _R]: ...


class OnPart(Protocol[_P, _E]):
    """The decorator for a handler of a part of events, which may take the event that contains the part as well."""

    @overload
    def __call__(self, handler: Callable[[_P], _R], /) -> Callable[[_P], _R]: ...
    @overload
    def __call__(self, handler: Callable[[_P, _E], _R], /) -> Callable[[_P, _E], _R]: ...


class Handlers:
    """The part of a feed that registers handlers: `on`."""

    def __init__(self, *, may_await: bool) -> None:
        self._dispatcher = Dispatcher()
        self._may_await = may_await

    @property
    def may_await(self) -> bool:
        """Whether handlers may be coroutine functions: those of an `AsyncFeed`."""
        return self._may_await

    def _check_usable(self) -> None:
        """Raises if the feed can no longer be used."""

    @overload
    def on(self, kind: type[PriceUpdate]) -> OnPart[PriceUpdate, PriceEvent]: ...
    @overload
    def on(self, kind: type[Scratching]) -> OnPart[Scratching, PriceEvent]: ...
    @overload
    def on(self, kind: type[Unscratching]) -> OnPart[Unscratching, PriceEvent]: ...
    @overload
    def on(self, kind: type[RunnerResult]) -> OnPart[RunnerResult, RaceResultEvent]: ...
    @overload
    def on(self, kind: type[_W], *, immediately: bool = False) -> OnEvent[_W]: ...
    def on(self, kind: type[Any], *, immediately: bool = False) -> Callable[[Any], Any]:
        """Returns a decorator that registers a handler: `@feed.on(PriceEvent)`, `@feed.on(Scratching)`, ….

        A handler is called with the event. A handler for a part (`PriceUpdate`, `Scratching`, `Unscratching`,
        `RunnerResult`) is called with the part and, if it has a second required parameter, with the event that contains
        the part. `RaceEvent` stands for every event. For each event, the handlers for whole events are called first, in
        the order of their registration; then those for its parts: scratchings, unscratchings and price updates.

        Handlers for events are called by `run`. Handlers for a signal (`HealthChanged` for example; `Signal` stands for
        every signal) are called however the feed is read, in the same thread or task, after the current event and
        before the next one is handed over. If such a handler raises, the call that requested the next event raises the
        exception, and the signal is delivered again.

        With `immediately=True`, a handler of a signal is called immediately, even while the application is busy with an
        event: by a `Feed` on a separate thread, by an `AsyncFeed` in a task of its event loop. The handler therefore
        runs concurrently with the rest of the application. It may read `feed.health` and `feed.stats`, call
        `feed.stop()`, and use whatever else is safe to use from another thread or task. It must not iterate, poll or
        close the feed. Signals are handled one at a time, in order. An exception that the handler raises is logged, and
        the next request for an event raises it; the signal is not delivered to that handler again.

        An event is processed when its handlers have returned, so a handler must do its work before it returns. If it
        returns a generator, or an awaitable that nothing awaits, its work is not done, and `run` raises `TypeError`. A
        handler that passes its event to another thread needs `commit="manual"`.

        Args:
            kind: the class of the events, parts or signals.
            immediately: call the handler without waiting for the current event. Only for signals.

        Raises:
            TypeError: the feed has no events of this kind, or they are not signals and can't be handled immediately, or
                the handler can't be called with one, or it is a generator function, or it is a coroutine function and
                the feed is not an `AsyncFeed`.
            ForkedFeedError: the feed was entered before this process was forked.
        """

        self._check_usable()

        def register(handler: Handler) -> Handler:
            check_function(handler, f"on({getattr(kind, '__name__', kind)})", may_await=self._may_await)
            self._dispatcher.add(kind, handler, immediately=immediately)
            return handler

        return register


class Dispatcher:
    """The registered handlers, and the order in which they are called for an event.

    The handlers of `RaceEvent` and of the event's class are called first, in the order of their registration; then
    those of its parts (scratchings, unscratchings, price updates; or the runners' results).
    """

    def __init__(self) -> None:
        self._whole: dict[type[Any], list[Handler]] = {kind: [] for kind in _PARTS}
        self._parts: dict[type[Any], list[tuple[Handler, bool]]] = {kind: [] for kind in _KINDS}
        self._immediate: dict[type[Signal], list[Handler]] = {kind: [] for kind in SIGNALS}
        self.has_parts = False
        """Whether there are handlers for parts of events."""

    def add(self, kind: type[Any], handler: Handler, *, immediately: bool = False) -> None:
        """Registers the handler.

        Args:
            kind: what it is registered for.
            handler: the handler.
            immediately: it is called at once. Only for signals.

        Raises:
            TypeError: the feed has no events or signals of that kind, or the handler can't be called with one.
        """
        if kind not in _KINDS:
            known = ", ".join(sorted(known.__name__ for known in _KINDS))
            raise TypeError(f"on({kind!r}): the feed has no such events; it has {known}")
        if immediately:
            if not issubclass(kind, Signal):
                raise TypeError(f"on({kind.__name__}, immediately=True): only signals are handled immediately")
            for member, handlers in self._immediate.items():
                if issubclass(member, kind):
                    handlers.append(_checked(handler, kind, 1))
        elif kind in self._whole:
            self._whole[kind].append(_checked(handler, kind, 1))
        elif kind in _FAMILIES:
            for member, handlers in self._whole.items():
                if issubclass(member, kind):
                    handlers.append(_checked(handler, kind, 1))
        else:
            takes_event = _positional(handler) >= 2  # the part and its event
            checked = _checked(handler, kind, 2 if takes_event else 1)
            self._parts[kind].append((checked, takes_event))
            self.has_parts = True

    @property
    def has_immediate(self) -> bool:
        """Whether a handler is to be called at once."""
        return any(self._immediate.values())

    def immediate(self, signal: Signal) -> list[Handler]:
        """Returns the handlers to call at once for the signal."""
        return self._immediate.get(type(signal), [])

    def calls(self, event: Event | Signal) -> Iterator[tuple[Handler, tuple[object, ...]]]:
        """Returns each handler to call for the event or signal, with its arguments, in order."""
        calls = zip(self._whole[type(event)], repeat((event,)))  # the repetition has no end
        return chain(calls, self.calls_for_parts(event)) if self.has_parts else calls

    def whole(self, event: Event) -> Sequence[Handler]:
        """Returns the first of these handlers: those that are called with the event itself."""
        return self._whole[type(event)]

    def calls_for_parts(self, event: Event | Signal) -> Iterator[tuple[Handler, tuple[object, ...]]]:
        """Returns each handler to call after those, for a part of the event, with its arguments, in order."""
        for kind, attribute in _PARTS[type(event)]:
            handlers = self._parts[kind]
            if handlers:
                for part in getattr(event, attribute):
                    for handler, takes_event in handlers:
                        yield handler, (part, event) if takes_event else (part,)


def _positional(handler: Handler) -> int:
    """Returns how many positional arguments the handler requires."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(1 for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty)


def _checked(handler: Handler, kind: type[Any], count: int) -> Handler:
    if not callable(handler):
        raise TypeError(f"on({kind.__name__}): {handler!r} can't be called")
    try:
        # its own signature: that of what it wraps may have a `self`, as with functools.singledispatchmethod
        inspect.signature(handler, follow_wrapped=False).bind(*[None] * count)
    except TypeError:
        what = f"a {kind.__name__}" if count == 1 else f"a {kind.__name__} and the event it belongs to"
        raise TypeError(f"on({kind.__name__}): {handler!r} must be callable with {what}") from None
    except ValueError:
        pass  # some builtins have no signature
    return handler
