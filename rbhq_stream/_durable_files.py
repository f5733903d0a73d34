"""Files that are whole on the disk, or not there at all, whenever the process or the machine stops."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces a file: whoever reads it meanwhile, or after a crash, has the old one or the new one as a whole.

    Args:
        path: the file.
        data: its new content.
        durable: whether to wait until it is on the disk. Otherwise a crash of the machine may leave an empty file.

    Raises:
        OSError: it could not be written; the old file is as it was.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Waits until the names of a folder's files are on the disk."""
    if sys.platform != "win32":  # Windows can't open a folder
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
