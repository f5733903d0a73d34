"""The line that is logged when the health of a feed changes: its level and its text."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone

import pytest

from rbhq_stream import Feed, Gap, Health, HealthChanged, HealthReason, TopicPartition
from rbhq_stream._health.log_line import log_level, log_line
from rbhq_stream.testing import MemorySource
from tests.memory_feeds import TOPICS, memory_config
from tests.waiting import wait_for

NOW = datetime(2026, 11, 28, 3, 0, tzinfo=timezone.utc)
R = HealthReason


def change(
    previous: HealthReason, reason: HealthReason, *, lasted: float = 2.5, gap: Gap | None = None
) -> HealthChanged:
    before = Health(reason=previous, detail="what was before", since=NOW - timedelta(seconds=lasted), at=NOW)
    return HealthChanged(
        at=NOW, health=Health(reason=reason, detail="what is now", since=NOW, at=NOW), previous=before, gap=gap
    )


@pytest.mark.parametrize(
    ("previous", "reason", "level"),
    [
        (R.NOT_STARTED, R.CONNECTING, logging.INFO),
        (R.JOINING_GROUP, R.CATCHING_UP, logging.INFO),
        (R.CATCHING_UP, R.UP_TO_DATE, logging.INFO),
        (R.BROKERS_UNREACHABLE, R.CATCHING_UP, logging.INFO),
        (R.UP_TO_DATE, R.CLOSED, logging.INFO),
        (R.FAILED, R.CLOSED, logging.INFO),
        (R.UP_TO_DATE, R.CATCHING_UP, logging.WARNING),
        (R.UP_TO_DATE, R.JOINING_GROUP, logging.WARNING),
        (R.UP_TO_DATE, R.HANDLER_STUCK, logging.WARNING),
        (R.JOINING_GROUP, R.NO_PARTITIONS, logging.WARNING),
        (R.CATCHING_UP, R.BROKERS_UNREACHABLE, logging.WARNING),
        (R.CONNECTING, R.CREDENTIALS_REFUSED, logging.ERROR),
        (R.UP_TO_DATE, R.DATA_LOST, logging.ERROR),
        (R.UP_TO_DATE, R.FAILED, logging.ERROR),
    ],
)
def test_the_level_says_whether_somebody_has_to_do_something(
    previous: HealthReason, reason: HealthReason, level: int
) -> None:
    assert log_level(change(previous, reason)) == level


def test_the_line_says_which_feed_what_why_what_was_before_and_what_ends_it() -> None:
    assert log_line("feed of group 'pricing'", change(R.UP_TO_DATE, R.BROKERS_UNREACHABLE, lasted=7384)) == (
        "the feed of group 'pricing' is down (brokers_unreachable): what is now; "
        "it was live (up_to_date) for 2 h 3 min; this ends when a broker responds again"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (-1, "0.0 s")],
)
def test_a_duration_is_in_the_units_that_matter(seconds: float, text: str) -> None:
    line = log_line("feed", change(R.UP_TO_DATE, R.BROKERS_UNREACHABLE, lasted=seconds))
    assert f"it was live (up_to_date) for {text};" in line


def test_the_line_of_a_recovery_has_the_gap() -> None:
    partition = TopicPartition("prices", 0)
    records = {partition: 12, partition._replace(partition=1): 30}
    gap = Gap(began=NOW - timedelta(seconds=83), ended=NOW, records=records)
    assert log_line("feed", change(R.CATCHING_UP, R.UP_TO_DATE, gap=gap)) == (
        "the feed is live (up_to_date): what is now; it was catching up (catching_up) for 2.5 s, "
        "and not live for 1 min 23 s: 42 records since"
    )


def test_the_lines_of_several_feeds_in_a_process_can_be_told_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rbhq_stream")
    first, second = (Feed(memory_config(group_id=group), source=MemorySource(TOPICS)) for group in ("pricing", None))
    with first, second:
        wait_for(lambda: first.health.ok and second.health.ok, "they are live")
    for name in ("the feed of group 'pricing'", "the feed without a group of prices, status, results"):
        assert any(message.startswith(f"{name} is live (up_to_date): ") for message in caplog.messages)
