"""Whether there is a terminal to draw in, and how log lines are kept out of it."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

RICH_HINT = "For a picture instead of lines: pip install 'rbhq-stream[cli]'"


def can_draw() -> bool:
    """Returns whether standard output is a terminal that shows more than plain ASCII lines."""
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
    return is_terminal and (sys.stdout.encoding or "").lower().startswith("utf")


def has_rich() -> bool:
    """Returns whether rich is installed, which is an optional extra."""
    return importlib.util.find_spec("rich") is not None


@contextmanager
def log_not_shown() -> Iterator[None]:
    """Keeps Python from writing the library's warnings over a board, which shows the same facts."""
    log, handler = logging.getLogger("rbhq_stream"), logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
