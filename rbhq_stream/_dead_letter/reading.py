"""`DeadLetters`: reads back what a `DeadLetterFile` has stored, oldest first."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec

from rbhq_stream._dead_letter.letter import DeadLetter
from rbhq_stream._dead_letter.line import decode_line
from rbhq_stream._dead_letter.lock import locked

_log = logging.getLogger("rbhq_stream")


class DeadLetters(Iterator[DeadLetter]):
    """Iterates over the dead letters of a file and of the full files beside it, oldest first.

    Iterating opens the files, so it raises OSError if they can't be read, and TimeoutError if another writer holds the
    lock of the newest file for too long.
    """

    def __init__(self, path: Path, lock_timeout: float) -> None:
        self.skipped = 0
        """The number of lines read so far that are not dead letters. A crash in the middle of a write leaves such a
        line. Its record was not acknowledged, so it was delivered and stored again."""
        self._letters = self._read(path, lock_timeout)

    def __next__(self) -> DeadLetter:
        return next(self._letters)

    def _read(self, path: Path, lock_timeout: float) -> Iterator[DeadLetter]:
        with ExitStack() as stack:
            for file, size in _open_all(path, lock_timeout, stack):
                left = size
                while left > 0 and (line := file.readline(left)):
                    left -= len(line)
                    try:
                        letter = decode_line(line)
                    except msgspec.MsgspecError:
                        self.skipped += 1
                        _log.warning(
                            "%s: skipped %d bytes before byte %d, which are not a dead letter",
                            file.name, len(line), size - left,
                        )  # fmt: skip
                    else:
                        yield letter


def _open_all(path: Path, lock_timeout: float, stack: ExitStack) -> list[tuple[BinaryIO, int]]:
    """Opens the file and the full ones beside it. Returns them oldest first, each with its current size."""
    while True:
        with ExitStack() as lock, ExitStack() as opened:
            try:
                lock.enter_context(locked(path, "rb", lock_timeout))  # no sink writes or rotates while we hold it
                newest = [path]
            except FileNotFoundError:
                newest = []  # it was just renamed, or has never existed
            numbers = [found.name[len(path.name) + 1 :] for found in path.parent.iterdir() if found.stem == path.name]
            full = sorted((int(number) for number in numbers if number.isascii() and number.isdigit()), reverse=True)
            paths = [*(path.with_name(f"{path.name}.{number}") for number in full), *newest]
            try:
                files: list[BinaryIO] = [opened.enter_context(each.open("rb")) for each in paths]
            except FileNotFoundError:
                continue  # without the lock, files may be renamed while we open them: start again
            sizes = [os.fstat(file.fileno()).st_size for file in files]
            if newest or not path.exists():  # otherwise a writer has created it meanwhile, and may have renamed others
                stack.enter_context(opened.pop_all())
                return list(zip(files, sizes, strict=True))
