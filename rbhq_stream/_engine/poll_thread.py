"""`PollThread`: the only thread that calls the source.

It polls, appends the records to the buffer, pauses the partitions while the buffer is full, and commits what the
application has processed. An exception that the source, or a logging handler of the application, raises here ends the
feed: the application gets the error after the records that were read before it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone

from rbhq_stream._engine.buffer import RESUME_BELOW, Buffer, Ownership
from rbhq_stream._engine.health_watch import HealthWatch
from rbhq_stream._engine.holdups import Holdups
from rbhq_stream._engine.ledger import Ledger
from rbhq_stream._engine.merging import Merging
from rbhq_stream._engine.progress_report import ProgressReport
from rbhq_stream._engine.starting_positions import StartingPositions
from rbhq_stream._engine.time_order import TimeOrder
from rbhq_stream._summaries import newest_offsets
from rbhq_stream.health import HealthState
from rbhq_stream.record import RawRecord
from rbhq_stream.signals import PartitionsAssigned, PartitionsLost, PartitionsRevoked, Signal
from rbhq_stream.source import Source, TopicPartition

_log = logging.getLogger("rbhq_stream")

POLL_TIMEOUT = 0.1
"""Seconds that a poll waits for a record. A request to close takes effect within this time."""
PAUSE_AFTER = 0.5
"""Seconds to wait for room in a full buffer before the partitions are paused. Pausing at once would be wasteful,
because it discards what the Kafka client has fetched ahead.
"""
REPORT_INTERVAL = 0.2
"""Seconds between two reports of the progress for the feed's health."""
CATCH_UP_TIMEOUT = 2.0
"""Seconds that a feed whose source has ended goes on at most until its health has caught up. With `commit="manual"` it
may never do so, because the application need not acknowledge everything.
"""

_CATCHING_UP = (HealthState.CONNECTING, HealthState.CATCHING_UP)


