"""`rbhq-stream record`: writes what the feed delivers into a folder, until the user ends it."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from rbhq_stream import Event, Feed, FeedConfig, HealthChanged, RecordingError, RecordingFailed
from rbhq_stream._board import screen
from rbhq_stream._interruption import Interruption
from rbhq_stream._kinds import EVENT_KINDS


def record(config: FeedConfig, folder: Path) -> None:
    """Records until Ctrl-C or SIGTERM, and prints what was recorded. Changes of the feed's health go to standard error.

    Args:
        config: What to record, and from where.
        folder: Where to; a recording that is there already is continued.

    Raises:
        ConnectError: the feed could not connect, or has ended with a permanent error.
        DataLossError: records were deleted before they were read.
        RecordingError: the folder can't be written to, or the recording has failed. A feed would continue without its
            recording, but this command has no other purpose.
    """
    # a record that can't be decoded is recorded like any other
    feed = Feed(config, record_to=folder, on_bad_record=lambda _: None)

    @feed.on(HealthChanged, immediately=True)
    def report(signal: HealthChanged) -> None:
        print(signal.health, file=sys.stderr, flush=True)

    failures: list[RecordingFailed] = []

    @feed.on(RecordingFailed, immediately=True)
    def end(failed: RecordingFailed) -> None:
        failures.append(failed)
        feed.stop()

    counts: Counter[type[Event]] = Counter()
    with screen.log_not_shown(), ExitStack() as stack:  # the log has nothing that is not printed
        interruption = stack.enter_context(Interruption())
        interruption.then(feed.stop)
        if sys.stderr.isatty() and screen.has_rich():
            from rbhq_stream._board.progress import CatchUpBar  # noqa: PLC0415  # it needs rich, an optional extra

            stack.enter_context(CatchUpBar(lambda: feed.health))
        stack.enter_context(feed)
        for event in feed:
            counts[type(event)] += 1
    for failed in failures:
        problem = f"it has failed: {failed.problem}. {failed.missing:,} records that were read are not in it"
        raise RecordingError(failed.path, problem)
    for kind in EVENT_KINDS:
        print(f"{counts[kind.event]:12,} {kind.name} events")
    if feed.stats.bad_records:
        print(f"{feed.stats.bad_records:12,} records that can't be decoded")
