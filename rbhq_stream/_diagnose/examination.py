"""`diagnose`: which steps are made when, and what they build on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timezone

from rbhq_stream._config import FeedConfig
from rbhq_stream._diagnose import cluster, network
from rbhq_stream._diagnose.findings import Diagnosis
from rbhq_stream._diagnose.sheet import Sheet, by, in_background
from rbhq_stream._kafka.probe import check_properties

NETWORK_MOST = 10.0
"""Seconds, at most, until the brokers that can't be reached are given up."""


def diagnose(config: FeedConfig, *, timeout: float = 30.0) -> Diagnosis:
    """Looks, step by step, for what keeps a feed with this configuration from working.

    Each broker is resolved, connected to and asked for its certificate. Then a Kafka client logs in (once, or as good
    as once, however often a wrong password would be refused), looks at the cluster's brokers and at each topic, reads
    the newest record, and asks how far the consumer group is. It never joins the group and never commits: it can be run
    beside a feed that works.

    It takes `timeout` seconds at most, and raises nothing for what it finds: that is in the `Diagnosis`.

    Raises:
        ConfigError: the Kafka client refuses a property. Nothing has touched the network then.
    """
    if not timeout > 0:
        raise ValueError(f"timeout={timeout!r}: expected a number of seconds, more than 0")
    check_properties(config)
    at, begin = datetime.now(timezone.utc), time.monotonic()
    end = begin + timeout
    sheet = Sheet()
    for broker in config.bootstrap_servers:
        sheet.plan(network.STEPS, broker)
    cluster.plan(sheet, config)
    # a third for the brokers at most, so that a black hole among them leaves time for the rest
    looks = _look(sheet, config, config.bootstrap_servers, begin + min(NETWORK_MOST, timeout / 3))
    usable = [broker for broker, look in looks.items() if _succeeded(look, end)]
    if usable:
        _look_at_cluster(sheet, config, usable, end)
    else:
        sheet.skip("not tried: no broker can be talked to")
    return Diagnosis(sheet.steps(timeout), at, time.monotonic() - begin)


def _look_at_cluster(sheet: Sheet, config: FeedConfig, brokers: Sequence[str], end: float) -> None:
    others: dict[str, Future[bool]] = {}

    def found(advertised: Sequence[str]) -> None:
        new = [broker for broker in dict.fromkeys(map(str.lower, advertised)) if broker not in config.bootstrap_servers]
        for broker in reversed(new):  # each goes right behind what it is after
            sheet.plan(network.STEPS, broker, after=("brokers", cluster.CLUSTER))
        deadline = min(last, time.monotonic() + NETWORK_MOST)
        others.update(_look(sheet, config, new, deadline, advertised=True))

    last = end - min(0.5, (end - time.monotonic()) / 10)  # closing takes a moment
    with suppress(TimeoutError):
        by(end, in_background(lambda: cluster.examine_cluster(sheet, config, brokers, last, found)))
    for look in list(others.values()):
        _succeeded(look, end)


def _look(
    sheet: Sheet, config: FeedConfig, brokers: Sequence[str], deadline: float, *, advertised: bool = False
) -> dict[str, Future[bool]]:
    """Looks at all these brokers at once."""

    def look(broker: str) -> Future[bool]:
        return in_background(lambda: network.examine_broker(sheet, config, broker, deadline, advertised=advertised))

    return {broker: look(broker) for broker in brokers}


def _succeeded(look: Future[bool], deadline: float) -> bool:
    with suppress(TimeoutError):
        return by(deadline, look)
    return False
