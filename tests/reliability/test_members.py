"""Members of a consumer group come and go, under each of the protocols by which partitions are shared out.

`RBHQ_LONG=1` gives the storm its long form, 60 s.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import pytest

from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster
from tests.reliability.flow import LONG, CommitWatch, Flow, Member, Places, everything, publish, status_config
from tests.waiting import wait_for

PROTOCOLS = {
    "eager": {"partition.assignment.strategy": "range"},
    "cooperative": {},
    "next": {"group.protocol": "consumer"},
}


def reads_all(members: Sequence[Member], places: Places) -> bool:
    return seen_by(members) >= places


def seen_by(members: Sequence[Member]) -> Places:
    return {place for member in members for place in tuple(member.seen)}


def test_no_record_is_missed_while_members_join_and_leave(kafka: KafkaCluster, make_partner: MakePartner) -> None:
    partner = make_partner(partitions=6)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    members: dict[str, list[Member]] = {name: [] for name in PROTOCOLS}
    failures: list[tuple[str, BaseException]] = []

    def storm(name: str) -> None:
        chance = random.Random(f"{seed} {name}")
        config = status_config(kafka, partner, group_id=f"{partner.group_prefix}{name}", kafka=PROTOCOLS[name])
        present: list[Member] = []
        deadline = time.monotonic() + (60 if LONG else 8)
        try:
            while time.monotonic() < deadline:
                if len(present) < 3 and (not present or chance.random() < 0.6):
                    present.append(Member(config, pace=0.001))
                    members[name].append(present[-1])
                    present[-1].start()
                else:
                    present.pop(chance.randrange(len(present))).leave()
                time.sleep(chance.uniform(0.1, 1.5))
        except BaseException as error:  # noqa: BLE001  # a thread has no caller: the test raises it
            failures.append((name, error))
        finally:
            for member in present:
                member.leave()

    with ExitStack() as watches, Flow(kafka, partner, partitions=6):
        for name in PROTOCOLS:
            watches.enter_context(CommitWatch(kafka, partner, f"{partner.group_prefix}{name}"))
        storms = [threading.Thread(target=storm, args=(name,)) for name in PROTOCOLS]
        for each in storms:
            each.start()
        for each in storms:
            each.join()
    assert not failures
    all_there_is = everything(kafka, partner)
    for name, those in members.items():
        config = status_config(kafka, partner, group_id=f"{partner.group_prefix}{name}", kafka=PROTOCOLS[name])
        with Member(config) as last:
            those.append(last)
            wait_for(partial(reads_all, those, all_there_is), f"{name}: nothing is missed")
        handled = sum(len(member.seen) for member in those)
        print(f"{name}: {len(those)} members, {len(all_there_is)} records, {handled - len(all_there_is)} twice")
        for member in those:
            member.assert_in_order()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_quick_restart_of_a_static_member_moves_no_partition(
    kafka: KafkaCluster, make_partner: MakePartner, protocol: str
) -> None:
    partner = make_partner(partitions=4)

    def member(name: str) -> Member:
        return Member(status_config(kafka, partner, group_instance_id=name, kafka=PROTOCOLS[protocol]))

    with member("stays") as stays:
        with member("restarts") as first:
            wait_for(lambda: bool(first.source.assignments and stays.source.assignments), "both have partitions")
            wait_for(lambda: len(stays.source.owned) == len(first.source.owned) == 2, "each has half of them")
            theirs, his = stays.source.owned, first.source.owned
            assigned_before = dict(stays.source.assignments)
        for partition in range(4):
            publish(kafka, partner, 5, partition)
        with member("restarts") as again:
            wait_for(lambda: len(stays.seen) + len(again.seen) >= 20, "all is read")
            assert stays.source.owned == theirs
            assert again.source.owned == his
    assert dict(stays.source.assignments) == assigned_before, "nothing was assigned again"
    assert seen_by([stays]) == {(p, offset) for p in theirs for offset in range(5)}
    assert seen_by([again]) == {(p, offset) for p in his for offset in range(5)}


def test_a_partition_added_to_a_topic_is_read_from_its_beginning(kafka: KafkaCluster, partner: Partner) -> None:
    """Also when the group began with new records only: these are new."""
    topic = partner.topics.race_status
    publish(kafka, partner, 3)
    config = status_config(kafka, partner, start="latest", kafka={"topic.metadata.refresh.interval.ms": 1000})
    with Member(config) as member:
        wait_for(lambda: kafka.committed(config.group_id, topic) == {0: 3}, "it began at the end")
        kafka.add_partitions(topic, 2)
        publish(kafka, partner, 3, partition=1)
        wait_for(lambda: len(member.seen) == 3, "they are read")
        assert member.seen == [(1, 0), (1, 1), (1, 2)]
