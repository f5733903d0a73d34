"""Everything that was stated about a race, except its prices, in one immutable tuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.lifecycle import PostedResult, StatedStatus, Statements, newest_final
from rbhq_stream._book.prices import Price, PriceKey
from rbhq_stream._book.state import RaceState
from rbhq_stream.events import RaceId


class Facts(NamedTuple):
    """Everything that was stated about a race, except its prices, which change far more often."""

    ledger: DeductionLedger = DeductionLedger()
    stated: StatedStatus | None = None
    stated_arrival: int = 0
    """The number of the event that last stated the status, in the order of arrival at this race."""
    posted: tuple[PostedResult, ...] = ()
    posted_arrival: int = 0

    def statements(self) -> Statements:
        """Returns the statements that determine the status and the finality of the race."""
        newest = self.posted[-1] if self.posted else None
        is_result_last = self.posted_arrival > self.stated_arrival
        scratched = frozenset(self.ledger.scratched)
        return Statements(self.stated, newest, is_result_last, scratched, newest_final(self.posted[:-1]))

    def state(self, race_id: RaceId, prices: Mapping[PriceKey, Price], *, is_complete: bool) -> RaceState:
        """Returns the facts, and what follows from them, as a value for applications.

        Args:
            race_id: The race.
            prices: Its prices, which never change.
            is_complete: Whether everything that was published about the race is known.
        """
        standing = self.statements().standing(is_complete=is_complete)
        return RaceState(
            race_id,
            standing.status,
            standing.finality,
            standing.reason,
            prices,
            self.ledger,
            self.stated,
            self.posted,
            is_complete,
        )
