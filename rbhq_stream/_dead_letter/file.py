"""`DeadLetterFile`: bad records as lines of JSON in a file, each on the disk before the sink returns."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import attrs
import msgspec
from attrs import field, frozen
from typing_extensions import Self

from rbhq_stream._config import checks
from rbhq_stream._dead_letter.letter import DeadLetter, DeadLetterError, record_of
from rbhq_stream.errors import ConfigError, DecodeError, Fault
from rbhq_stream.record import Record

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("rbhq_stream")

MOST_FAULTS = 100
"""Faults of one record that are stored. A large record can have a million, and `DeadLetter.decode` finds them again."""
TEXT_BYTES = 1000
"""So much of a bad record's value is stored a second time, as a text for people."""


def _to_path(value: str | os.PathLike[str]) -> Path:
    return Path(value).expanduser().absolute()


def _writable(_: Any, attribute: attrs.Attribute[Any], path: Path) -> None:
    if path.is_dir():
        raise ConfigError(attribute.name, f"{path} is a folder: give the file to write to, which need not exist")
    if not path.parent.is_dir():
        raise ConfigError(attribute.name, f"there is no folder {path.parent}: make it first")
    # no promise, but most mistakes are told now, and not when the first bad record comes
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(attribute.name, f"this process may not write to {path}")


