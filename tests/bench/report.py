"""The table that people read, the JSON that programs read, and the block in the documentation."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from attrs import asdict

from tests.bench.figures import Figure
from tests.bench.run import Run

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def as_json(run: Run) -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": run.versions,
        "settings": asdict(run.settings),
        "data": run.facts,
        "figures": [figure.as_json() for figure in run.figures],
        "outcomes": run.outcomes,
    }


def machine() -> dict[str, Any]:
    model = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": os.getloadavg(),
    }


def as_text(run: Run) -> str:
    rows: list[tuple[str, ...]] = [("", "value", "from", "to", "goal", "", "")]
    for part, figures in _parts(run.figures):
        rows.append((f"{part}:", "", "", "", "", "", ""))
        rows += [_cells(figure, indent="  ") for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = []
    for name, *cells, note in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells[:4], widths[1:5], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned, cells[4].ljust(widths[5]), note]).rstrip())
    return "\n".join([*lines, "", *_about(run)])


def as_markdown(run: Run) -> str:
    lines = []
    for part, figures in _parts(run.figures):
        lines += [f"**{part.capitalize()}**", "", "| | value | from, to | goal | | |", "|---|--:|--:|--:|---|---|"]
        for figure in figures:
            name, value, low, high, goal, verdict, note = _cells(figure)
            spread = f"{low}, {high}" if low else ""
            lines.append(f"| {name} | {value} | {spread} | {goal} | {verdict} | {note} |")
        lines.append("")
    return "\n".join([*lines, *(f"- {line}" for line in _about(run))])


def write_into(page: Path, run: Run) -> None:
    """Replaces what is between the markers."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{begin}\n{as_markdown(run)}\n{end}{after}")


def save(path: Path, run: Run) -> None:
    path.write_text(json.dumps(as_json(run), indent=1, ensure_ascii=False) + "\n")


def _parts(figures: Iterable[Figure]) -> list[tuple[str, list[Figure]]]:
    parts: dict[str, list[Figure]] = {}
    for figure in figures:
        parts.setdefault(figure.part, []).append(figure)
    return list(parts.items())


def _cells(figure: Figure, indent: str = "") -> tuple[str, ...]:
    value = "" if figure.value is None else f"{_number(figure.value, figure.unit)} {_unit(figure.unit)}".rstrip()
    ends = (min(figure.values), max(figure.values)) if len(figure.values) > 1 else ()
    low, high = [_number(end, figure.unit) for end in ends] or ["", ""]
    return indent + figure.name, value, low, high, str(figure.goal or ""), figure.verdict, figure.note


def _unit(unit: str) -> str:
    return "" if "ratio" in unit else unit


def _number(value: float, unit: str) -> str:
    digits = {"events/s": 0, "updates/s": 0, "rows/s": 0, "records": 0, "MiB": 1, "ms": 3}.get(unit, 2)
    return f"{value:,.{digits}f}"


def _about(run: Run) -> list[str]:
    here, settings, facts = machine(), run.settings, run.facts
    where = "in the clear" if settings.plaintext else "over SASL_SSL with SCRAM-SHA-512"
    lines = [
        (
            f"{datetime.now(timezone.utc):%Y-%m-%d}, {here['cores']} cores of {here['cpu']}, "
            f"{here['memory_gib']:g} GiB, {here['system']}, "
            f"Python {platform.python_version()}; broker and clients on the same machine, {where}"
        ),
        *(
            f"environment {name}: " + ", ".join(f"{package} {version}" for package, version in versions.items())
            for name, versions in run.versions.items()
        ),
        (
            f"{facts['records']:,} records, {settings.partitions} partitions, {settings.rounds} rounds: "
            f"{1 - facts['large_share']:.0%} small ones of {facts['bytes']['small']:.0f} bytes, "
            f"{facts['large_share']:.0%} large ones of {facts['bytes']['large']:.0f}; "
            f"{facts['repeated']['price']:.0%} of their prices and {facts['repeated']['scratchings']:.0%} of their "
            "scratchings had come before, in the cold documents no scratching"
        ),
    ]
    checked = facts.get("checked")
    if checked:
        lines.append(
            f"values of all compared over {checked['events']:,} records: {checked['scratchings']:,} scratchings, "
            f"sum of prices {checked['sum_of_prices']}, digest {checked['digest']}"
        )
    return lines


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
