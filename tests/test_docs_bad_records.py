"""docs/bad-records.md: its table names every field of a stored record."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rbhq_stream import DecodeError, Fault, Record
from rbhq_stream._dead_letter import DeadLetterFile

DOC = Path(__file__).parents[1] / "docs" / "bad-records.md"


def test_every_field_of_a_line_is_documented(tmp_path: Path) -> None:
    text = DOC.read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `") and "rbhq." not in line]
    DeadLetterFile(tmp_path / "x")(DecodeError("PriceEvent", [Fault("$", "a", "b")], record=Record("t", 0, 0)))
    documented = re.findall(r"`(\w+)`", "".join(rows))
    assert sorted(documented) == sorted(json.loads((tmp_path / "x").read_text()))
