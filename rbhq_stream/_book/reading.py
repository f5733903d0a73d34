"""Reading a race book: the states of its races, now and earlier, and whether to take a bet. From any thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.finality import Finality
from rbhq_stream._book.frozen_mapping import FrozenMapping
from rbhq_stream._book.gate import DEFAULT_GATE_RULES, BettingDecision, GateRules, decide
from rbhq_stream._book.history import BEGINNING, HistoryError, TooEarlyError
from rbhq_stream._book.races import Races
from rbhq_stream._book.state import RaceState
from rbhq_stream._race_card import RaceCard
from rbhq_stream._timestamps import from_micros, to_micros
from rbhq_stream.events import PriceType, RaceId
from rbhq_stream.health import Health
from rbhq_stream.source import TopicPartition


class ReadableBook:
    """The part of a `RaceBook` that reads it. Any thread may call it. The book sets `_races`."""

    _races: Races

    def __getitem__(self, race_id: RaceId) -> RaceState:
        """Returns the state of a race.

        Raises:
            KeyError: the book has no such race.
        """
        state = self.get(race_id)
        if state is None:
            raise KeyError(race_id)
        return state

    def get(self, race_id: RaceId) -> RaceState | None:
        """Returns the state of a race; `None` if the book has no such race."""
        race = self._races.get(race_id)
        return None if race is None else race.state()

    def __contains__(self, race_id: object) -> bool:
        return isinstance(race_id, RaceId) and self._races.get(race_id) is not None

    def __iter__(self) -> Iterator[RaceId]:
        """Iterates over the ids of the races that were in the book when it was called, in order."""
        return iter(sorted(race.race_id for race in self._races.all()))

    def __len__(self) -> int:
        return len(self._races)

    def races(
        self, *, meeting_id: int | None = None, is_open: bool | None = None, finality: Finality | None = None
    ) -> tuple[RaceState, ...]:
        """Returns the states of races, in the order of their ids. Each condition that is given must hold.

        Args:
            meeting_id: Only the races of this meeting.
            is_open: Only those that are open, or those that aren't.
            finality: Only those whose results are as final as this.
        """
        states = (race.state() for race in self._races.all())
        found = [
            state
            for state in states
            if (meeting_id is None or state.race_id.meeting_id == meeting_id)
            and (is_open is None or state.is_open is is_open)
            and (finality is None or state.finality is finality)
        ]
        return tuple(sorted(found, key=lambda state: state.race_id))

    def as_of(self, race_id: RaceId, time: datetime) -> RaceState | None:
        """Returns what had been published about a race at a time.

        Facts count from the time of their records, so a record that arrived late counts from when it was written. The
        state is what RBHQ had stated by then, and what followed from that.

        Args:
            race_id: The race.
            time: An aware time.

        Returns:
            The state; `None` if nothing had been published about the race yet.

        Raises:
            HistoryError: the book has no such race, or its history of the race does not go back that far.
            TypeError: `time` is not a `datetime`.
            ValueError: `time` has no time zone.
        """
        time = checks.aware("time", time)
        race = self._races.get(race_id)
        if race is None:
            raise HistoryError(str(race_id), time, None)
        try:
            return race.state_at(to_micros(time))
        except TooEarlyError as early:
            raise HistoryError(str(race_id), time, from_micros(early.since)) from None

    def accepting_bets(
        self,
        race_id: RaceId,
        *,
        runner: int | None = None,
        price_type: PriceType | None = None,
        health: Health | None,
        now: datetime,
        card: RaceCard | None = None,
        rules: GateRules = DEFAULT_GATE_RULES,
    ) -> BettingDecision:
        """Returns whether to take a bet, with every reason against it. What is not known counts against it.

        Args:
            race_id: The race.
            runner: The runner to bet on; `None`: any runner.
            price_type: The type of the price; `None`: any type.
            health: The feed's health at this moment: `feed.health`. `None` refuses the bet.
            now: The present time, an aware time.
            card: The card with the race's scheduled start. Without one, the status alone decides when betting ends.
            rules: The limits.

        Raises:
            TypeError: `now` is not a `datetime`.
            ValueError: `now` has no time zone.
        """
        race = self.get(race_id)
        return decide(
            race_id, race, runner=runner, price_type=price_type, health=health, now=now, card=card, rules=rules
        )

    @property
    def newest_at(self) -> datetime | None:
        """The time of the newest record that was applied (UTC); `None` if no record had a time."""
        newest = self._races.newest
        return None if newest == BEGINNING else from_micros(newest)

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The offset of the next record to apply, by partition: where a feed continues after `load`.

        They are correct only if the records of each partition are applied in order.
        """
        return FrozenMapping({TopicPartition(*partition): at for partition, at in self._races.positions().items()})

    @property
    def is_complete(self) -> bool:
        """Whether everything that was published has been applied: see `begin_catching_up` and `caught_up`."""
        return self._races.is_complete
