"""`diagnose`: runs the steps in order, each if the steps that it depends on have succeeded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timezone

from rbhq_stream._config import FeedConfig
from rbhq_stream._diagnose import cluster, network
from rbhq_stream._diagnose.findings import Diagnosis
from rbhq_stream._diagnose.progress import Progress, by, in_background
from rbhq_stream._kafka.probe import check_properties

MAX_NETWORK_SECONDS = 10.0
"""Seconds to wait for brokers that do not respond."""


def diagnose(config: FeedConfig, *, timeout: float = 30.0) -> Diagnosis:
    """Finds out, step by step, what prevents a feed with this configuration from working.

    First each broker's name is resolved, a connection is opened, and its certificate is checked. Then a Kafka client
    logs in (it stops at the first refusal, so that no account is locked), lists the cluster's brokers, checks each
    topic, reads its newest record, and reads the group's committed offsets. It never joins the group and never commits,
    so it can be run while a feed is running.

    Args:
        config: The configuration of the feed.
        timeout: The maximum time for all steps together, in seconds.

    Returns:
        The result of each step. A step that fails does not raise.

    Raises:
        ConfigError: the Kafka client refuses a property. In this case the network has not been used.
        ValueError: `timeout` is not positive.
    """
    if not timeout > 0:
        raise ValueError(f"timeout={timeout!r}: expected a number of seconds, more than 0")
    check_properties(config)
    at, begin = datetime.now(timezone.utc), time.monotonic()
    end = begin + timeout
    progress = Progress()
    for broker in config.bootstrap_servers:
        progress.plan(network.STEPS, broker)
    cluster.plan(progress, config)
    # at most a third of the time, so that enough is left for the other steps when brokers do not respond
    looks = _look(progress, config, config.bootstrap_servers, begin + min(MAX_NETWORK_SECONDS, timeout / 3))
    usable = [broker for broker, look in looks.items() if _succeeded(look, end)]
    if usable:
        _look_at_cluster(progress, config, usable, end)
    else:
        progress.skip("not tried: no broker can be reached")
    return Diagnosis(progress.steps(timeout), at, time.monotonic() - begin)


def _look_at_cluster(progress: Progress, config: FeedConfig, brokers: Sequence[str], end: float) -> None:
    others: dict[str, Future[bool]] = {}

    def found(advertised: Sequence[str]) -> None:
        new = [broker for broker in dict.fromkeys(map(str.lower, advertised)) if broker not in config.bootstrap_servers]
        for broker in reversed(new):  # each is inserted directly after that step
            progress.plan(network.STEPS, broker, after=("brokers", cluster.CLUSTER))
        deadline = min(last, time.monotonic() + MAX_NETWORK_SECONDS)
        others.update(_look(progress, config, new, deadline, advertised=True))

    last = end - min(0.5, (end - time.monotonic()) / 10)  # closing the client takes a moment
    with suppress(TimeoutError):
        by(end, in_background(lambda: cluster.examine_cluster(progress, config, brokers, last, found)))
    for look in list(others.values()):
        _succeeded(look, end)


def _look(
    progress: Progress, config: FeedConfig, brokers: Sequence[str], deadline: float, *, advertised: bool = False
) -> dict[str, Future[bool]]:
    """Examines all these brokers at the same time."""

    def look(broker: str) -> Future[bool]:
        return in_background(lambda: network.examine_broker(progress, config, broker, deadline, advertised=advertised))

    return {broker: look(broker) for broker in brokers}


def _succeeded(look: Future[bool], deadline: float) -> bool:
    with suppress(TimeoutError):
        return by(deadline, look)
    return False
