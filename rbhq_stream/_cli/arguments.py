"""The arguments of the commands, and how they are read from strings."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rbhq_stream._cli import commands

if TYPE_CHECKING:
    from rbhq_stream._board.agenda import Selection


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line. It sets `command` to the function to call."""
    parser = argparse.ArgumentParser(prog="rbhq-stream", description="RacebookHQ's racing feed in Python.")
    subparsers = parser.add_subparsers(required=True, metavar="command")

    def add(
        name: str, command: Callable[[argparse.Namespace], int], summary: str, description: str
    ) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=summary, description=description)
        added.set_defaults(command=command)
        return added

    demo = add(
        "demo",
        commands.demo,
        "watch a simulated race day, without an account or a server",
        "Plays a simulated race day to a Kafka broker inside the process and reads it as an application would. Ctrl-C"
        " ends it early.",
    )
    demo.add_argument("--seconds", type=_seconds, default=20.0, metavar="N", help="how long it takes (default: 20)")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="another seed gives another day (default: 1)")
    _add_plain(demo)
    check = add(
        "check",
        commands.check,
        "find out, step by step, why a feed does not work",
        "Checks each broker, the log-in, each topic and the consumer group, without disturbing a running feed. The"
        " configuration is read from environment variables, or from a TOML file. Exit status: 0 nothing failed,"
        " 1 something failed, 2 the configuration is wrong.",
    )
    _add_json(check)
    check.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="maximum time, in seconds (default: 30)"
    )
    _add_configuration(check)
    tail = add(
        "tail",
        commands.tail,
        "watch the feed of one race, one meeting or all",
        "Reads the feed without a consumer group, so it disturbs no other reader. In a terminal it draws a board of the"
        " markets, elsewhere it prints a line for each change. The configuration is read from environment variables, or"
        " from a TOML file. Ctrl-C ends it.",
    )
    _add_look(tail, since="now")
    _add_configuration(tail)
    replay = add(
        "replay",
        commands.replay,
        "watch a recording of the feed",
        "Shows what a feed has recorded, as tail would have shown it. Nothing is read from Kafka. Ctrl-C ends it"
        " early.",
    )
    _add_recording(replay)
    replay.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="N",
        help="60 shows a minute in a second; max does not wait (default: 1)",
    )
    _add_look(replay, since="earliest")
    record = add(
        "record",
        commands.record,
        "record the feed in a folder",
        "Reads the feed without a consumer group and records every record as it came, until Ctrl-C. A recording that is"
        " in the folder already is continued. The configuration is read from environment variables, or from a TOML"
        " file.",
    )
    record.add_argument("folder", metavar="DIR", type=Path, help="the folder of the recording")
    _add_since(record, "now")
    _add_configuration(record)
    health = add(
        "health",
        commands.health,
        "report whether a running feed is ready or alive",
        "Reads the file that a HealthFile keeps, for a probe of Kubernetes or of another supervisor. Exit status: 0 the"
        " feed is ready (or alive, with --live), 1 it is not, or the file is missing or too old.",
    )
    health.add_argument("file", metavar="FILE", type=Path, help="the path that was given to HealthFile")
    kind = health.add_mutually_exclusive_group()
    kind.add_argument("--ready", action="store_true", help="report whether its data are up to date (the default)")
    kind.add_argument("--live", action="store_true", help="report whether it is alive; if not, a restart can help")
    _add_json(health)
    health.add_argument(
        "--max-age",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="maximum age of the file, in seconds (default: 10)",
    )
    export = add(
        "export",
        commands.export,
        "write a recording as Parquet files",
        "Writes the events of a recording as one Parquet file for each table: prices, scratchings,"
        " statuses, results and dividends. Records that can't be decoded are left out.",
    )
    _add_recording(export)
    export.add_argument("folder", metavar="DIR", type=Path, help="where to write; files of the same names are replaced")
    return parser


def _add_recording(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recording", metavar="RECORDING", type=Path, help="the folder of the recording, or one of its files"
    )


def _add_look(parser: argparse.ArgumentParser, since: str) -> None:
    parser.add_argument(
        "selection", nargs="?", type=_selection, metavar="MEETING[-RACE]", help="for example 1397808-7 (default: all)"
    )
    _add_since(parser, since)
    parser.add_argument("--card", type=Path, metavar="FILE", help="RBHQ's race card, for names and scheduled starts")
    form = parser.add_mutually_exclusive_group()
    _add_plain(form)
    form.add_argument("--json", action="store_true", help="print each event as a line of JSON, for programs")
    parser.add_argument("--no-prices", action="store_true", help="print no lines for changes of prices")


def _add_since(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--since",
        default=default,
        metavar="WHEN",
        help=f"14:03, a date and time, 30m, 2h, 1d, earliest, or now (default: {default})",
    )


def _add_plain(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--plain", action="store_true", help="print lines instead of drawing, also in a terminal")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--config", metavar="FILE.toml", help="read the configuration from this file")
    origin.add_argument(
        "--env-prefix", default="RBHQ_", metavar="PREFIX", help="prefix of the environment variables (default: RBHQ_)"
    )


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
