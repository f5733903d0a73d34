"""`OffsetRuns`: a set of offsets whose memory grows with the number of its gaps, not of its offsets."""

from __future__ import annotations

from bisect import bisect_right


class OffsetRuns:
    """A set of offsets, stored as runs of consecutive offsets. There is a gap between any two runs."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []  # in ascending order
        self._ends: list[int] = []  # the offset after each run

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset)
        return at > 0 and offset < self._ends[at - 1]

    def __len__(self) -> int:
        """The number of runs."""
        return len(self._starts)

    def count(self) -> int:
        """Returns how many offsets there are."""
        return sum(self._ends) - sum(self._starts)

    def add(self, first: int, end: int) -> None:
        """Adds the offsets from `first` up to, not including, `end`. None of them is in the set."""
        starts, ends = self._starts, self._ends
        at = bisect_right(starts, first)
        follows = at > 0 and ends[at - 1] == first
        precedes = at < len(starts) and starts[at] == end
        if follows and precedes:
            ends[at - 1] = ends[at]
            del starts[at], ends[at]
        elif follows:
            ends[at - 1] = end
        elif precedes:
            starts[at] = first
        else:
            starts.insert(at, first)
            ends.insert(at, end)

    def pass_to(self, offset: int) -> int:
        """Removes everything before an offset, and the run that it is in or that begins there.

        Returns:
            The end of that run, or the offset itself when it is in none.
        """
        count = bisect_right(self._starts, offset)
        if count:
            offset = max(offset, self._ends[count - 1])
            del self._starts[:count], self._ends[:count]
        return offset

    def clear(self) -> None:
        """Removes all offsets."""
        self._starts.clear()
        self._ends.clear()
