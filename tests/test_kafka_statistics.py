"""The state of brokers and partitions, as read from the Kafka client's statistics, in the client's own format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rbhq_stream import PartitionEnd, TopicPartition
from rbhq_stream._kafka.statistics import Statistics

P0, P1 = TopicPartition("prices", 0), TopicPartition("prices", 1)


def broker(number: int, **fields: Any) -> dict[str, Any]:
    fetches = fields.pop("fetches", 10)
    return {
        "nodeid": number,
        "name": f"b{number}:9196/{number}",
        "source": "learned",
        "state": "UP",
        "connects": 1,
        "rxidle": 100_000,
        "req": {"Fetch": fetches},
        "rtt": {"max": 501_000},
    } | fields


def partition(leader: int, **fields: Any) -> dict[str, Any]:
    return {
        "broker": leader,
        "leader": leader,
        "fetch_state": "active",
        "fetchq_cnt": 0,
        "hi_offset": 7,
        "ls_offset": 7,
    } | fields


def document(brokers: list[dict[str, Any]], partitions: dict[TopicPartition, dict[str, Any]]) -> str:
    coordinator = {"nodeid": -1, "name": "GroupCoordinator", "source": "logical", "state": "UP"}
    return json.dumps(
        {
            "brokers": {b["name"]: b for b in [*brokers, coordinator]},
            "topics": {"prices": {"partitions": {str(p.partition): fields for p, fields in partitions.items()}}},
        }
    )


def test_an_end_is_as_of_the_last_report_after_which_a_fetch_was_sent_and_answered() -> None:
    statistics = Statistics(fetch_wait=0.5)
    for now, fetches in [(1.0, 10), (1.5, 11), (2.0, 12), (2.5, 13)]:
        statistics.take_in(document([broker(1, fetches=fetches)], {P0: partition(1)}), now)
    assert statistics.status([P0], 60).ends == {P0: PartitionEnd(7, 1.5)}


def test_no_end_is_known_before_two_more_fetches_were_sent() -> None:
    statistics = Statistics(fetch_wait=0.5)
    for now, fetches in [(1.0, 10), (1.5, 11)]:
        statistics.take_in(document([broker(1, fetches=fetches)], {P0: partition(1)}), now)
    assert statistics.status([P0], 60).ends == {}


def test_fetches_over_an_earlier_connection_date_nothing() -> None:
    statistics = Statistics(fetch_wait=0.5)
    statistics.take_in(document([broker(1, fetches=10)], {P0: partition(1)}), 1.0)
    statistics.take_in(document([broker(1, fetches=12, connects=2)], {P0: partition(1)}), 1.5)
    assert statistics.status([P0], 60).ends == {}


def test_an_open_transaction_ends_what_can_be_read() -> None:
    statistics = Statistics(fetch_wait=0.5)
    for now, fetches in [(1.0, 10), (1.5, 12)]:
        statistics.take_in(document([broker(1, fetches=fetches)], {P0: partition(1, hi_offset=9, ls_offset=4)}), now)
    assert statistics.status([P0], 60).ends[P0].offset == 4


@pytest.mark.parametrize(
    ("fields", "leader", "reason"),
    [
        ({"state": "CONNECT"}, 1, "broker b1:9196/1 is not connected (CONNECT)"),
        ({"rxidle": 3_200_000}, 1, "broker b1:9196/1 is connected but has not responded for 3 s"),
        ({}, -1, "it has no leader"),
        ({}, 2, "its leader, broker 2, is not known"),
    ],
)
def test_a_partition_is_unreachable_for_a_reason(fields: dict[str, Any], leader: int, reason: str) -> None:
    statistics = Statistics(fetch_wait=0.5)
    statistics.take_in(document([broker(1, **fields)], {P0: partition(leader)}), 1.0)
    assert statistics.status([P0], 60).unreachable == {P0: reason}


def test_one_of_three_brokers_leaves_the_partitions_of_the_others_reachable() -> None:
    statistics = Statistics(fetch_wait=0.5)
    statistics.take_in(document([broker(1, state="DOWN"), broker(2)], {P0: partition(1), P1: partition(2)}), 1.0)
    status = statistics.status([P0, P1], 60)
    assert list(status.unreachable) == [P0]
    assert (status.brokers_known, status.brokers_up) == (2, 1)


@pytest.mark.parametrize(
    ("reading_for", "fields"),
    [(0.0, {}), (2.0, {}), (60.0, {"fetchq_cnt": 5}), (60.0, {"fetch_state": "none"})],
)
def test_the_silence_of_a_broker_that_nothing_is_fetched_from_means_nothing(
    reading_for: float, fields: dict[str, Any]
) -> None:
    statistics = Statistics(fetch_wait=0.5)
    statistics.take_in(document([broker(1, rxidle=60_000_000)], {P0: partition(1, **fields)}), 1.0)
    assert statistics.status([P0], reading_for).unreachable == {}


def test_a_line_with_long_round_trips_is_not_taken_for_a_broker_that_does_not_respond() -> None:
    statistics = Statistics(fetch_wait=0.5)
    statistics.take_in(document([broker(1, rtt={"max": 3_500_000})], {P0: partition(1)}), 1.0)
    statistics.take_in(document([broker(1, rxidle=4_000_000)], {P0: partition(1)}), 1.5)
    assert statistics.status([P0], 60).unreachable == {}


def heartbeat_document(sent: int, waiting: int = 0, connects: int = 1) -> str:
    coordinator = {
        "nodeid": -1, "name": "GroupCoordinator", "source": "logical", "state": "UP", "connects": connects,
        "waitresp_cnt": waiting, "req": {"Heartbeat": sent},
    }  # fmt: skip
    return json.dumps({"brokers": {"GroupCoordinator": coordinator}})


def test_a_heartbeat_that_was_answered_dates_the_membership_by_the_report_before_it() -> None:
    statistics = Statistics(fetch_wait=0.5)
    statistics.take_in(heartbeat_document(4), 1.0)
    statistics.take_in(heartbeat_document(4), 1.5)
    assert statistics.heartbeat_at is None
    statistics.take_in(heartbeat_document(5, waiting=1), 2.0)
    assert statistics.heartbeat_at is None, "it is not answered yet"
    statistics.take_in(heartbeat_document(5), 2.5)
    assert statistics.heartbeat_at == 1.5


def test_a_heartbeat_over_a_connection_that_was_lost_dates_nothing() -> None:
    statistics = Statistics(fetch_wait=0.5)
    statistics.take_in(heartbeat_document(4), 1.0)
    statistics.take_in(heartbeat_document(5, waiting=1), 1.5)
    statistics.take_in(heartbeat_document(5, connects=2), 60.0)
    assert statistics.heartbeat_at is None


def test_a_partition_that_the_client_does_not_report_yet_is_left_out() -> None:
    statistics = Statistics(fetch_wait=0.5)
    status = statistics.status([P0], 60)
    assert (status.ends, status.unreachable, status.brokers_up) == ({}, {}, 0)
