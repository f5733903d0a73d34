"""`rbhq-stream demo`: publishes a simulated race day to an embedded broker, and reads it as an application would."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any, Protocol

from typing_extensions import Self

from rbhq_stream import Feed, HealthChanged
from rbhq_stream._demo.board import Board, Notice
from rbhq_stream._demo.plain import Plain
from rbhq_stream._demo.play import Player
from rbhq_stream._demo.suspension import Suspension
from rbhq_stream._demo.tally import Tally
from rbhq_stream.testing import EmbeddedBroker

_CATCH_UP_SECONDS = 10.0
"""How long the feed may take to deliver the last events and to be live."""


class View(AbstractContextManager[Any], Protocol):
    """What the user sees: a picture, or plain lines."""

    def tell(self, notices: list[Notice]) -> None:
        """Shows the notices about an event or about the feed. From any thread."""

    def end(self, summary: list[str]) -> None:
        """Shows the summary."""


def run(*, seconds: float = 20.0, seed: int = 1, plain: bool = False) -> int:
    """Runs the demo. Ctrl-C ends it early, with the summary so far.

    Args:
        seconds: About how long it takes.
        seed: Selects the simulated day.
        plain: Whether to print lines even in a terminal.

    Returns:
        The exit status: 0 if every event was received or the user stopped it, 1 if an event was lost.
    """
    with _Interruption() as interruption, _log_not_shown():
        tally = Tally()
        player = Player(seed, seconds)
        board = Board(player.simulator.meetings)
        suspension = Suspension()
        view = _choose_view(board, tally, player, suspension, plain=plain)
        if not interruption.requested:
            with EmbeddedBroker() as broker:
                _consume(broker, player, board, suspension, tally=tally, view=view, interruption=interruption)
        view.end([*tally.summary(player.published, stopped=interruption.requested), *suspension.summary()])
        return 0 if interruption.requested or tally.events == player.published else 1


def _consume(
    broker: EmbeddedBroker,
    player: Player,
    board: Board,
    suspension: Suspension,
    *,
    tally: Tally,
    view: View,
    interruption: _Interruption,
) -> None:
    feed = Feed(broker.config(group_id="rbhq-demo"))
    feed.on(HealthChanged, immediately=True)(lambda signal: view.tell(suspension.note(signal, player.now())))
    interruption.then(player.stop, feed.stop)
    player.publish_backlog(broker)

    def when_all_is_published() -> None:
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while time.monotonic() < deadline and not player.is_stopped:
            if tally.events >= player.published and suspension.is_live:
                break
            time.sleep(0.01)
        feed.stop()

    try:
        with view, feed:
            for event in feed:
                tally.count(event, is_recovering=suspension.is_recovering)
                # Not earlier: the time that the feed takes to join its group is not the latency of an event.
                player.start(broker, when_all_is_published)
                view.tell(board.apply(event, player.now()))
    finally:
        player.join()
    if player.failure is not None:
        raise player.failure


def _choose_view(board: Board, tally: Tally, player: Player, suspension: Suspension, *, plain: bool) -> View:
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
    can_draw = (sys.stdout.encoding or "").lower().startswith("utf")
    if plain or not is_terminal or not can_draw:
        return Plain()
    if importlib.util.find_spec("rich") is None:
        return Plain(hint="For a picture instead of lines: pip install 'rbhq-stream[cli]'")
    from rbhq_stream._demo.picture import Picture, is_large_enough  # noqa: PLC0415  # it needs rich, an optional extra

    return Picture(board, tally, suspension, player.now, player.speed) if is_large_enough() else Plain()


@contextmanager
def _log_not_shown() -> Iterator[None]:
    """Keeps Python from writing the feed's warnings among the lines or over the picture, which show the same."""
    log, handler = logging.getLogger("rbhq_stream"), logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Interruption:
    """Turns Ctrl-C and SIGTERM into a request to end, instead of an exception at an arbitrary point of the program."""

    def __init__(self) -> None:
        self.requested = False
        self._actions: tuple[Callable[[], None], ...] = ()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def then(self, *actions: Callable[[], None]) -> None:
        """Sets the action for the request, and performs it at once if the request was made already."""
        self._actions = actions
        if self.requested:
            self._act()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:  # a second signal may arrive while the first one is handled
            self.requested = True
            self._act()

    def _act(self) -> None:
        for action in self._actions:
            action()
