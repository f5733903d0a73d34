"""`RaceId`: the name of a race."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import field, frozen

from rbhq_stream import _field_checks as checks


@frozen(order=True)
class RaceId:
    """The name of a race: RBHQ's meeting id, and the race number in that meeting (which RBHQ calls the event number).

    It unpacks: `meeting_id, event_number = event.race_id`.
    """

    meeting_id: int = field(validator=checks.integer)
    event_number: int = field(validator=checks.integer)

    def __str__(self) -> str:
        return f"{self.meeting_id}-{self.event_number}"

    def __iter__(self) -> Iterator[int]:
        return iter((self.meeting_id, self.event_number))

    @classmethod
    def parse(cls, text: str) -> RaceId:
        """Reads `"1397808-7"` and `"1377868:8"`, the two ways RBHQ writes it.

        Raises:
            ValueError: the string is neither.
        """
        meeting_id, separator, event_number = text.partition("-" if "-" in text else ":")
        if separator and _digits(meeting_id) and _digits(event_number):
            return cls(int(meeting_id), int(event_number))
        raise ValueError(f"not a race id: {checks.shown(text)}; expected e.g. '1397808-7' or '1377868:8'")


def race_ids(races: Iterable[RaceId]) -> frozenset[RaceId]:
    """Returns a set of races. Anything else in it would silently be no race at all.

    Raises:
        TypeError: they are not `RaceId`s.
    """
    if isinstance(races, (str, RaceId)):
        raise TypeError(f"races={checks.shown(races)}: expected a collection of RaceIds, such as [RaceId(1397808, 7)]")
    found = frozenset(races)
    for race_id in found:
        if not isinstance(race_id, RaceId):
            raise TypeError(f"races: expected RaceIds, got {checks.shown(race_id)}; RaceId.parse reads '1397808-7'")
    return found


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
