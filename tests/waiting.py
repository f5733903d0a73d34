"""Waits for other threads and processes."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(done: Callable[[], object], what: str, timeout: float = 60) -> float:
    """Waits until `done()` is true, and returns how many seconds that took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() < began + timeout, f"not so after {timeout:g} s: {what}"
        time.sleep(0.01)
    return time.monotonic() - began
