"""What the demo counts and measures, and its summary."""

from __future__ import annotations

import time
from collections import Counter
from statistics import quantiles

from rbhq_stream import PriceEvent, RaceEvent
from rbhq_stream._kinds import EVENT_KINDS

PUBLISHED_AT = "published-at"
"""The header with the publisher's monotonic clock, in nanoseconds."""
_NAMES: dict[type[RaceEvent], str] = {kind.event: kind.name for kind in EVENT_KINDS}


class Tally:
    """Counts events, and measures the time from the publisher to the handler."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.price_updates = 0
        self.scratchings = 0
        self._first: float | None = None
        self._last = 0.0
        self._latencies: list[float] = []

    @property
    def events(self) -> int:
        return self.kinds.total()

    def count(self, event: RaceEvent, *, is_recovering: bool) -> None:
        """Counts an event that the application has just received.

        Args:
            event: the event.
            is_recovering: whether the feed recovers from an outage. How long that takes is no latency.
        """
        now_ns = time.monotonic_ns()
        self._last = now_ns / 1e9
        if self._first is None:
            self._first = self._last
        self.kinds[_NAMES[type(event)]] += 1
        if isinstance(event, PriceEvent):
            self.price_updates += len(event.price_updates)
            self.scratchings += len(event.scratchings)
        record = event.record
        published_at = dict(record.headers).get(PUBLISHED_AT) if record else None
        if published_at is not None and not is_recovering:
            self._latencies.append((now_ns - int(published_at)) / 1e6)

    @property
    def seconds(self) -> float:
        """The time from the first event to the last one, in seconds."""
        return 0.0 if self._first is None else self._last - self._first

    @property
    def rate(self) -> float:
        """The number of events per second."""
        return self.events / max(0.001, self.seconds)

    def latency(self, newest: int = 0) -> tuple[float, float] | None:
        """Returns the median and the 99th percentile of the time from publish to handler, in milliseconds.

        Args:
            newest: How many of the newest events to consider; all of them by default.

        Returns:
            Both, or `None` if fewer than two events were timed.
        """
        latencies = self._latencies[-newest:]
        if len(latencies) < 2:
            return None
        cuts = quantiles(latencies, n=100, method="inclusive")
        return cuts[49], cuts[98]

    def summary(self, published: int, *, stopped: bool) -> list[str]:
        """Returns the lines of the summary."""
        rate = f", {self.rate:,.0f} a second" if self.events > 1 else ""
        if stopped:
            outcome = "stopped"
        elif self.events == published:
            outcome = "complete: every published event was received once"
        else:
            outcome = f"{self.events:,} of {published:,} published events were received"
        prices = self.kinds["price"]
        lines = [
            f"RBHQ demo: {outcome}",
            f"  {self.events:,} events in {self.seconds:.1f} s{rate} (the speed of the simulated day)",
            f"  {prices:>8,} price events ({self.price_updates:,} prices, {self.scratchings:,} scratchings)",
            f"  {self.kinds['race status']:>8,} race status events",
            f"  {self.kinds['race result']:>8,} race results",
        ]
        latency = self.latency()
        if latency is not None:
            lines.append(f"  publish to handler: p50 {latency[0]:.2f} ms, p99 {latency[1]:.2f} ms")
        return lines
