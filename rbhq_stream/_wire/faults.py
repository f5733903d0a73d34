"""Collects everything that is wrong in a document while it is read, so that one error can report all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import attrs

from rbhq_stream._plurals import counted
from rbhq_stream.errors import Fault

_R = TypeVar("_R")

MAX_FAULTS = 1_000
"""Reading stops after this many faults. Otherwise megabytes of garbage would cause an error of the same size."""

MAX_SHOWN = 60
"""How many characters of a value an error shows."""

MISSING = object()
"""Stands for a required field that the document does not have."""


class NotANumber(str):
    """A number that JSON or `Decimal` can't represent: `NaN`, `Infinity`, or one with a far too large exponent."""

    __slots__ = ()


class Unreadable(Exception):  # noqa: N818  # what a reader finds; users get it as a DecodeError
    """The faults of a value. Their paths begin at the value; the reader of the containing object extends them."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def under(self, step: str) -> list[Fault]:
        """Returns the faults with their paths extended by the step that leads to the value."""
        return [attrs.evolve(fault, path=step + fault.path) for fault in self.faults]


class Faults(list[Fault]):
    """The faults found so far."""

    def add(self, step: str, bad: Unreadable) -> None:
        """Adds what is wrong with a value that is one step into the document.

        Raises:
            Unreadable: `MAX_FAULTS` is reached.
        """
        self.extend(bad.under(step))
        if len(self) >= MAX_FAULTS:
            self.check()

    def read(self, step: str, read: Callable[..., _R], *args: Any) -> _R | None:
        """Reads a value that is one step into the document; returns `None` if it cannot be read."""
        try:
            return read(*args)
        except Unreadable as bad:
            self.add(step, bad)
            return None

    def check(self) -> None:
        """Raises `Unreadable` if there are any."""
        if self:
            raise Unreadable(*self)


def unreadable(value: object, expected: str) -> Unreadable:
    """Returns the error for a value that is not of the expected kind."""
    return Unreadable(Fault("", found(value), expected))


def found(value: object) -> str:
    """Returns a value as an error shows it: short, on one line, printable ASCII."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, dict):
        return f"an object with {counted(len(value), 'field')}"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, (Decimal, NotANumber)):
        return shortened(str(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return shortened(json.dumps(value[:MAX_SHOWN]))  # it may have megabytes
    if value is None or isinstance(value, (int, float)):
        return shortened(json.dumps(value))
    # a value from the application, which `encode` refuses
    return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"


def shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def step(name: str) -> str:
    """Returns one step of a path into an object: `.scratchTime`, or `["odd name"]`."""
    return f".{name}" if _PLAIN_NAME.fullmatch(name) else f"[{found(name)}]"


_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
