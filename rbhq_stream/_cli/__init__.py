"""The command `rbhq-stream`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from rbhq_stream._cli.arguments import parser
from rbhq_stream._cli.commands import CONFIGURATION_WRONG, closed_pipe_allowed
from rbhq_stream.errors import RbhqStreamError

STOPPED = 130
"""The exit status with which a shell reports Ctrl-C."""

__all__ = ["CONFIGURATION_WRONG", "main", "parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command with the given arguments, or with those of the process. Returns its exit status."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        with closed_pipe_allowed():
            return command(options)
    except KeyboardInterrupt:
        print("rbhq-stream: stopped", file=sys.stderr)
        return STOPPED
    except RbhqStreamError as error:
        print(f"rbhq-stream: {error}", file=sys.stderr)
        return 1
    return 0
