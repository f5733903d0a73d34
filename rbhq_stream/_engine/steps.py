"""The steps that the driver's operations yield, and that `Feed` and `AsyncFeed` perform, each in its own way."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar, Union

from rbhq_stream._engine.dispatch import Handler
from rbhq_stream._engine.scheduler import InFlight

_T = TypeVar("_T")


class Wait(NamedTuple):
    """Wait for a wake-up, at most for `timeout` seconds."""

    timeout: float | None


class Call(NamedTuple):
    """Call the handler, and send back the exception that it raised or `None`."""

    handler: Handler
    arguments: tuple[object, ...]


class Start(NamedTuple):
    """Attempt to handle the event on another thread or in another task. See `concurrent_driver`."""

    job: InFlight[Any]


class LetOthersRun(NamedTuple):
    """Give the other tasks of the event loop their turn."""


class Raise(NamedTuple):
    """Raise the error. It is a step because a generator can't raise every exception itself, such as StopIteration."""

    error: BaseException


Steps = Generator[Union[Wait, Call, Start, LetOthersRun, Raise], Union[Exception, None], _T]
