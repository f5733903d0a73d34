"""Kafka's timestamps and aware datetimes are converted exactly, in both directions."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream._timestamps import MAX_MILLISECONDS, first_millisecond, from_milliseconds, to_milliseconds

LAST = to_milliseconds(datetime.max.replace(tzinfo=timezone.utc))


def test_a_bound_is_rounded_up_to_its_millisecond_even_at_the_end_of_time() -> None:
    assert first_millisecond(datetime.fromisoformat("2026-11-03T00:00:00.001001+00:00")) == 1_793_664_000_002
    assert first_millisecond(datetime.fromisoformat("2026-11-03T00:00:00.001+00:00")) == 1_793_664_000_001
    assert first_millisecond(datetime.max.replace(tzinfo=timezone.utc)) == LAST + 1 == MAX_MILLISECONDS + 1


@given(st.integers(0, LAST))
def test_milliseconds_survive_the_round_trip(milliseconds: int) -> None:
    time = from_milliseconds(milliseconds)
    assert time is not None
    assert time.utcoffset() == timedelta(0)
    assert to_milliseconds(time) == milliseconds


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("1970-01-01T00:00:00+00:00", 0),
        ("2026-11-03T00:00:00.001+00:00", 1_793_664_000_001),
        ("2026-11-03T10:00:00.001999+10:00", 1_793_664_000_001),
    ],
)
def test_a_time_is_rounded_down_to_its_millisecond(time: str, milliseconds: int) -> None:
    assert to_milliseconds(datetime.fromisoformat(time)) == milliseconds


@pytest.mark.parametrize("milliseconds", [-1, LAST + 1, 2**63 - 1])
def test_a_timestamp_that_no_datetime_can_represent_is_none(milliseconds: int) -> None:
    assert from_milliseconds(milliseconds) is None
