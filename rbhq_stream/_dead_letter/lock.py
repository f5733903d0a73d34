"""Opens a file and locks it against other threads and processes on this host, waiting for a limited time."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Literal

if sys.platform != "win32":
    import fcntl

MAX_PAUSE = 0.02
"""Seconds between two attempts to lock a file, at most. The first pauses are shorter."""


@contextmanager
def locked(path: Path, mode: Literal["ab+", "rb"], timeout: float) -> Generator[FileIO, None, None]:
    """Opens and locks the file: `"ab+"` for one writer alone, `"rb"` for any number of readers.

    On Windows, which has no `flock`, the file is opened without a lock.

    Args:
        path: The file.
        mode: How to open it.
        timeout: Seconds to wait for the lock.

    Raises:
        TimeoutError: another thread or process has kept it locked for so long.
        OSError: the file can't be opened or locked.
    """
    deadline = time.monotonic() + timeout
    while True:
        with FileIO(path, mode) as file:
            try:
                if sys.platform != "win32":
                    _lock(file, fcntl.LOCK_SH if mode == "rb" else fcntl.LOCK_EX, deadline, timeout)
                if _is_at(path, file):
                    yield file
                    return
                # the file was renamed while we waited for the lock, so there is another file at the path now
            finally:
                if sys.platform != "win32":
                    # To close the file isn't enough if another thread has forked meanwhile.
                    fcntl.flock(file, fcntl.LOCK_UN)


if sys.platform != "win32":

    def _lock(file: FileIO, operation: int, deadline: float, timeout: float) -> None:
        pause = 0.001
        while True:
            try:
                fcntl.flock(file, operation | fcntl.LOCK_NB)  # flock alone can't be given a time-out
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(
                        errno.ETIMEDOUT,
                        f"another process or thread has held the lock of {file.name} for lock_timeout={timeout:g} s."
                        " `lsof` shows which one",
                    ) from None
                time.sleep(min(pause, left))
                pause = min(2 * pause, MAX_PAUSE)
            else:
                return


def _is_at(path: Path, file: FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
