"""`Part`: the files of one folder, or one file, as they are when they are opened. Recordings consist of parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from rbhq_stream._config import Topics
from rbhq_stream._recording.segments import Block, RecordingCut, read_segment, segment_paths
from rbhq_stream.errors import ConfigError, RecordingError


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
            paths = segment_paths(path) if path.is_dir() else [path]
            segments = [read_segment(one) for one in paths]
        except OSError as error:
            raise RecordingError(str(path), f"can't be read: {error.strerror or error!r}") from error
        named = [segment.topics for segment in segments if segment.topics]
        if not named:
            raise RecordingError(str(path), "there is no recording, or nothing of it was written")
        return cls(
            path,
            united_topics(str(path), named),
            tuple(block for segment in segments for block in segment.blocks),
            tuple(cut for segment in segments for cut in segment.cuts),
        )


def united_topics(where: str, named: Iterable[Mapping[str, str | None]]) -> Topics:
    """Returns the topics of several files.

    Args:
        where: the recordings, for the error.
        named: for each file, the names of the topics by the fields of `Topics`.

    Raises:
        RecordingError: a kind of event has two topics, or a topic has two kinds of events.
    """
    found: dict[str, str] = {}
    for topics in named:
        for kind, name in topics.items():
            if name is not None and found.setdefault(kind, name) != name:
                problem = f"it has {kind} in two topics, {found[kind]!r} and {name!r}: read one of them at a time"
                raise RecordingError(where, problem)
    try:
        return Topics(**found)
    except ConfigError as error:
        raise RecordingError(where, str(error)) from error
