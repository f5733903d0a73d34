"""What each command does: a function of its arguments, which returns the exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rbhq_stream.errors import ConfigError, DecodeError, RecordingError

if TYPE_CHECKING:
    from pathlib import Path

    from rbhq_stream._config import FeedConfig
    from rbhq_stream._race_card import RaceCard
    from rbhq_stream._tail import Look

CONFIGURATION_WRONG = 2


def demo(options: argparse.Namespace) -> int:
    from rbhq_stream._demo import run  # noqa: PLC0415  # other commands start faster without

    return run(seconds=options.seconds, seed=options.seed, plain=options.plain)


def check(options: argparse.Namespace) -> int:
    from rbhq_stream._diagnose import diagnose  # noqa: PLC0415  # other commands start faster without

    try:
        diagnosis = diagnose(_configuration(options), timeout=options.timeout)
    except ConfigError as error:
        return _refuse(error)
    text = json.dumps(diagnosis.to_dict(), indent=2) if options.json else diagnosis.as_text(colour=_is_coloured())
    with closed_pipe_allowed():
        print(text, flush=True)
    return 0 if diagnosis.ok else 1


def tail(options: argparse.Namespace) -> int:
    from rbhq_stream._tail import live, parse_since, show  # noqa: PLC0415  # other commands start faster without

    try:
        look = _look(options)
        start = parse_since(options.since, datetime.now(timezone.utc))
        origin = live(_configuration(options, group_id=None, start=start))
    except (ConfigError, OSError, ValueError) as error:
        return _refuse(error)
    show(origin, look)
    return 0


def replay(options: argparse.Namespace) -> int:
    from rbhq_stream._tail import recorded, show  # noqa: PLC0415  # other commands start faster without

    try:
        look = _look(options)
        origin = recorded(options.recording, speed=options.speed, since=options.since, selection=look.selection)
    except (ConfigError, OSError, RecordingError, ValueError) as error:
        return _refuse(error)
    show(origin, look)
    return 0


def record(options: argparse.Namespace) -> int:
    from rbhq_stream import _tail  # noqa: PLC0415  # other commands start faster without

    try:
        start = _tail.parse_since(options.since, datetime.now(timezone.utc))
        config = _configuration(options, group_id=None, start=start)
    except (ConfigError, OSError, ValueError) as error:
        return _refuse(error)
    _tail.record(config, options.folder)
    return 0


def health(options: argparse.Namespace) -> int:
    from rbhq_stream._health_file import HealthReport  # noqa: PLC0415  # other commands start faster without

    report = HealthReport.read(options.file, max_age=options.max_age)
    print(json.dumps(report.to_dict(), indent=2) if options.json else report, flush=True)
    return 0 if (report.is_alive if options.live else report.is_ready) else 1


def export(options: argparse.Namespace) -> int:
    from rbhq_stream import _tables  # noqa: PLC0415  # other commands start faster without
    from rbhq_stream._recording import Recording  # noqa: PLC0415  # other commands start faster without

    recording = Recording(options.recording)
    bad, first_bad = 0, ""

    def count_bad(error: DecodeError) -> None:
        nonlocal bad, first_bad
        bad, first_bad = bad + 1, first_bad or str(error.record)

    try:
        rows = _tables.export(recording.events(on_bad_record=count_bad), options.folder)
    except (ImportError, OSError, ValueError) as error:
        print(f"rbhq-stream: {error}", file=sys.stderr)
        return 1
    for name, count in rows.items():
        print(f"{count:12,} {name}")
    for cut in recording.cuts:
        print(f"rbhq-stream: {cut.path} was cut off at byte {cut.at}: {cut.reason}", file=sys.stderr)
    if bad:
        print(f"rbhq-stream: left out {bad:,} records that can't be decoded, first {first_bad}", file=sys.stderr)
    return 0


def _look(options: argparse.Namespace) -> Look:
    from rbhq_stream._board.agenda import ALL_RACES  # noqa: PLC0415  # other commands start faster without
    from rbhq_stream._race_card import RaceCard  # noqa: PLC0415  # other commands start faster without
    from rbhq_stream._tail import Look  # noqa: PLC0415  # other commands start faster without

    return Look(
        selection=options.selection or ALL_RACES,
        card=RaceCard() if options.card is None else _card(options.card),
        as_json=options.json,
        plain=options.plain,
        with_prices=not options.no_prices,
    )


def _card(path: Path) -> RaceCard:
    from rbhq_stream._race_card import RaceCard  # noqa: PLC0415  # other commands start faster without

    try:
        return RaceCard.decode(path.read_bytes())
    except OSError as error:
        raise ValueError(f"--card {path}: {error.strerror or error}") from error
    except DecodeError as error:
        raise ValueError(f"--card {path}: {error}") from error


def _configuration(options: argparse.Namespace, **overrides: Any) -> FeedConfig:
    from rbhq_stream._config import FeedConfig  # noqa: PLC0415  # other commands start faster without

    if options.config:
        return FeedConfig.from_toml(options.config, **overrides)
    return FeedConfig.from_env(os.environ, options.env_prefix, **overrides)


def _refuse(error: Exception) -> int:
    print(f"rbhq-stream: {' '.join(str(error).split())}", file=sys.stderr)
    return CONFIGURATION_WRONG


def _is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def closed_pipe_allowed() -> Iterator[None]:
    """Allows the reader of a pipe to close it, as `head` does. Python would report it again when it flushes at exit."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
