"""Figures: a median, its spread, and whether a goal is reached."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Literal

from attrs import asdict, frozen

Verdict = Literal["reached", "missed", "not run", ""]


@frozen
class Goal:
    """What a figure is to be: at most or at least so much."""

    limit: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"

    def is_met(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


@frozen
class Figure:
    """One line of the table."""

    part: str
    name: str
    unit: str = ""
    values: tuple[float, ...] = ()
    goal: Goal | None = None
    note: str = ""
    """What it rests on; where there are no values, why not."""

    @property
    def value(self) -> float | None:
        return median(self.values) if self.values else None

    @property
    def verdict(self) -> Verdict:
        if self.value is None:
            return "not run"
        if self.goal is None:
            return ""
        return "reached" if self.goal.is_met(self.value) else "missed"

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self, filter=lambda attribute, _: attribute.name not in {"goal", "values"}),
            "value": self.value,
            "min": min(self.values, default=None),
            "max": max(self.values, default=None),
            "values": list(self.values),
            "goal": None if self.goal is None else str(self.goal),
            "verdict": self.verdict,
        }


def ratios(over: Sequence[float], under: Sequence[float]) -> tuple[float, ...]:
    """Round by round, for as many rounds as both have."""
    return tuple(a / b for a, b in zip(over, under, strict=False))


def differences(of: Sequence[float], to: Sequence[float]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(of, to, strict=False))
