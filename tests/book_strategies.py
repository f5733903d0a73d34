"""Hypothesis strategies for what the three topics say about a few races, in the order of each topic."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from rbhq_stream import Event, PriceType, PriceUpdate, RaceId, RaceStatus
from tests.race_books import Topics, scratching

RACES = RaceId(1, 1), RaceId(1, 2)
_runners = st.integers(1, 4)
_price_updates = st.builds(
    PriceUpdate,
    _runners,
    st.sampled_from([PriceType.WIN, PriceType.PLACE]),
    price=st.one_of(st.none(), st.sampled_from(["2", "3", "4.40"])),
)
_scratchings = st.builds(
    scratching, _runners, st.sampled_from(["0.05", "0.10"]), at=st.one_of(st.none(), st.integers(0, 30))
)
_statuses = st.sampled_from([*RaceStatus, RaceStatus("DELAYED")])


@attrs.frozen
class Day:
    """The events of each topic in its order, and one order of all of them."""

    topics: tuple[tuple[Event, ...], ...]
    mixed: tuple[Event, ...]
    other: tuple[Event, ...]
    """Another order of the same, in which each topic keeps its own."""

    @property
    def end(self) -> int:
        """The second at which all is over."""
        return LAST


LAST = 40


@st.composite
def days(draw: DrawFn, *, in_time: bool = False) -> Day:
    """Days of two races.

    Args:
        in_time: Whether the times of each topic's records never go back.
    """
    topics = Topics()
    every = tuple(_topic(draw, topics, kind, in_time=in_time) for kind in ("prices", "status", "result"))
    return Day(every, _interleaved(draw, every), _interleaved(draw, every))


def _topic(draw: DrawFn, topics: Topics, kind: str, *, in_time: bool) -> tuple[Event, ...]:
    times = draw(st.lists(st.integers(0, LAST), max_size=8))
    return tuple(_event(draw, topics, kind, at) for at in (sorted(times) if in_time else times))


def _event(draw: DrawFn, topics: Topics, kind: str, at: int) -> Event:
    race_id = draw(st.sampled_from(RACES))
    if kind == "status":
        return topics.status(draw(_statuses), at=at, race_id=race_id)
    if kind == "result":
        runners = draw(st.permutations(range(1, 5)))[: draw(st.integers(0, 3))]
        results = None if runners else ()
        return topics.result(draw(_statuses), *runners, results=results, at=at, race_id=race_id)
    return topics.prices(
        *draw(st.lists(_price_updates, max_size=3)),
        scratchings=draw(st.lists(_scratchings, max_size=2)),
        reinstated=draw(st.lists(_runners, max_size=1)),
        at=at,
        race_id=race_id,
    )


def _interleaved(draw: DrawFn, topics: Sequence[Sequence[Event]]) -> tuple[Event, ...]:
    turns = draw(st.permutations([number for number, events in enumerate(topics) for _ in events]))
    queues = [iter(events) for events in topics]
    return tuple(next(queues[number]) for number in turns)
