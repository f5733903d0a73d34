"""`recorded`: a source whose records are also written to a recording."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from rbhq_stream._config import Topics
from rbhq_stream._recording.folder import RecordTo
from rbhq_stream._recording.recorder import Recorder
from rbhq_stream.record import RawRecord
from rbhq_stream.signals import RecordingFailed
from rbhq_stream.source import Owner, Source, SourceStatus, TopicPartition


def recorded(
    source: Source,
    to: RecordTo | str | os.PathLike[str],
    topics: Topics,
    failed: Callable[[RecordingFailed], None],
) -> Source:
    """Returns the source, with its records also written to a recording.

    Args:
        source: where the records come from.
        to: where to write them.
        topics: which class of event each topic has.
        failed: takes the signal when the recording has failed. Called on the writer thread or the poll thread.

    Raises:
        ConfigError: the path is not valid.
    """
    return _RecordedSource(source, Recorder(to if isinstance(to, RecordTo) else RecordTo(to), topics, failed))


class _RecordedSource:
    """Delegates to another source, and records what it returns.

    Commits wait until the records before them are in the recording. So records that a crash costs the recording are
    delivered, and recorded, again.
    """

    def __init__(self, source: Source, recorder: Recorder) -> None:
        self._source = source
        self._recorder = recorder
        self._owner: Owner | None = None
        self._uncommitted: tuple[int, Mapping[TopicPartition, int]] | None = None

    def open(self, owner: Owner) -> None:
        self._owner = owner
        self._recorder.open()
        self._source.open(_RecordingOwner(owner, self._forget))

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        assert self._owner is not None, "open() comes first"
        if self._uncommitted is not None and self._recorder.is_flushed(self._uncommitted[0]):
            _, offsets = self._uncommitted
            self._uncommitted = None
            if offsets:
                self._source.commit(offsets)
        records = self._source.poll(timeout)
        return self._recorder.record(records, self._owner.is_wanted) if records else records

    def status(self) -> SourceStatus:
        return self._source.status()

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self._uncommitted is None:  # or else a slow disk would defer the commit for ever
            self._uncommitted = self._recorder.request_flush(), offsets

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forgets what was to be committed of these partitions."""
        if self._uncommitted is not None:
            ticket, offsets = self._uncommitted
            self._uncommitted = ticket, {one: offset for one, offset in offsets.items() if one not in partitions}

    def pause(self) -> None:
        self._source.pause()

    def resume(self) -> None:
        self._source.resume()

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        self._source.hold(partitions)

    def close(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        began = time.monotonic()
        try:
            self._recorder.close(timeout / 2)
        finally:
            self._source.close(offsets, max(timeout / 2, timeout - (time.monotonic() - began)))


class _RecordingOwner:
    """Delegates to the owner, and notices which partitions are removed or recreated.

    A commit that still waits for the recording has older offsets than those that are committed when a partition is
    removed, or those of another member. Those of a topic that was recreated have nothing to do with its records.
    """

    def __init__(self, owner: Owner, forget: Callable[[Collection[TopicPartition]], None]) -> None:
        self._owner = owner
        self._forget = forget

    def is_wanted(self) -> bool:
        return self._owner.is_wanted()

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        self._owner.connected(partitions)

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self._owner.assigned(partitions)

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        expected = self._owner.expected(partition)
        if expected is not None and offset < expected:
            self._forget([partition])
        self._owner.positioned(partition, offset)

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._forget(partitions)
        return self._owner.revoked(partitions)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        self._forget(partitions)
        self._owner.lost(partitions)

    def expected(self, partition: TopicPartition) -> int | None:
        return self._owner.expected(partition)

    def processed(self, partition: TopicPartition) -> int | None:
        return self._owner.processed(partition)

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._owner.committed(offsets)
