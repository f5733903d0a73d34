"""The history of one race: its price updates, and the versions of what else was stated about it."""

from __future__ import annotations

from rbhq_stream._book.facts import Facts
from rbhq_stream._book.history import PriceHistory, Versions
from rbhq_stream._book.ledger import DeductionLedger
from rbhq_stream._book.lifecycle import PostedResult, StatedStatus
from rbhq_stream._book.prices import Price, PriceKey, withdrawn


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

    def at(self, micros: int) -> tuple[dict[PriceKey, Price], Facts]:
        """Returns the prices and what else was stated by a time.

        Raises:
            TooEarlyError: what was stated then is no longer kept.
        """
        ledger, stated, posted = self.ledgers.at(micros), self.stated.at(micros), self.posted.at(micros)
        status, status_arrival = stated or (None, 0)
        results, result_arrival = posted or ((), 0)
        facts = Facts(ledger or DeductionLedger(), status, status_arrival, results, result_arrival)
        prices = self.prices.at(micros)
        return prices | withdrawn(prices, facts.ledger.scratched), facts

    def begin_at(self, micros: int, prices: dict[PriceKey, Price], facts: Facts) -> None:
        """Makes these facts, which were those at a time, the first ones: nothing before that time is known.

        Args:
            micros: The time.
            prices: The prices.
            facts: What else was stated.
        """
        self.prices.begin_at(micros, prices)
        self.ledgers.begin_at(micros, facts.ledger)
        self.stated.begin_at(micros, None if facts.stated is None else (facts.stated, facts.stated_arrival))
        self.posted.begin_at(micros, (facts.posted, facts.posted_arrival) if facts.posted else None)
