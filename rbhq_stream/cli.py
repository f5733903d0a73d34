"""The command `rbhq-stream`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from rbhq_stream.errors import RbhqStreamError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command with the arguments of the process, or with those given. Returns its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        print("stopped")
        return 0
    except BrokenPipeError:
        # whoever read our lines has gone, e.g. `| head`; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RbhqStreamError as error:
        print(f"rbhq-stream: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rbhq-stream", description="RacebookHQ's racing feed in Python.")
    commands = parser.add_subparsers(required=True, metavar="command")
    demo = commands.add_parser(
        "demo",
        help="watch a simulated race day, without an account or a server",
        description="Plays a simulated race day to a Kafka broker inside the process and reads it as an application"
        " would. Ctrl-C ends it early.",
    )
    demo.add_argument("--seconds", type=_seconds, default=20.0, metavar="N", help="how long it takes (20)")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="another number, another day (1)")
    demo.add_argument("--plain", action="store_true", help="lines instead of a picture, also in a terminal")
    demo.set_defaults(command=_demo)
    return parser


def _demo(options: argparse.Namespace) -> int:
    # only this command needs it
    from rbhq_stream.demo import run  # noqa: PLC0415 (as said)

    return run(seconds=options.seconds, seed=options.seed, plain=options.plain)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.5 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be from 0.5 to 3600")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
