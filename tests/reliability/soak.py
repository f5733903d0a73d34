"""A day of racing in a short time, while everything fails in turn: `python -m tests.reliability.soak --seconds 600`.

A simulated race day is published to a real broker while consumers of one group read it. One fault after the other
strikes, drawn by the seed. In the end each published record must have been handled at least once, in the order of its
partition within each assignment of each consumer, and the committed offsets must never have gone back.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from confluent_kafka import KafkaException

from rbhq_stream import PriceEvent, RaceStatusEvent, Topics, encode
from rbhq_stream.testing import Simulator
from tests.broker.fixtures import Partner, TopicNames, new_partner
from tests.broker.kafka import KafkaCluster
from tests.reliability.app import Life, Place
from tests.reliability.flow import CommitWatch, status_config

PARTITIONS = 2
GRACE = 90.0
"""Seconds that the last records may take, once nothing fails any more."""


@dataclass
class Figures:
    """What was done and what came of it."""

    seed: int
    seconds: float = 0.0
    published: int = 0
    handled_twice: int = 0
    consumers: int = 0
    recovered_in: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"seed {self.seed}: {self.published} records in {self.seconds:.0f} s, {sum(self.faults.values())} faults"
            f" ({faults}), {self.consumers} consumer processes; {self.handled_twice} records handled twice, none"
            f" missed; {self.recovered_in:.1f} s after the last fault all was handled"
        )


class Publisher(threading.Thread):
    """Publishes a simulated day, spread evenly over the time there is."""

    def __init__(self, cluster: KafkaCluster, topics: TopicNames, day: Simulator, seconds: float) -> None:
        super().__init__(name="publisher")
        self._cluster, self._topics, self._day, self._seconds = cluster, topics, day, seconds
        self.published = 0

    def run(self) -> None:
        day = [timed.event for timed in self._day.events()]
        began = time.monotonic()
        batch = max(1, round(len(day) / (self._seconds * 20)))
        events = iter(day)
        while chunk := list(islice(events, batch)):
            for topic in self._topics:
                records = [(str(e.race_id).encode(), encode(e)) for e in chunk if self._topic(e) == topic]
                self._publish(topic, records)
            due = began + self._seconds * self.published / len(day)
            time.sleep(max(0.0, due - time.monotonic()))

    def _publish(self, topic: str, records: list[tuple[bytes, bytes]]) -> None:
        while records:
            try:
                self._cluster.publish(topic, records)
            except KafkaException:  # the broker is down; some may be there, and then they are there twice
                time.sleep(0.1)
            else:
                self.published += len(records)
                return

    def _topic(self, event: object) -> str:
        if isinstance(event, PriceEvent):
            return self._topics.prices
        return self._topics.race_status if isinstance(event, RaceStatusEvent) else self._topics.race_results


class Soak:
    """The consumers, the faults and the judgement."""

    def __init__(self, cluster: KafkaCluster, partner: Partner, folder: Path, seed: int) -> None:
        self._cluster, self._partner, self._folder = cluster, partner, folder
        self._chance = random.Random(seed)
        self._lives: list[Life] = []
        self._present: list[Life] = []
        self.figures = Figures(seed)
        topics = Topics(**dict(zip(("prices", "race_status", "race_results"), partner.topics)))  # noqa: B905  # three and three
        self.config = status_config(
            cluster, partner, topics=topics, session_timeout=3.0, max_poll_interval=5.0, commit_interval=0.5,
            connect_timeout=30.0, buffer_records=2000,
        )  # fmt: skip
        self._faults = (
            self.kill, self.interrupt, self.terminate, self.freeze, self.join, self.leave, self.cut, self.black_hole,
            self.restart_broker, self.crash_broker,
        )  # fmt: skip

    def run(self, seconds: float, meetings: int = 9) -> Figures:
        """Publishes a day of so many meetings in so many seconds, and returns what came of it.

        Raises:
            AssertionError: something was missed.
        """
        day = Simulator(seed=self.figures.seed, meetings=meetings)
        publisher = Publisher(self._cluster, self._partner.topics, day, seconds)
        began = time.monotonic()
        with ExitStack() as stack:
            for topic in self._partner.topics:
                alone = replace(self._partner, topics=TopicNames(topic, topic, topic))
                stack.enter_context(CommitWatch(self._cluster, alone, self.config.group_id))
            stack.callback(self._end)
            publisher.start()
            stack.callback(publisher.join)
            waiting: list[str] = []
            while publisher.is_alive():
                self._keep_one()
                if not waiting:  # each in its turn, in a new order each time
                    waiting = [fault.__name__ for fault in self._faults]
                    self._chance.shuffle(waiting)
                name = waiting.pop()
                getattr(self, name)()
                self.figures.faults[name.replace("_", " ")] += 1
                self._pause(0.2, 1.5)
            publisher.join()
            everything = self._everything()
            last_fault = time.monotonic()
            while missing := everything - set(self._done()):
                self._keep_one()
                if time.monotonic() > last_fault + GRACE:
                    raise AssertionError(f"not handled: {sorted(missing)[:20]}\n{self._state()}")
                time.sleep(0.1)
            self.figures.recovered_in = time.monotonic() - last_fault
            for life in list(self._present):
                self._stop(life, signal.SIGTERM)
        self._judge(everything)
        self.figures.seconds = time.monotonic() - began
        return self.figures

    # faults: each heals what it broke

    def kill(self) -> None:
        life = self._chance.choice(self._present)
        life.kill()
        self._present.remove(life)

    def interrupt(self) -> None:
        self._stop(self._chance.choice(self._present), signal.SIGINT)

    def terminate(self) -> None:
        self._stop(self._chance.choice(self._present), signal.SIGTERM)

    def freeze(self) -> None:
        """Sometimes for longer than its session; then another process continues."""
        life = self._chance.choice(self._present)
        self._start()
        life.send(signal.SIGSTOP)
        self._pause(0.5, 5)
        life.send(signal.SIGCONT)

    def join(self) -> None:
        if len(self._present) < 3:
            self._start()

    def leave(self) -> None:
        if len(self._present) > 1:
            self._stop(self._present[0], signal.SIGTERM)

    def cut(self) -> None:
        for _ in range(self._chance.randint(1, 5)):
            self._cluster.proxies[0].cut()
            self._pause(0, 0.3)
        self._cluster.proxies[0].cut_after(self._chance.randint(1, 100_000))  # in the middle of an answer
        self._pause(0, 1)
        self._cluster.proxies[0].reset()

    def black_hole(self) -> None:
        self._cluster.proxies[0].blackhole(swallow=self._chance.random() < 0.5)
        self._pause(1, 5)
        self._cluster.proxies[0].resume()

    def restart_broker(self) -> None:
        self._cluster.nodes[0].stop()
        self._pause(0, 1)
        self._cluster.nodes[0].start()

    def crash_broker(self) -> None:
        self._cluster.nodes[0].kill()
        self._cluster.nodes[0].start()

    # consumers

    def _start(self) -> None:
        number = len(self._lives)
        life = Life(
            "keep_running",
            self.config,
            self._folder / f"{number}.log",
            seed=self._chance.random(),
            bad_luck=0.002,
            pace=self._chance.choice([0, 0, 0.0005]),
        )
        self._lives.append(life)
        self._present.append(life)

    def _stop(self, life: Life, number: signal.Signals) -> None:
        """It may be without a broker just now, or not be ready to be told: then it is killed in the end."""
        life.send(number)
        with suppress(subprocess.TimeoutExpired):
            life.process.wait(15)
        life.kill()
        self._present.remove(life)

    def _keep_one(self) -> None:
        self._present = [life for life in self._present if life.process.poll() is None]
        if not self._present:
            self._start()

    def _end(self) -> None:
        for life in self._lives:
            life.kill()

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self._chance.uniform(least, most))

    def _state(self) -> str:
        """What the consumers are about, each with its threads' stacks."""
        for life in self._present:
            life.send(signal.SIGUSR2)
        time.sleep(1)
        last = [f"{life.log.name}: {life.lines[-3:]}\n{life.errors[-5000:]}" for life in self._present]
        committed = [self._cluster.committed(self.config.group_id, topic) for topic in self._partner.topics]
        return "\n".join([*last, f"committed: {committed}", f"so far: {self.figures}"])

    # judgement

    def _everything(self) -> set[Place]:
        places: set[Place] = set()
        for index, topic in enumerate(self._partner.topics):
            for partition, end in self._cluster.end_offsets(topic).items():
                places |= {(partition + 1000 * index, offset) for offset in range(end)}
        return places

    def _done(self) -> list[Place]:
        return [place for life in self._lives for place in life.done]

    def _judge(self, everything: set[Place]) -> None:
        done = self._done()
        self.figures.published = len(everything)
        self.figures.consumers = len(self._lives)
        self.figures.handled_twice = len(done) - len(set(done))
        assert everything <= set(done)
        for life in self._lives:
            assert_in_order(life)
        for index, topic in enumerate(self._partner.topics):
            committed = self._cluster.committed(self.config.group_id, topic)
            ends = {p: end for p, end in self._cluster.end_offsets(topic).items() if end}
            assert committed == ends, f"topic {index}: what is committed is what was handled"


def assert_in_order(life: Life) -> None:
    """Record after record in each partition, or the same again after a failure, but where partitions were assigned."""
    last: dict[int, int] = {}
    for line in life.lines:
        if line.what == "A":
            last.clear()
        elif line.what == "B" and line.place is not None:
            partition, offset = line.place
            before = last.get(partition)
            assert before is None or offset in (before, before + 1), f"{life.log}: {line.place} after offset {before}"
            last[partition] = offset


def soak(seconds: float, seed: int) -> Figures:
    """Raises AssertionError when something was missed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "lives").mkdir()
        with KafkaCluster(Path(folder) / "kafka", proxied=True) as cluster:
            return Soak(cluster, new_partner(cluster, PARTITIONS), Path(folder) / "lives", seed).run(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to publish")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="another one, other faults")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    try:
        print(soak(given.seconds, given.seed))
    except AssertionError as error:
        sys.exit(f"seed {given.seed}: {error}")
