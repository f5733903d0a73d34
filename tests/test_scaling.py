"""The claims of docs/scaling.md about static members, on the real broker."""

from __future__ import annotations

import threading
import time

from rbhq_stream import Feed, FeedConfig, RaceStatus, RaceStatusEvent, RbhqStreamError, Topics, encode
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.partner_configs import partner_config
from tests.waiting import wait_for


def publish(kafka: KafkaCluster, topic: str, races: range, partition: int = 0) -> None:
    events = [RaceStatusEvent(1, race, RaceStatus.OPEN) for race in races]
    kafka.publish(topic, [(b"k", encode(event)) for event in events], partition=partition)


class Member:
    """A named member of a group in a thread of its own, and the partitions of what it read."""

    def __init__(self, config: FeedConfig) -> None:
        self.partitions: list[int] = []
        self.error: BaseException | None = None
        self.feed = Feed(config)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.feed:
                for event in self.feed:
                    assert event.record is not None
                    self.partitions.append(event.record.partition)
        except RbhqStreamError as error:
            self.error = error

    def stop(self) -> None:
        self.feed.stop()
        self._thread.join(20)


def test_a_named_member_gets_its_partitions_back_after_a_restart(
    kafka: KafkaCluster, make_partner: MakePartner
) -> None:
    partner = make_partner(partitions=2)
    topic = partner.topics.race_status

    def member(name: str) -> Member:
        return Member(
            partner_config(kafka, partner, topics=Topics(race_status=topic), group_instance_id=name, session_timeout=30)
        )

    members = [member("a"), member("b")]
    try:

        def shared() -> bool:
            for each in members:
                each.partitions.clear()
            for partition in (0, 1):
                publish(kafka, topic, range(1), partition)
            time.sleep(0.2)
            a, b = (set(each.partitions) for each in members)
            return a | b == {0, 1} and bool(a) and bool(b) and not a & b

        wait_for(shared, "the partitions are shared")
        [of_a], [of_b] = (set(each.partitions) for each in members)
        members[0].stop()
        for partition in (0, 1):
            publish(kafka, topic, range(10), partition)
        time.sleep(1.5)
        assert set(members[1].partitions) == {of_b}, "nobody else got them meanwhile"
        members[0] = member("a")
        wait_for(lambda: len(members[0].partitions) >= 10, "the partitions are shared")
        assert members[0].partitions == [of_a] * 10, "it continues where it was"
        assert set(members[1].partitions) == {of_b}
        # two of one name: the newer one wins
        older = members[0]
        members.append(member("a"))
        wait_for(lambda: older.error, "the older one has failed")
        assert "fenced" in str(older.error).lower(), older.error
    finally:
        for each in members:
            each.stop()
