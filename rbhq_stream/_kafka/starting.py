"""Where to start reading partitions: at the group's or the application's offset, at `start`, or after a loss.

One request covers all partitions, because separate requests would take seconds each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka.ends import PartitionEnds, first_without_record
from rbhq_stream._kafka.translation import connect_error
from rbhq_stream._timestamps import to_milliseconds
from rbhq_stream.errors import AuthorizationError, DataLossError
from rbhq_stream.source import TopicPartition

_log = logging.getLogger("rbhq_stream.kafka")

Question = Callable[[float], list[KafkaPartition]]
"""A question about offsets, called with how many seconds it may take."""


class Offsets:
    """Requests offsets from the brokers, and remembers the replies. If one of several requests gets none, only that one
    is repeated.

    Args:
        consumer: the client to ask with.
        group_id: the consumer group, if there is one.
        ask: returns the reply to a question. It raises `KafkaException` if there is none now.
    """

    def __init__(
        self, consumer: Consumer, group_id: str | None, ask: Callable[[Question], list[KafkaPartition]]
    ) -> None:
        self._consumer = consumer
        self._group_id = group_id
        self._ask = ask
        self._replies: dict[tuple[object, ...], dict[TopicPartition, KafkaPartition]] = {}

    def committed(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, KafkaPartition]:
        """Returns what the group has committed, with a negative offset where that is nothing.

        Raises:
            AuthorizationError: this user has no right to the group.
            KafkaException: the brokers don't reply now.
        """
        if not partitions:
            return {}
        wanted = [KafkaPartition(*partition) for partition in partitions]
        if self._group_id is None:
            return dict(zip(partitions, wanted, strict=True))  # without a group nothing is committed
        try:
            return self._reply(
                ("committed", *partitions), lambda timeout: self._consumer.committed(wanted, timeout=timeout)
            )
        except KafkaException as error:
            refused = connect_error(error.args[0], resource=self._group_id)
            if isinstance(refused, AuthorizationError):
                raise refused from None
            raise

    def first(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Returns the offset of each partition's first record."""
        return self._at(partitions, OFFSET_BEGINNING)

    def end(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Returns the offset after each partition's last record, or where a transaction is open, before its first."""
        return self._at(partitions, OFFSET_END)

    def since(self, partitions: Collection[TopicPartition], milliseconds: int) -> dict[TopicPartition, int]:
        """Returns the offset of each partition's first record from a time on; negative where there is none."""
        return self._at(partitions, milliseconds)

    def _at(self, partitions: Collection[TopicPartition], time: int) -> dict[TopicPartition, int]:
        """Kafka looks up times, and has special times for both ends of a partition."""
        if not partitions:
            return {}
        wanted = [KafkaPartition(*partition, time) for partition in partitions]
        replies = self._reply((time, *partitions), lambda timeout: self._consumer.offsets_for_times(wanted, timeout))
        return {partition: reply.offset for partition, reply in replies.items()}

    def _reply(self, key: tuple[object, ...], question: Question) -> dict[TopicPartition, KafkaPartition]:
        if key not in self._replies:
            replies = self._ask(question)
            for reply in replies:
                error: KafkaError | None = reply.error
                if error is not None:
                    # the offset beside an error means nothing: not even that there is none
                    raise KafkaException(error)
            self._replies[key] = {TopicPartition(reply.topic, reply.partition): reply for reply in replies}
        return self._replies[key]


def starting_offsets(
    offsets: Offsets,
    config: FeedConfig,
    partitions: Mapping[TopicPartition, int | None],
    old: Collection[TopicPartition],
    ends: PartitionEnds,
) -> dict[TopicPartition, int]:
    """Returns the offset to read each partition from.

    Args:
        offsets: queries the brokers.
        config: what to do in a new group, and after a loss.
        partitions: each with its next offset where that is known. It counts more than what the group has committed.
        old: the partitions that there were when the feed connected. Others were added since, and are read from their
            beginning, wherever a new group starts.
        ends: is notified of offsets that hold no records.

    Raises:
        DataLossError: records may be lost, and `on_data_loss` is "raise".
        AuthorizationError: this user has no right to the group.
        KafkaException: the brokers don't reply now.
    """
    committed = offsets.committed([partition for partition, known in partitions.items() if known is None])
    first, end = offsets.first(partitions), offsets.end(partitions)
    fresh = [partition for partition, reply in committed.items() if reply.offset < 0]
    found = _starts(offsets, config, [partition for partition in fresh if partition in old], first, end)
    for partition in fresh:
        if partition not in old:
            found[partition] = first[partition]
            _log.info("%s: added to its topic, starting at its beginning, offset %d", partition, first[partition])
    next_offsets = {partition: known for partition, known in partitions.items() if known is not None}
    next_offsets.update({partition: reply.offset for partition, reply in committed.items() if reply.offset >= 0})
    for partition, (gap, after) in _known_gaps(offsets, partitions, first).items():
        _log.info("%s: the offsets %d to %d hold no records, reading on at %d", partition, gap, after - 1, after)
        ends.skipped(partition, gap, after)
        next_offsets[partition] = after
    for partition, offset in next_offsets.items():
        found[partition] = _or_loss(config, partition, offset, first[partition], end[partition])
    return found


def _starts(
    offsets: Offsets,
    config: FeedConfig,
    partitions: Collection[TopicPartition],
    first: Mapping[TopicPartition, int],
    end: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Returns where to begin with partitions of which nothing is committed."""
    start = config.start
    if start == "earliest":
        found = {partition: first[partition] for partition in partitions}
    elif start == "latest":
        found = {partition: end[partition] for partition in partitions}
    else:
        since = offsets.since(partitions, to_milliseconds(start))
        found = {partition: offset if offset >= 0 else end[partition] for partition, offset in since.items()}
    for partition, offset in sorted(found.items()):
        _log.info("%s: nothing is committed, starting at offset %d (%s)", partition, offset, start)
    return found


def _known_gaps(
    offsets: Offsets, partitions: Mapping[TopicPartition, int | None], first: Mapping[TopicPartition, int]
) -> dict[TopicPartition, tuple[int, int]]:
    """Returns the gaps at the known next offsets that are gone, where the group is known to have found no record.

    The known offset is one that the application gave, by its `positions`. The group's offset may be further on because
    control records follow. Its metadata then has the offset from which on there was no record; see the module `ends`.

    Returns:
        The first offset of each gap, and the first one after it.
    """
    gone = {p: known for p, known in partitions.items() if known is not None and known < first[p]}
    gaps = {}
    for partition, reply in offsets.committed(gone).items():
        gap = first_without_record(reply.metadata)
        if gap is not None and gap <= gone[partition] and first[partition] <= reply.offset:
            gaps[partition] = gap, reply.offset
    return gaps


def _or_loss(config: FeedConfig, partition: TopicPartition, next_offset: int, first: int, end: int) -> int:
    """Returns the offset to read from, given the next one to be read and the first and the end of what there is.

    The rule: records are lost if an offset that is not processed is gone, unless it is known that no record was there.
    While the feed runs, the ledger knows that from the records on both sides of a gap, and from the end of the
    partition, and commits past it. Once the broker has removed an offset, it is impossible to find out whether it held
    a record. So these are reported, although they may have been control records, aborted records or compacted ones:

    - what was written while no member of the group was running, and removed before one came back;
    - the end of a transaction, if the feed crashed between the commit of its last record and the commit of its end,
      some `fetch.wait.max.ms` later, and everything was removed before it came back;
    - the end of a transaction before which a group of version 0.1.0 stopped: it committed the last record only.

    Raises:
        DataLossError: records may be lost, and `on_data_loss` is "raise".
    """
    if first <= next_offset <= end:
        return next_offset
    # beyond the end: the topic was recreated, or the brokers lost its end
    loss = DataLossError(partition.topic, partition.partition, next_offset, first if next_offset < first else end)
    policy = config.on_data_loss
    if policy == "raise":
        raise loss
    offset = first if policy == "earliest" else end
    _log.error("%s. Continuing at offset %d because of on_data_loss=%r", loss, offset, policy)
    return offset
