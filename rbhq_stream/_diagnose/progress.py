"""The progress of a diagnosis: its steps, which several threads plan and finish, and these threads.

All steps are planned first, so that a diagnosis has a line even for a step that it never reached.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from rbhq_stream._diagnose.findings import Finding, Step, failed
from rbhq_stream.errors import ConnectError

T = TypeVar("T")

Key = tuple[str, str]
"""The name and the target of a step."""


class Progress:
    """The steps of a diagnosis. Any thread may call its methods."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Key] = []
        self._begun: dict[Key, float] = {}
        self._steps: dict[Key, Step] = {}

    def plan(self, names: Iterable[str], target: str, *, after: Key | None = None) -> None:
        """Adds steps to the plan: at its end, or directly after another step."""
        with self._lock:
            at = len(self._planned) if after is None else self._planned.index(after) + 1
            self._planned[at:at] = [(name, target) for name in names]

    def run(self, name: str, target: str, work: Callable[[], tuple[Finding, T]]) -> T | None:
        """Runs a step. Returns the result that later steps need, or `None` if it failed."""
        begin = time.monotonic()
        with self._lock:
            self._begun[name, target] = begin
        result: T | None = None
        try:
            finding, result = work()
        except ConnectError as error:
            finding = failed(error)
        except Exception as error:  # noqa: BLE001  # whatever is raised is a finding
            finding = Finding("failed", f"unexpected: {error!r}", "Please report this as a bug in rbhq_stream.")
        self.note(name, target, finding, time.monotonic() - begin)
        return None if finding.verdict == "failed" else result

    def note(self, name: str, target: str, finding: Finding, seconds: float = 0.0) -> None:
        """Adds a finished step."""
        step = Step(name, target, finding.verdict, finding.detail, finding.hint, seconds, finding.facts)
        with self._lock:
            self._steps[name, target] = step

    def skip(self, why: str, target: str | None = None) -> None:
        """Marks steps that have not begun as skipped: those of a target, or all of them."""
        with self._lock:
            for key in self._planned:
                if key not in self._begun and key not in self._steps and target in (None, key[1]):
                    self._steps[key] = Step(*key, "skipped", why)

    def steps(self, timeout: float) -> tuple[Step, ...]:
        """Returns all steps. Those that are not finished by now have failed."""
        now = time.monotonic()
        with self._lock:
            return tuple(self._steps.get(key) or self._late(key, now, timeout) for key in self._planned)

    def _late(self, key: Key, now: float, timeout: float) -> Step:
        hint = "Fix the failures before it first. If there are none, allow more time for the diagnosis (timeout)."
        begun = self._begun.get(key)
        if begun is None:
            return Step(*key, "failed", f"not tried: the {timeout:g} s were over", hint)
        return Step(*key, "failed", f"no response within {now - begun:.1f} s", hint, now - begun)


def in_background(work: Callable[[], T]) -> Future[T]:
    """Runs the work in a daemon thread. Unlike a thread of an executor, it does not keep the process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is used
            future.set_exception(error)

    threading.Thread(target=run, name="rbhq-diagnose", daemon=True).start()
    return future


def by(deadline: float, future: Future[T]) -> T:
    """Returns the result of the future.

    Raises:
        TimeoutError: it has none by the deadline (monotonic).
    """
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:  # on Python 3.10 it is not the builtin one
        raise TimeoutError from None
