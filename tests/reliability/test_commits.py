"""Commits fail in every way that a group coordinator knows: they are made later, and nothing is lost."""

from __future__ import annotations

import logging
import time

import pytest

from rbhq_stream import Feed, RaceStatus, RaceStatusEvent
from rbhq_stream.testing import EmbeddedBroker
from tests.waiting import wait_for

REFUSALS = {
    "rebalance in progress": 27,
    "illegal generation": 22,
    "unknown member": 25,
    "not the coordinator": 16,
    "coordinator loading": 14,
    "coordinator not available": 15,
    "time-out": 7,
}

THROWN_OUT = ("illegal generation", "unknown member")
"""After these the client joins the group again, and what was not committed is delivered again."""


@pytest.mark.parametrize("name", REFUSALS)
def test_a_commit_that_fails_is_repeated(caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.INFO, "rbhq_stream")
    with EmbeddedBroker(partitions=1) as broker:
        topic = broker.topics.race_status
        assert broker._cluster is not None
        assert topic is not None
        broker.publish(*[RaceStatusEvent(1, number, RaceStatus.OPEN) for number in range(1, 31)])
        with Feed(broker.config("app", commit_interval=0.05, session_timeout=2)) as feed:
            seen = [next(feed).race_id.event_number for _ in range(10)]
            wait_for(lambda: broker.committed("app").get((topic, 0), 0) >= 9, "it commits")
            broker._cluster.fail_commits(*[REFUSALS[name]] * (2 if name in THROWN_OUT else 8))
            began = time.monotonic()
            while broker.committed("app")[topic, 0] < 30:
                assert time.monotonic() < began + 30, "it commits again"
                event = feed.poll(0.1)
                if event is not None:
                    seen.append(event.race_id.event_number)
        lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
        print(f"{name}: committed again after {time.monotonic() - began:.2f} s, {len(lines)} lines")
        assert set(seen) == set(range(1, 31)), "nothing is lost"
        assert broker.committed("app")[topic, 0] == 30
        assert any("failed, will be tried again" in record.getMessage() for record in lines)
    assert len(lines) <= 8, "\n".join(record.getMessage() for record in lines)
