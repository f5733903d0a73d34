"""The log of what happens to the connection: of each kind of line one every ten seconds, as an outage repeats them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

_log = logging.getLogger("rbhq_stream.kafka")
INTERVAL = 10.0
"""Seconds between two lines of a kind."""
MAX_KINDS = 1_000
"""How many kinds are remembered."""
_DIGITS = re.compile(r"\d+")


class LimitedLog:
    """Writes lines to the logger `rbhq_stream.kafka`, and leaves out those of a kind that was written lately.

    Args:
        max_level: lines above this level are written at it.
        clock: the time in seconds.
    """

    def __init__(
        self,
        max_level: int = logging.CRITICAL,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_level = max_level
        self._clock = clock
        self._written: dict[str, tuple[float, int]] = {}  # when last, and how many were left out since

    def write(self, level: int, key: str, subject: str, text: str) -> None:
        """Writes a line, unless it is to be left out.

        Args:
            level: the level, as `logging` has them.
            key: what kind of line it is, together with the subject and the text but for the numbers in it.
            subject: what the line begins with.
            text: the rest of the line.
        """
        left_out = self._left_out(f"{key} {subject} {_DIGITS.sub('#', text)}")
        if left_out is not None:
            more = f" ({left_out} more like this were left out)" if left_out else ""
            _log.log(min(level, self._max_level), "%s: %s%s", subject, text, more)

    def _left_out(self, kind: str) -> int | None:
        """Returns how many lines of this kind were left out before this one, or `None` to leave this one out too."""
        now = self._clock()
        last, left_out = self._written.get(kind, (float("-inf"), 0))
        if now - last < INTERVAL:
            self._written[kind] = (last, left_out + 1)
            return None
        if len(self._written) >= MAX_KINDS:
            self._written.clear()
        self._written[kind] = (now, 0)
        return left_out
