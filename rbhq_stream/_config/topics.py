"""`Topics`: which topics the feed reads, and which kind of event each has."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from attrs import field, frozen

from rbhq_stream._config import checks, settings
from rbhq_stream._kinds import EVENT_KINDS
from rbhq_stream.errors import ConfigError
from rbhq_stream.events import Event


@frozen
class Topics:
    """The names of the topics to read, as RBHQ gave them to you. At least one is required; topics without a name are
    not read."""

    prices: str | None = field(default=None, validator=checks.topic)
    """The topic of price updates, scratchings and unscratchings: `PriceEvent`."""
    race_status: str | None = field(default=None, validator=checks.topic)
    """The topic of race statuses: `RaceStatusEvent`."""
    race_results: str | None = field(default=None, validator=checks.topic)
    """The topic of results: `RaceResultEvent`."""

    def __attrs_post_init__(self) -> None:
        if not self.names:
            raise ConfigError("topics", "is empty: give at least one of prices, race_status and race_results")
        owner: dict[str, str] = {}
        for kind, name in attrs.asdict(self).items():
            if name is not None and owner.setdefault(name, kind) != kind:
                raise ConfigError(
                    f"topics.{kind}",
                    f"is the same topic as topics.{owner[name]}, {name!r}: each kind of event has its own topic",
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the topics to read, prices first."""
        return tuple(self.kinds)

    @property
    def kinds(self) -> dict[str, type[Event]]:
        """The class of the events in each topic, by the name of the topic, prices first. For `decode`."""
        names = ((getattr(self, kind.topic), kind.event) for kind in EVENT_KINDS)
        return {name: event for name, event in names if name is not None}

    def of(self, event: type[Event]) -> str:
        """Returns the name of the topic that has events of this class.

        Raises:
            TypeError: it is not a class of events.
            ValueError: no such topic was given.
        """
        topic = next((kind.topic for kind in EVENT_KINDS if kind.event is event), None)
        if topic is None:
            raise TypeError(f"expected a class of events, got {checks.shown(event)}")
        name: str | None = getattr(self, topic)
        if name is None:
            raise ValueError(f"there is no topic for {event.__name__}: set topics.{topic}")
        return name


def to_topics(value: Topics | Mapping[str, str | None]) -> Topics:
    if isinstance(value, Topics):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError("topics", f"expected Topics(prices=…, …) or a mapping, got {checks.shown(value)}")
    known = [attribute.name for attribute in attrs.fields(Topics)]
    for name in value:
        if name not in known:
            raise ConfigError(f"topics.{name}", f"is not a topic of the feed{settings.nearest(str(name), known)}")
    return Topics(**value)
