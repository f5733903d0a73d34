"""Processes that handle 64 events at once, in any order, are killed, and share their partitions with others.

All processes write into one log, so that it shows the order in which everything happened.
"""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rbhq_stream import RaceStatus, RaceStatusEvent, encode
from tests.broker.fixtures import MakePartner
from tests.broker.kafka import KafkaCluster
from tests.reliability.app import AT_ONCE, Life, Place
from tests.reliability.flow import LONG, CommitWatch
from tests.reliability.group import Group
from tests.waiting import wait_for

RACES = 100
VARIANTS = pytest.mark.parametrize("variant", ["concurrent_run", "concurrent_async_run"])


class Races(Group):
    """A group that reads the events of many races, and what became of them."""

    def __init__(self, kafka: KafkaCluster, make_partner: MakePartner, folder: Path, partitions: int) -> None:
        super().__init__(kafka, make_partner(partitions=partitions), folder, partitions)
        self._log = folder / "all.log"
        self.published: dict[Place, tuple[int, int]] = {}
        """The race of each record, and which of its events it is."""
        self._counts: dict[int, int] = defaultdict(int)
        self._chance = random.Random(7)

    def publish_races(self, count: int) -> None:
        values: dict[int, list[bytes]] = defaultdict(list)
        ends = self.kafka.end_offsets(self.partner.topics.race_status)
        for _ in range(count):
            race = self._chance.randrange(RACES)
            partition = race % self.partitions
            place = partition, ends.get(partition, 0) + len(values[partition])
            self.published[place] = race, self._counts[race]
            self._counts[race] += 1
            values[partition].append(encode(RaceStatusEvent(1, race, RaceStatus.OPEN)))
        for partition, those in values.items():
            self.kafka.publish(self.partner.topics.race_status, [(b"k", value) for value in those], partition=partition)

    def begin(self, variant: str, **fields: object) -> Life:
        return self.start(
            variant, config=self.config(session_timeout=2.0, **fields), log=self._log, pace=0.02, bad_luck=0.02
        )

    def history(self) -> list[tuple[str, Place, str]]:
        """What happened, to which record, in which process."""
        if not self._log.exists():
            return []
        *whole, _ = self._log.read_text().split("\n")
        lines = [line.split() for line in whole if line[:2] in ("B ", "E ", "F ")]
        return [(what, (int(partition), int(offset)), who) for what, partition, offset, who in lines]

    def count_done(self) -> int:
        return sum(what == "E" for what, _, _ in self.history())

    def is_all_done(self) -> bool:
        return {place for what, place, _ in self.history() if what == "E"} >= set(self.published)

    def assert_committed_is_done(self) -> None:
        committed = self.committed()  # first: what is done meanwhile does not matter
        done = {place for what, place, _ in self.history() if what == "E"}
        for partition, offset in committed.items():
            missed = {(partition, before) for before in range(offset)} - done
            assert not missed, f"committed, and not done: {sorted(missed)}"

    def assert_in_order(self) -> int:
        """No event began before the one before it of its race was done, and no two of a race overlapped.

        Returns the most that one process handled at once.
        """
        done: set[tuple[int, int]] = set()
        running: dict[str, set[int]] = defaultdict(set)
        most = 0
        for what, place, who in self.history():
            race, number = self.published[place]
            if what == "B":
                assert number == 0 or (race, number - 1) in done, f"event {number} of race {race} began too early"
                assert race not in running[who], f"two events of race {race} at once"
                running[who].add(race)
                most = max(most, len(running[who]))
            else:
                running[who].remove(race)
                if what == "E":
                    done.add((race, number))
        return most


@pytest.fixture
def races(kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path) -> Iterator[Races]:
    races = Races(kafka, make_partner, tmp_path, 4)
    yield races
    for life in races.lives:
        life.kill()


@VARIANTS
def test_a_kill_loses_nothing_and_no_race_is_handled_out_of_order(races: Races, variant: str) -> None:
    chance = random.Random(variant)
    for _ in range(40 if LONG else 3):
        races.publish_races(400)
        before = races.count_done()
        with races.begin(variant):
            enough = before + chance.randrange(50, 350)
            wait_for(partial(lambda count: races.count_done() >= count, enough), "some are done")
        races.assert_committed_is_done()
    last = races.begin(variant)
    wait_for(races.is_all_done, "everything is done", timeout=300 if LONG else 60)
    last.send(signal.SIGTERM)
    last.end()
    races.assert_committed_is_done()
    assert sum(races.committed().values()) == len(races.published)
    most = races.assert_in_order()
    assert AT_ONCE // 2 < most <= AT_ONCE
    print(f"{len(races.published)} records, {races.count_done() - len(races.published)} twice, at most {most} at once")


@VARIANTS
def test_members_that_join_and_leave_lose_nothing_and_keep_the_order(races: Races, variant: str) -> None:
    chance = random.Random(variant)
    group_id = races.config().group_id
    assert group_id is not None
    with CommitWatch(races.kafka, races.partner, group_id):
        races.publish_races(300)
        stays = races.begin(variant, group_instance_id=None)
        for turn in range(20 if LONG else 2):
            wait_for(partial(lambda count: races.count_done() >= count, races.count_done() + 50), "some are done")
            other = races.begin(variant, group_instance_id=None)
            wait_for(partial(_handles, races, other), "the other one has partitions")
            for _ in range(chance.randrange(3, 8)):
                races.publish_races(40)
                time.sleep(0.05)
            other.send(signal.SIGKILL if turn % 2 else signal.SIGTERM)
            other.process.wait(30)
            races.assert_committed_is_done()
            races.publish_races(100)
        wait_for(races.is_all_done, "everything is done", timeout=300 if LONG else 60)
        stays.send(signal.SIGTERM)
        stays.end()
    races.assert_committed_is_done()
    assert sum(races.committed().values()) == len(races.published)
    races.assert_in_order()
    print(f"{len(races.published)} records, {races.count_done() - len(races.published)} twice")


def _handles(races: Races, life: Life) -> bool:
    """Whether the process handles events; publishes some, so that it can."""
    races.publish_races(10)
    return any(who == str(life.process.pid) for _, _, who in races.history())
