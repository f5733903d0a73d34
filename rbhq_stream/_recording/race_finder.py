"""`RaceFinder`: which races a document is about, for the index and for `Recording.races`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter

from rbhq_stream._wire import decode
from rbhq_stream.errors import DecodeError
from rbhq_stream.events import Event, RaceId

_PREFIX = 44
"""The bytes at the start of a document that hold the race in RBHQ's plain form, however long its numbers are."""
_PLAIN = re.compile(rb'\{"meetingId":(\d{1,12}),"eventNumber":(\d{1,4})[,}]')
_start = itemgetter(slice(_PREFIX))


class RaceFinder:
    """Finds the races of documents: by their first bytes where they are plain, and by decoding them otherwise.

    Args:
        kinds: the class of the events in each topic.
    """

    def __init__(self, kinds: Mapping[str, type[Event]]) -> None:
        self._kinds = kinds
        self._of_start: dict[bytes, RaceId | None] = {}

    def has_one_of(self, races: frozenset[RaceId], topic: str, value: bytes | None) -> bool:
        """Returns whether a document has an event of these races. It has none if it can't be decoded."""
        if not value:
            return False
        # if an object has a field twice, the last one counts, and its name may be escaped
        if value.count(b"eetingId") == value.count(b"ventNumber") == 1 and b"\\" not in value:
            race = self._plain(value[:_PREFIX])
            if race is not None and race not in races:
                return False
        return not races.isdisjoint(self._decoded(topic, value))

    def of_all(self, topics: Sequence[str], values: Sequence[bytes | None]) -> frozenset[RaceId]:
        """Returns the races of many documents, for the index. Much faster than one by one if they are plain.

        A plain document is not read to its end: if it has one of the two fields again, only the race that it names
        first is found.

        Args:
            topics: the topic of each document.
            values: the documents.
        """
        try:
            starts = set(map(_start, values))  # type: ignore[arg-type]  # there are tombstones rarely
        except TypeError:
            starts = set(map(_start, filter(None, values)))
        for start in starts.difference(self._of_start):
            self._plain(start)
        of_start = self._of_start.get
        found = frozenset(map(of_start, starts))
        if None not in found:
            return found  # type: ignore[return-value]
        documents = zip(topics, values, strict=True)
        others = [self._decoded(topic, one) for topic, one in documents if one and of_start(one[:_PREFIX]) is None]
        return frozenset(filter(None, found)).union(*others)

    def _plain(self, start: bytes) -> RaceId | None:
        try:
            return self._of_start[start]
        except KeyError:
            pass
        found = _PLAIN.match(start)
        race = None if found is None else RaceId(int(found[1]), int(found[2]))
        if len(self._of_start) > 10_000:  # a bound for its memory
            self._of_start.clear()
        self._of_start[start] = race
        return race

    def _decoded(self, topic: str, value: bytes) -> frozenset[RaceId]:
        kind = self._kinds.get(topic)
        if kind is None:
            return frozenset()
        try:
            return frozenset(event.race_id for event in decode(kind, value))
        except DecodeError:
            return frozenset()
