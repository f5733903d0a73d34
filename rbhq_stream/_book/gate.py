"""Whether to take a bet now: one decision, with every reason against it. Pure, and fail-closed.

What is not known counts against the bet: no health, a race that the book does not have, a price without a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import attrs
from attrs import field, frozen

from rbhq_stream import _field_checks as checks
from rbhq_stream._book.changes import Change
from rbhq_stream._book.prices import Price
from rbhq_stream._book.state import RaceState
from rbhq_stream._race_card import RaceCard
from rbhq_stream.events import PriceType, RaceId, RaceStatus
from rbhq_stream.health import Health


class RefusalReason(Enum):
    """Why a bet should not be taken."""

    FEED_NOT_TRUSTED = "feed not trusted"
    """The feed is not live, or its health is not known: prices may have moved and runners may be scratched."""
    HEALTH_TOO_OLD = "health too old"
    """The health was determined longer ago than `GateRules.max_health_age`, or is from the future by as much, because a
    clock was set back: get `feed.health` for each decision.
    """
    BOOK_INCOMPLETE = "book incomplete"
    """The book does not hold everything that was published about the race, or is still catching up."""
    UNKNOWN_RACE = "unknown race"
    """The book does not have the race."""
    NOT_OPEN = "not open"
    """The race's status is not OPEN, or not known."""
    ABANDONED = "abandoned"
    """The race is abandoned."""
    RESULT_POSTED = "result posted"
    """The race has a result, whatever its status."""
    NOT_ON_CARD = "not on card"
    """The card does not have the race, so its scheduled start is not known."""
    PAST_JUMP = "past its jump"
    """The race's scheduled start, with the margin of `GateRules.stop_after_jump`, has passed."""
    RUNNER_SCRATCHED = "runner scratched"
    """The runner is scratched."""
    UNKNOWN_RUNNER = "unknown runner"
    """The runner never had a price."""
    NO_PRICE = "no price"
    """No price is offered: for the runner, or of the price type, or for no runner of the race."""
    PRICE_TOO_OLD = "price too old"
    """RBHQ last stated the price longer ago than `GateRules.max_price_age`, or at an unknown time."""


@frozen
class Refusal:
    """One reason not to take a bet."""

    reason: RefusalReason
    """The cause, for code."""
    detail: str
    """The cause in words, for people."""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


