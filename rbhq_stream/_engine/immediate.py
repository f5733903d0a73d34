"""Handlers of signals that are called immediately, whatever the application is doing: on a thread, or as a task.

Both kinds call the handlers one signal after the other, in the order in which the signals were delivered. A handler
that fails does not keep the next signal from being handled: its error is logged, and raised where the application
requests the next event.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from rbhq_stream._engine.dispatch import Handler
from rbhq_stream._engine.unfinished_work import check_result
from rbhq_stream.signals import Signal

_log = logging.getLogger("rbhq_stream")

Failed = Callable[[BaseException], None]


class Immediate(Protocol):
    """Calls handlers of signals immediately."""

    def deliver(self, signal: Signal, handlers: Sequence[Handler]) -> None: ...

    @property
    def is_idle(self) -> bool: ...


class ImmediateThread:
    """Calls the handlers on a thread of its own, which exists while there are signals to handle.

    Args:
        failed: called with the exception of a handler.
    """

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._waiting: deque[tuple[Signal, Sequence[Handler]]] = deque()
        self._lock = threading.Lock()  # never taken by the application's thread, which an interrupt could strike
        self._is_running = False

    def deliver(self, signal: Signal, handlers: Sequence[Handler]) -> None:
        """Has the handlers called. Called by the poll thread and by the health thread."""
        with self._lock:
            self._waiting.append((signal, handlers))
            if not self._is_running:
                threading.Thread(target=self._run, name="rbhq_stream signals", daemon=True).start()
                self._is_running = True  # not before: with no thread to be had, the next signal would wait for ever

    @property
    def is_idle(self) -> bool:
        """Whether all that was delivered has been handled."""
        return not self._is_running

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                signal, handlers = self._waiting.popleft()
            for handler in handlers:
                try:
                    result = handler(signal)
                    if result is not None:
                        check_result(result, f"the handler of {type(signal).__name__}", handler)
                # the application's, and even a SystemExit must not end the thread: it is passed on
                except BaseException as error:  # noqa: BLE001
                    _report(handler, signal, error, self._failed)


class ImmediateTasks:
    """Calls the handlers in a task of the event loop that the feed is read in.

    Args:
        failed: called with the exception of a handler.
    """

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._waiting: deque[tuple[Signal, Sequence[Handler]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None  # only the event loop's thread touches it

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notes the event loop in which the feed is read from now on. Called in that loop."""
        if loop is not self._loop:
            self._loop = loop
            self._task = None
        self._start()  # also if the task was cancelled, which leaves signals behind

    def deliver(self, signal: Signal, handlers: Sequence[Handler]) -> None:
        """Has the handlers called. Called by the poll thread and by the health thread."""
        self._waiting.append((signal, handlers))
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._start)
            except RuntimeError:  # the event loop is closed: the next one that reads the feed calls the handlers
                _log.debug(
                    "the event loop is closed: handlers of signals are called in the next one that reads the feed"
                )

    @property
    def is_idle(self) -> bool:
        """Whether all that was delivered has been handled."""
        return not self._waiting and (self._task is None or self._task.done())

    def _start(self) -> None:
        if self._waiting and self._loop is not None and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            signal, handlers = self._waiting[0]
            for handler in handlers:
                try:
                    result = await _call(handler, signal)
                    if result is not None:
                        check_result(result, f"the handler of {type(signal).__name__}", handler)
                except Exception as error:  # noqa: BLE001  # the application's: it is passed on
                    _report(handler, signal, error, self._failed)
            self._waiting.popleft()  # not before: if this task is cancelled, the signal is handled again


async def _call(handler: Handler, signal: Signal) -> object:
    """Calls a handler, and awaits what it returns in a task of its own.

    The task tells the two origins of a `CancelledError` apart. If the handler itself raises it, for example because it
    awaited something that was cancelled, that is an error like any other, and the next signals are handled. If whoever
    ends the event loop cancels the task that handles the signals, that task ends.

    Raises:
        RuntimeError: the handler raised `CancelledError`.
    """
    try:
        result = handler(signal)
    except asyncio.CancelledError as error:  # nothing was awaited, so nobody cancelled this task
        raise _own_cancellation(signal) from error
    if not inspect.isawaitable(result):
        return result
    task = asyncio.ensure_future(result)
    try:
        await asyncio.wait((task,))
    finally:
        task.cancel()  # without effect if it is done
    if task.cancelled():
        raise _own_cancellation(signal)
    return task.result()


def _own_cancellation(signal: Signal) -> RuntimeError:
    # not the CancelledError itself: raised in the application's task, it would look as if that task was cancelled
    return RuntimeError(f"an immediate handler of {type(signal).__name__} raised CancelledError")


def _report(handler: Handler, signal: Signal, error: BaseException, failed: Failed) -> None:
    _log.error("the immediate handler %r of %s failed", handler, type(signal).__name__, exc_info=error)
    failed(error)
