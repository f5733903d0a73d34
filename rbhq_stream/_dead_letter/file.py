"""`DeadLetterFile`: stores bad records as lines of JSON in a file, each on the disk before the sink returns."""

from __future__ import annotations

import logging
import os
import stat
import sys
from contextlib import suppress
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

import attrs
from attrs import field, frozen
from typing_extensions import Self

from rbhq_stream._config import checks
from rbhq_stream._dead_letter.letter import DeadLetter, DeadLetterError, record_of
from rbhq_stream._dead_letter.line import encode_line
from rbhq_stream._dead_letter.lock import locked
from rbhq_stream._dead_letter.reading import DeadLetters
from rbhq_stream._durable_files import sync_folder
from rbhq_stream.errors import ConfigError, DecodeError

_log = logging.getLogger("rbhq_stream")

MAX_FAULTS = 100
"""How many faults of a record are stored. A large record can have more; `DeadLetter.decode` finds all of them again."""
LOCK_TIMEOUT = 10.0
"""Default of `lock_timeout`. A write holds the lock for much less time, even if it waits for a slow disk."""


def _to_path(value: str | os.PathLike[str]) -> Path:
    try:
        return Path(value).expanduser().absolute()
    except (TypeError, RuntimeError) as error:  # RuntimeError: the ~user is unknown
        raise ConfigError("path", f"{value!r} can't be a path: {error}") from None


def _check_writable(_: Any, attribute: attrs.Attribute[Any], path: Path) -> None:
    """Checks whether a bad record could be stored, without creating the file."""
    try:
        target = path.resolve()
        mode = _mode(target)
    except ValueError as error:  # a NUL, or a character that the file system's encoding doesn't have
        raise ConfigError(attribute.name, f"{str(path)!r} can't be a path: {error}") from None
    except OSError as error:
        raise ConfigError(attribute.name, f"can't write to {path}: {error.strerror}") from None
    if mode is not None and stat.S_ISDIR(mode):
        raise ConfigError(attribute.name, f"{path} is a folder: give the path of a file, which does not have to exist")
    if mode is not None and not stat.S_ISREG(mode):
        raise ConfigError(attribute.name, f"{path} is not a regular file, so stored records could not be read back")
    if not target.parent.is_dir():
        raise ConfigError(attribute.name, f"there is no folder {target.parent}: create it first")
    try:
        TemporaryFile(dir=target.parent).close()
    except OSError as error:
        problem = f"can't create files in the folder {target.parent}, which rotation needs: {error.strerror}"
        raise ConfigError(attribute.name, problem) from None
    if mode is not None:
        try:
            target.open("ab").close()
        except OSError as error:
            raise ConfigError(attribute.name, f"can't write to {path}: {error.strerror}") from None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


@frozen
class DeadLetterFile:
    """Stores bad records in a file, one line of JSON for each; docs/bad-records.md describes its fields.

    When the call returns, the record is on the disk, so that neither kill -9 nor a power failure loses it. A full file
    is renamed to `path.1`, an existing `path.1` to `path.2` and so on. Several threads and processes on one host may
    write to the same file on a local disk; they lock it with `flock`. Windows has no `flock`, so give each process its
    own file there.

    The file is open only during a call, so `close` and `with` do nothing. They exist so that a sink can be replaced by
    a `DeadLetterTopic`.

    Raises:
        ConfigError: an argument is wrong, or the file can't be written to.
    """

    path: Path = field(converter=_to_path, validator=_check_writable)
    max_bytes: int = field(default=64 * 1024 * 1024, kw_only=True, validator=checks.count(2**60))
    """The size at which a file is full. A line that is longer gets its own file."""
    keep: int | None = field(default=10, kw_only=True, validator=checks.optional(checks.count(1_000_000)))
    """The number of full files to keep. The oldest is deleted, with a WARNING in the log. `None`: keep all."""
    fsync: bool = field(default=True, kw_only=True)
    """Whether to wait for the disk. If not, a power failure may lose the last records, but kill -9 can't."""
    lock_timeout: float = field(default=LOCK_TIMEOUT, kw_only=True, validator=checks.seconds(3600))
    """Seconds to wait while another thread or process holds the file's lock."""

    def __call__(self, error: DecodeError) -> None:
        """Stores the bad record.

        Args:
            error: The error of a record that could not be decoded.

        Raises:
            DeadLetterError: it could not be stored.
            ValueError: the error has no record.
        """
        record = record_of(error)
        line = encode_line(DeadLetter(record, error.kind, error.faults[:MAX_FAULTS], datetime.now(timezone.utc)))
        try:
            while not self._append(line):
                pass  # the file was full, and a new one takes its place
        except OSError as problem:
            raise DeadLetterError(str(self.path), problem.strerror or repr(problem), record) from problem

    @staticmethod
    def read(path: str | os.PathLike[str], *, lock_timeout: float = LOCK_TIMEOUT) -> DeadLetters:
        """Returns an iterator over the dead letters in the file and in the full files beside it, oldest first.

        It returns those that are there when the iteration begins. Sinks may write in the meantime. If there is no file
        yet, the iterator is empty.

        Args:
            path: The path that the sink was given.
            lock_timeout: Seconds to wait while a writer holds the file's lock.

        Raises:
            ConfigError: the path is not valid.
        """
        return DeadLetters(_to_path(path), lock_timeout)

    def close(self) -> None:
        """Does nothing: the file is open only during a call."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: bytes) -> bool:
        """Appends the line. If the file has no room for it, renames the file and returns `False`."""
        with locked(self.path, "ab+", self.lock_timeout) as file:
            size = file.seek(0, os.SEEK_END)
            if size and size + len(line) > self.max_bytes:
                self._rotate(file)
                return False
            if size:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line  # a crash left the last line incomplete: don't append to it
            try:
                _write(file, line)
                if self.fsync:
                    os.fsync(file.fileno())
            except BaseException:
                with suppress(OSError):
                    file.truncate(size)  # the record counts as not stored, so its line must not stay in the file
                raise
        if self.fsync:
            # Every time: the process that created or renamed a file may have crashed before it synced the folder.
            sync_folder(self.path.parent)
        return True

    def _rotate(self, file: FileIO) -> None:
        """Renames each file to the next number. A crash in between leaves a free number, which the next call fills."""
        if sys.platform == "win32":
            file.close()  # Windows doesn't rename open files
        free = 1
        while self._full(free).exists() and free != self.keep:
            free += 1
        if self._full(free).exists():
            _log.warning("deleting the oldest dead letters, %s: keep=%s", self._full(free), self.keep)
        for number in range(free, 1, -1):
            self._full(number - 1).replace(self._full(number))
        self.path.replace(self._full(1))

    def _full(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _write(file: FileIO, data: bytes) -> None:
    while data:  # usually one pass; if the disk is full, the second pass raises
        data = data[file.write(data) or 0 :]
