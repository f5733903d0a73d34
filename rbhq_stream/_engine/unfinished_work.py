"""Functions of the application that return before their code has run.

A coroutine function or a generator function runs no code when it is called. It returns an object that runs when it is
awaited or iterated. If nothing awaits or iterates it, the event is not processed. Functions that are known to be such
are refused when they are passed to the feed; the others are detected by what they return.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import asynccontextmanager, contextmanager
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MethodType
from typing import Any


def _nothing() -> Any:
    return iter(())


_CACHED = type(functools.lru_cache(print))
# what contextlib makes from a generator function: it runs when it is entered
_CONTEXT_MANAGERS = (type(contextmanager(_nothing)()), type(asynccontextmanager(_nothing)()))
_NOT_ITERATED = (GeneratorType, AsyncGeneratorType, map, filter)


def check_function(function: object, role: str, *, may_await: bool = False) -> None:
    """Refuses a function that is known to return before its code has run.

    Only the function itself is checked, not a function that it decorates: it may run that function, for example with
    `asyncio.run`.

    Args:
        function: what the application passed.
        role: what it was passed for, as the error names it.
        may_await: whether the caller awaits what the function returns.

    Raises:
        TypeError: it is a generator function, or a coroutine function where the caller does not await.
    """
    called = _called(function)
    if _is_coroutine_function(function, called):
        if not may_await:
            is_handler = role.startswith("on(")
            remedy = "only an AsyncFeed can call it" if is_handler else "nothing awaits it. Pass a plain function"
            raise TypeError(f"{role}: {function!r} is a coroutine function: {remedy}")
    elif inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise TypeError(
            f"{role}: {function!r} is a generator function, which nothing iterates: make it a plain function"
        )


def check_result(result: object, role: str, function: object) -> None:
    """Refuses a result that still has to be awaited or iterated. A coroutine is closed, so that Python does not warn of
    it.

    Args:
        result: what the function returned, after it was awaited if the caller does that.
        role: what the function is for, as the error names it.
        function: the function itself, for the error.

    Raises:
        TypeError: the result is awaitable or a generator.
    """
    if isinstance(result, _CONTEXT_MANAGERS):
        todo = "enter it"
    elif isinstance(result, _NOT_ITERATED):
        todo = "iterate it"
    elif inspect.isawaitable(result):
        todo = "await it"
    else:
        return
    if isinstance(result, CoroutineType) and inspect.getcoroutinestate(result) == inspect.CORO_CREATED:
        result.close()
    raise TypeError(
        f"{role} {function!r} returned a {type(result).__name__}: it has not run, so nothing is acknowledged."
        f" The function must {todo} itself"
    )


def _called(function: Any) -> Any:
    """Returns the function that runs when this one is called, as far as that can be determined."""
    for _ in range(100):  # bounded, because an object may be its own __call__
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, (MethodType, staticmethod, classmethod)):
            function = function.__func__
        elif isinstance(function, _CACHED):
            function = function.__wrapped__
        elif inspect.isroutine(function) or isinstance(function, type) or not callable(function):
            break
        else:
            function = type(function).__call__
    return function


def _is_coroutine_function(function: Any, called: Any) -> bool:
    return (
        inspect.iscoroutinefunction(function)  # it may be marked as a coroutine function
        or inspect.iscoroutinefunction(called)
        # a generator function that types.coroutine has made awaitable
        or bool(getattr(getattr(called, "__code__", None), "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE)
    )
