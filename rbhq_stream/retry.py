"""How often a handler that failed is called again, and after how long. Pure: it makes the waits, others wait them."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import field, frozen

from rbhq_stream import _field_checks as checks

_DAY = 86_400


@frozen
class Retry:
    """Calls again after a failure, each time after a longer wait.

    While a handler is being retried the events behind it wait, so that each race stays in order; the feed stays in its
    consumer group meanwhile.
    """

    attempts: int = field(default=5, validator=checks.positive)
    """How often a handler is called in all, at most."""
    wait: float = field(default=0.1, validator=checks.from_to(0, _DAY))
    """Seconds before the second call."""
    factor: float = field(default=2.0, validator=checks.from_to(1, 1_000))
    """Each wait is so many times the one before."""
    max_wait: float = field(default=10.0, validator=checks.from_to(0, _DAY))
    """The longest wait, in seconds."""

    def waits(self) -> Iterator[float]:
        """The waits between the calls, in seconds: one fewer than `attempts`."""
        wait = self.wait
        for _ in range(self.attempts - 1):
            yield min(wait, self.max_wait)
            wait = min(wait * self.factor, self.max_wait)


NO_RETRY = Retry(attempts=1)
"""A handler's first failure is its last."""
