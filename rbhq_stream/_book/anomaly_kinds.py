"""The kinds of contradictions and omissions in the feed that the book reports instead of guessing."""

from __future__ import annotations

from enum import Enum


class AnomalyKind(Enum):
    """Something in the feed that contradicts earlier records, or that this version of the library does not know."""

    UNKNOWN_STATUS = "unknown status"
    """This version of the library does not know the status. The race is not open."""
    STATUS_OF_A_RUNNER = "status of a runner"
    """A status names a runner. RBHQ does not document what that means. It is applied as the status of the race."""
    STATUS_REVERSED = "status reversed"
    """The status went back, or came after FINAL or ABANDONED. It is applied all the same."""
    RESULT_OF_ABANDONED_RACE = "result of an abandoned race"
    """One topic has the race as abandoned, and the other one has a result that is newer, or FINAL."""
    RESULT_CREATED_EARLIER = "result created earlier"
    """A FINAL result differs from an earlier FINAL one, and RBHQ created it before that one: it may be an outdated
    result that was published again. It is not final until RBHQ publishes one that it created later.
    """
    RESULT_WITHOUT_WINNER = "result without a winner"
    """A FINAL result names no winner."""
    SCRATCHED_RUNNER_PLACED = "scratched runner placed"
    """The result pays a runner that is scratched."""
    PRICE_OF_SCRATCHED_RUNNER = "price of a scratched runner"
    """A new price of a runner that is scratched. It is ignored."""
    PRICE_AFTER_END = "price after the end"
    """A price is newer than the statement that the race is FINAL or ABANDONED. It is applied all the same."""
    SCRATCHING_AFTER_END = "scratching after the end"
    """A scratching, revision or reinstatement is newer than the statement that the race is FINAL or ABANDONED. It
    is applied all the same, so bets may be worth something other than what was paid.
    """
    SCRATCHING_OF_UNKNOWN_RUNNER = "scratching of an unknown runner"
    """A runner was scratched that never had a price in this race, although others had."""
    SCRATCHING_OMITTED = "scratching omitted"
    """RBHQ repeats every scratching with each new one, and left this one out. The runner remains scratched."""
    SCRATCHING_BEFORE_REINSTATEMENT = "scratching before the reinstatement"
    """A reinstated runner was scratched again with a time before its reinstatement: RBHQ may have repeated the
    scratching that it had revoked. The runner is scratched.
    """
    REINSTATED_WITHOUT_SCRATCHING = "reinstated without a scratching"
    """A runner was reinstated that was not scratched."""
    OUT_OF_ORDER = "out of order"
    """A status or result is older than one of the same topic that came from another partition. It is ignored."""
    OFFSETS_RESTARTED = "offsets restarted"
    """A record is newer than those before it, but its offset is lower: the topic was recreated. It is applied."""
    RACE_HAD_LEFT = "race had left"
    """An event of a race that had left the book. Its result is never final, because its earlier events are missing."""
