"""Publishes the events of a simulated day on the real broker, each race in one partition of each topic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rbhq_stream import Event, PriceEvent, RaceResultEvent, RaceStatusEvent, encode
from rbhq_stream.testing import TimedEvent
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster
from tests.partner_configs import partner_toml


class DayTopics:
    """The topics that the events of a day are published in."""

    def __init__(self, kafka: KafkaCluster, partner: Partner) -> None:
        self._kafka, self._partner = kafka, partner
        kinds = (PriceEvent, RaceStatusEvent, RaceResultEvent)
        self._topics: dict[type[Event], str] = dict(zip(kinds, partner.topics, strict=True))

    def publish(self, events: Sequence[Event]) -> None:
        for kind, same in groupby(events, type):
            self._kafka.publish(self._topics[kind], [(str(event.race_id).encode(), encode(event)) for event in same])

    def publish_dated(self, events: Iterable[TimedEvent]) -> None:
        """Publishes events in records with the times of the simulation."""
        for (kind, at), same in groupby(events, lambda timed: (type(timed.event), timed.at)):
            records = [(str(timed.event.race_id).encode(), encode(timed.event)) for timed in same]
            self._kafka.publish(self._topics[kind], records, timestamp_ms=int(at.timestamp() * 1000))

    def toml(self) -> str:
        """The configuration of a feed of all three topics."""
        return partner_toml(self._kafka, self._partner) + f'topics.race_results = "{self._partner.topics.race_results}"'
