"""What the scratchings and unscratchings of one event change, by the ledger before and after them."""

from __future__ import annotations

from collections.abc import Iterator

from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.changes import Anomaly, Change, DeductionRevised, RunnerReinstated, RunnerScratched
from rbhq_stream._book.ledger import DeductionLedger, LedgerEntry, stated_time
from rbhq_stream._book.provenance import RecordMark
from rbhq_stream.events import PriceEvent, RaceId, Scratching, Unscratching


def scratching_changes(
    race_id: RaceId,
    mark: RecordMark | None,
    event: PriceEvent,
    *,
    before: DeductionLedger,
    after: DeductionLedger,
    priced: frozenset[int],
) -> list[Change]:
    """Returns the changes, and the anomalies among them.

    Args:
        race_id: The race.
        mark: The event's record.
        event: The event.
        before: The ledger before the event.
        after: The ledger after it.
        priced: The runners that had a price before the event.
    """
    changes: list[Change] = []
    if after is before:
        return changes
    anomalies: list[tuple[AnomalyKind, int]] = []
    for runner in sorted(_mentioned(event)):
        old, new = before.scratching(runner), after.scratching(runner)
        if old is None and new is not None:
            changes.append(RunnerScratched(race_id, mark, new))
            if priced and runner not in priced:
                anomalies.append((AnomalyKind.SCRATCHING_OF_UNKNOWN_RUNNER, runner))
            if _is_before_reinstatement(new, before.entries(runner)):
                anomalies.append((AnomalyKind.SCRATCHING_BEFORE_REINSTATEMENT, runner))
        elif old is not None and new is None:
            changes.append(RunnerReinstated(race_id, mark, old))
        elif old is not None and new is not None and old != new:
            changes.append(DeductionRevised(race_id, mark, old, new))
        elif new is None and len(after.entries(runner)) > len(before.entries(runner)):
            anomalies.append((AnomalyKind.REINSTATED_WITHOUT_SCRATCHING, runner))
    if any(isinstance(change, RunnerScratched) for change in changes):
        anomalies += [(AnomalyKind.SCRATCHING_OMITTED, runner) for runner in _omitted(event, before)]
    return changes + [Anomaly(race_id, mark, kind, runner) for kind, runner in anomalies]


def _mentioned(event: PriceEvent) -> set[int]:
    return {one.runner_number for one in event.scratchings} | {one.runner_number for one in event.unscratchings}


def _omitted(event: PriceEvent, before: DeductionLedger) -> Iterator[int]:
    """Iterates the runners that were scratched before and that the event does not mention."""
    mentioned = _mentioned(event)
    return (runner for runner in before.scratched if runner not in mentioned)


def _is_before_reinstatement(scratching: Scratching, entries: tuple[LedgerEntry, ...]) -> bool:
    """Whether a new scratching of a reinstated runner has a time before its reinstatement."""
    if not entries or not isinstance(entries[-1].fact, Unscratching):
        return False
    scratched_at = stated_time(scratching)
    reinstated_at = stated_time(entries[-1].fact) or entries[-1].recorded_at
    return scratched_at is not None and reinstated_at is not None and scratched_at <= reinstated_at
