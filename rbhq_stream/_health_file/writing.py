"""`HealthFile`: keeps the health of a feed in a small file while the process runs."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from rbhq_stream._config import feed_name
from rbhq_stream._durable_files import write_atomically
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.feed import Feed
from rbhq_stream.health import Health, HealthReason

_log = logging.getLogger("rbhq_stream")

LOOK_INTERVAL = 0.2
"""Seconds between two looks at the health."""
WRITE_INTERVAL = 1.0
"""Seconds after which the file is written again although the reason has not changed."""


class HealthFile:
    """Keeps the health of a feed in a small JSON file, for a probe from outside the process.

    It is written by a thread of its own: when it is entered, within a fraction of a second after each change, and every
    second. The file carries the time at which it was written, so a process that hangs, or was killed, is recognised by
    a file that is not written any more. A reader never sees half a file, as each one replaces the one before it.
    `rbhq-stream health FILE` reads it.

    >>> feed = Feed(config)
    >>> with HealthFile("/run/pricing/health.json", feed), feed:
    ...     for event in feed: ...

    Enter it before the feed, so that the file exists while the feed connects. When it is left, the file states that the
    feed is neither alive nor ready, and why the feed ended.

    Args:
        path: the file, in a folder that exists and is on a local disk or in memory.
        feed: the feed. Each feed of a process needs a file of its own.
        stuck_after: as for `Health.is_alive`, in seconds.
    """

    def __init__(self, path: str | os.PathLike[str], feed: Feed | AsyncFeed, *, stuck_after: float = 300.0) -> None:
        self._path = Path(path)
        self._feed = feed
        self._stuck_after = stuck_after
        self._pid: int | None = None
        self._has_failed = False  # written by the thread
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<HealthFile {str(self._path)!r} of {self._feed!r}>"

    def __enter__(self) -> Self:
        """Writes the file for the first time, and starts the thread.

        Raises:
            OSError: the file can't be written.
            ForkedFeedError: the feed was entered before this process was forked.
        """
        self._write(self._feed.health)
        self._pid = os.getpid()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rbhq_stream health file", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pid != os.getpid():
            return  # in a forked child: the file is the parent's
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        reason: HealthReason | None = None
        written_at = float("-inf")
        while not self._end.wait(LOOK_INTERVAL):
            health = self._feed.health
            now = time.monotonic()
            if health.reason is not reason or now - written_at >= WRITE_INTERVAL:
                self._try_to_write(health)
                reason, written_at = health.reason, now
        self._try_to_write(self._feed.health, is_last=True)

    def _try_to_write(self, health: Health, *, is_last: bool = False) -> None:
        """Writes the file, and logs when that begins to fail. It is tried again at the next interval."""
        try:
            self._write(health, is_last=is_last)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                with suppress(Exception):  # from a logging handler of the application
                    _log.error("the health can't be written, so probes will fail: %s: %s", self._path, error)

    def _write(self, health: Health, *, is_last: bool = False) -> None:
        config = self._feed.config
        text = f"the {feed_name(config)} is {health}"
        document = {
            "written_at": datetime.now(timezone.utc).isoformat(),
            "is_alive": health.is_alive(stuck_after=self._stuck_after) and not is_last,
            "is_ready": health.is_ready() and not is_last,
            "text": f"the application has ended; {text}" if is_last else text,
            "process": os.getpid(),
            "group_id": config.group_id,
            "topics": list(config.topics.names),
            **health.to_dict(),
        }
        data = json.dumps(document, indent=1).encode() + b"\n"
        write_atomically(self._path, data, durable=False)  # after a crash of the machine nobody is alive anyway
