"""Whether the process, or its whole host, stood still between two observations. Pure.

Three clocks are compared, because none of them notices everything:

| what stood still | monotonic clock | clock since the boot (Linux) | this host's clock |
|---|---|---|---|
| the process: suspended, starved | runs on | runs on | runs on |
| the host: suspended to memory or disk | may stop | runs on | runs on |
| a frozen virtual machine | may stop | may stop | is set forward, when it is synchronised |

The last row can't be told from a clock that was wrong and is set forward. That counts as well, because it is rare, and
all that follows is that the feed confirms that it is up to date. A clock that is set back does not count.
"""

from __future__ import annotations

from typing import NamedTuple

SUSPENDED_AFTER = 3.0
"""Seconds without an observation after which the process counts as suspended."""


class Clocks(NamedTuple):
    """What the clocks of this host show at one time."""

    monotonic: float
    wall: float
    """The time of the day, in seconds since 1970."""
    boot: float | None = None
    """Seconds since the host was started, those in which it was suspended included; `None`: there is no such clock."""


def standstill(before: Clocks, now: Clocks) -> str | None:
    """Returns what stood still, and for how long, if something did for more than `SUSPENDED_AFTER` seconds."""
    ran = now.monotonic - before.monotonic
    if ran > SUSPENDED_AFTER:
        return f"the process did not run for {ran:.1f} s"
    if now.boot is not None and before.boot is not None and now.boot - before.boot > SUSPENDED_AFTER:
        return f"the host was suspended for {now.boot - before.boot:.1f} s"
    ahead = now.wall - before.wall - ran
    if ahead > SUSPENDED_AFTER:
        return f"the host's clock went forward by {ahead:.1f} s: the host was frozen, or its clock was set"
    return None
