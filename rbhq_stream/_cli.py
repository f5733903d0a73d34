"""The command `rbhq-stream`."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbhq_stream.errors import ConfigError, DecodeError, RbhqStreamError, RecordingError

if TYPE_CHECKING:
    from rbhq_stream._board.agenda import Selection
    from rbhq_stream._config import FeedConfig
    from rbhq_stream._tail import Look

CONFIGURATION_WRONG = 2
STOPPED = 130
"""The exit status with which a shell reports Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command with the given arguments, or with those of the process. Returns its exit status."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        with _closed_pipe_allowed():
            return command(options)
    except KeyboardInterrupt:
        print("stopped")
    except RbhqStreamError as error:
        print(f"rbhq-stream: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(prog="rbhq-stream", description="RacebookHQ's racing feed in Python.")
    commands = parser.add_subparsers(required=True, metavar="command")
    demo = commands.add_parser(
        "demo",
        help="watch a simulated race day, without an account or a server",
        description="Plays a simulated race day to a Kafka broker inside the process and reads it as an application"
        " would. Ctrl-C ends it early.",
    )
    demo.add_argument("--seconds", type=_seconds, default=20.0, metavar="N", help="how long it takes (default: 20)")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="another seed gives another day (default: 1)")
    demo.add_argument("--plain", action="store_true", help="print lines instead of drawing, also in a terminal")
    demo.set_defaults(command=_demo)
    check = commands.add_parser(
        "check",
        help="find out, step by step, why a feed does not work",
        description="Checks each broker, the log-in, each topic and the consumer group, without disturbing a running"
        " feed. The configuration is read from environment variables, or from a TOML file. Exit status: 0 nothing"
        " failed, 1 something failed, 2 the configuration is wrong.",
    )
    check.add_argument("--json", action="store_true", help="print JSON, for programs")
    check.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="seconds that it may take (default: 30)"
    )
    _add_configuration(check)
    check.set_defaults(command=_check)
    tail = commands.add_parser(
        "tail",
        help="watch the feed of one race, one meeting or all",
        description="Reads the feed without a consumer group, so it disturbs no other reader. In a terminal it draws a"
        " board of the markets, elsewhere it prints a line for each change. The configuration is read from environment"
        " variables, or from a TOML file. Ctrl-C ends it.",
    )
    _add_look(tail, since="now")
    _add_configuration(tail)
    tail.set_defaults(command=_tail)
    replay = commands.add_parser(
        "replay",
        help="watch a recording of the feed",
        description="Shows what a feed has recorded, as tail would have shown it. Nothing is read from Kafka. Ctrl-C"
        " ends it early.",
    )
    replay.add_argument("file", metavar="FILE", type=Path, help="the folder of the recording, or one of its files")
    replay.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="60: a minute in a second; max: no waiting (default: 1)"
    )
    _add_look(replay, since="earliest")
    replay.set_defaults(command=_replay)
    record = commands.add_parser(
        "record",
        help="record the feed in a folder",
        description="Reads the feed without a consumer group and records every record as it came, until Ctrl-C. A"
        " recording that is in the folder already is continued. The configuration is read from environment variables,"
        " or from a TOML file.",
    )
    record.add_argument("folder", metavar="DIR", type=Path, help="where to record")
    record.add_argument(
        "--since",
        default="now",
        metavar="WHEN",
        help="14:03, a date and time, 30m, 2h, 1d, earliest, or now (default: now)",
    )
    _add_configuration(record)
    record.set_defaults(command=_record)
    health = commands.add_parser(
        "health",
        help="whether a running feed is ready, or alive, by its HealthFile",
        description="Reads the file that a HealthFile keeps, for a probe of Kubernetes or of another supervisor. Exit"
        " status: 0 the feed is ready (or alive, with --live), 1 it is not, or the file is missing or too old.",
    )
    health.add_argument("file", metavar="FILE", type=Path, help="the path that was given to HealthFile")
    kind = health.add_mutually_exclusive_group()
    kind.add_argument("--ready", action="store_true", help="whether it can serve what it knows (the default)")
    kind.add_argument("--live", action="store_true", help="whether a restart of the process would be pointless")
    health.add_argument("--json", action="store_true", help="print JSON, for programs")
    health.add_argument(
        "--max-age", type=_seconds, default=10.0, metavar="S", help="seconds a file is believed (default: 10)"
    )
    health.set_defaults(command=_health)
    export = commands.add_parser(
        "export",
        help="write a recording as Parquet files",
        description="Writes the events of a recording, made with Feed(record_to=…), as one Parquet file for each kind"
        " of row: prices, scratchings, statuses, results and dividends. Records that can't be decoded are left out.",
    )
    export.add_argument("recording", metavar="RECORDING", type=Path, help="the folder of the recording")
    export.add_argument("folder", metavar="DIR", type=Path, help="where to write; files of the same names are replaced")
    export.set_defaults(command=_export)
    return parser


def _add_look(parser: argparse.ArgumentParser, since: str) -> None:
    parser.add_argument(
        "selection", nargs="?", type=_selection, metavar="MEETING[-RACE]", help="for example 1397808-7 (default: all)"
    )
    parser.add_argument(
        "--since",
        default=since,
        metavar="WHEN",
        help=f"14:03, a date and time, 30m, 2h, 1d, earliest, or now (default: {since})",
    )
    parser.add_argument("--card", type=Path, metavar="FILE", help="RBHQ's race card, for names and scheduled starts")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--plain", action="store_true", help="print lines instead of drawing, also in a terminal")
    form.add_argument("--json", action="store_true", help="print each event as a line of JSON, for programs")
    parser.add_argument("--no-prices", action="store_true", help="print no lines for changes of prices")


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--config", metavar="FILE.toml", help="read the configuration from this file")
    origin.add_argument(
        "--env-prefix", default="RBHQ_", metavar="PREFIX", help="prefix of the environment variables (default: RBHQ_)"
    )


