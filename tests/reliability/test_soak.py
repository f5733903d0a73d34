"""The short form of the soak; `make soak` has the long one."""

from __future__ import annotations

import random

import pytest

from tests.reliability.soak import soak


@pytest.mark.java
@pytest.mark.timeout(200)
def test_a_short_soak_finds_no_violation() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    figures = soak(12, seed)
    print(figures)
    assert figures.published > 10_000
    assert sum(figures.faults.values()) >= 3
