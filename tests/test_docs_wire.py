"""docs/wire.md: its tables name every field that the library reads."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rbhq_stream._wire.names import FIELDS
from tests.pages import PAGES

ROWS = [line for line in PAGES["wire.md"].read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
NAMED = {name for row in ROWS for path in re.findall(r"`([^`]+)`", row) for name in re.split(r"[.\[\]]+", path)}


@pytest.mark.parametrize("cls", FIELDS, ids=lambda cls: cls.__name__)
def test_the_tables_name_every_field(cls: type[Any]) -> None:
    assert {field.name for field in FIELDS[cls]} - NAMED == set()
