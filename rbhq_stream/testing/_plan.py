"""The plan of a day: the steps in which its records are delivered, and the faults that change them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Union

from attrs import frozen

from rbhq_stream.testing._memory import MemorySource


@frozen
class DayRecord:
    """A record of a day, as it is published."""

    topic: str
    value: bytes | None
    key: bytes
    at: float
    """Its timestamp, in seconds since 1970."""


@frozen
class Action:
    """Something that happens between two records."""

    name: str
    do: Callable[[MemorySource], object]
    after: float = 0.0
    """Seconds to wait before it, in real time. Nothing is published meanwhile."""
    once_handled: bool = False
    """Whether to wait until the application has handled everything that can be read, unless the broker is slow."""


Step = Union[DayRecord, Action]
Plan = list[Step]


@frozen
class Fault:
    """One kind of fault."""

    name: str
    """A description of what happens."""
    change: Callable[[Plan, Random], Plan]
    """Returns the changed plan. The generator makes all choices."""

    def __str__(self) -> str:
        return self.name
