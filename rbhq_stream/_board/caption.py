"""What is around a board: its title, the numbers below it, and how times are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta, tzinfo

from attrs import frozen

Facts = Sequence[tuple[str, str]]
"""Numbers for the last line, each with what it counts."""


@frozen(kw_only=True)
class Caption:
    """What is around the board."""

    title: str
    """What is shown."""
    facts: Callable[[], Facts]
    """The numbers of the last line, as of now. Those that have no room are left out, the last ones first."""
    zone: tzinfo | None = None
    """The time zone of all times; `None`: that of this machine."""
    speed: float | None = None
    """How much faster than real time it goes; `None`: it is live."""
    flash: timedelta = timedelta(seconds=0.6)
    """How long a price is highlighted after it has moved."""
