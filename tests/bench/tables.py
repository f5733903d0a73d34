"""`to_arrow` on the prices of a day. Run as a program with the number of updates."""

from __future__ import annotations

import sys
from time import thread_time

from rbhq_stream import PriceEvent, decode, to_arrow
from rbhq_stream.testing import MemoryRecord
from tests.bench.book import day
from tests.bench.work import report

AT_ONCE = 100_000
"""How many events are converted at once, as by `rbhq-stream export`."""


def main(updates: int) -> None:
    rates: list[float] = []
    batch: list[PriceEvent] = []
    for offset, (raw, time) in enumerate(day(updates)):
        batch += decode(PriceEvent, raw, record=MemoryRecord("prices", 0, offset, raw, None, time))
        if len(batch) == AT_ONCE:
            began = thread_time()  # of the processor: what else the machine does is not in it
            rows = to_arrow(batch).prices.num_rows
            rates.append(rows / (thread_time() - began))
            batch.clear()
    report({"rows_per_second": rates})


if __name__ == "__main__":
    main(int(sys.argv[1]))
