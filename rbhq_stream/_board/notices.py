"""Notable changes in words. Pure."""

from __future__ import annotations

from datetime import datetime, tzinfo
from decimal import Decimal

from attrs import frozen

from rbhq_stream import (
    Anomaly,
    Change,
    DeductionRevised,
    Gap,
    Health,
    HealthChanged,
    HealthState,
    PriceChanged,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    ResultAmended,
    ResultPosted,
    RunnerReinstated,
    RunnerResult,
    RunnerScratched,
    StatusChanged,
    Transition,
)
from rbhq_stream._board.names import Names

_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}
_STATUSES = {
    RaceStatus.CLOSED: "no more bets",
    RaceStatus.INTERIM: "placings are semi-official",
    RaceStatus.PROTEST: "placings may change",
    RaceStatus.FINAL: "all clear",
    RaceStatus.ABANDONED: "will not be run",
}
_MAX_PLACINGS = 4
FEED = "all races"
"""The subject of a notice about the feed itself."""


@frozen
class Notice:
    """A notable change in words."""

    at: datetime
    what: str
    """A race's new status, or what happened: `SCRATCHED`, `REINSTATED`, `DEDUCTION`, `RE-OPENED`, `RESULT`, `AMENDED`,
    `PRICE`, `ANOMALY`; or of the feed `LIVE` or `SUSPENDED`."""
    subject: str
    """The race, or `all races`."""
    text: str = ""

    def as_line(self, zone: tzinfo | None) -> str:
        """Returns the notice as a line of plain text, with its time in a time zone; `None`: that of this machine."""
        return f"{self.at.astimezone(zone):%H:%M:%S}  {self.subject:<20} {self.what:<10} {self.text}".rstrip()


def notice(change: Change, names: Names, at: datetime) -> Notice | None:
    """Returns what is notable about a change; `None` for one that another change of the same event reports better.

    Args:
        change: The change.
        names: The names of races and runners.
        at: When it happened.
    """
    described = _described(change, names)
    return None if described is None else Notice(at, described[0], names.race(change.race_id), described[1])


def health_notice(signal: HealthChanged, at: datetime) -> Notice | None:
    """Returns what is notable about a change of the feed's health; `None` for its beginning and its end.

    Args:
        signal: The change.
        at: When it happened.
    """
    health = signal.health
    if health.ok:
        return Notice(at, "LIVE", FEED, recovery(signal.gap))
    if health.state in (HealthState.CONNECTING, HealthState.CLOSED):
        return None
    return Notice(at, "SUSPENDED", FEED, distrust(health))


def distrust(health: Health) -> str:
    """Returns why the feed can't be trusted, in a few words: `feed down: brokers unreachable`."""
    state, reason = health.state.value, health.reason.value.replace("_", " ")
    return f"feed {state}" if reason == state else f"feed {state}: {reason}"


def recovery(gap: Gap | None) -> str:
    """Returns what the feed has caught up with, in words.

    Args:
        gap: The time for which it was not live; `None` if it was not live before.
    """
    if gap is None:
        return "everything that was published is processed"
    seconds = (gap.ended - gap.began).total_seconds()
    return f"suspended for {seconds:.1f} s, then caught up with {sum(gap.records.values()):,} records"


def placings(result: RaceResultEvent, names: Names) -> tuple[str, ...]:
    """Returns the placings of a result in words, the winner first, with the starting prices if it has them."""
    starting = {
        pool.selections: pool.amount
        for dividend in result.dividends
        if dividend.wagering_product == "SP"
        for pool in dividend.pool_dividends
    }
    return tuple(
        _placing(result.race_id, placed, starting.get((placed.runner_number,)), names)
        for placed in result.results[:_MAX_PLACINGS]
    )


def cents(deduction: Decimal | None) -> str:
    """Returns `Decimal("0.07")` as `7c`."""
    return "?" if deduction is None else f"{deduction * 100:.0f}c"


def dollars(price: Decimal | None) -> str:
    """Returns a price as a bookmaker's board shows it: `4.40`, `11`, `101`."""
    if price is None:
        return "-"
    return f"{price:.0f}" if price >= 10 else f"{price:.2f}"


def _described(change: Change, names: Names) -> tuple[str, str] | None:
    race_id = change.race_id
    if isinstance(change, PriceChanged):
        moved = f"{names.numbered(race_id, change.runner_number)}  {change.price_type.name} {dollars(change.after)}"
        return "PRICE", moved if change.before is None else f"{moved}, was {dollars(change.before)}"
    if isinstance(change, RunnerScratched):
        off = cents(change.after.win_deduction)
        return "SCRATCHED", f"{names.numbered(race_id, change.runner_number)}, {off} off the win dollar"
    if isinstance(change, DeductionRevised):
        before, after = change.before.win_deduction, change.after.win_deduction
        if before == after:
            return None
        return "DEDUCTION", f"{names.numbered(race_id, change.runner_number)}, now {cents(after)}, was {cents(before)}"
    if isinstance(change, RunnerReinstated):
        return "REINSTATED", f"{names.numbered(race_id, change.runner_number)}, scratched by mistake"
    if isinstance(change, StatusChanged):
        if change.transition is Transition.REOPENED:
            return "RE-OPENED", "betting goes on"
        return str(change.after), _STATUSES.get(change.after, names.kind(race_id))
    if isinstance(change, (ResultPosted, ResultAmended)):
        what = "AMENDED" if isinstance(change, ResultAmended) else "RESULT"
        return what, ", ".join(placings(change.after.result, names)[:3])
    if isinstance(change, Anomaly):
        runner = "" if change.runner_number is None else f", {names.numbered(race_id, change.runner_number)}"
        return "ANOMALY", f"{change.kind.value}{runner}{': ' * bool(change.detail)}{change.detail}"
    return None


def _placing(race_id: RaceId, result: RunnerResult, starting_price: Decimal | None, names: Names) -> str:
    where = _ORDINALS.get(result.final_position or 0, f"{result.final_position}th")
    paid = f" ${dollars(starting_price)}" if starting_price is not None else ""
    factor = result.payout_factors.win
    shared = f" (dead heat: {factor})" if factor is not None and factor < 1 else ""
    return f"{where} {names.numbered(race_id, result.runner_number)}{paid}{shared}"
