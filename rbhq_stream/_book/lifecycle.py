"""The life of a race's result: which statuses follow each other, and when it is safe to settle.

Two topics state the status of a race: the status topic by itself, and the result topic with every result. The newest
statement of the two, by the time of its record, is the race's status, whichever arrived first. Where both were made at
the same instant, the one that is less safe to settle on counts.

How the status moves (`Transition`):

    from \\ to    OPEN       CLOSED     INTERIM    PROTEST    FINAL      ABANDONED
    (unknown)    first      first      first      first      first      first
    OPEN         -          expected   skipped    skipped    skipped    expected
    CLOSED       re-opened  -          expected   skipped    skipped    expected
    INTERIM      reversed   reversed   -          expected   expected   expected
    PROTEST      reversed   reversed   expected   -          expected   expected
    FINAL        reversed   reversed   reversed   reversed   -          reversed
    ABANDONED    reversed   reversed   reversed   reversed   reversed   -

A status that this version of the library does not know may come from and go to any other; it is an anomaly in itself. A
reversed status is an anomaly too. The race follows it all the same, because the newest statement counts.

How far a result can be trusted (`Finality`), by the newest statement and the newest result:

    newest statement        no result   result not FINAL   result FINAL
    OPEN, CLOSED, unknown   NONE        PROVISIONAL        PROVISIONAL
    INTERIM, PROTEST        NONE        PROVISIONAL        PROVISIONAL
    FINAL                   NONE        PROVISIONAL        FINAL
    ABANDONED               VOID        VOID               PROVISIONAL, a contradiction

FINAL and VOID become PROVISIONAL where something contradicts them: the other topic's newest statement is ABANDONED
while this one is not, or the other way round FINAL; the result names no winner; the result places a runner that is
scratched; or it amends a FINAL result that RBHQ created later, as its `date_created` states. So they do while the book
is incomplete, because what is missing may be a scratching or a newer result.

A result that is amended after FINAL stays FINAL, as its next revision. One that comes with INTERIM or PROTEST after
FINAL reverses the status, so it is PROVISIONAL until it is FINAL again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import Enum

import attrs
from attrs import frozen

from rbhq_stream._book.anomaly_kinds import AnomalyKind
from rbhq_stream._book.finality import Finality
from rbhq_stream._book.placings import has_winner, placed
from rbhq_stream._book.provenance import RecordMark, precedes
from rbhq_stream._timestamps import with_zone
from rbhq_stream.events import RaceResultEvent, RaceStatus


class Transition(Enum):
    """How one status of a race follows another one."""

    FIRST = "first"
    """No status was known before."""
    EXPECTED = "expected"
    """The next status in the life of a race."""
    SKIPPED = "skipped"
    """A later status: those in between did not arrive, or not yet."""
    REOPENED = "re-opened"
    """OPEN again after CLOSED: betting goes on."""
    REVERSED = "reversed"
    """An earlier status, or anything else after FINAL or ABANDONED."""


class FinalityReason(Enum):
    """Why a race's result is as final as it is."""

    NO_RESULT = "no result"
    """No result was posted."""
    STATUS_NOT_FINAL = "status not final"
    """The newest statement about the race is not FINAL: placings may change."""
    RESULT_NOT_FINAL = "result not final"
    """The race's status is FINAL; the newest result isn't, so the final one is still to come."""
    NO_WINNER = "no winner"
    """The result is FINAL, but names no winner."""
    CONTRADICTION = "contradiction"
    """The status topic, the result topic and the scratchings contradict each other. A person has to decide."""
    INCOMPLETE = "incomplete"
    """The book does not hold everything that was published about the race: it is catching up, or it met the race
    again after the race had left the book.
    """
    ALL_CLEAR = "all clear"
    """The result is FINAL and nothing contradicts it."""
    ABANDONED = "abandoned"
    """The race is abandoned and nothing contradicts it."""


@frozen
class StatedStatus:
    """A status as the status topic stated it."""

    status: RaceStatus
    recorded: RecordMark | None = None
    """The first record that stated it; `None` for an event without a record."""
    repeated: RecordMark | None = None
    """The last record that stated it; the same as `recorded` if none repeated it."""


