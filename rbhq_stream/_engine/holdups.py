"""`Holdups`: detects a record that has not been acknowledged for long, and so holds back the group's offset. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import frozen

from rbhq_stream.source import TopicPartition

REPORT_AFTER = 60.0
"""Seconds until a hold-up is reported. It is reported again each time it has lasted twice as long."""


@frozen
class Holdup:
    """The oldest record of a partition that was handed over and is not acknowledged."""

    partition: TopicPartition
    offset: int
    processed: int
    """How many offsets after it are processed."""
    seconds: float
    """How long this has been so."""

    def log_line(self, now: datetime) -> str:
        """Returns the hold-up as a line for the log."""
        since = (now - timedelta(seconds=self.seconds)).isoformat(timespec="seconds")
        return (
            f"{self.partition}: the record at offset {self.offset} was handed over and has not been acknowledged for"
            f" {self.seconds:.0f} s, since {since}. It holds the group's offset back: {self.processed} offsets after it"
            " are processed, and are delivered again after a restart. Pass its event to ack(), or find out what keeps"
            " the application from that"
        )


class Holdups:
    """Remembers how long each partition has been held up."""

    def __init__(self, report_after: float = REPORT_AFTER) -> None:
        self._report_after = report_after
        self._since: dict[TopicPartition, tuple[int, float, float]] = {}  # the offset, since when, the next report

    def update(self, oldest: Mapping[TopicPartition, tuple[int, int]], now: float) -> list[Holdup]:
        """Returns the hold-ups that are to be reported now.

        Args:
            oldest: of each partition, the oldest record that was handed over and is not acknowledged, and how many
                offsets after it are processed.
            now: the time in seconds, monotonic.
        """
        before, self._since = self._since, {}
        to_report = []
        for partition, (offset, processed) in oldest.items():
            known, since, report_at = before.get(partition, (None, now, 0.0))
            if known != offset:
                since, report_at = now, now + self._report_after
            if now >= report_at:
                to_report.append(Holdup(partition, offset, processed, now - since))
                report_at = now + (now - since)
            self._since[partition] = offset, since, report_at
        return to_report
