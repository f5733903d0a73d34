"""Whether betting is suspended, because the feed can't be trusted."""

from __future__ import annotations

import threading
from datetime import datetime

from rbhq_stream import Gap, HealthChanged, HealthState
from rbhq_stream._demo.board import Notice


class Suspension:
    """Follows the health of the feed. `note` is called by the feed's own thread, all others read."""

    def __init__(self) -> None:
        self.is_live = False
        self.is_recovering = False
        """Whether the feed was down, and has not been live since."""
        self.why = "the feed has not been started"
        self._lock = threading.Lock()
        self._gaps: list[Gap] = []

    @property
    def gaps(self) -> list[Gap]:
        """The times for which the feed was not live, after it had been."""
        with self._lock:
            return list(self._gaps)

    def note(self, signal: HealthChanged, now: datetime) -> list[Notice]:
        """Takes in a change of the health, and returns what is notable about it.

        Args:
            signal: the change.
            now: the time of the simulated day.
        """
        health = signal.health
        state, reason = health.state.value, health.reason.value.replace("_", " ")
        self.is_live, self.why = health.ok, f"feed {state}" if reason == state else f"feed {state}: {reason}"
        self.is_recovering = not health.ok and (self.is_recovering or health.state is HealthState.DOWN)
        if signal.gap is not None:
            with self._lock:
                self._gaps.append(signal.gap)
        if health.ok:
            return [Notice(now, "LIVE", "all races", _recovery(signal.gap))]
        if health.state in (HealthState.CONNECTING, HealthState.CLOSED):
            return []
        return [Notice(now, "SUSPENDED", "all races", self.why)]

    def summary(self) -> list[str]:
        """Returns a line for each gap."""
        return [f"  outage: {_recovery(gap)}" for gap in self.gaps]


def _recovery(gap: Gap | None) -> str:
    if gap is None:
        return "everything that was published is processed"
    seconds = (gap.ended - gap.began).total_seconds()
    return f"suspended for {seconds:.1f} s, then caught up with {sum(gap.records.values()):,} records"
