"""The history of one race: the versions of what was stated about it, except its prices, of which there is a log."""

from __future__ import annotations

from rbhq_stream._book.facts import Facts
from rbhq_stream._book.history import Versions
from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.lifecycle import PostedResult, StatedStatus


class RaceHistory:
    """What was stated about a race at each time. One thread adds, any thread may read."""

    def __init__(self) -> None:
        self.ledgers: Versions[DeductionLedger] = Versions()
        self.stated: Versions[tuple[StatedStatus, int]] = Versions()
        """Each with the number of its arrival, as in `Facts`."""
        self.posted: Versions[tuple[tuple[PostedResult, ...], int]] = Versions()

    def at(self, micros: int) -> Facts:
        """Returns what was stated by a time.

        Raises:
            TooEarlyError: what was stated then is no longer kept.
        """
        ledger, stated, posted = self.ledgers.at(micros), self.stated.at(micros), self.posted.at(micros)
        status, status_arrival = stated or (None, 0)
        results, result_arrival = posted or ((), 0)
        return Facts(ledger or DeductionLedger(), status, status_arrival, results, result_arrival)

    def begin_at(self, micros: int, facts: Facts) -> None:
        """Makes these facts, which were those at a time, the first ones: nothing before that time is known.

        Args:
            micros: The time.
            facts: What was stated.
        """
        self.ledgers.begin_at(micros, facts.ledger)
        self.stated.begin_at(micros, None if facts.stated is None else (facts.stated, facts.stated_arrival))
        self.posted.begin_at(micros, (facts.posted, facts.posted_arrival) if facts.posted else None)