class PollThread:
    """Owns the thread, the source and the ledger. An `Owner` for the source, which calls it on this thread."""

    def __init__(
        self,
        source: Source,
        buffer: Buffer,
        health: HealthWatch,
        deliver: Callable[[Signal], None],
        *,
        starting_positions: StartingPositions,
        acknowledge_one_by_one: bool,
        has_group: bool,
        time_order: TimeOrder | None,
        commit_interval: float,
        close_timeout: float,
    ) -> None:
        self._source = source
        self._buffer = buffer
        self._health = health
        self._deliver = deliver
        self._starting_positions = starting_positions
        self._one_by_one = acknowledge_one_by_one
        self._has_group = has_group
        self._commit_interval = commit_interval
        self._close_timeout = close_timeout
        self._ledger = Ledger()
        self._holdups = Holdups()
        self._report = ProgressReport()
        self._is_paused = False
        self._merging = None if time_order is None else Merging(source, buffer, time_order, self._ledger.expected)
        self._processed_at: float | None = None  # when everything that the source had was processed
        self._unclaimed = [True]
        self._thread: threading.Thread | None = None

    # the application's side

    @property
    def is_started(self) -> bool:
        """Whether there is a poll thread."""
        return self._thread is not None

    def start(self) -> None:
        """Starts the poll thread, which connects. Idempotent.

        An interrupt in this method may or may not leave a thread behind, so a second call may start a second thread.
        The first thread that claims the work does it, and the other one ends at once.
        """
        if self._unclaimed:
            thread = threading.Thread(target=self._run, name="rbhq_stream poll", daemon=True)
            thread.start()
            self._thread = self._thread or thread

    def join(self) -> None:
        """Waits until the thread itself has ended, which it does soon after the buffer is marked as ended."""
        if self._thread is not None and self._buffer.is_ended:
            self._thread.join(POLL_TIMEOUT)

    # the thread

    def _run(self) -> None:
        try:
            self._unclaimed.pop()
        except IndexError:
            return  # another thread does the work
        self._thread = threading.current_thread()
        try:
            self._health.start()
            self._source.open(self)
            self._buffer.mark_open()
            self._poll_until_closing()
        except BaseException as error:  # noqa: BLE001  # a thread has no caller: the application's thread raises it
            self._health.note_failure(error)  # first, so that the application hears that the feed is down
            if self._merging is not None:
                self._merging.finish()
            self._buffer.fail(error)
            self._let_application_finish()
        try:
            self._enter_processed()
            self._source.close(self._ledger.committable() if self._has_group else {}, self._close_timeout)
        except BaseException:  # noqa: BLE001  # a thread has no caller: it is logged
            with suppress(Exception):  # from a logging handler of the application; no caller could catch it
                _log.exception("closing the feed failed; what was not committed is delivered again after a restart")
        finally:
            self._buffer.mark_ended()
            self._health.end()

    def _let_application_finish(self) -> None:
        """After a failure the application may still process what was read before it, and have that committed."""
        deadline = time.monotonic() + self._close_timeout
        buffer = self._buffer
        while buffer.is_open and not buffer.is_closing and (left := deadline - time.monotonic()) > 0:
            buffer.wait_for_room(left)

    def _poll_until_closing(self) -> None:
        next_commit = time.monotonic() + self._commit_interval
        next_report = 0.0
        while not self._buffer.is_closing:
            if self._merging is None:
                self._keep_within_bounds()
            else:
                self._merge(self._merging)
            records = self._source.poll(POLL_TIMEOUT)
            if records:
                self._append(records)
            now = time.monotonic()
            if now >= next_commit:
                self._commit()
                next_commit = now + self._commit_interval
            if now >= next_report:
                self._health.check()
                self._enter_processed()
                status = self._source.status()
                self._buffer.set_progress(self._report.progress(self._ledger, status, now))
                next_report = now + REPORT_INTERVAL
                if status.has_ended:
                    self._end_if_processed(now)

    def _end_if_processed(self, now: float) -> None:
        """Ends the feed if the application has processed everything, the last record included.

        The health first judges the end of the source, so that the application hears that the feed has caught up.
        """
        if self._buffer.waiting_records or self._buffer.merging[0]:
            self._processed_at = None
            return
        if self._processed_at is None:
            self._processed_at = now
        health = self._health.look()
        if health.state not in _CATCHING_UP or now - self._processed_at > CATCH_UP_TIMEOUT:
            self._buffer.mark_exhausted()

    def _append(self, records: Sequence[RawRecord]) -> None:
        ledger = self._ledger
        newest = newest_offsets(records)
        if ledger.has_gaps(newest, len(records)):
            for record in records:
                ledger.read((record.topic(), record.partition()), record.offset())  # type: ignore[arg-type]  # a record from Kafka has them all
        else:
            for partition, offset in newest.items():
                ledger.read_up_to(partition, offset)
        topics = {topic for topic, _ in newest}
        self._report.arrived(records, topics, time.monotonic(), datetime.now(timezone.utc))
        if self._merging is None or self._merging.add(records, ledger.epoch, time.monotonic()):
            self._buffer.append(records, ledger.epoch, newest)
        self._enter_processed(whole_chunks_only=True)  # so that the buffer can drop them

    def _keep_within_bounds(self) -> None:
        buffer = self._buffer
        if self._is_paused:
            if buffer.fill < RESUME_BELOW:
                self._is_paused = False
                self._source.resume()
                _log.debug("the buffer has room again: reading is resumed")
        elif buffer.fill >= 1:
            buffer.discard_stale_wake_up()
            if buffer.is_closing:
                return
            buffer.wait_for_room(PAUSE_AFTER)
            if buffer.fill >= 1 and not buffer.is_closing:
                self._is_paused = True
                self._source.pause()
                _log.debug(
                    "%d records (%d bytes) wait for the application: reading is paused until it has caught up",
                    buffer.waiting_records,
                    buffer.waiting_bytes,
                )

    def _merge(self, merging: Merging) -> None:
        """Moves records on in the order of their times, until more are needed or `PAUSE_AFTER` has passed.

        The partitions are not paused while the buffer is full. Those whose records then accumulate are held back.
        """
        buffer = self._buffer
        deadline = time.monotonic() + PAUSE_AFTER
        while merging.step(now := time.monotonic()) and now < deadline and not buffer.is_closing:
            buffer.discard_stale_wake_up()
            if buffer.fill >= 1 and not buffer.is_closing:
                buffer.wait_for_room(deadline - now)

    def _commit(self) -> None:
        self._enter_processed()
        if not self._has_group:
            return  # there is nothing to commit to, and no offset that an event could hold back
        offsets = self._ledger.committable()
        if offsets:
            self._source.commit(offsets)
        for holdup in self._holdups.update(self._ledger.unacknowledged(), time.monotonic()):
            _log.warning("%s", holdup.log_line(datetime.now(timezone.utc)))

    def _enter_processed(self, *, whole_chunks_only: bool = False) -> None:
        """Enters into the ledger what the application has processed since the last time."""
        for acknowledgement in self._buffer.take_acknowledged():
            self._ledger.acknowledge(*acknowledgement)
        for epoch, newest in self._buffer.take_processed(whole_chunks_only=whole_chunks_only):
            enter = self._ledger.handed_over if self._one_by_one else self._ledger.mark_processed
            for partition, offset in newest.items():
                enter(partition, offset, epoch)

    # Owner: called by the source from within its own methods

    def is_wanted(self) -> bool:
        return not self._buffer.is_closing

    def connected(self, partitions: Collection[TopicPartition]) -> None:
        self._starting_positions.check_exist(partitions)

    def assigned(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._ledger.assign(partitions)
        self._report.assigned(partitions, time.monotonic())
        if partitions:
            self._deliver(PartitionsAssigned(at=datetime.now(timezone.utc), partitions=tuple(sorted(partitions))))
        self._publish_ownership()
        if self._merging is not None:
            self._merging.assign(partitions, time.monotonic())
        positions = self._starting_positions.of(partitions)
        for partition, offset in positions.items():
            self.positioned(partition, offset)
        return positions

    def positioned(self, partition: TopicPartition, offset: int) -> None:
        self._ledger.position(partition, offset)
        self._publish_ownership()

    def revoked(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        uncommitted = self._remove(partitions, is_evicted=False)
        if partitions:
            self._deliver(PartitionsRevoked(at=datetime.now(timezone.utc), partitions=tuple(sorted(partitions))))
        return uncommitted

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        uncommitted = self._remove(partitions, is_evicted=True)
        now = datetime.now(timezone.utc)
        self._deliver(PartitionsLost(at=now, partitions=tuple(sorted(partitions)), uncommitted=uncommitted))

    def _remove(self, partitions: Collection[TopicPartition], *, is_evicted: bool) -> dict[TopicPartition, int]:
        self._enter_processed()
        uncommitted = self._ledger.revoke(partitions)
        self._report.removed(partitions, is_evicted=is_evicted)
        self._publish_ownership()
        if self._merging is not None:
            self._merging.forget(partitions)
        return uncommitted

    def expected(self, partition: TopicPartition) -> int | None:
        return self._ledger.expected(partition)

    def processed(self, partition: TopicPartition) -> int | None:
        return self._ledger.processed(partition)

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._ledger.committed(offsets)
        self._starting_positions.committed(offsets)

    def _publish_ownership(self) -> None:
        self._buffer.set_ownership(Ownership(self._ledger.epoch, self._ledger.owned_since()))
