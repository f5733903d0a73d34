"""`Part`: the files of one folder, or one file, as they are when they are opened. Recordings consist of parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from rbhq_stream._config import Topics
from rbhq_stream._recording.segments import Block, RecordingCut, Segment, read_segment, read_topics, segment_paths
from rbhq_stream.errors import ConfigError, RecordingError

_ATTEMPTS = 100
"""How often a folder is read again because a file was deleted meanwhile."""


@frozen
class Part:
    """What one folder or one file contains."""

    path: Path
    topics: Topics
    blocks: tuple[Block, ...]
    cuts: tuple[RecordingCut, ...]

    @classmethod
    def at(cls, path: Path) -> Part:
        """Reads the indexes of all blocks of a folder or file.

        Raises:
            RecordingError: there is no recording, or it is damaged other than at its end.
        """
        try:
            segments = _segments(path) if path.is_dir() else [read_segment(path)]
        except OSError as error:
            raise RecordingError(str(path), f"can't be read: {error.strerror or repr(error)}") from error
        named = [segment.topics for segment in segments if segment.topics]
        if not named:
            raise RecordingError(str(path), "there is no recording, or nothing of it was written")
        return cls(
            path,
            united_topics(str(path), named, "read its files one at a time"),
            tuple(block for segment in segments for block in segment.blocks),
            tuple(cut for segment in segments for cut in segment.cuts),
        )


def _segments(folder: Path) -> list[Segment]:
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):  # the writer has deleted one
            return [read_segment(path) for path in segment_paths(folder)]
    raise RecordingError(str(folder), "its files are deleted faster than they can be read")


def check_continues(folder: Path, topics: Mapping[str, str | None]) -> None:
    """Checks that new records can be appended to what a folder contains, so that all of it can still be read.

    Files of which not even the header can be read are left out: they don't keep a feed from recording.

    Args:
        folder: the folder.
        topics: the names of the topics that are going to be recorded, by the fields of `Topics`.

    Raises:
        RecordingError: the folder has a recording of other topics.
        OSError: it can't be read.
    """
    named = [read_topics(path) for path in segment_paths(folder)]
    united_topics(str(folder), [*named, topics], "give the feed another folder, because one recording can't have both")


def united_topics(where: str, named: Iterable[Mapping[str, str | None]], hint: str) -> Topics:
    """Returns the topics of several files.

    Args:
        where: the recordings, for the error.
        named: for each file, the names of the topics by the fields of `Topics`.
        hint: what to do if they don't fit together, for the error.

    Raises:
        RecordingError: a kind of event has two topics, or a topic has two kinds of events.
    """
    found: dict[str, str] = {}
    for topics in named:
        for kind, name in topics.items():
            if name is not None and found.setdefault(kind, name) != name:
                raise RecordingError(where, f"{kind} in two topics, {found[kind]!r} and {name!r}: {hint}")
    try:
        return Topics(**found)
    except ConfigError as error:
        raise RecordingError(where, f"{error}: {hint}") from error
