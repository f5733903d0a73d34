"""What readers see of one race, while another thread applies events to it.

A reader sees the race before an event or after it, never a mixture. No lock is needed for that, which an interrupt
could leave held for ever. Each event makes one change that is atomic: its updates are appended to the log of prices or,
where it changes more than prices, another log and the new facts replace the present ones in one assignment. A reader
takes both, and takes them again if they were replaced before it knew the position in the log. Its state is made then.
"""

from __future__ import annotations

from collections.abc import Sequence

from rbhq_stream._book.facts import Facts
from rbhq_stream._book.price_log import Entry, Move, PriceLog
from rbhq_stream._book.prices import Prices, PriceTable, updated
from rbhq_stream._book.provenance import Location
from rbhq_stream._book.state import RaceState
from rbhq_stream.events import PriceUpdate, RaceId


class Present:
    """The facts of one race that count now. One thread writes, any thread may read.

    Args:
        race_id: The race.
        log: Its price updates.
        is_complete: Whether everything that was published about the race is known, or will be applied now.
    """

    def __init__(self, race_id: RaceId, log: PriceLog, *, is_complete: bool) -> None:
        self._race_id = race_id
        # Only the writing thread assigns these.
        self._now: tuple[Facts, PriceLog] = Facts(), log
        self._is_complete = is_complete
        # The writing thread's own: the prices now, if they are known. They are forgotten before the log changes.
        self._current: Prices | None = None
        # Any thread assigns this. An older one in place of a newer one does no harm.
        self._snapshot: tuple[tuple[Facts, int, bool], Prices, PriceTable, RaceState] | None = None

    # any thread

    @property
    def facts(self) -> Facts:
        """Everything that was stated, except the prices."""
        return self._now[0]

    @property
    def log(self) -> PriceLog:
        """The price updates."""
        return self._now[1]

    @property
    def is_complete(self) -> bool:
        """Whether everything that was published about the race is known."""
        return self._is_complete

    def state(self) -> RaceState:
        """Returns the race as it is now: the same object until something changes."""
        snapshot = self._snapshot  # read first, so its position is not behind the one that is read next
        facts, log, position = self._between_events()
        is_complete = self._is_complete
        if snapshot is None:
            prices = log.prices(position)
            table = PriceTable(prices)
        else:
            (old_facts, old_position, was_complete), prices, table, state = snapshot
            if old_position == position and old_facts is facts and was_complete is is_complete:
                return state
            if old_position != position:
                prices = log.prices(position, (old_position, prices))
                table = table.followed_by(prices)
        state = facts.state(self._race_id, table, is_complete=is_complete)
        self._snapshot = (facts, position, is_complete), prices, table, state
        return state

    def copied(self) -> tuple[Prices, Facts]:
        """Returns the prices and what else was stated, to keep."""
        facts, log, position = self._between_events()
        return log.prices(position), facts

    def _between_events(self) -> tuple[Facts, PriceLog, int]:
        while True:
            now = self._now
            facts, log = now
            position = log.position
            # Otherwise the position may be behind an event that came after these facts were replaced.
            if self._now is now:
                return facts, log, position

    # the writing thread

    def prices(self) -> Prices:
        """Returns the prices, which the caller does not keep."""
        if self._current is None:
            self._current = self._now[1].prices()
        return self._current

    def moves(self, entries: Sequence[Entry]) -> tuple[list[Move], Prices]:
        """Returns how the values of prices will change when these are entered, which is the next thing to do.

        It also returns the prices there, to be passed on when they are entered: if an interrupt comes before that, they
        are forgotten.
        """
        prices = self.prices()
        self._current = None  # they are about to be changed
        moves: list[Move] = []
        get = prices.get
        for updates, location, _ in entries:
            for update in updates:
                key = update.runner_number, update.price_type
                before = get(key)
                prices[key] = after = updated(before, update.price, location)
                old, new = None if before is None else before[0], after[0]
                if old is not new:  # equal prices are the same object
                    moves.append((key, old, new))
        return moves, prices

    def enter_prices(
        self, updates: Sequence[PriceUpdate], location: Location | None, micros: int, known: Prices | None = None
    ) -> None:
        """Enters the fields of an `Entry`, of an event that changes nothing else.

        Args:
            updates: The updates.
            location: Their record.
            micros: Their date.
            known: What `moves` has returned, if it was called.
        """
        if updates:
            self._current = None
            facts, log = self._now
            self._now = facts, log.append(updates, location, micros, known)
            self._current = known

    def enter_next(self, updates: Sequence[PriceUpdate], offset: int, micros: int, known: Prices | None) -> None:
        """Enters the price updates of an event that changes nothing else, whose record is like the one before.

        Args:
            updates: The updates.
            offset: The record's offset.
            micros: Their date.
            known: What `moves` has returned, if it was called.
        """
        self._current = None
        facts, log = self._now
        following = log.append_next(updates, offset, micros, known)
        if following is not log:
            self._now = facts, following
        self._current = known

    def enter_facts(self, facts: Facts, entries: Sequence[Entry] = (), known: Prices | None = None) -> None:
        """Replaces the facts, and enters the price updates of the same event, if it has any.

        Args:
            facts: The facts.
            entries: The price updates.
            known: What `moves` has returned, if it was called.
        """
        log = self._now[1]
        if entries:
            self._current = None
            log = log.followed_by(entries)
        self._now = facts, log
        if known is not None:
            self._current = known

    def set_complete(self, *, is_complete: bool) -> None:
        """Sets whether everything that was published about the race is known."""
        self._is_complete = is_complete

    def begin_at(self, micros: int, prices: Prices, facts: Facts) -> None:
        """Makes these facts, which were those at a time, the first ones: nothing before that time is known."""
        self._now = facts, self._now[1].begun_at(micros, prices)
