"""Where the events to show come from: the live feed, or a recording."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from rbhq_stream import Feed, FeedConfig, RaceId, Recording, Source
from rbhq_stream._board.agenda import ALL_RACES, Selection
from rbhq_stream._tail.since import parse_since


@frozen(kw_only=True)
class Origin:
    """Where the events come from."""

    config: FeedConfig
    name: str
    """Its name for people."""
    source: Source | None = None
    """The source to read from; `None`: Kafka."""
    order: Literal["arrival", "time"] = "arrival"
    speed: float | None = None
    """How fast a recording is replayed; `None`: it is live."""

    def feed(self, **options: Any) -> Feed:
        """Returns a feed that reads from it."""
        return Feed(self.config, source=self.source, order=self.order, **options)


def live(config: FeedConfig, *, source: Source | None = None) -> Origin:
    """Returns the live feed. While it catches up, records are read in the order of their times.

    Args:
        config: What to read, and where to start.
        source: Where to read from; Kafka by default.
    """
    return Origin(config=config, name=config.bootstrap_servers[0], source=source, order="time")


def recorded(path: Path, *, speed: float = 1.0, since: str = "earliest", selection: Selection = ALL_RACES) -> Origin:
    """Returns a recording. If it was cut off in the middle of a write, a line on standard error reports it.

    Args:
        path: The folder of the recording, or one of its files.
        speed: How fast its time passes; infinite: as fast as it can be shown.
        since: Where to start, as for `parse_since`; the present time is the end of the recording.
        selection: The races to show. A single race is found by the recording's index, without reading the rest.

    Raises:
        ConfigError: the path is not valid.
        RecordingError: there is no recording, or it can't be read.
        ValueError: `since` is not understood, the speed is not positive, or nothing is left to show.
    """
    recording = whole = Recording(path)
    for cut in recording.cuts:
        print(f"rbhq-stream: {cut.path} ends in the middle of a write: {cut.reason}", file=sys.stderr)
    ended = whole.ended or datetime.now(timezone.utc)
    start = parse_since(since, ended)
    if start != "earliest":
        recording = recording.between(ended if start == "latest" else start)
    if selection.meeting_id is not None and selection.event_number is not None:
        recording = recording.races(RaceId(selection.meeting_id, selection.event_number))
    if next(iter(recording), None) is None:
        raise ValueError(f"recording {path} has no records {_described(selection, since)}; {_extent(whole)}")
    # nothing connects to it
    config = FeedConfig(bootstrap_servers="recording", security="PLAINTEXT", topics=recording.topics, group_id=None)
    return Origin(config=config, name=str(path), source=recording.at(speed), speed=speed)


def _described(selection: Selection, since: str) -> str:
    return f"of {selection}" + ("" if since == "earliest" else f" since {since}")


def _extent(recording: Recording) -> str:
    """Returns what there is in a recording, for people."""
    began, ended = recording.began, recording.ended
    if began is None or ended is None:
        return "nothing of it can be read"
    return f"it has records from {began:%Y-%m-%d %H:%M:%S} to {ended:%Y-%m-%d %H:%M:%S} UTC"
