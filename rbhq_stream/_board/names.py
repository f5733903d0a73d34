"""The names of meetings, races and runners: those on a race card, or else their numbers."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from rbhq_stream import RaceCard, RaceId

_KINDS = {"R": "gallops", "G": "greyhounds", "H": "harness"}


@frozen
class Names:
    """The names on a race card."""

    card: RaceCard = RaceCard()

    def meeting(self, meeting_id: int) -> str:
        """Returns the venue of a meeting, or its id if the card doesn't have it."""
        meeting = self.card.meeting(meeting_id)
        return (None if meeting is None else meeting.venue) or str(meeting_id)

    def race(self, race_id: RaceId) -> str:
        """Returns the venue and the number of a race: `Albury R7`, or without a card `1397808 R7`."""
        return f"{self.meeting(race_id.meeting_id)} R{race_id.event_number}"

    def selection(self, meeting_id: int | None, event_number: int | None) -> str:
        """Returns what a selection of races is called; `None` stands for all meetings, or all races of the meeting."""
        if meeting_id is None:
            return "all races"
        return self.meeting(meeting_id) if event_number is None else self.race(RaceId(meeting_id, event_number))

    def kind(self, race_id: RaceId) -> str:
        """Returns the kind of racing, or an empty string if the card doesn't have it."""
        meeting = self.card.meeting(race_id.meeting_id)
        kind = (meeting.meeting_type if meeting is not None else None) or ""
        return _KINDS.get(kind, kind)

    def runner(self, race_id: RaceId, number: int) -> str:
        """Returns the name of a runner, or an empty string if the card doesn't have it."""
        return self.card.runner_name(race_id, number) or ""

    def numbered(self, race_id: RaceId, number: int) -> str:
        """Returns the number of a runner with its name: `3 Copper Comet`, or `runner 3`."""
        name = self.runner(race_id, number)
        return f"{number} {name}" if name else f"runner {number}"

    def start(self, race_id: RaceId) -> datetime | None:
        """Returns the scheduled start of a race; `None` if the card doesn't have it."""
        return self.card.start_time(race_id)
