"""What a bet is worth: the outcome, the amount, and everything that explains it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum

from attrs import frozen

from rbhq_stream._book.exact import exact_product
from rbhq_stream._book.finality import Finality
from rbhq_stream._book.ledger import Deductions
from rbhq_stream._book.provenance import RecordMark
from rbhq_stream.events import PriceType, RaceResultEvent, RaceStatus


class Outcome(Enum):
    """The outcome of a bet."""

    WON = "won"
    """It is paid: stake and winnings, after deductions and dead heats."""
    LOST = "lost"
    """Nothing is paid."""
    REFUNDED = "refunded"
    """The stake is paid back."""
    PENDING = "pending"
    """The bet can't be settled yet."""


class PayoutReason(Enum):
    """Why a bet has its outcome."""

    RESULT = "result"
    """Won or lost: by the result."""
    NOT_IN_RESULT = "not in result"
    """Lost, or by the rules pending: the result does not list the runner."""
    ABANDONED = "abandoned"
    """Refunded: the race was abandoned."""
    SCRATCHED = "scratched"
    """Refunded: the runner was scratched."""
    NO_PLACE_BETTING = "no place betting"
    """Refunded: the field was too small for plain place bets."""
    NO_RESULT = "no result"
    """Pending: there is no result, or none with a runner in it."""
    PROTEST = "protest"
    """Pending: a protest is undecided."""
    UNKNOWN_FIELD_SIZE = "unknown field size"
    """Pending: a plain place bet, and how many runners the race had is not known."""
    UNKNOWN_RUNNER = "unknown runner"
    """Pending, or by the rules lost: nothing was ever published about the runner."""
    UNKNOWN_PRICE_TYPE = "unknown price type"
    """Pending: this version of the library does not know how bets of the price type are paid."""
    NO_FACTOR = "no factor"
    """Pending: the result states no payout factor for the price type, and no winner, or the rules wait for a factor."""
    DEAD_HEAT = "dead heat"
    """Pending: the result states no payout factors, and a dead heat decides who has the last place that is paid."""
    UNUSABLE_FACTOR = "unusable factor"
    """Pending: the payout factor is not between 0 and 1."""
    UNCLEAR_DEDUCTIONS = "unclear deductions"
    """Pending: the bet won, but bears a deduction that is not known."""
    CONTRADICTION = "contradiction"
    """Pending: the result places a scratched runner, or states two different results for the runner."""


class FactorName(Enum):
    """What a factor of a payout is."""

    STAKE = "stake"
    PRICE = "price"
    PRICE_AFTER_DEDUCTIONS = "price after deductions"
    """The price with the deductions taken from its profit: 1 + (price - 1) * (1 - deductions)."""
    DEDUCTIONS = "deductions"
    """What the deductions leave: 1 - deductions."""
    PAYOUT_FACTOR = "payout factor"
    """What the result pays of the price: below 1 on a dead heat, 0 for a bet that lost."""


@frozen
class Factor:
    """One of the numbers whose product is the amount."""

    name: FactorName
    value: Decimal


@frozen
class ResultId:
    """Which result a payout is based on."""

    status: RaceStatus
    """The status of the result: INTERIM, PROTEST, FINAL."""
    created: datetime | None = None
    """When RBHQ made it (UTC)."""
    recorded: RecordMark | None = None
    """The record that it came in; `None` for an event without a record."""

    @classmethod
    def of(cls, result: RaceResultEvent) -> ResultId:
        """Returns the identity of a result."""
        return cls(result.status, result.date_created, RecordMark.of(result))


@frozen(kw_only=True)
class Payout:
    """What a bet is worth, and why.

    The amount is the product of the factors, rounded by the rules: `exact` is the product itself. Store a
    payout with the bet that was paid by it. `is_superseded_by` compares it with a newer one.
    """

    outcome: Outcome
    finality: Finality
    """How far it can be relied on. Pay when it is `FINAL` or `VOID`; a pending bet has `NONE`."""
    reason: PayoutReason
    """Why it is this outcome."""
    amount: Decimal
    """What to pay, stake included; 0 for a bet that lost or is pending."""
    factors: tuple[Factor, ...] = ()
    """The arithmetic, in the order in which an operator would show it. A pending bet has none."""
    deductions: Deductions | None = None
    """The deductions that were taken into account, runner by runner; `None` unless the bet won."""
    paid_as: PriceType | None = None
    """The price type whose payout factor applied: for a plain place bet, by the size of the field. `None` unless the
    bet won or lost.
    """
    result: ResultId | None = None
    """The result that it is based on; `None` for an abandoned race, and while there is no result."""

    @property
    def exact(self) -> Decimal:
        """The amount before it was rounded: the product of the factors."""
        return exact_product(factor.value for factor in self.factors) if self.factors else Decimal(0)

    @property
    def is_safe_to_settle(self) -> bool:
        """Whether the bet can be paid: its finality is `FINAL` or `VOID`."""
        return self.finality in (Finality.FINAL, Finality.VOID)

    def is_superseded_by(self, newer: Payout) -> bool:
        """Returns whether a bet that was settled by this payout must be corrected to a newer one.

        It must when the newer one is safe to settle, too, and pays another amount or has another outcome. Then
        `newer.result` is the result that supersedes this one's. While the newer payout is pending or provisional,
        because the result is under review, nothing is corrected yet.

        Args:
            newer: What the same bet is worth by what is known now.
        """
        differs = (self.outcome, self.amount) != (newer.outcome, newer.amount)
        return newer.is_safe_to_settle and differs
