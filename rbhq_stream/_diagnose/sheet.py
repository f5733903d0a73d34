"""The sheet on which the steps are noted as they are made, by several threads; and those threads.

Steps are planned first, so that a diagnosis has a line for each of them, also for those that it never came to.
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


class Sheet:
    """Its methods may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Key] = []
        self._begun: dict[Key, float] = {}
        self._steps: dict[Key, Step] = {}

    def plan(self, names: Iterable[str], target: str, *, after: Key | None = None) -> None:
        """Steps to come: last, or right after the ones of one that is planned already."""
        with self._lock:
            at = len(self._planned) if after is None else self._planned.index(after) + 1
            self._planned[at:at] = [(name, target) for name in names]

    def run(self, name: str, target: str, work: Callable[[], tuple[Finding, T]]) -> T | None:
        """Makes a step. Gives what it is good for to those after it, or `None` if it failed."""
        begin = time.monotonic()
        with self._lock:
            self._begun[name, target] = begin
        answer: T | None = None
        try:
            finding, answer = work()
        except ConnectError as error:
            finding = failed(error)
        except Exception as error:  # noqa: BLE001  # the diagnosis tells what it finds, whatever that is
            finding = Finding("failed", f"unexpected: {error!r}", "Please report this to the makers of rbhq_stream.")
        self.note(name, target, finding, time.monotonic() - begin)
        return None if finding.verdict == "failed" else answer

    def note(self, name: str, target: str, finding: Finding, seconds: float = 0.0) -> None:
        """A step that is done."""
        step = Step(name, target, finding.verdict, finding.detail, finding.hint, seconds, finding.facts)
        with self._lock:
            self._steps[name, target] = step

    def skip(self, why: str, target: str | None = None) -> None:
        """What was not begun yet is not made: the steps of a target, or all."""
        with self._lock:
            for key in self._planned:
                if key not in self._begun and key not in self._steps and target in (None, key[1]):
                    self._steps[key] = Step(*key, "skipped", why)

    def steps(self, timeout: float) -> tuple[Step, ...]:
        """All steps. Those that are not done by now have failed."""
        now = time.monotonic()
        with self._lock:
            return tuple(self._steps.get(key) or self._late(key, now, timeout) for key in self._planned)

    def _late(self, key: Key, now: float, timeout: float) -> Step:
        hint = "Mend what failed before it first; if nothing did, give the diagnosis more time (timeout)."
        begun = self._begun.get(key)
        if begun is None:
            return Step(*key, "failed", f"not tried: the {timeout:g} s were over", hint)
        return Step(*key, "failed", f"no answer within {now - begun:.1f} s", hint, now - begun)


def in_background(work: Callable[[], T]) -> Future[T]:
    """Does it in a thread that nothing waits for in the end, as the threads of an executor would be waited for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, name="rbhq-diagnose", daemon=True).start()
    return future


def by(deadline: float, future: Future[T]) -> T:
    """Its result.

    Raises:
        TimeoutError: there is none at the deadline.
    """
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:  # on Python 3.10 it is none of the builtin ones
        raise TimeoutError from None
