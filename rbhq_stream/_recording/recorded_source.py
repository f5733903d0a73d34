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
        self._source.open(owner)

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        assert self._owner is not None, "open() comes first"
        if self._uncommitted is not None and self._recorder.is_flushed(self._uncommitted[0]):
            self._source.commit(self._uncommitted[1])
            self._uncommitted = None
        records = self._source.poll(timeout)
        return self._recorder.record(records, self._owner.is_wanted) if records else records

    def status(self) -> SourceStatus:
        return self._source.status()

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._uncommitted = self._recorder.request_flush(), offsets

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
