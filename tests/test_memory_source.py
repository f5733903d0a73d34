"""The source in memory: the order of its records, their times, and waiting until they are handled."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone

import pytest

from rbhq_stream import DataLossError, Event, Feed, PriceEvent, RaceResultEvent, RaceStatus, RaceStatusEvent
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import TOPICS, memory_config

CONFIG = memory_config()
NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)


def test_topics_are_interleaved_as_they_were_published() -> None:
    source = MemorySource(TOPICS)
    sent: list[Event] = [
        RaceResultEvent(1, 1, RaceStatus.FINAL),
        PriceEvent(1, 2),
        RaceStatusEvent(1, 3, RaceStatus.OPEN),
        PriceEvent(1, 4),
        RaceResultEvent(1, 5, RaceStatus.FINAL),
        RaceStatusEvent(1, 6, RaceStatus.OPEN),
    ]
    source.publish(*sent)
    with Feed(CONFIG, source=source) as feed:
        assert [next(feed) for _ in sent[:4]] == sent[:4]
    with Feed(CONFIG, source=source) as feed:
        assert [next(feed) for _ in sent[4:]] == sent[4:], "also from the committed offsets on"


def test_a_record_has_the_time_that_it_was_published_with() -> None:
    source = MemorySource(TOPICS)
    source.publish(PriceEvent(1, 1), timestamp=NOON)
    with Feed(CONFIG, source=source) as feed:
        event = next(feed)
    assert event.record is not None
    assert event.record.timestamp == NOON


def test_waiting_ends_when_all_is_handled() -> None:
    source = MemorySource(TOPICS)
    feed = Feed(CONFIG, source=source)
    seen: list[int] = []
    feed.on(PriceEvent)(lambda event: seen.append(event.event_number))
    running = threading.Thread(target=feed.run)
    running.start()
    try:
        for number in range(5):
            source.publish(PriceEvent(1, number), RaceStatusEvent(1, number, RaceStatus.OPEN))
            source.wait_until_handled()
            assert number in seen
    finally:
        feed.stop()
        running.join()


def test_waiting_too_long_raises_an_error_with_what_is_left() -> None:
    source = MemorySource(TOPICS)
    source.publish(PriceEvent(1, 1), PriceEvent(1, 2))
    with Feed(CONFIG, source=source) as feed:
        next(feed)
        next(feed)  # which acknowledges the first one
        with pytest.raises(TimeoutError, match=r"the feed has not handled everything within 0\.3 s.* 1 in prices\[0\]"):
            source.wait_until_handled(timeout=0.3)


def test_a_slow_source_hands_over_one_record_at_a_time() -> None:
    source = MemorySource(TOPICS)
    source.publish(*[PriceEvent(1, number) for number in range(1, 6)])
    source.slow_down(0.5)
    with Feed(CONFIG, source=source) as feed:
        began = time.monotonic()
        assert next(feed) == PriceEvent(1, 1)
        assert time.monotonic() - began >= 0.45  # the first request may have been made before
        assert next(feed) == PriceEvent(1, 2)
        assert time.monotonic() - began >= 0.95
        source.slow_down(0)
        began = time.monotonic()
        assert [next(feed).event_number for _ in range(3)] == [3, 4, 5]
        assert time.monotonic() - began < 1.4


def test_what_is_committed_while_commits_are_ignored_is_delivered_again() -> None:
    source = MemorySource(TOPICS)
    source.publish(PriceEvent(1, 1))
    with Feed(CONFIG, source=source) as feed:
        next(feed)
        assert feed.poll(0.1) is None
        source.wait_until_handled()
        source.ignore_commits("prices")
        source.publish(PriceEvent(1, 2), RaceStatusEvent(1, 2, RaceStatus.OPEN))
        assert next(feed) == PriceEvent(1, 2)
        assert next(feed) == RaceStatusEvent(1, 2, RaceStatus.OPEN)
        assert feed.poll(0.1) is None
        source.lose("prices")
        source.assign("prices")
        assert next(feed) == PriceEvent(1, 2)
        assert feed.poll(0.1) is None
        source.wait_until_handled()


def test_expired_records_that_were_not_read_end_the_feed() -> None:
    source = MemorySource(TOPICS)
    source.publish(PriceEvent(1, 1))
    with Feed(CONFIG, source=source) as feed:
        next(feed)
        source.cut_off()
        source.publish(PriceEvent(1, 2), PriceEvent(1, 3))
        source.expire()
        source.publish(PriceEvent(1, 4))
        source.reconnect()
        with pytest.raises(DataLossError) as caught:
            next(feed)
    assert (caught.value.expected_offset, caught.value.available_offset) == (1, 3)
    with pytest.raises(DataLossError), Feed(CONFIG, source=source):
        pass
    with Feed(CONFIG, source=source, positions={("prices", 0): 3}) as feed:
        assert next(feed) == PriceEvent(1, 4)


def test_expired_records_that_were_read_are_no_loss_and_a_new_group_starts_after_them() -> None:
    source = MemorySource(TOPICS)
    source.publish(PriceEvent(1, 1))
    source.expire()
    source.wait_until_handled()  # nothing is left to handle
    source.publish(PriceEvent(1, 2))
    with Feed(CONFIG, source=source) as feed:
        assert next(feed) == PriceEvent(1, 2)
        assert feed.poll(0.1) is None
        source.expire()
        source.publish(PriceEvent(1, 3))
        assert next(feed) == PriceEvent(1, 3)
