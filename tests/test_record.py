"""The Kafka record behind an event: its content, its cost, and that no header can crash the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

READ_HEADERS = """
import pickle, sys, threading
from rbhq_stream import DecodeError, Feed, RaceStatus, RaceStatusEvent, decode, encode
from rbhq_stream.testing import EmbeddedBroker
from tests.broker import raw_producer

sys.setswitchinterval(1e-6)
STATUS = RaceStatusEvent(1, 2, RaceStatus.OPEN)
RAW = encode(STATUS)

def look(event, message, found):
    for _ in range(50):
        found.append(event.record.headers)
        (same,) = decode(RaceStatusEvent, RAW, record=message)
        found.append(same.record.headers)

def headers_of(event):
    # the message of the Kafka client, where the feed has not made a Record of it yet
    message, found = event._record, []
    threads = [threading.Thread(target=look, args=(event, message, found)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pickle.loads(pickle.dumps(event)).record == event.record
    assert len(found) == 800 and set(found) == {event.record.headers}
    return found[0]

with EmbeddedBroker(partitions=1) as broker:
    for value in RAW, b"[%s,%s]" % (RAW, RAW), b"not JSON", RAW:
        raw_producer.publish(broker.bootstrap_servers, broker.topics.race_status, value, HEADERS)
    found = []
    with Feed(broker.config()) as feed:
        while len(found) < 5:
            try:
                found.append(headers_of(next(feed)))
            except DecodeError as error:
                found.append(error.record.headers)
assert len(set(found)) == 1
print(ascii(found[0]))
"""


@pytest.mark.parametrize(
    ("published", "read"),
    [
        ("[(b'trace', b'7'), (b'none', None)]", "(('trace', b'7'), ('none', None))"),
        (
            r"[(b'a', b'1'), (b'caf\xe9', b'2'), (b'none', None), (b'\xff\xfe', None), (b'', b'3'), (b'z', b'')]",
            r"(('a', b'1'), ('\ufffd', b'2'), ('none', None), ('\ufffd', None), ('', b'3'), ('z', b''))",
        ),
        (r"[(b'\xc3', b'1')]", r"(('\ufffd', b'1'),)"),
        (r"[(b'\xed\xa0\x80', b'half a surrogate pair')]", r"(('\ufffd', b'half a surrogate pair'),)"),
    ],
)
def test_no_header_name_crashes_the_process_or_stops_the_feed(published: str, read: str) -> None:
    code = f"HEADERS = {published}\n{READ_HEADERS}"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip()) == (0, read), run.stderr
