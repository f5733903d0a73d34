"""Bad records among good ones, on a real broker, with the consumer killed in the middle: nothing is missed or confused.

Run as a program, this module is that consumer.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from rbhq_stream import DecodeError, Feed, FeedConfig, PriceEvent, PriceType, PriceUpdate, decode, encode
from rbhq_stream._dead_letter import DeadLetterFile
from tests import ROOT
from tests.broker.fixtures import MakePartner, Partner
from tests.broker.kafka import KafkaCluster

VALID, BAD, EMPTY = 100_000, 1_000, 100
RACES = 500
PARTITIONS = 6
MAX_RECORD_BYTES = 50_000
SECONDS = 60.0

GOOD = b'{"meetingId":7,"eventNumber":1,"priceUpdates":[{"runnerNumber":1,"property":"ep","price":"4.40"}]}'


def _instead(part: bytes, other: bytes) -> Callable[[random.Random], bytes]:
    assert part in GOOD
    return lambda chance: GOOD.replace(part, other)


def _with(fields: bytes) -> Callable[[random.Random], bytes]:
    return lambda chance: GOOD[:-1] + b"," + fields + b"}"


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "cut short": lambda chance: GOOD[: chance.randrange(1, len(GOOD))],
    "something after it": lambda chance: GOOD + b"}",
    "two documents": lambda chance: GOOD + GOOD,
    "noise": lambda chance: b"\x00" + chance.randbytes(chance.randrange(300)),
    "not UTF-8": _with(b'"note":"\xff\xfe"'),
    "UTF-16": lambda chance: GOOD.decode().encode("utf-16"),
    "half a surrogate pair": _with(rb'"note":"\ud800"'),
    "white space": lambda chance: b" \n" * chance.randrange(1, 9),
    "HTML": lambda chance: b"<html><h1>502 Bad Gateway</h1></html>",
    "XML": lambda chance: b'<?xml version="1.0"?><price>4.40</price>',
    "a number": lambda chance: b"42",
    "a text": lambda chance: b'"OPEN"',
    "null": lambda chance: b"null",
    "no race": _instead(b'"meetingId":7,', b""),
    "another event": lambda chance: b'{"raceId":1,"odds":[1.2,3.4]}',
    "an id that is true": _instead(b"7", b"true"),
    "an id that is an object": _instead(b"7", b'{"id":7}'),
    "an id that is negative": _instead(b"7", b"-7"),
    "an id beyond 64 bits": _instead(b"7", b"9223372036854775808"),
    "an id with a fraction": _instead(b"7", b"7.5"),
    "a runner that is null": _instead(b'"runnerNumber":1', b'"runnerNumber":null'),
    "an object where a list belongs": _instead(b"[", b"{"),
    "a list of texts": _with(b'"scratchings":["1","2"]'),
    "a price that is no number": _instead(b"4.40", b"4,40"),
    "a price that is a list": _instead(b'"4.40"', b"[4.4]"),
    "NaN": _instead(b'"4.40"', b"NaN"),
    "Infinity": _instead(b'"4.40"', b"-Infinity"),
    "an endless number": _instead(b'"4.40"', b"1e999999999"),
    "a day that isn't": _with(b'"scratchings":[{"runnerNumber":1,"scratchTime":"2026-02-30T00:00:00Z"}]'),
    "a field in two spellings": _instead(b'"property"', b'"Price":"5.50","property"'),
    "another race inside": _with(b'"eventId":"7-2"'),
    "deep lists": lambda chance: b"[" * chance.randrange(100, 20_000),
    "deep objects": lambda chance: GOOD[:-1] + b',"x":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
    "too large": lambda chance: GOOD[:-1] + b',"x":"' + b"x" * chance.randrange(MAX_RECORD_BYTES, 90_000) + b'"}',
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_document_raises_a_decode_error(kind: str) -> None:
    with pytest.raises(DecodeError):
        decode(PriceEvent, KINDS[kind](random.Random(1)), max_bytes=MAX_RECORD_BYTES)


def test_every_event_and_every_bad_record_across_kill_9(
    kafka: KafkaCluster, make_partner: MakePartner, tmp_path: Path
) -> None:
    partner = make_partner(partitions=PARTITIONS)
    topic, group = partner.topics.prices, f"{partner.group_prefix}bad-records"
    records = _mixed(random.Random(2026))
    places = kafka.publish(topic, [(key, value) for _, key, value in records])
    valid = {place: number for place, (number, _, _) in zip(places, records, strict=True) if number is not None}
    bad = {
        (topic, *place): (key, value)
        for place, (number, key, value) in zip(places, records, strict=True)
        if number is None and value
    }
    assert (len(valid), len(bad)) == (VALID, BAD)
    dead = tmp_path / "dead.jsonl"
    environ = _environ(kafka, partner, group)

    runs: list[list[tuple[int, int, int]]] = []
    for share in (0.3, 0.3):
        log = tmp_path / f"run-{len(runs)}"
        with _consumer(log, dead, environ) as consumer:
            _wait_until(lambda: log.read_bytes().count(b"\n") > share * VALID, consumer)  # noqa: B023  # called at once
            consumer.kill()
        assert consumer.returncode == -signal.SIGKILL
        runs.append(_handled(log))
    log = tmp_path / "last-run"
    with _consumer(log, dead, environ) as consumer:
        _wait_until(lambda: kafka.committed(group, topic) == kafka.end_offsets(topic), consumer)
        consumer.send_signal(signal.SIGTERM)
    assert consumer.returncode == 0
    runs.append(_handled(log))

    # every valid event, as it was, and nothing else
    assert {(partition, offset): number for run in runs for partition, offset, number in run} == valid
    reached = dict.fromkeys(range(PARTITIONS), -1)
    for run in runs:
        for partition in range(PARTITIONS):
            offsets = [offset for at, offset, _ in run if at == partition]
            assert offsets == sorted(set(offsets))  # in order
            if offsets:  # on from where the run before was, or from before that
                gap = range(reached[partition] + 1, offsets[0])
                assert not any((partition, offset) in valid for offset in gap)
                reached[partition] = max(reached[partition], offsets[-1])
    again = sum(map(len, runs)) - VALID
    assert again < len(runs[0]) + len(runs[1])  # what was committed didn't come again

    # every bad record, as it was, and nothing else
    letters = DeadLetterFile.read(dead)
    stored = {letter.record.coordinates: letter for letter in letters}
    assert letters.skipped <= 2  # one for each kill
    assert {place: (letter.record.key, letter.record.value) for place, letter in stored.items()} == bad
    assert {letter.kind for letter in stored.values()} == {"PriceEvent"}
    assert all(letter.faults for letter in stored.values())
    assert dead.with_name("dead.jsonl.1").exists()  # it was rotated meanwhile


def _mixed(chance: random.Random) -> list[tuple[int | None, bytes, bytes | None]]:
    """The records: what is in them (`None` for what is no event), key and value."""
    records: list[tuple[int | None, bytes, bytes | None]] = []
    for number in range(VALID):
        event = PriceEvent(
            1000 + number % RACES,
            number % 12 + 1,
            price_updates=(PriceUpdate(1, PriceType.WIN, 12, Decimal(number + 100) / 100),),
        )
        records.append((number, b"%d" % event.meeting_id, encode(event)))
    others: list[bytes | None] = [list(KINDS.values())[number % len(KINDS)](chance) for number in range(BAD)]
    others += [None, b""] * (EMPTY // 2)
    chance.shuffle(others)
    for at, value in zip(sorted(chance.sample(range(VALID), len(others)), reverse=True), others, strict=True):
        records.insert(at, (None, b"%d" % (1000 + chance.randrange(RACES)), value))
    return records


def _environ(kafka: KafkaCluster, partner: Partner, group: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RBHQ_")},
        "RBHQ_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "RBHQ_USERNAME": partner.username,
        "RBHQ_PASSWORD": partner.password,
        "RBHQ_CA_FILE": str(kafka.ca_file),
        "RBHQ_TOPIC_PRICES": partner.topics.prices,
        "RBHQ_GROUP_ID": group,
        "RBHQ_GROUP_INSTANCE_ID": "consumer",  # so that the next one gets the partitions of one that was killed
        "RBHQ_COMMIT_INTERVAL": "0.1",
        "RBHQ_MAX_RECORD_BYTES": str(MAX_RECORD_BYTES),
    }


def _consumer(log: Path, dead: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    log.touch()
    return subprocess.Popen([sys.executable, "-m", "tests.test_bad_records", log, dead], cwd=ROOT, env=environ)


def _handled(log: Path) -> list[tuple[int, int, int]]:
    """Partition, offset and content of each event in a log. An incomplete last line is ignored."""
    lines = log.read_text().split("\n")[:-1]
    return [(int(partition), int(offset), int(number)) for partition, offset, number in map(str.split, lines)]


def _wait_until(holds: Callable[[], bool], consumer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        if consumer.poll() is not None or time.monotonic() > deadline:
            consumer.kill()
            pytest.fail(f"the consumer didn't get there (it ended with {consumer.returncode})")
        time.sleep(0.05)


def main(log: str, dead: str) -> None:
    with (
        open(log, "ab", buffering=0) as handled,  # noqa: PTH123  # a raw file: each line is written at once
        Feed(FeedConfig.from_env(), on_bad_record=DeadLetterFile(dead, max_bytes=1_000_000)) as feed,
    ):
        signal.signal(signal.SIGTERM, lambda *_: feed.stop())
        for event in feed:
            assert isinstance(event, PriceEvent)
            assert event.record is not None
            price = event.price_updates[0].price
            assert price is not None
            handled.write(b"%d %d %d\n" % (event.record.partition, event.record.offset, price * 100 - 100))


if __name__ == "__main__":
    main(*sys.argv[1:])
