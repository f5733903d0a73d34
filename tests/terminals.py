"""Runs commands in a terminal of a given size, and takes apart what they drew there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence

import pytest

CLI = [sys.executable, "-W", "error", "-m", "rbhq_stream._cli"]
"""The command `rbhq-stream`, with warnings as errors."""


def run_in_terminal(
    command: Sequence[str],
    *,
    lines: int = 30,
    columns: int = 100,
    interrupt_after: float | None = None,
    interrupt_when: Callable[[str], object] | None = None,
) -> tuple[int, str]:
    """Runs a command in a terminal, and returns its exit status and everything that it wrote there.

    Args:
        command: The command.
        lines: The height of the terminal.
        columns: Its width.
        interrupt_after: Seconds from its first output to Ctrl-C. Before that Python itself is still starting.
        interrupt_when: Whether to send Ctrl-C, by what was written so far.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    for size in ("LINES", "COLUMNS"):  # the terminal's own size counts
        environment.pop(size, None)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    written = b""
    started = time.monotonic()
    first_output = float("inf")
    is_interrupted = False
    try:
        while True:
            is_due = interrupt_after is not None and time.monotonic() > first_output + interrupt_after
            is_due = is_due or (interrupt_when is not None and bool(interrupt_when(written.decode(errors="replace"))))
            if is_due and not is_interrupted:
                process.send_signal(signal.SIGINT)
                is_interrupted = True
            if select.select([master], [], [], 0.05)[0]:
                try:
                    data = os.read(master, 65536)
                except OSError:  # Linux raises it when no process has the terminal open any more
                    data = b""
                if not data:
                    break
                first_output = min(first_output, time.monotonic())
                written += data
            if time.monotonic() > started + 30:
                pytest.fail(f"it did not end: {written[-2000:]!r}")
    finally:
        os.close(master)
        try:
            status = process.wait(10)
        finally:
            process.kill()
    return status, written.decode()


def frames(written: str) -> list[list[str]]:
    """Returns the lines of each picture that was drawn on the terminal's second screen, without colours."""
    drawn = written.split("\x1b[?1049l", maxsplit=1)[0].split("\x1b[H")[2:]
    return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).splitlines() for frame in drawn]