@frozen
class DeadLetterFile:
    """Keeps bad records in a file, one line of JSON for each; see docs/bad-records.md for its fields.

    A record is on the disk when the call returns: neither kill -9 nor a power cut loses it. A full file is renamed to
    `path.1`, that one to `path.2` and so on. Threads and processes of one host may share a file on a local disk; they
    take turns by `flock`. (Windows has none: there each process needs a file of its own.)

    Nothing is open between two records. `close` and `with` are there so that it can take a `DeadLetterTopic`'s place.
    """

    path: Path = field(converter=_to_path, validator=_writable)
    max_bytes: int = field(default=64 * 1024 * 1024, kw_only=True, validator=checks.whole(2**60))
    """The size at which a file is full. A line that is longer gets a file for itself."""
    keep: int | None = field(default=10, kw_only=True, validator=checks.optional(checks.whole(1_000_000)))
    """How many full files to keep; the oldest is dropped, with a WARNING in the log. `None`: all of them."""
    fsync: bool = field(default=True, kw_only=True)
    """Whether to wait for the disk. Without it a power cut may lose the last records; kill -9 still can't."""

    def __call__(self, error: DecodeError) -> None:
        """Stores the bad record.

        Raises:
            DeadLetterError: it could not be stored.
        """
        record = record_of(error)
        letter = DeadLetter(record, error.kind, error.faults[:MOST_FAULTS], datetime.now(timezone.utc))
        line = _line_of(letter)
        try:
            while not self._append(line):
                pass  # the file was full; there is a new one
        except OSError as problem:
            raise DeadLetterError(str(self.path), problem.strerror or repr(problem), record) from problem

    @staticmethod
    def read(path: str | os.PathLike[str]) -> DeadLetters:
        """What is in the file and in the full ones beside it, oldest first: as much as there is when reading begins.

        Sinks may go on writing meanwhile. Where there is no file yet, nothing is in it.
        """
        return DeadLetters(_to_path(path))

    def close(self) -> None:
        """Does nothing: nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: bytes) -> bool:
        """Whether the line is in the file; if not, the file was full, and has been moved out of the way."""
        with _locked(self.path, "ab+") as file:
            size = file.seek(0, os.SEEK_END)
            if size and size + len(line) > self.max_bytes:
                self._rotate(file)
                return False
            if size:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line  # a crash tore the last line: it stays alone
            try:
                _write(file, line)
                if self.fsync:
                    os.fsync(file.fileno())
            except BaseException:
                with suppress(OSError):
                    file.truncate(size)  # what isn't safe shall not look as if it were
                raise
        if self.fsync:
            _sync_folder(self.path.parent)  # every time: who made or renamed a file may have crashed before this
        return True

    def _rotate(self, file: FileIO) -> None:
        """Moves each file one up. A crash in between leaves a gap in the numbers, which the next rotation fills."""
        if sys.platform == "win32":
            file.close()  # what is open can't be renamed there
        free = 1
        while self._full(free).exists() and free != self.keep:
            free += 1
        if self._full(free).exists():
            log.warning("dropping the oldest dead letters, %s: keep=%s", self._full(free), self.keep)
        for number in range(free, 1, -1):
            self._full(number - 1).replace(self._full(number))
        self.path.replace(self._full(1))

    def _full(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class DeadLetters(Iterator[DeadLetter]):
    """The dead letters of a file and of the full ones beside it, oldest first."""

    def __init__(self, path: Path) -> None:
        self.skipped = 0
        """Lines passed so far that are no dead letters. A crash in the middle of a write leaves one, of a record that
        was not done and so came again."""
        self._letters = self._read(path)

    def __next__(self) -> DeadLetter:
        return next(self._letters)

    def _read(self, path: Path) -> Iterator[DeadLetter]:
        with ExitStack() as stack:
            for file, size in _opened(path, stack):
                left = size
                while left > 0 and (line := file.readline(left)):
                    left -= len(line)
                    try:
                        letter = _letter_of(line)
                    except msgspec.MsgspecError:
                        self.skipped += 1
                        log.warning("%s: %d bytes before byte %d are no dead letter", file.name, len(line), size - left)
                    else:
                        yield letter


def _opened(path: Path, stack: ExitStack) -> list[tuple[BinaryIO, int]]:
    """The file and the full ones beside it, oldest first, each with its size."""
    while True:
        with ExitStack() as lock, ExitStack() as opened:
            try:
                lock.enter_context(_locked(path, "rb"))  # meanwhile nobody writes or rotates
                newest = [path]
            except FileNotFoundError:
                newest = []  # just moved away, or never there
            numbers = [found.name[len(path.name) + 1 :] for found in path.parent.iterdir() if found.stem == path.name]
            full = sorted((int(number) for number in numbers if number.isascii() and number.isdigit()), reverse=True)
            paths = [*(path.with_name(f"{path.name}.{number}") for number in full), *newest]
            try:
                files: list[BinaryIO] = [opened.enter_context(each.open("rb")) for each in paths]
            except FileNotFoundError:
                continue  # being moved, as we could not lock: look again
            sizes = [os.fstat(file.fileno()).st_size for file in files]
            if newest or not path.exists():  # else a writer has made it meanwhile, and may have moved files
                stack.enter_context(opened.pop_all())
                return list(zip(files, sizes, strict=True))


@contextmanager
def _locked(path: Path, mode: str) -> Generator[FileIO, None, None]:
    """The file at the path, for this caller alone; among readers (`"rb"`) for all of them."""
    while True:
        with FileIO(path, mode) as file:
            try:
                if sys.platform != "win32":
                    fcntl.flock(file, fcntl.LOCK_SH if mode == "rb" else fcntl.LOCK_EX)
                if _is_at(path, file):
                    yield file
                    return
                # it was moved away while we waited: there is another one now
            finally:
                if sys.platform != "win32":
                    fcntl.flock(file, fcntl.LOCK_UN)  # closing alone wouldn't, if another thread has forked meanwhile


def _is_at(path: Path, file: FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _write(file: FileIO, data: bytes) -> None:
    while data:  # one turn, unless the disk is full: then the second one raises
        data = data[file.write(data) or 0 :]


def _sync_folder(path: Path) -> None:
    if sys.platform != "win32":  # where a folder can't be opened
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


_OF_RECORD = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")


def _line_of(letter: DeadLetter) -> bytes:
    value = letter.record.value or b""
    fields = {
        "when": letter.when,
        "kind": letter.kind,
        **{name: getattr(letter.record, name) for name in _OF_RECORD},
        "faults": [attrs.asdict(fault) for fault in letter.faults],
        "text": value[:TEXT_BYTES].decode(errors="backslashreplace"),
    }
    return msgspec.json.encode(fields) + b"\n"  # bytes as base64, times as RFC 3339


def _letter_of(line: bytes) -> DeadLetter:
    fields = msgspec.json.decode(line)
    about = msgspec.convert(fields, _About)
    return DeadLetter(msgspec.convert(fields, Record), about.kind, about.faults, about.when)


class _About(msgspec.Struct):
    """What a line has besides the fields of the record."""

    when: datetime
    kind: str
    faults: tuple[Fault, ...]