@frozen
class BettingDecision:
    """Whether to take a bet: true or false in a condition, with all the reasons if it is false."""

    race_id: RaceId
    reasons: tuple[Refusal, ...] = ()
    """All reasons not to take the bet; empty if it may be taken."""
    runner: int | None = None
    price_type: PriceType | None = None

    def __bool__(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        """Returns the decision as one line, for a log."""
        return "; ".join(map(str, self.reasons)) or "bets are accepted"


@frozen
class BettingChanged(Change):
    """The decision to take bets has changed, or its reasons have."""

    before: BettingDecision | None
    """`None`: this is the first decision."""
    after: BettingDecision


def _not_negative(_: Any, attribute: attrs.Attribute[Any], value: timedelta) -> None:
    checks.instance_of(timedelta)(_, attribute, value)
    if value < timedelta(0):
        raise ValueError(f"{attribute.alias}={value!r}: expected a timedelta that is not negative")


@frozen(kw_only=True)
class GateRules:
    """The limits of the betting gate."""

    max_price_age: timedelta | None = field(default=None, validator=checks.optional(_not_negative))
    """For how long a price counts after RBHQ last stated it. Default: for as long as the feed is live, because RBHQ
    sends a price when it moves, and in a quiet market it does not move for hours.
    """
    stop_after_jump: timedelta | None = field(
        default=timedelta(0), validator=checks.optional(checks.instance_of(timedelta))
    )
    """How long after its scheduled start a race stops taking bets, even if it is still OPEN; negative: how long before
    it. Default: at its scheduled start. `None`: the status alone decides, for races that start late.
    """
    max_health_age: timedelta = field(default=timedelta(seconds=10), validator=_not_negative)
    """How long ago the health may have been determined. Default: 10 seconds."""


DEFAULT_GATE_RULES = GateRules()


def decide(
    race_id: RaceId,
    race: RaceState | None,
    *,
    runner: int | None,
    price_type: PriceType | None,
    health: Health | None,
    now: datetime,
    card: RaceCard | None,
    rules: GateRules,
) -> BettingDecision:
    """Returns whether to take a bet, with every reason against it. `RaceBook.accepting_bets` describes the arguments.

    Raises:
        TypeError: `now` is not a `datetime`.
        ValueError: `now` has no time zone.
    """
    now = checks.aware("now", now)
    against = [*_feed(health, now, rules), *_schedule(race_id, now, card, rules)]
    if race is None:
        against.append(Refusal(RefusalReason.UNKNOWN_RACE, f"the book does not have race {race_id}"))
    else:
        against += [*_race(race), *_prices(race, runner, price_type, now, rules)]
    return BettingDecision(race_id, tuple(against), runner, price_type)


def _feed(health: Health | None, now: datetime, rules: GateRules) -> Iterator[Refusal]:
    if health is None:
        yield Refusal(RefusalReason.FEED_NOT_TRUSTED, "the health of the feed is not known")
        return
    if not health.ok:
        yield Refusal(RefusalReason.FEED_NOT_TRUSTED, f"the feed is {health}")
    if abs(now - health.at) > rules.max_health_age:  # a time in the future is that of another clock
        yield Refusal(RefusalReason.HEALTH_TOO_OLD, f"the health of the feed is that of {_clock(health.at)}")


def _schedule(race_id: RaceId, now: datetime, card: RaceCard | None, rules: GateRules) -> Iterator[Refusal]:
    if card is None or rules.stop_after_jump is None:
        return
    start = card.start_time(race_id)
    if start is None:
        yield Refusal(RefusalReason.NOT_ON_CARD, f"the card does not have race {race_id}")
    elif now >= start + rules.stop_after_jump:
        yield Refusal(RefusalReason.PAST_JUMP, f"the race was scheduled to start at {_clock(start)}")


def _race(race: RaceState) -> Iterator[Refusal]:
    if not race.is_complete:
        yield Refusal(RefusalReason.BOOK_INCOMPLETE, "events that were published about the race are missing")
    if race.status == RaceStatus.ABANDONED:
        yield Refusal(RefusalReason.ABANDONED, "the race is abandoned")
    elif race.status != RaceStatus.OPEN:
        stated = "not known" if race.status is None else str(race.status)
        yield Refusal(RefusalReason.NOT_OPEN, f"the status of the race is {stated}")
    if race.result is not None:
        yield Refusal(RefusalReason.RESULT_POSTED, f"the race has a result, {race.result.status}")


def _prices(
    race: RaceState, runner: int | None, price_type: PriceType | None, now: datetime, rules: GateRules
) -> Iterator[Refusal]:
    if runner is not None and runner in race.scratched:
        yield Refusal(RefusalReason.RUNNER_SCRATCHED, f"runner {runner} is scratched")
        return
    of_runner = {key: race.prices[key] for key in race.prices if runner is None or key[0] == runner}
    if runner is not None and not of_runner:
        yield Refusal(RefusalReason.UNKNOWN_RUNNER, f"runner {runner} never had a price")
        return
    offered = [
        price
        for (_, kind), price in of_runner.items()
        if price.value is not None and (price_type is None or kind == price_type)
    ]
    if not offered:
        what = "price" if price_type is None else f"{price_type.name} price"
        whom = "the race" if runner is None else f"runner {runner}"
        yield Refusal(RefusalReason.NO_PRICE, f"no {what} is offered for {whom}")
    elif rules.max_price_age is not None and all(_is_old(price, now, rules.max_price_age) for price in offered):
        yield Refusal(RefusalReason.PRICE_TOO_OLD, f"no price was stated in the last {rules.max_price_age}")


def _is_old(price: Price, now: datetime, limit: timedelta) -> bool:
    stated_at = None if price.recorded is None else price.recorded.time
    return stated_at is None or now - stated_at > limit


def _clock(time: datetime) -> str:
    return f"{time:%H:%M:%S} UTC"


class BettingGate:
    """Watches one race, runner or price, and reports when the decision changes.

    It reads no clock and no feed. Call `check` after each event that was applied, after each change of the health, and
    about every second, because no event marks the scheduled start.

    Args:
        race_id: The race.
        runner: The runner to bet on; `None`: any runner.
        price_type: The type of the price; `None`: any type.
        rules: The limits.
    """

    def __init__(
        self,
        race_id: RaceId,
        *,
        runner: int | None = None,
        price_type: PriceType | None = None,
        rules: GateRules = DEFAULT_GATE_RULES,
    ) -> None:
        self._race_id = race_id
        self._runner = runner
        self._price_type = price_type
        self._rules = rules
        self._decision: BettingDecision | None = None

    @property
    def decision(self) -> BettingDecision | None:
        """The newest decision; `None` before the first check."""
        return self._decision

    def check(
        self, race: RaceState | None, *, health: Health | None, now: datetime, card: RaceCard | None = None
    ) -> BettingChanged | None:
        """Decides anew.

        Args:
            race: The state of the race; `None` if the book does not have it.
            health: The feed's health at this moment. `None` refuses the bet.
            now: The present time, an aware time.
            card: The card with the race's scheduled start.

        Returns:
            The change, if bets are now taken and were not before, or the reverse, or if the reasons have changed;
            `None` otherwise. The first check is a change.

        Raises:
            TypeError: `now` is not a `datetime`.
            ValueError: `now` has no time zone.
        """
        before = self._decision
        after = self._decision = decide(
            self._race_id,
            race,
            runner=self._runner,
            price_type=self._price_type,
            health=health,
            now=now,
            card=card,
            rules=self._rules,
        )
        if before is not None and _kinds(before) == _kinds(after):
            return None
        return BettingChanged(self._race_id, None, before, after)


def _kinds(decision: BettingDecision) -> list[RefusalReason]:
    return [refusal.reason for refusal in decision.reasons]
