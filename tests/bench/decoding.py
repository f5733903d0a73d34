"""`decode` against `json.loads` on the same bytes, in blocks that take turns. Each document is decoded only once.

Run as a program with the name of a folder that has the documents. The first half of the realistic ones is not timed: it
stands for what a feed has seen before.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import thread_time
from typing import Any

from rbhq_stream import PriceEvent, decode
from tests.bench import data
from tests.bench.work import report

BLOCKS = 20
GOALS = {"small": 0.6, "large": 0.8, "cold small": 0.8, "cold large": 1.5}
"""The kinds of documents, and how many times as long as `json.loads` each may take."""


def ours(raw: bytes) -> Any:
    return decode(PriceEvent, raw)


def seconds(read: Callable[[bytes], Any], documents: Sequence[bytes]) -> float:
    """Of processor time: what else the machine does is not in it."""
    began = thread_time()
    for document in documents:
        read(document)
    return thread_time() - began


def compare(documents: Sequence[bytes]) -> dict[str, Any]:
    size = max(1, len(documents) // BLOCKS)
    blocks = [documents[at : at + size] for at in range(0, size * BLOCKS, size)]
    times: list[tuple[float, float]] = []
    gc.collect()
    for number, block in enumerate(blocks):
        if number % 2:
            theirs = seconds(json.loads, block)
            times.append((seconds(ours, block), theirs))
        else:
            own = seconds(ours, block)
            times.append((own, seconds(json.loads, block)))
    return {
        "ratios": [own / theirs for own, theirs in times],
        "ours_us": [own / size * 1e6 for own, _ in times],
        "json_us": [theirs / size * 1e6 for _, theirs in times],
        "bytes": sum(map(len, documents)) / len(documents),
    }


def main(folder: Path) -> None:
    realistic = data.load(folder / "realistic")
    half = len(realistic) // 2
    for document in realistic[:half]:
        ours(document)
    small, large = data.small_and_large(realistic[half:])
    results = {"small": compare(small), "large": compare(large)}
    for kind in ("cold small", "cold large"):
        results[kind] = compare(data.load(folder / kind))
    report(results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
