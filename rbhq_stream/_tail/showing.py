"""Shows what a feed delivers, until it ends or the user ends it: as a board, as lines or as JSON."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from attrs import frozen

from rbhq_stream import Change, DecodeError, Feed, HealthChanged, RaceBook, RaceCard, RaceEvent
from rbhq_stream._board import screen
from rbhq_stream._board.agenda import ALL_RACES, Selection
from rbhq_stream._board.caption import Caption, Facts
from rbhq_stream._board.names import Names
from rbhq_stream._board.notices import FEED, Notice
from rbhq_stream._board.view import choose_view
from rbhq_stream._board.watch import Watch, utc_now
from rbhq_stream._interruption import Interruption
from rbhq_stream._tail.json_lines import event_line, health_line
from rbhq_stream._tail.origins import Origin

_FLASH_SECONDS = 0.6


@frozen(kw_only=True)
class Look:
    """What the user wants to see, and how."""

    selection: Selection = ALL_RACES
    """The races to show."""
    card: RaceCard = RaceCard()
    """Their names and scheduled starts."""
    as_json: bool = False
    """Whether to print the events as JSON."""
    plain: bool = False
    """Whether to print lines even in a terminal."""
    with_prices: bool = True
    """Whether changes of prices are printed as lines, too."""


def show(origin: Origin, look: Look) -> None:
    """Shows the events of an origin, until its end or Ctrl-C.

    Args:
        origin: Where the events come from.
        look: What to show, and how.

    Raises:
        ConnectError: the feed could not connect, or has ended with a permanent error.
        DataLossError: records were deleted before they were read.
        RecordingError: the recording can't be read.
    """
    if look.as_json:
        _show_json(origin, look)
    else:
        _show_board(origin, look)


def _show_board(origin: Origin, look: Look) -> None:
    names = Names(look.card)
    book = RaceBook()

    def clock() -> datetime:
        return (book.newest_at if origin.speed is not None else None) or utc_now()

    watch = Watch(book, names, clock=clock, selection=look.selection, with_prices=look.with_prices)
    feed = origin.feed(on_bad_record=partial(_note_bad_record, watch))
    feed.on(HealthChanged, immediately=True)(watch.note_health)
    book.on(Change)(watch.note)
    # it may start in the middle of a race, and shows nothing that depends on the beginning
    book.follow(feed, is_whole=False)
    caption = Caption(
        title=f"{names.selection(look.selection.meeting_id, look.selection.event_number)}, from {origin.name}",
        facts=partial(_facts, feed, watch),
        speed=origin.speed,
        flash=timedelta(seconds=_FLASH_SECONDS * min(origin.speed or 1, 3600)),
    )
    view = choose_view(watch, caption, plain=look.plain)
    _run(feed, screen.log_not_shown() if view.is_drawn else _progress(feed), view)
    if origin.speed is not None:
        summary = [f"{feed.stats.events:,} events were replayed from {origin.name}"]
        if not any(map(watch.is_known, watch.races())):
            summary.append(f"none of them is about {look.selection}")
        view.end(summary)


def _show_json(origin: Origin, look: Look) -> None:
    feed = origin.feed(on_bad_record="skip")

    @feed.on(RaceEvent)
    def print_event(event: RaceEvent) -> None:
        if event.race_id in look.selection:
            print(event_line(event), flush=True)

    @feed.on(HealthChanged)
    def print_health(signal: HealthChanged) -> None:
        print(health_line(signal), flush=True)

    _run(feed, _progress(feed))


def _run(feed: Feed, *around: AbstractContextManager[Any]) -> None:
    """Runs the feed until Ctrl-C, within what is around it."""
    with Interruption() as interruption, ExitStack() as contexts:
        interruption.then(feed.stop)
        for context in around:
            contexts.enter_context(context)
        with feed:
            feed.run()


def _progress(feed: Feed) -> AbstractContextManager[Any]:
    """Returns a bar on standard error while the feed catches up, if the lines go elsewhere than to the terminal."""
    if sys.stdout.isatty() or not sys.stderr.isatty() or not screen.has_rich():
        return nullcontext()
    from rbhq_stream._board.progress import CatchUpBar  # noqa: PLC0415  # it needs rich, an optional extra

    return CatchUpBar(lambda: feed.health)


def _facts(feed: Feed, watch: Watch) -> Facts:
    figures = feed.health.figures
    facts = [(f"{figures.events:,}", "events"), (f"{figures.lag:,}", "waiting"), (f"{len(watch.races()):,}", "races")]
    if figures.bad_records:
        facts.append((f"{figures.bad_records:,}", "bad records"))
    return facts


def _note_bad_record(watch: Watch, error: DecodeError) -> None:
    watch.publish(Notice(utc_now(), "BAD RECORD", FEED, " ".join(str(error).split())))
