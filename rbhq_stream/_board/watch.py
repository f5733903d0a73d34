"""`Watch`: what a board shows: a book, the health of its feed, and the notices about both."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from rbhq_stream import Change, Gap, Health, HealthChanged, HealthState, PriceChanged, RaceBook, RaceId, RaceState
from rbhq_stream._board import agenda
from rbhq_stream._board.agenda import ALL_RACES, Selection
from rbhq_stream._board.market import Market, market
from rbhq_stream._board.names import Names
from rbhq_stream._board.notices import Notice, distrust, health_notice, notice
from rbhq_stream._board.trails import Trails

_NOTICES = 100


def record_time(change: Change) -> datetime | None:
    """Returns when the record of a change was written; `None` if that is not known."""
    return None if change.recorded is None else change.recorded.time


def utc_now() -> datetime:
    """Returns the present time."""
    return datetime.now(timezone.utc)


class Watch:
    """A book, the health of its feed, and what is notable about both.

    The thread that reads the feed calls `note`, the feed's own thread `note_health`; any thread may read.

    Args:
        book: The book. Register `note` for its changes.
        names: The names of races and runners.
        clock: The present time, an aware time.
        time_of: When a change happened; by default, when its record was written.
        selection: The races to show.
        lingers: How long a market is shown after betting has ended.
        with_prices: Whether changes of prices are reported, too. They are never among the `notices`.
    """

    def __init__(
        self,
        book: RaceBook,
        names: Names,
        *,
        clock: Callable[[], datetime],
        time_of: Callable[[Change], datetime | None] = record_time,
        selection: Selection = ALL_RACES,
        lingers: timedelta = timedelta(minutes=3),
        with_prices: bool = True,
    ) -> None:
        self.names = names
        self.clock = clock
        self._book = book
        self._time_of = time_of
        self._selection = selection
        self._lingers = lingers
        self._with_prices = with_prices
        self._report: Callable[[Notice], None] | None = None
        self._lock = threading.Lock()  # guards what follows
        self._trails = Trails()
        self._notices: deque[Notice] = deque(maxlen=_NOTICES)
        self._gaps: list[Gap] = []
        self._health: Health | None = None
        self._is_recovering = False

    def report_to(self, report: Callable[[Notice], None]) -> None:
        """Sets what is called with each notice from now on, by the thread that noted it."""
        self._report = report

    # noting

    def note(self, change: Change) -> None:
        """Notes a change of the book."""
        if change.race_id not in self._selection:
            return
        at = self._time_of(change) or self.clock()
        with self._lock:
            self._trails.note(change, at)
        if isinstance(change, PriceChanged):
            self._report_price(change, at)
        else:
            self.publish(notice(change, self.names, at))

    def _report_price(self, change: PriceChanged, at: datetime) -> None:
        if not self._with_prices or self._report is None:
            return
        is_scratched = change.runner_number in self._book[change.race_id].scratched
        new = None if is_scratched else notice(change, self.names, at)  # its scratching reports that the price is gone
        if new is not None:
            self._report(new)

    def note_health(self, signal: HealthChanged) -> None:
        """Notes a change of the feed's health."""
        with self._lock:
            self._health = health = signal.health
            self._is_recovering = not health.ok and (self._is_recovering or health.state is HealthState.DOWN)
            if signal.gap is not None:
                self._gaps.append(signal.gap)
        self.publish(health_notice(signal, self.clock()))

    def publish(self, new: Notice | None) -> None:
        """Adds a notice; `None` for nothing."""
        if new is not None:
            with self._lock:
                self._notices.append(new)
            if self._report is not None:
                self._report(new)

    # reading

    @property
    def is_live(self) -> bool:
        """Whether the feed can be trusted."""
        health = self._health
        return health is not None and health.ok

    @property
    def is_recovering(self) -> bool:
        """Whether the feed was down, and has not been live since."""
        return self._is_recovering

    @property
    def why_not(self) -> str:
        """Why the feed can't be trusted, in words."""
        health = self._health
        return "the feed has not been started" if health is None else distrust(health)

    @property
    def gaps(self) -> list[Gap]:
        """The times for which the feed was not live, after it had been."""
        with self._lock:
            return list(self._gaps)

    def notices(self, count: int) -> list[Notice]:
        """Returns the newest notices, the newest one first.

        They are sorted, because they don't arrive in time order while the feed catches up.
        """
        with self._lock:
            arrived_last_first = list(reversed(self._notices))
        return sorted(arrived_last_first, key=lambda new: new.at, reverse=True)[: max(0, count)]

    def races(self) -> list[RaceId]:
        """Returns the races of the selection that the book or the card has, in the order of their starts."""
        known = {*self._book, *(race.race_id for race in self.names.card.races)}
        return agenda.in_order((race_id for race_id in known if race_id in self._selection), self.names)

    def is_over(self, race_id: RaceId) -> bool:
        """Returns whether the market of a race is no longer shown."""
        with self._lock:
            shut_at = self._trails.shut_at(race_id)
        return agenda.is_over(self.names.start(race_id), shut_at, self.clock(), self._lingers)

    def is_known(self, race_id: RaceId) -> bool:
        """Returns whether something was published about a race, as far as the book goes."""
        return race_id in self._book

    def market(self, race_id: RaceId) -> Market:
        """Returns the market of a race."""
        with self._lock:
            trails = self._trails.of_race(race_id)
        race = self._book.get(race_id) or RaceState(race_id)
        return market(race, self.names, trails, is_trusted=self.is_live)
