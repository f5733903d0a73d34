"""`python -m tests.bench`: see the package."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import attrs

from tests.bench import report
from tests.bench.run import PARTS, Run, Settings

QUICK = Settings(
    records=20_000,
    rounds=1,
    decoded=20_000,
    book_updates=100_000,
    latency_records=2_000,
    latency_rounds=1,
    long_records=60_000,
    stall_seconds=2,
    huge_records=200,
    checked_records=1_000,
    startup_rounds=1,
)
FULL = Settings(records=1_000_000, rounds=7, long_records=10_000_000, stall_seconds=20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="How fast it is, on this machine.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="to see that it runs, in less than a minute")
    size.add_argument("--full", action="store_true", help="ten million records for the memory; half an hour")
    parser.add_argument("--only", metavar="PART,…", help=f"some of {','.join(PARTS)}; peers has feed in it")
    parser.add_argument("--rounds", type=int, help="how often each contender reads")
    parser.add_argument("--partitions", type=int, help="of each topic")
    parser.add_argument("--plaintext", action="store_true", help="connect in the clear, as nobody can to RBHQ")
    parser.add_argument("--json", type=Path, metavar="PATH", help="the figures for programs")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the markers in this page")
    given = parser.parse_args()
    changes = {name: getattr(given, name) for name in ("rounds", "partitions") if getattr(given, name)}
    if given.only:
        changes["parts"] = tuple(given.only.split(","))
        unknown = set(changes["parts"]) - set(PARTS)
        if unknown:
            parser.error(f"--only: no such part: {', '.join(sorted(unknown))}")
    settings = QUICK if given.quick else FULL if given.full else Settings()
    run = Run(attrs.evolve(settings, plaintext=given.plaintext, **changes))
    run.all()
    print(report.as_text(run))
    path = given.json or Path(tempfile.gettempdir()) / "rbhq-stream-bench.json"
    report.save(path, run)
    print(f"\nfor programs: {path}")
    if given.write:
        report.write_into(given.write, run)


if __name__ == "__main__":
    main()
