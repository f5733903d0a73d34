"""The pages about settlement and the betting gate name every rule and every reason."""

from __future__ import annotations

import re
from enum import Enum

import attrs
import pytest

from rbhq_stream import GateRules, RefusalReason, SettlementRules
from tests.pages import PAGES

CHOICES = [field for field in attrs.fields(SettlementRules) if isinstance(field.default, Enum)]


def first_cells(page: str) -> set[str]:
    """The names in the first cells of the tables of a page."""
    rows = re.findall(r"^\| (`.*?`) \|", PAGES[page].read_text(encoding="utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_rule_of_settlement_is_in_the_table() -> None:
    assert first_cells("settlement.md") == {field.name for field in attrs.fields(SettlementRules)}


@pytest.mark.parametrize("field", CHOICES, ids=lambda field: field.name)
def test_the_defaults_in_the_table_are_those_of_the_class(field: attrs.Attribute[object]) -> None:
    page = PAGES["settlement.md"].read_text(encoding="utf-8")
    [default] = re.findall(rf"^\| `{field.name}` \| `(\w+)`", page, re.MULTILINE)
    assert isinstance(field.default, Enum)
    assert default == field.default.name


def test_every_reason_to_refuse_a_bet_is_in_the_table() -> None:
    assert first_cells("betting-gate.md") == {reason.name for reason in RefusalReason}


def test_every_limit_of_the_gate_is_on_the_page() -> None:
    page = PAGES["betting-gate.md"].read_text(encoding="utf-8")
    assert all(f"`{field.name}`" in page for field in attrs.fields(GateRules))
