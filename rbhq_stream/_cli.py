"""The command `rbhq-stream`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rbhq_stream.errors import ConfigError, RbhqStreamError

CONFIGURATION_WRONG = 2
STOPPED = 130
"""The exit status with which a shell reports Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command with the given arguments, or with those of the process. Returns its exit status."""
    options = _parser().parse_args(arguments)
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


def _parser() -> argparse.ArgumentParser:
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
    origin = check.add_mutually_exclusive_group()
    origin.add_argument("--config", metavar="FILE.toml", help="read the configuration from this file")
    origin.add_argument(
        "--env-prefix", default="RBHQ_", metavar="PREFIX", help="prefix of the environment variables (default: RBHQ_)"
    )
    check.set_defaults(command=_check)
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
    return parser


def _demo(options: argparse.Namespace) -> int:
    from rbhq_stream._demo import run  # noqa: PLC0415  # other commands start faster without

    return run(seconds=options.seconds, seed=options.seed, plain=options.plain)


def _check(options: argparse.Namespace) -> int:
    from rbhq_stream._config import FeedConfig  # noqa: PLC0415  # other commands start faster without
    from rbhq_stream._diagnose import diagnose  # noqa: PLC0415  # other commands start faster without

    try:
        config = (
            FeedConfig.from_toml(options.config)
            if options.config
            else FeedConfig.from_env(os.environ, options.env_prefix)
        )
        diagnosis = diagnose(config, timeout=options.timeout)
    except ConfigError as error:
        print(f"rbhq-stream: {' '.join(str(error).split())}", file=sys.stderr)
        return CONFIGURATION_WRONG
    except KeyboardInterrupt:
        print("rbhq-stream: stopped", file=sys.stderr)
        return STOPPED
    text = json.dumps(diagnosis.to_dict(), indent=2) if options.json else diagnosis.as_text(colour=_is_coloured())
    with _closed_pipe_allowed():
        print(text, flush=True)
    return 0 if diagnosis.ok else 1


def _health(options: argparse.Namespace) -> int:
    from rbhq_stream._health_file import HealthReport  # noqa: PLC0415  # other commands start faster without

    report = HealthReport.read(options.file, max_age=options.max_age)
    print(json.dumps(report.to_dict(), indent=2) if options.json else report, flush=True)
    return 0 if (report.is_alive if options.live else report.is_ready) else 1


def _is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def _closed_pipe_allowed() -> Iterator[None]:
    """Allows the reader of a pipe to close it, as `head` does. Python would report it again when it flushes at exit."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
