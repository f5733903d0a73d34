"""How soon events come: after the start of a process, and after the death of a broker.

As a program: the job's `mode` selects what it does, and each line that it prints is a time on the clock that all
processes of this machine share.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import KafkaError, Message, Producer

from rbhq_stream import Feed
from tests.bench import processes
from tests.bench.contenders.feed import config_for
from tests.bench.contenders.loop import open_consumer
from tests.bench.figures import Figure
from tests.bench.stage import Stage
from tests.bench.work import Job, report

OUTAGE = 2.0
"""Seconds between the broker's death and its next start."""
_RECORD = (b"k", b'{"meetingId":1397808,"eventNumber":7}')


def measure(stage: Stage, rounds: int) -> list[Figure]:
    """Returns the figures."""
    topic = stage.topic("startup", [_RECORD] * 10)
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        known = stage.job(topic, 1, mode="feed first")
        for name, job in (
            ("bare poll(), a new group", stage.job(topic, 1, mode="poll first")),
            ("Feed, a new group", known),
            ("Feed, a group that is known", known),
        ):
            times.setdefault(name, []).append(_first_event(job))
    figures = [
        Figure("startup", f"process start to first event, {name}", "s", tuple(values)) for name, values in times.items()
    ]
    for mode in ("poll all", "feed all"):
        seconds = tuple(_recovery(stage, stage.topic(f"recovery-{mode[:4]}-{turn}"), mode) for turn in range(rounds))
        name = "Feed" if mode.startswith("feed") else "bare poll()"
        note = f"one broker, killed, started again after {OUTAGE:g} s"
        figures.append(
            Figure("startup", f"broker accepts records again to next event, {name}", "s", seconds, note=note)
        )
    return figures


def _first_event(job: Job) -> float:
    began = time.monotonic()
    outcome = processes.run("startup", job)
    seconds: float = outcome["at"] - began
    return seconds


def _recovery(stage: Stage, topic: str, mode: str) -> float:
    """Returns how long after the broker accepted a record again the reader got one."""
    stop = threading.Event()
    accepted: list[float] = []
    producer = Producer({"bootstrap.servers": stage.internal_bootstrap, "linger.ms": 0, "acks": 1, "retries": 0,
                         "message.timeout.ms": 1000, "log_level": 2, "reconnect.backoff.max.ms": 100})  # fmt: skip

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is None:
            accepted.append(time.monotonic())

    def publish() -> None:
        while not stop.wait(0.02):
            producer.produce(topic, _RECORD[1], on_delivery=delivered)
            producer.poll(0)

    publisher = threading.Thread(target=publish)
    publisher.start()
    reader = processes.start("startup", processes.job_as_json(stage.job(topic, 1, mode=mode)))
    try:
        assert reader.stdout is not None
        lines = reader.stdout
        for _ in range(20):  # it flows
            lines.readline()
        stage.kill_broker()
        died = time.monotonic()
        time.sleep(OUTAGE)
        stage.start_broker()
        while not (again := [at for at in accepted if at > died + OUTAGE]):
            time.sleep(0.01)
        return next(at for line in lines if (at := float(line)) > again[0]) - again[0]
    finally:
        stop.set()
        publisher.join()
        reader.kill()
        reader.communicate()


def _first_of_feed(job: Job) -> None:
    with Feed(config_for(job)) as feed:
        next(feed)
        at = time.monotonic()
    report({"at": at})


def _first_of_poll(job: Job) -> None:
    consumer = open_consumer(job)
    while consumer.poll(1.0) is None:
        pass
    report({"at": time.monotonic()})


def _all_of_feed(job: Job) -> None:
    with Feed(config_for(job)) as feed:
        for _ in feed:
            print(time.monotonic(), flush=True)


def _all_of_poll(job: Job) -> None:
    consumer = open_consumer(job)
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            print(time.monotonic(), flush=True)


if __name__ == "__main__":
    given = Job.given()
    {
        "feed first": _first_of_feed,
        "poll first": _first_of_poll,
        "feed all": _all_of_feed,
        "poll all": _all_of_poll,
    }[given.mode](given)
