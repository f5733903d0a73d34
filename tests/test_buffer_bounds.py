"""The records in memory are bounded in bytes as well as in number, including what the Kafka client reads ahead."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest

from rbhq_stream import Feed, RaceStatusEvent, RawRecord
from rbhq_stream.testing import MemorySource
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.memory_feeds import STATUS, TOPICS, MakeFacade, memory_config
from tests.partner_configs import partner_config
from tests.waiting import wait_for

KIB, MIB = 1024, 1024 * 1024


def document(number: int, size: int) -> bytes:
    """A race status of about this size."""
    fields = {"meetingId": 1, "eventNumber": number, "status": "OPEN", "note": "x" * size}
    return json.dumps(fields).encode()


class OneAtATime(MemorySource):
    """Hands over one record for each poll, and counts how often it was paused."""

    def __init__(self) -> None:
        super().__init__(TOPICS)
        self.pauses = 0
        self._backlog: list[RawRecord] = []

    def poll(self, timeout: float) -> Sequence[RawRecord]:
        if self._paused:
            return super().poll(timeout)  # nothing
        self._backlog = self._backlog or list(super().poll(timeout))
        first, self._backlog = self._backlog[:1], self._backlog[1:]
        return first

    def pause(self) -> None:
        self.pauses += 1
        super().pause()


@pytest.mark.parametrize(("size", "bound"), [(64 * KIB, MIB), (900_000, 100), (10, 10_000)])
def test_no_more_is_read_than_the_bound_in_bytes(make_facade: MakeFacade, size: int, bound: int) -> None:
    """At most one record more, because its size is known only after it was read."""
    source = OneAtATime()
    count = 3 * bound // size + 10
    for number in range(1, count + 1):
        source.publish_raw("status", document(number, size))
    facade = make_facade(config=memory_config(buffer_bytes=bound), source=source)
    facade.enter()
    wait_for(lambda: source.pauses == 1, "reading is paused")
    stats = facade.feed.stats
    assert stats.waiting_records < count
    assert stats.waiting_bytes <= bound + size + KIB
    got = [facade.next() for _ in range(count)]
    assert [event.event_number for event in got if isinstance(event, RaceStatusEvent)] == list(range(1, count + 1))
    facade.leave()
    assert source.committed[STATUS] == count
    assert facade.feed.stats.waiting_bytes == 0


def test_small_records_are_bounded_by_their_number(make_facade: MakeFacade) -> None:
    source = OneAtATime()
    for number in range(1, 101):
        source.publish_raw("status", document(number, 10))
    facade = make_facade(config=memory_config(buffer_records=20), source=source)
    facade.enter()
    wait_for(lambda: source.pauses == 1, "reading is paused")
    assert facade.feed.stats.waiting_records == 20


@pytest.mark.parametrize("bound", [1, MIB, 64 * MIB, 10_000 * MIB])
def test_the_clients_read_ahead_is_part_of_the_bound(bound: int) -> None:
    properties = memory_config(buffer_bytes=bound).kafka_properties()
    read_ahead = properties["queued.max.messages.kbytes"]
    assert isinstance(read_ahead, int)
    assert 1 <= read_ahead <= max(1, min(16 * KIB, bound // 4 // KIB))
    assert 1_000_000 <= int(properties["fetch.max.bytes"]) <= 4 * MIB


def test_large_documents_and_a_blocked_handler_on_a_real_broker(kafka: KafkaCluster, partner: Partner) -> None:
    """Several times the bound is waiting on the broker. All of it arrives once the handler continues."""
    count, size, bound = 16, 900_000, 4 * MIB
    documents = [(b"k", document(number, size)) for number in range(1, count + 1)]
    kafka.publish(partner.topics.race_status, documents, partition=0)
    with Feed(partner_config(kafka, partner, buffer_bytes=bound)) as feed:
        next(feed)
        waiting, since = 0, time.monotonic()
        while waiting < 2 * size or time.monotonic() < since + 2:  # the handler, which blocks until no more comes
            if feed.stats.waiting_bytes != waiting:
                waiting, since = feed.stats.waiting_bytes, time.monotonic()
            time.sleep(0.01)
        assert waiting <= bound
        assert [next(feed).event_number for _ in range(count - 1)] == list(range(2, count + 1))
