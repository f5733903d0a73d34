"""How fast the library is, against what people would use instead: `python -m tests.bench`.

One run has one real Kafka broker, on which all contenders read the same records in turn, several times over. What
counts are ratios taken within a round, so that a machine that is busy or slow is so for all of them.

* `data`          the records: a made-up race day, small and large ones.
* `contenders`    who reads: a module for each, run as a process of its own.
* `work`          what the contenders are given, measure, and report. Only the standard library, for they live in
                  environments of their own.
* `environments`  makes those, with the pinned versions in `peers.txt` and `quix.txt`.
* `latency`, `memory`, `concurrency`, `decoding`, `book`, `tables`  the parts of the run that are not about throughput.
* `run`           what is run in which order, and the figures that come of it.
* `report`        the table, the JSON file and the block in `docs/performance.md`.
"""
