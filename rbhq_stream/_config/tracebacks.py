"""Keeps secrets out of tracebacks. Error trackers, debuggers and `pytest -l` show the local variables of every frame.

A configuration passes through frames whose local variables hold it in plain text: arguments, environment variables, the
content of a file. `without_frames` wraps the functions that an application calls with secrets. An error that leaves
such a function has neither these frames nor the errors that caused it. Its text names the field that is wrong, so
nothing is missing for debugging.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import ParamSpec

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


def without_frames(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Returns a wrapper. An error leaves it with the wrapper's frame only, which no longer holds the arguments then."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  # raised again below, also a KeyboardInterrupt
            failure = error
        del args, kwargs
        failure.__cause__ = failure.__context__ = None
        failure.__suppress_context__ = False  # setting the cause has set it, and it would hide the caller's own context
        try:
            raise failure.with_traceback(None)
        finally:
            del failure  # the traceback holds this frame, so a reference back would be a cycle

    return call


def built_without_frames(cls: type[_T]) -> type[_T]:
    """Wraps the constructor of a class in `without_frames`. A decorator."""
    wrapped: Any = cls
    wrapped.__init__ = without_frames(wrapped.__init__)
    return cls
