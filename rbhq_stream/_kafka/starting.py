"""Where partitions are to be read from, asked of the brokers for all of them at once: one by one each costs seconds."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka.ends import PartitionEnds, first_without_record
from rbhq_stream._kafka.faults import connect_error
from rbhq_stream._timestamps import to_milliseconds
from rbhq_stream.errors import AuthorizationError, DataLossError
from rbhq_stream.source import TopicPartition

log = logging.getLogger("rbhq_stream.kafka")

ASK_TIMEOUT = 3.0
"""Seconds that a question to the brokers may take while the feed runs. It is asked again."""


def starting_offsets(
    consumer: Consumer,
    config: FeedConfig,
    partitions: Mapping[TopicPartition, int | None],
    old: Collection[TopicPartition],
    ends: PartitionEnds,
) -> dict[TopicPartition, int]:
    """The offset to read each partition from. `partitions` has the next offset where it is known: it counts
    more than what the group has committed. One that is not among the `old` was added to its topic since the
    feed connected: it is read from its beginning, wherever a new group starts.

    Raises:
        DataLossError: the next record is not there any more, and `on_data_loss` is "raise".
        AuthorizationError: the group's offsets are not for this user.
        KafkaException: the brokers don't answer now.
    """
    committed = {
        partition: answer.offset if answer.offset >= 0 else None
        for partition, answer in _committed(consumer, config, [p for p, known in partitions.items() if known is None])
    }
    lows = _ask_times(consumer, dict.fromkeys(partitions, OFFSET_BEGINNING))
    highs = _ask_times(consumer, dict.fromkeys(partitions, OFFSET_END))
    fresh = [partition for partition, offset in committed.items() if offset is None]
    starts = _starts(consumer, config, [partition for partition in fresh if partition in old], lows, highs)
    for partition in fresh:
        if partition not in old:
            starts[partition] = lows[partition]
            log.info("%s: added to its topic, starting at its beginning, offset %d", partition, lows[partition])
    next_offsets = {**partitions, **committed}
    for partition, (first, end) in _known_gaps(consumer, config, partitions, lows).items():
        log.info("%s: the offsets %d to %d hold no records, reading on at %d", partition, first, end - 1, end)
        ends.skipped(partition, first, end)
        next_offsets[partition] = end
    return {
        partition: starts[partition]
        if next_offset is None
        else _or_loss(config, partition, next_offset, lows[partition], highs[partition])
        for partition, next_offset in next_offsets.items()
    }


def _known_gaps(
    consumer: Consumer,
    config: FeedConfig,
    partitions: Mapping[TopicPartition, int | None],
    lows: Mapping[TopicPartition, int],
) -> dict[TopicPartition, tuple[int, int]]:
    """Returns the gaps at the known next offsets that are gone, where the group is known to have found no record.

    The known offset is one that the application gave, by its `positions`. The group's offset may be further on because
    control records follow, and then its metadata says from where on there was no record; see the module `ends`.

    Returns:
        the first offset of each gap, and the first one after it.
    """
    gone = {p: known for p, known in partitions.items() if known is not None and known < lows[p]}
    gaps = {}
    for partition, answer in _committed(consumer, config, list(gone)):
        first = first_without_record(answer.metadata)
        if first is not None and first <= gone[partition] and lows[partition] <= answer.offset:
            gaps[partition] = first, answer.offset
    return gaps


def _starts(
    consumer: Consumer,
    config: FeedConfig,
    partitions: list[TopicPartition],
    lows: Mapping[TopicPartition, int],
    highs: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Where to begin with partitions that the group has committed nothing of."""
    start = config.start
    if start == "earliest":
        found = {partition: lows[partition] for partition in partitions}
    elif start == "latest":
        found = {partition: highs[partition] for partition in partitions}
    else:
        times = _ask_times(consumer, dict.fromkeys(partitions, to_milliseconds(start))) if partitions else {}
        # no record is as new as that
        found = {partition: offset if offset >= 0 else highs[partition] for partition, offset in times.items()}
    for partition, offset in sorted(found.items()):
        log.info("%s: the group has committed nothing yet, starting at offset %d (%s)", partition, offset, start)
    return found


def _or_loss(config: FeedConfig, partition: TopicPartition, next_offset: int, low: int, high: int) -> int:
    """Returns the offset to read from, given the next one to be read and the first and the end of what there is.

    The rule: records are lost if an offset that is not handled is gone, unless it is known that no record was there.
    While the feed runs, the ledger knows that from the records on both sides of a gap, and from the end of the
    partition, and commits past it. Once the broker has removed an offset, nobody can tell whether it held a record. So
    these are reported, although they may have been control records, aborted records or compacted ones:

    - what was written while no member of the group was running, and removed before one came back;
    - the end of a transaction, if the feed crashed between the commit of its last record and the commit of its end,
      some `fetch.wait.max.ms` later, and everything was removed before it came back;
    - the end of a transaction before which a group of version 0.1.0 stopped: it committed the last record only.

    Raises:
        DataLossError: records may be lost, and `on_data_loss` is "raise".
    """
    if low <= next_offset <= high:
        return next_offset
    # beyond the end: the topic was recreated, or the brokers lost its end
    loss = DataLossError(partition.topic, partition.partition, next_offset, low if next_offset < low else high)
    policy = config.on_data_loss
    if policy == "raise":
        raise loss
    offset = low if policy == "earliest" else high
    log.error("%s. Going on at offset %d, as on_data_loss=%r says", loss, offset, policy)
    return offset


def _committed(
    consumer: Consumer, config: FeedConfig, partitions: list[TopicPartition]
) -> list[tuple[TopicPartition, KafkaPartition]]:
    """Returns what the group has committed. Where it has committed nothing yet, the offset is negative."""
    if not partitions:
        return []
    try:
        return _answered(
            consumer.committed([KafkaPartition(*partition) for partition in partitions], timeout=ASK_TIMEOUT)
        )
    except KafkaException as error:
        refused = connect_error(error.args[0], resource=config.group_id)
        if isinstance(refused, AuthorizationError):
            raise refused from None
        raise


def _ask_times(consumer: Consumer, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Returns the offset of each partition's first record at or after a time; Kafka has special times for both ends."""
    asked = [KafkaPartition(*partition, at) for partition, at in times.items()]
    return {partition: answer.offset for partition, answer in _answered(consumer.offsets_for_times(asked, ASK_TIMEOUT))}


def _answered(answers: list[KafkaPartition]) -> list[tuple[TopicPartition, KafkaPartition]]:
    for answer in answers:
        error: KafkaError | None = answer.error
        if error is not None:
            # an offset beside an error means nothing: not even that there is none
            raise KafkaException(error)
    return [(TopicPartition(answer.topic, answer.partition), answer) for answer in answers]
