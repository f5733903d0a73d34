"""The history of one race: its price updates, and the versions of what else was stated about it."""

from __future__ import annotations

from rbhq_stream._book.facts import Facts
from rbhq_stream._book.history import END, PriceHistory, Versions
from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.lifecycle import PostedResult, StatedStatus
from rbhq_stream._book.prices import Price, PriceKey


class RaceHistory:
    """What a race was like at each time. One thread adds, any thread may read.

    Args:
        limit: How many price updates are kept.
    """

    def __init__(self, limit: int) -> None:
        self.prices = PriceHistory(limit)
        self.ledgers: Versions[DeductionLedger] = Versions()
        self.stated: Versions[tuple[StatedStatus, int]] = Versions()
        """Each with the number of its arrival, as in `Facts`."""
        self.posted: Versions[tuple[tuple[PostedResult, ...], int]] = Versions()
        self._oldest = END

    @property
    def oldest(self) -> int:
        """The time of the oldest record, in microseconds since 1970."""
        return self._oldest

    def note(self, micros: int) -> None:
        """Notes the time of a record."""
        self._oldest = min(self._oldest, micros)

    def at(self, micros: int) -> tuple[dict[PriceKey, Price], Facts] | None:
        """Returns the prices and what else was stated by a time; `None` if that is before the first record.

        Raises:
            TooEarlyError: what was stated then is no longer kept.
        """
        if micros < self._oldest:
            return None
        ledger, stated, posted = self.ledgers.at(micros), self.stated.at(micros), self.posted.at(micros)
        status, status_arrival = stated or (None, 0)
        results, result_arrival = posted or ((), 0)
        facts = Facts(ledger or DeductionLedger(), status, status_arrival, results, result_arrival)
        return self.prices.at(micros), facts

    def begin_at(self, micros: int, oldest: int, prices: dict[PriceKey, Price], facts: Facts) -> None:
        """Makes these facts, which were those at a time, the first ones: nothing before that time is known.

        Args:
            micros: The time.
            oldest: The time of the oldest record.
            prices: The prices.
            facts: What else was stated.
        """
        self._oldest = oldest
        self.prices.begin_at(micros, prices)
        self.ledgers.begin_at(micros, facts.ledger)
        self.stated.begin_at(micros, None if facts.stated is None else (facts.stated, facts.stated_arrival))
        self.posted.begin_at(micros, (facts.posted, facts.posted_arrival) if facts.posted else None)
