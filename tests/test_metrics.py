"""The metrics: what the SDK of OpenTelemetry collects, what the Prometheus exporter serves, what the page lists."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from prometheus_client import REGISTRY, generate_latest

from rbhq_stream import AsyncFeed, Feed, FeedStats, HealthReason
from rbhq_stream.metrics import FeedMetrics
from rbhq_stream.testing import MemorySource
from tests.facades import Facade, SyncFacade
from tests.memory_feeds import BAD, TOPICS, MakeFacade, memory_config, prices, status
from tests.pages import PAGES
from tests.waiting import wait_for

GROUP = ("messaging.consumer.group.name", "g")
CONSUMED = "messaging.client.consumed.messages"


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def metrics(reader: InMemoryMetricReader) -> Iterator[FeedMetrics]:
    provider = MeterProvider([reader])
    yield FeedMetrics(meter_provider=provider)
    provider.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, Metric]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found = [metric for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics]
    assert len({metric.name for metric in found}) == len(found), "each instrument once"
    return {metric.name: metric for metric in found}


def points(metric: Metric) -> dict[frozenset[tuple[str, Any]], float]:
    return {frozenset((point.attributes or {}).items()): point.value for point in metric.data.data_points}  # type: ignore[union-attr]  # no histograms


def partition(topic: str, **more: str) -> frozenset[tuple[str, Any]]:
    return frozenset(
        {GROUP, ("messaging.destination.name", topic), ("messaging.destination.partition.id", "0"), *more.items()}
    )


def read_all(facade: Facade | SyncFacade, source: MemorySource) -> None:
    """Reads five records, of which one is bad and one empty, until the feed is live."""
    source.publish(*prices(2), status(1))
    source.publish_raw("prices", BAD)
    source.publish_raw("prices", None)
    facade.enter()
    for _ in range(3):
        facade.next()
    wait_for(lambda: not facade.poll(0.01) and facade.feed.health.ok, "it is live")


@pytest.fixture
def feed(memory_source: MemorySource) -> Iterator[Feed | AsyncFeed]:
    """A feed that has read these records."""
    facade = SyncFacade(memory_config(), source=memory_source, on_bad_record="skip")
    read_all(facade, memory_source)
    yield facade.feed
    facade.finish()


def test_the_sdk_collects_the_numbers_of_the_feed(
    make_facade: MakeFacade, memory_source: MemorySource, metrics: FeedMetrics, reader: InMemoryMetricReader
) -> None:
    facade = make_facade(on_bad_record="skip")
    read_all(facade, memory_source)
    metrics.add(facade.feed)
    found = collected(reader)
    kafka = {"messaging.system": "kafka", "messaging.operation.name": "poll"}
    assert points(found[CONSUMED]) == {
        partition("prices", **kafka): 4,
        partition("status", **kafka): 1,
        partition("results", **kafka): 0,
    }
    single = frozenset({GROUP})
    for name, number in {"events": 3, "bad_records": 1, "empty_records": 1, "buffer.records": 0}.items():
        assert points(found[f"rbhq.feed.{name}"]) == {single: number}, name
    assert points(found["rbhq.feed.lag"]) == dict.fromkeys(map(partition, TOPICS.names), 0)
    assert points(found["rbhq.feed.delay"]) == dict.fromkeys(map(partition, TOPICS.names), 0)
    silences = points(found["rbhq.feed.silence"])
    assert set(silences) == {frozenset({GROUP, ("messaging.destination.name", topic)}) for topic in TOPICS.names}
    assert all(0 <= seconds < 30 for seconds in silences.values())


def test_what_is_collected_is_there_without_the_extra_too(feed: Feed) -> None:
    assert feed.stats == FeedStats(events=3, bad_records=1, empty_records=1)
    records = {name.topic: figures.records for name, figures in feed.health.figures.partitions.items()}
    assert records == {"prices": 4, "status": 1, "results": 0}


def test_the_health_is_one_for_its_reason_and_zero_for_all_others(
    metrics: FeedMetrics, reader: InMemoryMetricReader, memory_source: MemorySource
) -> None:
    def current() -> set[tuple[Any, Any]]:
        found = {frozenset(key): value for key, value in points(collected(reader)["rbhq.feed.health"]).items()}
        assert len(found) == len(HealthReason)
        assert sum(found.values()) == 1
        [attributes] = [dict(key) for key, value in found.items() if value]
        return {(attributes["rbhq.feed.state"], attributes["rbhq.feed.reason"])}

    feed = Feed(memory_config(), source=memory_source)
    metrics.add(feed)
    assert current() == {("connecting", "not_started")}
    with feed:
        wait_for(lambda: feed.health.ok, "it is live")
        assert current() == {("live", "up_to_date")}
    assert current() == {("closed", "closed")}
    assert "rbhq.feed.events" in collected(reader), "the counters of a closed feed are kept"


def test_the_prometheus_exporter_serves_them(feed: Feed) -> None:
    provider = MeterProvider([PrometheusMetricReader()])
    try:
        FeedMetrics(meter_provider=provider).add(feed)
        served = generate_latest(REGISTRY).decode()
    finally:
        provider.shutdown()

    def value(name: str, **labels: str) -> float:
        [found] = [
            line
            for line in served.splitlines()
            if line.startswith(f"{name}{{") and all(f'{label}="{text}"' in line for label, text in labels.items())
        ]
        return float(found.rpartition(" ")[2])

    group = {"messaging_consumer_group_name": "g"}
    assert value("messaging_client_consumed_messages_total", messaging_destination_name="prices", **group) == 4
    assert value("rbhq_feed_events_total", **group) == 3
    assert value("rbhq_feed_health", rbhq_feed_state="live", **group) == 1
    assert value("rbhq_feed_health", rbhq_feed_reason="brokers_unreachable", **group) == 0
    assert value("rbhq_feed_lag", messaging_destination_name="status", messaging_destination_partition_id="0") == 0
    assert value("rbhq_feed_delay_seconds", messaging_destination_name="status") == 0
    assert value("rbhq_feed_buffer_size_bytes", **group) == 0


def test_the_records_of_a_partition_are_counted_over_all_its_assignments(
    feed: Feed, memory_source: MemorySource, metrics: FeedMetrics, reader: InMemoryMetricReader
) -> None:
    metrics.add(feed)

    def consumed() -> dict[str, float]:
        values = points(collected(reader)[CONSUMED])
        return {dict(attributes)["messaging.destination.name"]: value for attributes, value in values.items()}

    memory_source.revoke("prices")
    wait_for(lambda: set(consumed()) == {"status", "results"}, "it is gone")
    memory_source.assign("prices")
    wait_for(lambda: "prices" in consumed(), "it is back")
    assert consumed()["prices"] >= 4


def test_feeds_of_different_groups_are_told_apart(metrics: FeedMetrics, reader: InMemoryMetricReader) -> None:
    feeds = [Feed(memory_config(group_id=group), source=MemorySource(TOPICS)) for group in ("a", "b", None)]
    for feed in feeds:
        metrics.add(feed)
    assert set(points(collected(reader)["rbhq.feed.events"])) == {
        frozenset({("messaging.consumer.group.name", "a")}),
        frozenset({("messaging.consumer.group.name", "b")}),
        frozenset(),
    }


def test_two_feeds_of_a_group_need_attributes_that_tell_them_apart(
    metrics: FeedMetrics, reader: InMemoryMetricReader
) -> None:
    first, second = (Feed(memory_config(), source=MemorySource(TOPICS)) for _ in range(2))
    metrics.add(first)
    with pytest.raises(ValueError, match="another feed of group 'g' has the same attributes"):
        metrics.add(second)
    metrics.add(second, {"app.part": "settlement"})
    assert set(points(collected(reader)["rbhq.feed.events"])) == {
        frozenset({GROUP}),
        frozenset({GROUP, ("app.part", "settlement")}),
    }


def test_a_feed_may_be_added_again_with_other_attributes(metrics: FeedMetrics, reader: InMemoryMetricReader) -> None:
    feed = Feed(memory_config(), source=MemorySource(TOPICS))
    metrics.add(feed)
    metrics.add(feed)
    metrics.add(feed, {"app.part": "prices"})
    assert set(points(collected(reader)["rbhq.feed.events"])) == {frozenset({GROUP, ("app.part", "prices")})}


def test_a_new_feed_takes_the_place_of_a_closed_one(metrics: FeedMetrics, reader: InMemoryMetricReader) -> None:
    old = Feed(memory_config(), source=MemorySource(TOPICS))
    metrics.add(old)
    old.close()
    new = Feed(memory_config(), source=MemorySource(TOPICS))
    metrics.add(new)
    health = points(collected(reader)["rbhq.feed.health"])
    [attributes] = [dict(key) for key, value in health.items() if value]
    assert attributes["rbhq.feed.reason"] == "not_started"


def test_a_feed_is_not_kept_alive(metrics: FeedMetrics, reader: InMemoryMetricReader) -> None:
    feed = Feed(memory_config(), source=MemorySource(TOPICS))
    metrics.add(feed)
    assert "rbhq.feed.events" in collected(reader)
    del feed
    gc.collect()
    assert "rbhq.feed.events" not in collected(reader)


def test_a_forked_child_does_not_report_the_feed_of_its_parent(
    feed: Feed, metrics: FeedMetrics, reader: InMemoryMetricReader
) -> None:
    metrics.add(feed)
    feed._session.note_fork()  # as it happens in a child
    assert "rbhq.feed.events" not in collected(reader)
    feed._session.is_forked = False
    assert "rbhq.feed.events" in collected(reader)


def test_the_page_lists_every_instrument_with_its_kind_unit_and_attributes(
    feed: Feed, metrics: FeedMetrics, reader: InMemoryMetricReader
) -> None:
    metrics.add(feed)
    row = r"^\| `([\w.]+)` \| ([\w -]+) \| `(.+?)` \|(.*?)\| (.+) \|$"
    rows = re.findall(row, PAGES["operations.md"].read_text(encoding="utf-8"), re.MULTILINE)
    listed = {
        name: (kind, unit, set(re.findall(r"`([\w.]+)`", attributes)), text)
        for name, kind, unit, attributes, text in rows
    }
    kinds: dict[str, dict[bool | None, str]] = {
        "Sum": {True: "counter", False: "up-down counter"},
        "Gauge": {None: "gauge"},
    }
    assert listed == {
        name: (
            kinds[type(metric.data).__name__][getattr(metric.data, "is_monotonic", None)],
            metric.unit,
            {key for attributes in points(metric) for key, _ in attributes} - {GROUP[0]},
            metric.description,
        )
        for name, metric in collected(reader).items()
    }


def test_without_the_api_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import rbhq_stream; import rbhq_stream.metrics"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs OpenTelemetry's API: pip install 'rbhq-stream[otel]'" in done.stderr
