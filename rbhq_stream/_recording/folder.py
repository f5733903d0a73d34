"""The folder of a recording: how an application names it, and its lock."""

from __future__ import annotations

import os
import sys
from io import FileIO
from pathlib import Path

from attrs import field, frozen

from rbhq_stream._config import checks
from rbhq_stream._forks import forks
from rbhq_stream.errors import ConfigError, RecordingError

if sys.platform != "win32":
    import fcntl

LOCK_NAME = "lock"


def to_folder(value: str | os.PathLike[str]) -> Path:
    """Converts what an application gives as the path of a recording.

    Raises:
        ConfigError: it can't be a path.
    """
    if value == "":
        raise ConfigError("path", "is empty: expected a folder, such as 'day'")  # pathlib takes it as the current one
    try:
        return Path(value).expanduser().absolute()
    except (TypeError, RuntimeError) as error:  # RuntimeError: the ~user is unknown
        raise ConfigError("path", f"{value!r} can't be a path: {error}") from None


@frozen
class RecordTo:
    """Where a feed writes what it reads, and how: `Feed(config, record_to=RecordTo("day", keep=14))`.

    Raises:
        ConfigError: an argument is wrong.
    """

    path: Path = field(converter=to_folder)
    """The folder of the recording. It is created if its parent exists. New records are appended to what it contains."""
    max_bytes: int = field(default=256 * 1024 * 1024, kw_only=True, validator=checks.count(2**60))
    """The size at which a file is full and the next one begins."""
    keep: int | None = field(default=None, kw_only=True, validator=checks.optional(checks.count(1_000_000)))
    """The number of full files to keep, beside the one that is being written. The oldest file is deleted, with a
    WARNING in the log, once the newer ones together are as large as that many full files. `None`: keep all. Each start
    of a feed begins a file, so there may be many that are not full."""
    flush_interval: float = field(default=1.0, kw_only=True, validator=checks.seconds(3600))
    """The maximum time in seconds until a record is in the file."""
    fsync: bool = field(default=True, kw_only=True)
    """Whether a flush waits for the disk. If not, a power failure may cost more than one interval; kill -9 does not."""


class FolderLock:
    """Locks the folder of a recording against other writers, on this host and in this process. Creates it.

    Windows has no `flock`, so nothing is locked there. A forked child gives up its part of the lock, which would
    otherwise outlast the process that writes.

    Raises:
        RecordingError: another writer has locked it, or it can't be created.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(exist_ok=True)
            self._file = FileIO(folder / LOCK_NAME, "ab")
        except OSError as error:
            raise RecordingError(str(folder), f"can't write there: {error.strerror}") from error
        forks.watch(self)
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise RecordingError(
                    str(folder), "another feed is writing to it; give each feed its own folder"
                ) from None

    def release(self) -> None:
        """Allows the next writer."""
        if not self._file.closed:
            if sys.platform != "win32":
                fcntl.flock(self._file, fcntl.LOCK_UN)  # a child that was started otherwise may have the file open too
            self._file.close()

    def note_fork(self) -> None:
        """Closes the child's copy of the file, without unlocking the parent's."""
        self._file.close()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.release()
