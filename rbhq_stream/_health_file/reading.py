"""`HealthReport`: what a health file states, and whether that is still valid."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from attrs import frozen
from typing_extensions import Self


@frozen(kw_only=True)
class HealthReport:
    """The content of a health file, read at one time.

    The file carries the time at which it was written. A file that is older than `max_age` means that the process hangs
    or has ended, whatever the file states: then the feed counts neither as alive nor as ready.
    """

    path: Path
    content: dict[str, Any] | None
    """The document; `None` if there is none."""
    problem: str | None = None
    """Why the document can't be read, or is not valid."""
    age: float | None = None
    """For how many seconds the file has not been written."""

    @classmethod
    def read(cls, path: Path, *, max_age: float, now: datetime | None = None) -> Self:
        """Reads a file and judges it. A file that can't be read is reported, and not raised.

        Args:
            path: the file.
            max_age: seconds after which a file that was not written again counts as stale.
            now: the time now, an aware time; by default that of this host's clock.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            age = ((now or datetime.now(timezone.utc)) - datetime.fromisoformat(content["written_at"])).total_seconds()
            if not {"is_alive", "is_ready", "text"} <= content.keys():
                raise KeyError
        except FileNotFoundError:
            return cls(path=path, content=None, problem="there is no such file: the process has not written it yet")
        except OSError as error:
            return cls(path=path, content=None, problem=f"it can't be read: {error.strerror or error}")
        except (ValueError, KeyError, TypeError):
            return cls(path=path, content=None, problem="it was not written by a HealthFile")
        problem = None
        if age > max_age:
            problem = f"it was last written {age:.0f} s ago: the process hangs or has ended"
        elif age < -max_age:
            problem = f"it was written {-age:.0f} s in the future: a clock was changed"
        return cls(path=path, content=content, problem=problem, age=age)

    @property
    def is_alive(self) -> bool:
        """Whether the process is alive. If it is not, a restart can help."""
        return self.content is not None and self.problem is None and self.content["is_alive"] is True

    @property
    def is_ready(self) -> bool:
        """Whether the process can serve what it knows."""
        return self.content is not None and self.problem is None and self.content["is_ready"] is True

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as data that `json.dumps` can write."""
        judged = {"is_alive": self.is_alive, "is_ready": self.is_ready, "problem": self.problem, "age": self.age}
        return {**(self.content or {}), **judged}

    def __str__(self) -> str:
        verdict = f"{'alive' if self.is_alive else 'not alive'}, {'ready' if self.is_ready else 'not ready'}"
        if self.content is None:
            return f"{verdict}: {self.path}: {self.problem}"
        text = self.content["text"]
        return f"{verdict}: {text}" if self.problem is None else f"{verdict}: {self.path}: {self.problem}; then {text}"
