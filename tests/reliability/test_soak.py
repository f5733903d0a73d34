"""The short form of the soak; `make soak` has the long one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.reliability.soak import PARTITIONS, Soak


@pytest.mark.timeout(200)
def test_a_short_soak_finds_no_violation(proxied: KafkaCluster, make_partner: MakePartner, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    figures = Soak(proxied, make_partner(proxied, PARTITIONS), tmp_path, seed).run(9, meetings=3)
    print(figures)
    assert figures.published > 2_000
    assert sum(figures.faults.values()) >= 3
