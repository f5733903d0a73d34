"""The numbers of feeds as metrics of OpenTelemetry. It needs the extra `rbhq-stream[otel]`.

Nothing is recorded while events are processed: each number is read from `feed.health` and `feed.stats` when the
application's metric reader collects.
"""

from __future__ import annotations

import importlib.metadata
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from rbhq_stream._config import feed_name
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.cursor import FeedStats
from rbhq_stream._engine.feed import Feed
from rbhq_stream.errors import ForkedFeedError
from rbhq_stream.health import Health, HealthReason, HealthState, PartitionHealth
from rbhq_stream.source import TopicPartition

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
except ModuleNotFoundError as error:  # pragma: no cover  # tested in a process of its own
    raise ModuleNotFoundError(
        "rbhq_stream.metrics needs OpenTelemetry's API: pip install 'rbhq-stream[otel]'", name=error.name
    ) from error

__all__ = ["FeedMetrics"]

_Values = Iterable[tuple[float, dict[str, str]]]  # each with the attributes that it has beside those of the feed
_Read = Callable[[Health, FeedStats], _Values]


class _Instrument(NamedTuple):
    name: str
    unit: str
    description: str
    read: _Read


class FeedMetrics:
    """Reports the numbers of feeds to OpenTelemetry, under the names in docs/operations.md.

    Make one for the process, and add each feed. It needs the package `opentelemetry-api`, which the extra
    `rbhq-stream[otel]` installs. The application chooses the SDK and the exporter.

    >>> metrics = FeedMetrics()
    >>> metrics.add(feed)

    A feed is not kept alive by being added. Its numbers are reported until it is garbage-collected.

    Args:
        meter_provider: where to report to; by default the global one.
    """

    def __init__(self, *, meter_provider: MeterProvider | None = None) -> None:
        self._feeds: tuple[tuple[weakref.ref[Feed | AsyncFeed], dict[str, str]], ...] = ()  # replaced, never changed
        self._adding = threading.Lock()
        meter = get_meter("rbhq_stream", importlib.metadata.version("rbhq-stream"), meter_provider)
        for name, unit, description, read in _COUNTERS:
            meter.create_observable_counter(name, [self._callback(read)], unit, description)
        for name, unit, description, read in _UP_DOWN_COUNTERS:
            meter.create_observable_up_down_counter(name, [self._callback(read)], unit, description)
        for name, unit, description, read in _GAUGES:
            meter.create_observable_gauge(name, [self._callback(read)], unit, description)

    def add(self, feed: Feed | AsyncFeed, attributes: Mapping[str, str] | None = None) -> None:
        """Reports the numbers of this feed from now on. From any thread.

        A new feed takes the place of a closed one that had the same attributes.

        Args:
            feed: the feed, before or after it is entered.
            attributes: further attributes of its numbers. They have to distinguish two feeds of one consumer group in
                one process.

        Raises:
            ValueError: another feed, which is not closed, has the same attributes.
        """
        given = dict(attributes or {})
        group = feed.config.group_id
        if group is not None:
            given["messaging.consumer.group.name"] = group
        with self._adding:
            kept = []
            for reference, known in self._feeds:
                other = reference()
                if other is None or other is feed:
                    continue
                if known != given:
                    kept.append((reference, known))
                elif other.health.state is not HealthState.CLOSED:
                    raise ValueError(
                        f"another {feed_name(feed.config)} has the same attributes: give one of them others, such as"
                        " add(feed, {'app.part': 'settlement'})"
                    )
            self._feeds = (*kept, (weakref.ref(feed), given))

    def _callback(self, read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for reference, given in self._feeds:
                feed = reference()
                if feed is None:
                    continue
                try:
                    health, stats = feed.health, feed.stats
                except ForkedFeedError:
                    continue  # the process that entered the feed reports it
                for value, attributes in read(health, stats):
                    yield Observation(value, {**given, **attributes})

        return observe


def _single(value: Callable[[Health, FeedStats], float]) -> _Read:
    return lambda health, stats: [(value(health, stats), {})]


def _by_partition(value: Callable[[PartitionHealth], float | None]) -> _Read:
    def read(health: Health, _: FeedStats) -> _Values:
        for partition, figures in health.figures.partitions.items():
            number = value(figures)
            if number is not None:
                yield number, _attributes(partition)

    return read


def _attributes(partition: TopicPartition) -> dict[str, str]:
    return {
        "messaging.destination.name": partition.topic,
        "messaging.destination.partition.id": str(partition.partition),
    }


def _consumed(health: Health, _: FeedStats) -> _Values:
    operation = {"messaging.system": "kafka", "messaging.operation.name": "poll"}
    for partition, figures in health.figures.partitions.items():
        yield figures.records, {**operation, **_attributes(partition)}


def _by_reason(health: Health, _: FeedStats) -> _Values:
    """Yields every reason, not only the current one, so that no backend keeps showing the one before it."""
    for reason in HealthReason:
        attributes = {"rbhq.feed.state": reason.state.value, "rbhq.feed.reason": reason.value}
        yield int(reason is health.reason), attributes


def _by_topic(health: Health, _: FeedStats) -> _Values:
    for topic, figures in health.figures.topics.items():
        yield figures.silent_for, {"messaging.destination.name": topic}


_COUNTERS = (
    _Instrument("messaging.client.consumed.messages", "{message}", "Records that were read.", _consumed),
    _Instrument(
        "rbhq.feed.events",
        "{event}",
        "Events that were handed over to the application.",
        _single(lambda _, stats: stats.events),
    ),
    _Instrument(
        "rbhq.feed.bad_records",
        "{record}",
        "Records that could not be decoded.",
        _single(lambda _, stats: stats.bad_records),
    ),
    _Instrument(
        "rbhq.feed.empty_records",
        "{record}",
        "Records without events.",
        _single(lambda _, stats: stats.empty_records),
    ),
)
_UP_DOWN_COUNTERS = (
    _Instrument(
        "rbhq.feed.health",
        "{feed}",
        "1 for the state and the reason of the feed's health, and 0 for all others.",
        _by_reason,
    ),
)
_GAUGES = (
    _Instrument(
        "rbhq.feed.lag",
        "{record}",
        "Records that are published and not processed.",
        _by_partition(lambda figures: figures.lag),
    ),
    _Instrument(
        "rbhq.feed.delay",
        "s",
        "For how long the oldest record that is not processed has been known to exist.",
        _by_partition(lambda figures: figures.delay),
    ),
    _Instrument("rbhq.feed.silence", "s", "Time since the newest record of the topic arrived.", _by_topic),
    _Instrument(
        "rbhq.feed.buffer.records",
        "{record}",
        "Records that were read and are not processed.",
        _single(lambda health, _: health.figures.waiting_records),
    ),
    _Instrument(
        "rbhq.feed.buffer.size",
        "By",
        "Size of the values of the records in the buffer.",
        _single(lambda health, _: health.figures.waiting_bytes),
    ),
    _Instrument(
        "rbhq.feed.buffer.utilization",
        "1",
        "How full the buffer is, from 0 to about 1. At 1, reading is paused.",
        _single(lambda health, _: health.figures.buffer_fill),
    ),
    _Instrument(
        "rbhq.feed.handler.running",
        "s",
        "For how long the application has had the current event.",
        _single(lambda health, _: health.figures.handler_running),
    ),
    _Instrument(
        "rbhq.feed.uncommitted",
        "{record}",
        "Records that are processed and not committed.",
        _single(lambda health, _: health.figures.uncommitted),
    ),
    _Instrument(
        "rbhq.feed.brokers.known",
        "{broker}",
        "Brokers of the cluster.",
        _single(lambda health, _: health.figures.brokers_known),
    ),
    _Instrument(
        "rbhq.feed.brokers.connected",
        "{broker}",
        "Brokers that the feed is connected to. It connects only to those that it needs.",
        _single(lambda health, _: health.figures.brokers_up),
    ),
)
