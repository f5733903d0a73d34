"""What a book reports of the events that are applied to it: changes of a race's state, and anomalies."""

from __future__ import annotations

from decimal import Decimal

from attrs import frozen

from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.finality import Finality
from rbhq_stream._book.lifecycle import FinalityReason, PostedResult, Transition, transition
from rbhq_stream._book.prices import PriceKey
from rbhq_stream._book.provenance import RecordMark
from rbhq_stream._slots import open_class
from rbhq_stream.events import PriceType, RaceId, RaceStatus, Scratching


@frozen
class Change:
    """A change of the state of a race."""

    race_id: RaceId
    recorded: RecordMark | None
    """The record of the event that changed it. `None`: the application constructed the event, or no
    event caused the change.
    """


@frozen
class PriceChanged(Change):
    """A runner's price of one type moved, was withdrawn or came back."""

    runner_number: int
    price_type: PriceType
    before: Decimal | None
    """`None`: there was no price."""
    after: Decimal | None
    """`None`: there is no price any more, for example because the runner is scratched."""


_OpenPriceChanged = open_class(PriceChanged)


def price_changed(
    race_id: RaceId, mark: RecordMark | None, key: PriceKey, before: Decimal | None, after: Decimal | None
) -> PriceChanged:
    """Returns the change of a price, faster than the constructor does, because prices change all day."""
    change = _OpenPriceChanged()
    change.race_id = race_id
    change.recorded = mark
    change.runner_number, change.price_type = key
    change.before = before
    change.after = after
    change.__class__ = PriceChanged
    made: PriceChanged = change
    return made


@frozen
class RunnerScratched(Change):
    """A runner was scratched. Its prices are withdrawn: a `PriceChanged` for each of them comes as well."""

    after: Scratching
    """The scratching."""

    @property
    def runner_number(self) -> int:
        """The runner."""
        return self.after.runner_number


@frozen
class DeductionRevised(Change):
    """The scratching of a runner was revised, most often its deductions: bets that it applies to are worth more or less
    than before.
    """

    before: Scratching
    after: Scratching

    @property
    def runner_number(self) -> int:
        """The scratched runner."""
        return self.after.runner_number


@frozen
class RunnerReinstated(Change):
    """A runner is in the race again: its scratching was a mistake. It has no price until RBHQ sends a new one."""

    before: Scratching
    """The scratching that no longer applies."""

    @property
    def runner_number(self) -> int:
        """The runner."""
        return self.before.runner_number


@frozen
class StatusChanged(Change):
    """A race has another status."""

    before: RaceStatus | None
    """`None`: no status was known."""
    after: RaceStatus

    @property
    def transition(self) -> Transition:
        """How the status follows the one before."""
        return transition(self.before, self.after)


@frozen
class ResultPosted(Change):
    """A race has its first result, or a different one, and no FINAL result is amended by it."""

    before: PostedResult | None
    """`None`: there was no result."""
    after: PostedResult


@frozen
class ResultAmended(Change):
    """A result that was FINAL has been replaced. Bets that were paid by it may have to be corrected."""

    before: PostedResult
    """The result that counted until now."""
    after: PostedResult


@frozen
class FinalityChanged(Change):
    """A race's result is more, or less, final than before."""

    before: Finality
    after: Finality
    reason: FinalityReason
    """Why it is as final as it is now."""


@frozen
class RaceLeft(Change):
    """A race left the book: nothing was published about it for as long as the book keeps races, or one of its
    partitions is no longer read here."""


@frozen
class Anomaly(Change):
    """A contradiction or an omission in the feed. `AnomalyKind` describes what the book does in each case."""

    kind: AnomalyKind
    runner_number: int | None = None
    """The runner that it is about, if it is about one."""
    detail: str = ""
    """For people: what was found."""
