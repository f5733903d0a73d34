"""`rbhq-stream tail`: what the feed says of one race, one meeting or all, as it comes."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

from rbhq_stream import Change, DecodeError, Feed, FeedConfig, HealthChanged, RaceBook, RaceCard, RaceEvent, Source
from rbhq_stream._board import screen
from rbhq_stream._board.agenda import ALL_RACES, Selection
from rbhq_stream._board.caption import Caption, Facts
from rbhq_stream._board.names import Names
from rbhq_stream._board.notices import FEED, Notice
from rbhq_stream._board.view import choose_view
from rbhq_stream._board.watch import Watch, utc_now
from rbhq_stream._interruption import Interruption
from rbhq_stream._tail.json_lines import event_line, health_line


def tail(
    config: FeedConfig,
    *,
    selection: Selection = ALL_RACES,
    card: RaceCard | None = None,
    plain: bool = False,
    with_prices: bool = True,
    source: Source | None = None,
) -> None:
    """Shows a board of the races, until Ctrl-C: as a picture in a terminal, else a line for each change.

    Args:
        config: What to read, from where on.
        selection: The races to show.
        card: The card with their names and scheduled starts.
        plain: Whether to print lines even in a terminal.
        with_prices: Whether lines tell changes of prices, too.
        source: Where to read from; Kafka by default.

    Raises:
        ConnectError: the feed could not connect, or has ended with a permanent error.
        DataLossError: records were deleted before they were read.
    """
    names = Names(card or RaceCard())
    book = RaceBook()
    watch = Watch(book, names, clock=utc_now, selection=selection, with_prices=with_prices)
    feed = Feed(config, source=source, on_bad_record=partial(_note_bad_record, watch), order="time")
    feed.on(HealthChanged, immediately=True)(watch.note_health)
    book.on(Change)(watch.note)
    book.follow(feed, is_whole=False)  # with --since it meets races in the middle; finality is not shown
    title = f"{names.selection(selection.meeting_id, selection.event_number)}, from {config.bootstrap_servers[0]}"
    view = choose_view(watch, Caption(title=title, facts=partial(_facts, feed, watch)), plain=plain)
    _run(feed, screen.log_not_shown() if view.is_drawn else _progress(feed), view)


def tail_json(config: FeedConfig, *, selection: Selection = ALL_RACES, source: Source | None = None) -> None:
    """Prints each event, and each change of the feed's health, as a line of JSON, until Ctrl-C.

    Args:
        config: What to read, from where on.
        selection: The races to show.
        source: Where to read from; Kafka by default.

    Raises:
        ConnectError: the feed could not connect, or has ended with a permanent error.
        DataLossError: records were deleted before they were read.
    """
    feed = Feed(config, source=source, on_bad_record="skip", order="time")

    @feed.on(RaceEvent)
    def show(event: RaceEvent) -> None:
        if event.race_id in selection:
            print(event_line(event), flush=True)

    @feed.on(HealthChanged)
    def show_health(signal: HealthChanged) -> None:
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
