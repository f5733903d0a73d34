"""The workarounds for older Kafka clients. `make lowest` runs these tests with the oldest one that is supported."""

from __future__ import annotations

import time

import pytest

from rbhq_stream import Feed, Topics
from rbhq_stream._kafka import batches
from rbhq_stream.testing import EmbeddedBroker

OPENED = b'{"meetingId":1,"eventNumber":%d,"status":"OPEN"}'


def publish(broker: EmbeddedBroker, partition: int, count: int) -> None:
    for number in range(count):
        broker.publish_raw(str(broker.topics.race_status), OPENED % number, partition=partition)


def offsets(feed: Feed, count: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for _ in range(count):
        event = feed.poll(20)
        assert event is not None, found
        record = event.require_record()
        found.setdefault(record.partition, []).append(record.offset)
    return found


@pytest.mark.parametrize("marks_ends_well", [True, False])
def test_no_record_is_skipped_after_a_pause_at_the_end_of_a_partition(
    monkeypatch: pytest.MonkeyPatch, *, marks_ends_well: bool
) -> None:
    if not marks_ends_well:  # as for a client before 2.13; such a client is never read in the newer way
        monkeypatch.setattr(batches, "_MARKS_ENDS_WELL", False)
    with EmbeddedBroker(partitions=12) as broker:
        publish(broker, 0, 40)
        topics = Topics(race_status=broker.topics.race_status)
        with Feed(broker.config(topics=topics, buffer_records=10)) as feed:
            deadline = time.monotonic() + 20
            while not feed._session._poll_thread._is_paused:
                assert time.monotonic() < deadline, "the buffer never filled up"
                time.sleep(0.01)
            for partition in range(1, 12):
                publish(broker, partition, 2)
            assert offsets(feed, 62) == {0: list(range(40)), **{partition: [0, 1] for partition in range(1, 12)}}