@frozen
class PostedResult:
    """A result as the result topic posted it."""

    result: RaceResultEvent
    """The result, without its record."""
    revision: int = 1
    """1 for the first result of the race, 2 for the first one that differs from it, and so on."""
    recorded: RecordMark | None = None
    """The first record that posted it; `None` for an event without a record."""
    repeated: RecordMark | None = None
    """The last record that posted it; the same as `recorded` if none repeated it."""


@frozen
class Standing:
    """The status and the finality that follow from the statements of both topics."""

    status: RaceStatus | None = None
    finality: Finality = Finality.NONE
    reason: FinalityReason = FinalityReason.NO_RESULT


@frozen
class Statements:
    """The newest statement of each topic about one race, and what else its finality depends on."""

    stated: StatedStatus | None = None
    posted: PostedResult | None = None
    result_came_last: bool = False
    """Whether the result arrived after the status. It decides only where a record or its time is missing."""
    scratched: frozenset[int] = frozenset()
    final_created: datetime | None = None
    """When RBHQ created the newest of the FINAL results before the newest result."""

    def standing(self, *, is_complete: bool) -> Standing:
        """Returns the race's status and the finality of its result.

        Args:
            is_complete: Whether everything that was published about the race is known.
        """
        status, _ = self._newest()
        finality, reason = self._finality(status)
        if finality in {Finality.FINAL, Finality.VOID} and not is_complete:
            finality, reason = Finality.PROVISIONAL, FinalityReason.INCOMPLETE
        return Standing(status, finality, reason)

    def _newest(self) -> tuple[RaceStatus | None, RaceStatus | None]:
        """Returns the newest statement, and that of the other topic."""
        if self.stated is None or self.posted is None:
            stated = None if self.stated is None else self.stated.status
            posted = None if self.posted is None else self.posted.result.status
            return stated or posted, None
        stated, posted = self.stated.status, self.posted.result.status
        return (posted, stated) if self._is_result_newer(self.stated, self.posted) else (stated, posted)

    def _is_result_newer(self, stated: StatedStatus, posted: PostedResult) -> bool:
        if precedes(stated.repeated, posted.repeated):
            return True
        if precedes(posted.repeated, stated.repeated):
            return False
        if _have_times(stated.repeated, posted.repeated):
            return _caution(posted.result.status) > _caution(stated.status)
        return self.result_came_last

    def contradictions(self) -> frozenset[tuple[AnomalyKind, int | None]]:
        """Returns the contradictions, each with the runner that it concerns, if any."""
        found = set[tuple[AnomalyKind, int | None]]()
        result = None if self.posted is None else self.posted.result
        if result is not None:
            status, other = self._newest()
            was_final = RaceStatus.FINAL in (other, result.status)
            if (status == RaceStatus.ABANDONED and was_final) or (
                other == RaceStatus.ABANDONED and status != RaceStatus.ABANDONED
            ):
                found.add((AnomalyKind.RESULT_OF_ABANDONED_RACE, None))
            if result.status == RaceStatus.FINAL and not has_winner(result):
                found.add((AnomalyKind.RESULT_WITHOUT_WINNER, None))
            created = with_zone(result.date_created)
            if (
                result.status == RaceStatus.FINAL
                and created is not None
                and self.final_created is not None
                and created < self.final_created
            ):
                found.add((AnomalyKind.RESULT_CREATED_EARLIER, None))
            found |= {(AnomalyKind.SCRATCHED_RUNNER_PLACED, runner) for runner in placed(result) & self.scratched}
        return frozenset(found)

    def _finality(self, status: RaceStatus | None) -> tuple[Finality, FinalityReason]:
        result = None if self.posted is None else self.posted.result
        problems = {kind for kind, _ in self.contradictions()}
        if AnomalyKind.RESULT_OF_ABANDONED_RACE in problems:
            return Finality.PROVISIONAL, FinalityReason.CONTRADICTION
        if status == RaceStatus.ABANDONED:
            return Finality.VOID, FinalityReason.ABANDONED
        if result is None:
            return Finality.NONE, FinalityReason.NO_RESULT
        if status != RaceStatus.FINAL:
            return Finality.PROVISIONAL, FinalityReason.STATUS_NOT_FINAL
        if result.status != RaceStatus.FINAL:
            return Finality.PROVISIONAL, FinalityReason.RESULT_NOT_FINAL
        if AnomalyKind.RESULT_WITHOUT_WINNER in problems:
            return Finality.PROVISIONAL, FinalityReason.NO_WINNER
        if problems & {AnomalyKind.SCRATCHED_RUNNER_PLACED, AnomalyKind.RESULT_CREATED_EARLIER}:
            return Finality.PROVISIONAL, FinalityReason.CONTRADICTION
        return Finality.FINAL, FinalityReason.ALL_CLEAR

    def ended_at(self) -> datetime | None:
        """Returns when the race was first stated to be FINAL or ABANDONED; `None` if it is neither at present."""
        status, _ = self._newest()
        if status not in _ENDS:
            return None
        marks = [
            None if self.stated is None or self.stated.status not in _ENDS else self.stated.recorded,
            None if self.posted is None or self.posted.result.status not in _ENDS else self.posted.recorded,
        ]
        return min((mark.time for mark in marks if mark is not None and mark.time is not None), default=None)


