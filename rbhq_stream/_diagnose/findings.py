"""The result of a diagnosis: its steps, and how they are printed. Nothing here holds a secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen

from rbhq_stream.errors import ConnectError

Verdict = Literal["ok", "warning", "failed", "skipped"]
"""The outcome of a step of a diagnosis."""

COLOURS: dict[Verdict, str] = {"ok": "32", "warning": "33", "failed": "1;31", "skipped": "2"}
"""The terminal code of each verdict."""


def one_line(text: str) -> str:
    """Returns the string on one line and without control characters, because parts of it come from the network."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


@frozen
class Finding:
    """The outcome of a step, without its name, target and duration."""

    verdict: Verdict
    detail: str
    hint: str = ""
    facts: Mapping[str, Any] = field(factory=dict, hash=False)


def failed(error: ConnectError) -> Finding:
    """Returns the finding for an error of the library."""
    at = f" (broker {error.broker})" if error.broker else ""
    return Finding("failed", f"{error.reason}{at}", error.hint, {"error": type(error).__name__})


@frozen
class Step:
    """One step of a diagnosis."""

    name: str
    """`resolve`, `connect`, `tls`, `login`, `brokers`, `topic`, `read`, `newest`, `group` or `position`."""
    target: str
    """What was examined. The host and port of a broker, a topic, a consumer group, or `cluster`."""
    verdict: Verdict
    """`warning`: the feed works, but somebody should look at this. `skipped`: a step that it depends on has failed, or
    it is not needed."""
    detail: str = field(converter=one_line)
    """What was found, on one line."""
    hint: str = field(default="", converter=one_line)
    """What to do. Empty if there is nothing to do."""
    seconds: float = 0.0
    """How long the step took."""
    facts: Mapping[str, Any] = field(factory=dict, hash=False)
    """The content of `detail` for programs, for example the certificate's `days_left`, the newest record's
    `age_seconds`, the group's `lag`, or the name of the library's `error` class."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the step as JSON-ready data."""
        return {
            "name": self.name,
            "target": self.target,
            "verdict": self.verdict,
            "detail": self.detail,
            "hint": self.hint,
            "seconds": round(self.seconds, 3),
            "facts": dict(self.facts),
        }


@frozen
class Diagnosis:
    """The result of `diagnose`. Its string is a table with a line for each step."""

    steps: tuple[Step, ...]
    """All steps. Each depends only on earlier ones."""
    at: datetime
    """When it began (aware, in UTC)."""
    seconds: float
    """How long it took."""

    @property
    def ok(self) -> bool:
        """Whether no step failed. There may be warnings."""
        return not self.failed

    @property
    def failed(self) -> tuple[Step, ...]:
        """The steps that failed. Fix the first one first: it may have caused the others."""
        return tuple(step for step in self.steps if step.verdict == "failed")

    def to_dict(self) -> dict[str, Any]:
        """Returns the diagnosis as JSON-ready data."""
        return {
            "ok": self.ok,
            "at": self.at.isoformat(),
            "seconds": round(self.seconds, 3),
            "steps": [step.to_dict() for step in self.steps],
        }

    def as_text(self, *, colour: bool = False) -> str:
        """Returns the table.

        Args:
            colour: Whether to colour the verdicts for a terminal.
        """
        widths = [max((len(cell) for cell in cells), default=0) for cells in zip(*map(_cells, self.steps), strict=True)]
        lines = []
        for step in self.steps:
            verdict, *others = (cell.ljust(width) for cell, width in zip(_cells(step), widths, strict=True))
            if colour:
                verdict = f"\033[{COLOURS[step.verdict]}m{verdict}\033[0m"
            lines.append(f"{verdict}  {'  '.join(others)}  {step.detail}")
            if step.hint:
                lines.append(f"{' ' * widths[0]}  -> {step.hint}")
        return "\n".join([*lines, "", self._summary()])

    def _summary(self) -> str:
        counts = {verdict: sum(step.verdict == verdict for step in self.steps) for verdict in COLOURS}
        listed = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        first = self.failed[0] if self.failed else None
        advice = f" Begin with {first.name} {first.target}: it may have caused the failures after it." if first else ""
        return f"{listed} in {self.seconds:.1f} s.{advice}"

    def __str__(self) -> str:
        return self.as_text()


def _cells(step: Step) -> tuple[str, str, str]:
    return (step.verdict.upper() if step.verdict == "failed" else step.verdict, step.name, step.target)
