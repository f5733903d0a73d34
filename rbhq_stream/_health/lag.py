"""How far behind one partition is, in records and in seconds."""

from __future__ import annotations

from collections import deque

from rbhq_stream._health.observation import PartitionProgress
from rbhq_stream.source import PartitionEnd

RESOLUTION = 128
"""The delay is overstated by at most one part in this many of the longest delay so far, so that few marks are kept."""


class Lag:
    """One partition since its assignment.

    It keeps marks: pairs of an offset and the time at which the partition was first known to reach up to it. The oldest
    mark that is not processed yet gives the time for which the oldest unprocessed record has been known to exist.
    """

    def __init__(self, assigned_at: float) -> None:
        self.assigned_at = assigned_at
        self.processed: int | None = None
        """The offset before which all records are processed."""
        self.end: int | None = None
        """The offset after the last record that is known to exist."""
        self.target: int | None = None
        """The end of the partition at the time from which the feed has to catch up, once that is known."""
        self._confirm_from = assigned_at
        self._read = 0
        self._marks: deque[tuple[int, float]] = deque()

    def confirm_from(self, now: float) -> None:
        """Requires the end to be confirmed again, because the end that was known before `now` may be out of date."""
        self._confirm_from = now
        self.target = None

    def update(self, progress: PartitionProgress, end: PartitionEnd | None, now: float) -> None:
        """Notes how far the partition is read and processed, and where it ends."""
        self.processed = progress.processed
        if progress.read is not None:
            if progress.read < self._read:  # the topic was recreated: what was known of it no longer counts
                self._marks.clear()
                self.confirm_from(now)
            self._read = progress.read
        known = max(progress.read or 0, 0 if end is None else end.offset)
        if progress.read is not None or end is not None:
            self.end = known
        if end is not None and self.target is None and end.as_of >= self._confirm_from:
            self.target = known
        if not self._marks:
            if known > (progress.processed or 0):
                self._marks.append((known, now))
        elif known > self._marks[-1][0]:
            if len(self._marks) > 1 and now - self._marks[-1][1] < self.delay(now) / RESOLUTION:
                self._marks[-1] = known, self._marks[-1][1]
            else:
                self._marks.append((known, now))
        while self._marks and progress.processed is not None and self._marks[0][0] <= progress.processed:
            self._marks.popleft()

    @property
    def is_caught_up(self) -> bool:
        """Whether the records up to the target are processed."""
        return self.target is not None and self.processed is not None and self.processed >= self.target

    @property
    def records(self) -> int | None:
        """How many offsets are known to exist and are not processed."""
        if self.end is None or self.processed is None:
            return None
        return max(0, self.end - self.processed)

    def delay(self, now: float) -> float:
        """Returns for how many seconds the oldest unprocessed record has been known to exist."""
        return now - self._marks[0][1] if self._marks else 0.0