_LIFE = (RaceStatus.OPEN, RaceStatus.CLOSED, RaceStatus.INTERIM, RaceStatus.PROTEST, RaceStatus.FINAL)
_ENDS = frozenset({RaceStatus.FINAL, RaceStatus.ABANDONED})
_EXPECTED = {
    (RaceStatus.OPEN, RaceStatus.CLOSED),
    (RaceStatus.CLOSED, RaceStatus.INTERIM),
    (RaceStatus.INTERIM, RaceStatus.PROTEST),
    (RaceStatus.INTERIM, RaceStatus.FINAL),
    (RaceStatus.PROTEST, RaceStatus.INTERIM),
    (RaceStatus.PROTEST, RaceStatus.FINAL),
    *((status, RaceStatus.ABANDONED) for status in _LIFE if status is not RaceStatus.FINAL),
}


def transition(before: RaceStatus | None, after: RaceStatus) -> Transition:
    """Returns how a status follows another, different one: the table above."""
    if before is None:
        return Transition.FIRST
    if not before.is_known or not after.is_known or (before, after) in _EXPECTED:
        return Transition.EXPECTED
    if (before, after) == (RaceStatus.CLOSED, RaceStatus.OPEN):
        return Transition.REOPENED
    betting = before in {RaceStatus.OPEN, RaceStatus.CLOSED}
    return Transition.SKIPPED if betting and _LIFE.index(after) > _LIFE.index(before) else Transition.REVERSED


# the less safe it is to settle on a statement, the further to the right
_CAUTION = (RaceStatus.OPEN, RaceStatus.CLOSED, RaceStatus.INTERIM, RaceStatus.FINAL, RaceStatus.PROTEST)


def _caution(status: RaceStatus) -> int:
    if status in _CAUTION:
        return _CAUTION.index(status)
    return len(_CAUTION) + (status == RaceStatus.ABANDONED)


def _have_times(*marks: RecordMark | None) -> bool:
    return all(mark is not None and mark.time is not None for mark in marks)


def posted_again(posted: PostedResult, again: RaceResultEvent, mark: RecordMark | None) -> PostedResult:
    """Returns a result after the same one was posted again; the same object if that states nothing new.

    Args:
        posted: The result.
        again: The same result. RBHQ may have created it later, and so confirmed it.
        mark: Its record.
    """
    created, before = with_zone(again.date_created), with_zone(posted.result.date_created)
    if created is not None and (before is None or before < created):
        posted = attrs.evolve(posted, result=attrs.evolve(posted.result, date_created=created))
    return posted if mark is None else attrs.evolve(posted, repeated=mark)


def newest_final(posted: Iterable[PostedResult]) -> datetime | None:
    """Returns when RBHQ created the newest of the results that are FINAL; `None` if that is not known."""
    created = (with_zone(one.result.date_created) for one in posted if one.result.status == RaceStatus.FINAL)
    return max((time for time in created if time is not None), default=None)


def is_same_result(one: RaceResultEvent, other: RaceResultEvent) -> bool:
    """Returns whether two results are equal, except for when and on which host they were made."""
    return one.status == other.status and not _differ(one, other)


def is_amendment(posted: tuple[PostedResult, ...], result: RaceResultEvent) -> bool:
    """Returns whether a result differs from the newest one although one was FINAL before."""
    was_final = any(one.result.status == RaceStatus.FINAL for one in posted)
    return was_final and _differ(posted[-1].result, result)


def _differ(one: RaceResultEvent, other: RaceResultEvent) -> bool:
    return one.results != other.results or one.dividends != other.dividends
