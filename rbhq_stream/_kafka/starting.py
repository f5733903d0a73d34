"""Where partitions are to be read from, asked of the brokers for all of them at once: one by one each costs seconds."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._kafka.faults import connect_error
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
) -> dict[TopicPartition, int]:
    """The offset to read each partition from. `partitions` has the next offset where it is known: it counts
    more than what the group has committed. One that is not among the `old` was added to its topic since the
    feed connected: it is read from its beginning, wherever a new group starts.

    Raises:
        DataLossError: the next record is not there any more, and `on_data_loss` is "raise".
        AuthorizationError: the group's offsets are not for this user.
        KafkaException: the brokers don't answer now.
    """
    committed = _committed(consumer, config, [partition for partition, known in partitions.items() if known is None])
    lows = _ask_times(consumer, dict.fromkeys(partitions, OFFSET_BEGINNING))
    highs = _ask_times(consumer, dict.fromkeys(partitions, OFFSET_END))
    fresh = [partition for partition, offset in committed.items() if offset is None]
    starts = _starts(consumer, config, [partition for partition in fresh if partition in old], lows, highs)
    for partition in fresh:
        if partition not in old:
            starts[partition] = lows[partition]
            log.info("%s: added to its topic, starting at its beginning, offset %d", partition, lows[partition])
    places = {}
    for partition, known in partitions.items():
        next_offset = committed[partition] if known is None else known
        if next_offset is None:
            places[partition] = starts[partition]
        else:
            places[partition] = _or_loss(config, partition, next_offset, lows[partition], highs[partition])
    return places


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
        times = _ask_times(consumer, dict.fromkeys(partitions, int(start.timestamp() * 1000))) if partitions else {}
        # no record is as new as that
        found = {partition: offset if offset >= 0 else highs[partition] for partition, offset in times.items()}
    for partition, offset in sorted(found.items()):
        log.info("%s: the group has committed nothing yet, starting at offset %d (%s)", partition, offset, start)
    return found


def _or_loss(config: FeedConfig, partition: TopicPartition, next_offset: int, low: int, high: int) -> int:
    if low <= next_offset <= high:
        return next_offset
    # beyond the end: the topic was made anew, or the brokers lost its end
    loss = DataLossError(partition.topic, partition.partition, next_offset, low if next_offset < low else high)
    policy = config.on_data_loss
    if policy == "raise":
        raise loss
    offset = low if policy == "earliest" else high
    log.error("%s. Going on at offset %d, as on_data_loss=%r says", loss, offset, policy)
    return offset


def _committed(
    consumer: Consumer, config: FeedConfig, partitions: list[TopicPartition]
) -> dict[TopicPartition, int | None]:
    """What the group has committed; `None` for nothing yet."""
    if not partitions:
        return {}
    try:
        answers = consumer.committed([KafkaPartition(*partition) for partition in partitions], timeout=ASK_TIMEOUT)
        return {partition: at if at >= 0 else None for partition, at in _answered(answers).items()}
    except KafkaException as error:
        refused = connect_error(error.args[0], resource=config.group_id)
        if isinstance(refused, AuthorizationError):
            raise refused from None
        raise


def _ask_times(consumer: Consumer, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """The offset of each partition's first record at or after a time; Kafka has special times for both ends."""
    return _answered(
        consumer.offsets_for_times([KafkaPartition(*partition, at) for partition, at in times.items()], ASK_TIMEOUT)
    )


def _answered(answers: list[KafkaPartition]) -> dict[TopicPartition, int]:
    for answer in answers:
        error: KafkaError | None = answer.error
        if error is not None:
            # an offset beside an error means nothing: not even that there is none
            raise KafkaException(error)
    return {TopicPartition(answer.topic, answer.partition): answer.offset for answer in answers}
