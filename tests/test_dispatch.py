"""Handlers by type: which are called for an event, in which order, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from rbhq_stream import (
    AsyncFeed,
    Event,
    Feed,
    FeedConfig,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceEvent,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Topics,
    Unscratching,
)
from rbhq_stream._engine.dispatch import Dispatcher

PRICES = PriceEvent(
    1, 2, (PriceUpdate(1, PriceType.WIN), PriceUpdate(2, PriceType.PLACE)), (Scratching(3),), (Unscratching(4),)
)
STATUS = RaceStatusEvent(1, 2, RaceStatus.OPEN)
RESULT = RaceResultEvent(1, 2, status=RaceStatus.FINAL, results=(RunnerResult(5), RunnerResult(6)))


class Calls:
    """Handlers that record their names and arguments."""

    def __init__(self) -> None:
        self.dispatcher = Dispatcher()
        self.made: list[tuple[Any, ...]] = []

    def add(self, kind: type[Any], name: str, *, with_event: bool = False) -> None:
        if with_event:
            self.dispatcher.add(kind, lambda part, event: self.made.append((name, part, event)))
        else:
            self.dispatcher.add(kind, lambda one: self.made.append((name, one)))

    def of(self, event: Event) -> list[tuple[Any, ...]]:
        self.made.clear()
        for handler, arguments in self.dispatcher.calls(event):
            handler(*arguments)
        return self.made


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_without_handlers_nothing_is_called(calls: Calls) -> None:
    for event in (PRICES, STATUS, RESULT):
        assert calls.of(event) == []


def test_whole_events_come_first_and_in_the_order_of_registration(calls: Calls) -> None:
    calls.add(PriceUpdate, "update")
    calls.add(Unscratching, "unscratching")
    calls.add(Scratching, "scratching")
    calls.add(PriceEvent, "price")
    calls.add(RaceEvent, "any")
    calls.add(PriceEvent, "price again")
    calls.add(RaceStatusEvent, "status")
    assert calls.of(PRICES) == [
        ("price", PRICES),
        ("any", PRICES),
        ("price again", PRICES),
        ("scratching", PRICES.scratchings[0]),
        ("unscratching", PRICES.unscratchings[0]),
        ("update", PRICES.price_updates[0]),
        ("update", PRICES.price_updates[1]),
    ]
    assert calls.of(STATUS) == [("any", STATUS), ("status", STATUS)]
    assert calls.of(RESULT) == [("any", RESULT)]


def test_a_handler_of_parts_gets_the_event_if_it_requires_it(calls: Calls) -> None:
    calls.add(RunnerResult, "with", with_event=True)
    calls.add(RunnerResult, "without")
    first, second = RESULT.results
    assert calls.of(RESULT) == [
        ("with", first, RESULT),
        ("without", first),
        ("with", second, RESULT),
        ("without", second),
    ]


def test_one_handler_may_be_registered_more_than_once(calls: Calls) -> None:
    seen: list[object] = []
    for _ in range(2):
        calls.dispatcher.add(RaceStatusEvent, seen.append)
    calls.dispatcher.add(Scratching, seen.append)
    calls.of(STATUS)
    assert seen == [STATUS, STATUS]
    calls.of(PRICES)
    assert seen[2:] == [PRICES.scratchings[0]]


def test_the_second_parameter_of_a_part_may_have_a_default(calls: Calls) -> None:
    """The default value is the handler's own."""
    seen: list[object] = []

    def handler(part: PriceUpdate, factor: int = 3) -> None:
        seen.append((part, factor))

    calls.dispatcher.add(PriceUpdate, handler)
    calls.of(PRICES)
    assert seen == [(update, 3) for update in PRICES.price_updates]


def test_methods_and_callable_objects_are_accepted(calls: Calls) -> None:
    class Application:
        def __init__(self) -> None:
            self.seen: list[object] = []

        def scratched(self, scratching: Scratching, event: PriceEvent) -> None:
            self.seen.append((scratching, event))

        def __call__(self, event: RaceEvent) -> None:
            self.seen.append(event)

    application = Application()
    calls.dispatcher.add(Scratching, application.scratched)
    calls.dispatcher.add(RaceEvent, application)
    calls.of(PRICES)
    assert application.seen == [PRICES, (PRICES.scratchings[0], PRICES)]


@pytest.mark.parametrize("kind", [int, Event, "PriceEvent", None, RaceStatus])
def test_a_kind_that_the_feed_does_not_have_is_refused(calls: Calls, kind: Any) -> None:
    with pytest.raises(
        TypeError,
        match=r"the feed has no such events; it has HealthChanged, Part.*, PriceEvent, PriceUpdate",
    ):
        calls.dispatcher.add(kind, print)


def test_a_coroutine_function_is_for_an_async_feed() -> None:
    """`Feed` would never await it, and its events would count as handled."""

    async def handler(event: PriceEvent) -> None: ...

    config = FeedConfig(bootstrap_servers="nowhere", topics=Topics(prices="p"), group_id="g", security="PLAINTEXT")
    with pytest.raises(TypeError, match=r"on\(PriceEvent\): .* is a coroutine function: only an AsyncFeed can call it"):
        Feed(config).on(PriceEvent)(handler)
    AsyncFeed(config).on(PriceEvent)(handler)


@pytest.mark.parametrize(
    ("kind", "handler", "said"),
    [
        (PriceEvent, lambda: None, "must be callable with a PriceEvent"),
        (RaceEvent, lambda a, b: None, "must be callable with a RaceEvent"),
        (Scratching, lambda: None, "must be callable with a Scratching"),
        (Scratching, lambda a, b, c: None, "a Scratching and the event it belongs to"),
        (PriceEvent, 7, "7 can't be called"),
        (PriceEvent, lambda *, event: None, "must be callable with a PriceEvent"),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused(calls: Calls, kind: type[Any], handler: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        calls.dispatcher.add(kind, handler)
    assert calls.of(PRICES) == []
