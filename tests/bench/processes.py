"""Runs contenders: each in a process of its own, so that its memory is its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.bench.environments import OURS, python_of
from tests.bench.work import Job, job_as_json

__all__ = ["FailedError", "Outcome", "finish", "job_as_json", "run", "start"]

_ROOT = Path(__file__).parents[2]
Outcome = dict[str, Any]


class FailedError(Exception):
    """A contender did not finish, with the reason."""


def start(module: str, *arguments: str, environment: str = OURS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(python_of(environment)), "-m", f"tests.bench.{module}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )


def finish(process: subprocess.Popen[str], timeout: float) -> Outcome:
    """What the process reported."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise FailedError(f"not done after {timeout:g} s") from None
    finally:
        process.kill()
        process.wait()
    lines = out.strip().splitlines()
    if process.returncode or not lines:
        raise FailedError((err.strip().splitlines() or [f"exit code {process.returncode}"])[-1][:300])
    outcome: Outcome = json.loads(lines[-1])
    return outcome


def run(module: str, job: Job, environment: str = OURS, timeout: float = 120) -> Outcome:
    return finish(start(module, job_as_json(job), environment=environment), timeout)
