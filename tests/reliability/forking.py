"""Starts an application many times: by a fork of a process that has loaded all it needs, which is faster than to start
a new Python.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests import ROOT


def fork_for_each_line(run: Callable[[str], None]) -> None:
    """Runs an application for each line on the standard input, in a process of its own, and prints the process's id.

    The application only ends by being killed. What it raises goes to the standard error.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets the processes that were killed
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                run(line.strip())
            except BaseException as error:  # noqa: BLE001  # the log shows it
                print(f"{os.getpid()}: {error!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(1)
        print(pid, flush=True)


class Starter:
    """A module whose `main` calls `fork_for_each_line`, as seen from the test."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
        )
        self._pids: set[int] = set()

    def start(self, line: str) -> int:
        """Starts the application and returns its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self._pids.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self._pids.discard(pid)

    def end(self) -> None:
        """Kills all that is left."""
        for pid in list(self._pids):
            with suppress(ProcessLookupError):
                self.kill(pid)
        self._process.communicate()
        self._log.close()
