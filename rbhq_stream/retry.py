"""How often a handler that raised is called again, and after which pauses. Pure: it does not wait itself."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import field, frozen

from rbhq_stream import _field_checks as checks

_DAY = 86_400


@frozen
class Retry:
    """How to retry a handler that raises: how often, and with which pauses.

    While a handler is retried, the following events wait, so that the events of each race stay in order: all of them,
    or, when `run` handles many races at once, those of the same race. The feed stays in its consumer group in the
    meantime.
    """

    attempts: int = field(default=5, validator=checks.positive)
    """How often a handler is called at most, the first call included."""
    wait: float = field(default=0.1, validator=checks.from_to(0, _DAY))
    """The pause before the second call, in seconds."""
    factor: float = field(default=2.0, validator=checks.from_to(1, 1_000))
    """The factor by which each pause is longer than the one before."""
    max_wait: float = field(default=10.0, validator=checks.from_to(0, _DAY))
    """The longest pause, in seconds."""

    def waits(self) -> Iterator[float]:
        """Yields the pauses between the calls, in seconds: one fewer than `attempts`."""
        wait = self.wait
        for _ in range(self.attempts - 1):
            yield min(wait, self.max_wait)
            wait = min(wait * self.factor, self.max_wait)


NO_RETRY = Retry(attempts=1)
"""No retry: a handler that raises is not called again."""
