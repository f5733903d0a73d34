"""The state of one race, as a value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal

from attrs import frozen

from rbhq_stream._book.finality import Finality
from rbhq_stream._book.frozen_mapping import FrozenMapping
from rbhq_stream._book.ledger import DeductionLedger, Deductions
from rbhq_stream._book.lifecycle import FinalityReason, PostedResult, StatedStatus
from rbhq_stream._book.payout import Payout
from rbhq_stream._book.prices import Price, PriceKey
from rbhq_stream._book.settlement import SettlementFacts, payout
from rbhq_stream._book.settlement_rules import SettlementRules
from rbhq_stream.events import PriceType, RaceId, RaceResultEvent, RaceStatus, Scratching

DEFAULT_RULES = SettlementRules()
_NO_PRICES: Mapping[PriceKey, Price] = FrozenMapping()


@frozen
class RaceState:
    """The state of a race. It is immutable, so any thread may read it.

    A scratched runner has no price, whatever its last price was. A reinstated one has none either until RBHQ sends a
    new one: its old price was set for a different field of runners, and has not been confirmed since."""

    race_id: RaceId
    status: RaceStatus | None = None
    """The newest status that the status topic or the result topic stated; `None`: neither stated one."""
    finality: Finality = Finality.NONE
    """How far the result can be trusted."""
    reason: FinalityReason = FinalityReason.NO_RESULT
    """Why it is as final as it is."""
    prices: Mapping[PriceKey, Price] = _NO_PRICES
    """The prices by runner number and price type, with their openings and the records they came from. One whose `value`
    is `None` was withdrawn.
    """
    ledger: DeductionLedger = DeductionLedger()
    """Every scratching with each of its revisions, and every reinstatement."""
    stated: StatedStatus | None = None
    """What the status topic stated last."""
    posted: tuple[PostedResult, ...] = ()
    """What the result topic posted: each different result, oldest first. The last one counts."""
    is_complete: bool = True
    """Whether the book holds everything that was published about the race. While it doesn't, no result is final."""

    @property
    def is_open(self) -> bool:
        """Whether the race is open for betting, by its status alone: see `RaceBook.accepting_bets`."""
        return self.status == RaceStatus.OPEN

    @property
    def result(self) -> RaceResultEvent | None:
        """The newest result, without its record; `None` if there is none."""
        return self.posted[-1].result if self.posted else None

    @property
    def scratched(self) -> Mapping[int, Scratching]:
        """The scratched runners, each with its newest scratching, by runner number."""
        return self.ledger.scratched

    def price(self, runner_number: int, price_type: PriceType) -> Decimal | None:
        """Returns the price that a runner can be backed at now.

        Args:
            runner_number: The runner.
            price_type: The type of the price.

        Returns:
            The decimal odds; `None` if none is offered, as for a scratched runner.
        """
        price = self.prices.get((runner_number, price_type))
        return None if price is None else price.value

    def deductions(self, price_type: PriceType, *, struck_at: datetime) -> Deductions:
        """Returns the deductions from a bet, item by item and in total.

        Args:
            price_type: The type of the bet's price.
            struck_at: When the bet was struck; an aware time.

        Raises:
            TypeError: `struck_at` is not a `datetime`.
            ValueError: `struck_at` has no time zone.
        """
        return self.ledger.deductions(price_type, struck_at=struck_at)

    def payout(
        self,
        runner_number: int,
        price_type: PriceType,
        *,
        price: Decimal | int | str,
        struck_at: datetime,
        stake: Decimal | int | str = 1,
        rules: SettlementRules = DEFAULT_RULES,
        runners: Collection[int] | None = None,
        jumped_at: datetime | None = None,
    ) -> Payout:
        """Returns what a bet on a runner is worth by what is known at present, with every factor of the arithmetic.

        Args:
            runner_number: The runner that was bet on.
            price_type: The type of the bet's price.
            price: The fixed odds at which it was struck, stake included.
            struck_at: When it was struck; an aware time.
            stake: The stake.
            rules: The operator's betting rules, for everything that RBHQ does not state.
            runners: Every runner that the race has or had, scratched ones included, for example by its card. By default
                those that had a price, were scratched or are in the result.
            jumped_at: When the race jumped; an aware time. Only rules about late scratchings need it.

        Raises:
            TypeError: an argument has another type; a float is not exact.
            ValueError: `price` is below 1, `stake` is below 0, or `struck_at` or `jumped_at` has no time zone.
        """
        newest = self.posted[-1] if self.posted else None
        facts = SettlementFacts(
            finality=self.finality,
            result=self.result,
            recorded=None if newest is None else newest.recorded,
            ledger=self.ledger,
            is_under_protest=self.status == RaceStatus.PROTEST,
            runners=self.runners if runners is None else runners,
            jumped_at=jumped_at,
        )
        return payout(facts, runner_number, price_type, price=price, struck_at=struck_at, stake=stake, rules=rules)

    @property
    def runners(self) -> frozenset[int] | None:
        """Every runner that had a price, was scratched or is in the result; `None` if no price is known, because then
        runners that were neither scratched nor placed are missing.
        """
        if not self.prices:
            return None
        listed = self.result.results if self.result is not None else ()
        return frozenset(
            {runner for runner, _ in self.prices}
            | {history.runner_number for history in self.ledger.histories}
            | {runner.runner_number for runner in listed}
        )