def _demo(options: argparse.Namespace) -> int:
    from rbhq_stream._demo import run  # noqa: PLC0415  # other commands start faster without

    return run(seconds=options.seconds, seed=options.seed, plain=options.plain)


def _check(options: argparse.Namespace) -> int:
    from rbhq_stream._diagnose import diagnose  # noqa: PLC0415  # other commands start faster without

    try:
        diagnosis = diagnose(_configuration(options), timeout=options.timeout)
    except ConfigError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        print("rbhq-stream: stopped", file=sys.stderr)
        return STOPPED
    text = json.dumps(diagnosis.to_dict(), indent=2) if options.json else diagnosis.as_text(colour=_is_coloured())
    with _closed_pipe_allowed():
        print(text, flush=True)
    return 0 if diagnosis.ok else 1


def _tail(options: argparse.Namespace) -> int:
    from rbhq_stream._tail import live, parse_since, show  # noqa: PLC0415  # other commands start faster without

    try:
        look = _look(options)
        start = parse_since(options.since, datetime.now().astimezone())
        origin = live(_configuration(options, group_id=None, start=start))
    except (ConfigError, DecodeError, OSError, ValueError) as error:
        return _refuse(error)
    show(origin, look)
    return 0


def _replay(options: argparse.Namespace) -> int:
    from rbhq_stream._tail import recorded, show  # noqa: PLC0415  # other commands start faster without

    try:
        look = _look(options)
        origin = recorded(options.file, speed=options.speed, since=options.since, selection=look.selection)
    except (ConfigError, DecodeError, OSError, RecordingError, ValueError) as error:
        return _refuse(error)
    show(origin, look)
    return 0


def _record(options: argparse.Namespace) -> int:
    from rbhq_stream._tail import parse_since, record  # noqa: PLC0415  # other commands start faster without

    try:
        start = parse_since(options.since, datetime.now().astimezone())
        config = _configuration(options, group_id=None, start=start)
    except (ConfigError, OSError, ValueError) as error:
        return _refuse(error)
    record(config, options.folder)
    return 0


def _look(options: argparse.Namespace) -> Look:
    from rbhq_stream._board.agenda import ALL_RACES  # noqa: PLC0415  # other commands start faster without
    from rbhq_stream._race_card import RaceCard  # noqa: PLC0415  # other commands start faster without
    from rbhq_stream._tail import Look  # noqa: PLC0415  # other commands start faster without

    return Look(
        selection=options.selection or ALL_RACES,
        card=RaceCard() if options.card is None else RaceCard.decode(options.card.read_bytes()),
        as_json=options.json,
        plain=options.plain,
        with_prices=not options.no_prices,
    )


def _configuration(options: argparse.Namespace, **overrides: Any) -> FeedConfig:
    from rbhq_stream._config import FeedConfig  # noqa: PLC0415  # other commands start faster without

    if options.config:
        return FeedConfig.from_toml(options.config, **overrides)
    return FeedConfig.from_env(os.environ, options.env_prefix, **overrides)


def _refuse(error: Exception) -> int:
    print(f"rbhq-stream: {' '.join(str(error).split())}", file=sys.stderr)
    return CONFIGURATION_WRONG


def _health(options: argparse.Namespace) -> int:
    from rbhq_stream._health_file import HealthReport  # noqa: PLC0415  # other commands start faster without

    report = HealthReport.read(options.file, max_age=options.max_age)
    print(json.dumps(report.to_dict(), indent=2) if options.json else report, flush=True)
    return 0 if (report.is_alive if options.live else report.is_ready) else 1


def _export(options: argparse.Namespace) -> int:
    from rbhq_stream._recording import Recording  # noqa: PLC0415  # other commands start faster without
    from rbhq_stream._tables import export  # noqa: PLC0415  # other commands start faster without

    recording = Recording(options.recording)
    bad: list[str] = []
    try:
        rows = export(recording.events(on_bad_record=lambda error: bad.append(str(error.record))), options.folder)
    except (ImportError, OSError, ValueError) as error:
        print(f"rbhq-stream: {error}", file=sys.stderr)
        return 1
    for name, count in rows.items():
        print(f"{count:12,} {name}")
    for cut in recording.cuts:
        print(f"rbhq-stream: {cut.path} was cut off at byte {cut.at}: {cut.reason}", file=sys.stderr)
    if bad:
        print(f"rbhq-stream: left out {len(bad):,} records that can't be decoded, first {bad[0]}", file=sys.stderr)
    return 0


def _is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def _closed_pipe_allowed() -> Iterator[None]:
    """Allows the reader of a pipe to close it, as `head` does. Python would report it again when it flushes at exit."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _selection(text: str) -> Selection:
    from rbhq_stream._board.agenda import Selection  # noqa: PLC0415  # other commands start faster without

    try:
        return Selection.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected the id of a race such as 1397808-7, or of a meeting such as 1397808, got {text!r}"
        ) from None


def _speed(text: str) -> float:
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"expected a positive number such as 60, or max, got {text!r}")
    return speed


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds, from 0.5 to 3600, got {text!r}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
