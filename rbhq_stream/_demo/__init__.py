"""`rbhq-stream demo`: publishes a simulated race day to an embedded broker, and reads it as an application would."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

from rbhq_stream import Change, Feed, HealthChanged, HealthRules, RaceBook, RaceEvent
from rbhq_stream._board.caption import Caption, Facts
from rbhq_stream._board.names import Names
from rbhq_stream._board.notices import recovery
from rbhq_stream._board.screen import log_not_shown
from rbhq_stream._board.view import View, choose_view
from rbhq_stream._board.watch import Watch
from rbhq_stream._demo.play import MELBOURNE, Player
from rbhq_stream._demo.tally import Tally
from rbhq_stream._interruption import Interruption
from rbhq_stream.testing import EmbeddedBroker

_CATCH_UP_SECONDS = 10.0
"""How long the feed may take to deliver the last events and to be live."""
_LINGERS = timedelta(seconds=50)
"""How long, in simulated time, a race is shown after betting on it has ended."""
_FLASH_SECONDS = 0.15


def run(*, seconds: float = 20.0, seed: int = 1, plain: bool = False) -> int:
    """Runs the demo. Ctrl-C ends it early, with the summary so far.

    Args:
        seconds: About how long it takes.
        seed: Selects the simulated day.
        plain: Whether to print lines even in a terminal.

    Returns:
        The exit status: 0 if every event was received or the user stopped it, 1 if an event was lost.
    """
    with Interruption() as interruption, log_not_shown():
        tally = Tally()
        player = Player(seed, seconds)
        book = RaceBook()
        names = Names(player.simulator.card)
        watch = Watch(book, names, clock=player.now, lingers=_LINGERS, with_prices=False)
        caption = Caption(
            title="a simulated race day, through rbhq_stream",
            facts=partial(_facts, tally),
            zone=MELBOURNE,
            speed=player.speed,
            flash=timedelta(seconds=_FLASH_SECONDS * player.speed),
        )
        view = choose_view(watch, caption, plain=plain)
        if not interruption.requested:
            with EmbeddedBroker() as broker:
                _consume(broker, player, book, watch, tally=tally, view=view, interruption=interruption)
        outages = [f"  outage: {recovery(gap)}" for gap in watch.gaps]
        view.end([*tally.summary(player.published, stopped=interruption.requested), *outages])
        return 0 if interruption.requested or tally.events == player.published else 1


def _consume(
    broker: EmbeddedBroker,
    player: Player,
    book: RaceBook,
    watch: Watch,
    *,
    tally: Tally,
    view: View,
    interruption: Interruption,
) -> None:
    # the records have the times of the simulated day, which is not today
    feed = Feed(broker.config(group_id="rbhq-demo"), health=HealthRules(max_clock_skew=None))
    interruption.then(player.stop, feed.stop)
    player.publish_backlog(broker)

    def when_all_is_published() -> None:
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while time.monotonic() < deadline and not player.is_stopped:
            if tally.events >= player.published and watch.is_live:
                break
            time.sleep(0.01)
        feed.stop()

    @feed.on(RaceEvent)
    def count(event: RaceEvent) -> None:
        tally.count(event, is_recovering=watch.is_recovering)
        # Not earlier: the time that the feed takes to join its group is not the latency of an event.
        player.start(broker, when_all_is_published)

    feed.on(HealthChanged, immediately=True)(watch.note_health)
    book.on(Change)(watch.note)
    book.follow(feed, is_whole=True)  # a new group, with one member, from the beginning
    try:
        with view, feed:
            feed.run()
    finally:
        player.join()
    if player.failure is not None:
        raise player.failure


def _facts(tally: Tally) -> Facts:
    facts = [(f"{tally.events:,}", "events"), (f"{tally.rate:,.0f}", "a second")]
    latency = tally.latency(newest=1000)
    if latency is not None:
        facts += [(f"{latency[0]:.1f} ms", "latency"), (f"{latency[1]:.1f} ms", "p99")]
    return facts
