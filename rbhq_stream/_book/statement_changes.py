"""What one status or one result changes in the facts of a race. Pure."""

from __future__ import annotations

import attrs

from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.changes import Anomaly, Change, ResultAmended, ResultPosted
from rbhq_stream._book.facts import Facts
from rbhq_stream._book.lifecycle import PostedResult, StatedStatus, is_amendment, is_same_result, posted_again
from rbhq_stream._book.provenance import RecordMark, precedes
from rbhq_stream.events import RaceId, RaceResultEvent, RaceStatus, RaceStatusEvent

MAX_REVISIONS = 100
"""How many different results of a race are kept. Few have more than four."""


def with_status(
    race_id: RaceId, facts: Facts, event: RaceStatusEvent, mark: RecordMark | None, arrival: int
) -> tuple[Facts, list[Change]]:
    """Returns the facts after a status, the same object if it does not count, and what it changes by itself.

    Args:
        race_id: The race.
        facts: The facts before it.
        event: The status.
        mark: Its record.
        arrival: The number of the event, in the order of arrival at this race.
    """
    last = facts.stated
    if last is not None and _is_late(mark, last.repeated):
        return facts, [_late(race_id, mark, f"{event.status} after {last.status}")]
    if last is not None and last.status == event.status:
        if mark is None:
            return facts, []
        stated = attrs.evolve(last, repeated=mark)
        changes: list[Change] = []
    else:
        stated = StatedStatus(event.status, mark, mark)
        changes = _peculiarities(race_id, event.status, mark)
    if event.runner_number is not None:
        changes.append(Anomaly(race_id, mark, AnomalyKind.STATUS_OF_A_RUNNER, event.runner_number))
    return facts._replace(stated=stated, stated_arrival=arrival), changes


def with_result(
    race_id: RaceId, facts: Facts, event: RaceResultEvent, mark: RecordMark | None, arrival: int
) -> tuple[Facts, list[Change]]:
    """Returns the facts after a result, the same object if it does not count, and what it changes by itself.

    Args:
        race_id: The race.
        facts: The facts before it.
        event: The result.
        mark: Its record.
        arrival: The number of the event, in the order of arrival at this race.
    """
    last = facts.posted[-1] if facts.posted else None
    if last is not None and _is_late(mark, last.repeated):
        detail = f"a result that is {event.status} after one that is {last.result.status}"
        return facts, [_late(race_id, mark, detail)]
    if last is not None and is_same_result(last.result, event):
        again = posted_again(last, event, mark)
        if again is last:
            return facts, []
        posted = (*facts.posted[:-1], again)
        changes: list[Change] = []
    else:
        result = PostedResult(attrs.evolve(event), 1 if last is None else last.revision + 1, mark, mark)
        posted = (*facts.posted[1 - MAX_REVISIONS :], result)
        changes = _peculiarities(race_id, event.status, mark)
        if last is not None and is_amendment(facts.posted, event):
            changes.append(ResultAmended(race_id, mark, last, result))
        else:
            changes.append(ResultPosted(race_id, mark, last, result))
    return facts._replace(posted=posted, posted_arrival=arrival), changes


def _peculiarities(race_id: RaceId, status: RaceStatus, mark: RecordMark | None) -> list[Change]:
    if status.is_known:
        return []
    return [Anomaly(race_id, mark, AnomalyKind.UNKNOWN_STATUS, detail=str(status))]


def _late(race_id: RaceId, mark: RecordMark | None, detail: str) -> Anomaly:
    return Anomaly(race_id, mark, AnomalyKind.OUT_OF_ORDER, detail=detail)


def _is_late(mark: RecordMark | None, last: RecordMark | None) -> bool:
    """Whether a record is older than another one of its topic, in another partition."""
    return mark is not None and last is not None and mark.partition != last.partition and precedes(mark, last)
