"""Each kind of event and each signal is handled everywhere: a module in which one was forgotten fails here."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import attrs
import pytest

import rbhq_stream
from rbhq_stream import (
    Event,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceEvent,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Signal,
    Topics,
    Unscratching,
    decode,
    encode,
)
from rbhq_stream._engine.dispatch import Dispatcher, Handlers
from rbhq_stream._kinds import EVENT_KINDS, SIGNALS, EventKind
from rbhq_stream.testing import EmbeddedBroker, Simulator
from tests.memory_feeds import TOPICS

EXAMPLES: dict[type[Event], Event] = {
    PriceEvent: PriceEvent(1, 2, (PriceUpdate(3, PriceType.WIN, 12),), (Scratching(4),), (Unscratching(5),)),
    RaceStatusEvent: RaceStatusEvent(1, 2, RaceStatus.OPEN),
    RaceResultEvent: RaceResultEvent(1, 2, RaceStatus.FINAL, results=(RunnerResult(3),)),
}

each_kind = pytest.mark.parametrize("kind", EVENT_KINDS, ids=[kind.topic for kind in EVENT_KINDS])


def every(family: type[Any]) -> set[type[Any]]:
    return {value for value in vars(rbhq_stream).values() if inspect.isclass(value) and issubclass(value, family)}


def test_the_table_has_every_class_of_events_and_every_signal() -> None:
    assert {kind.event for kind in EVENT_KINDS} == every(RaceEvent) - {RaceEvent} == set(get_args(Event))
    assert set(SIGNALS) == every(Signal) - {Signal}


def test_each_kind_has_a_topic_and_each_topic_a_kind() -> None:
    assert [kind.topic for kind in EVENT_KINDS] == [field.name for field in attrs.fields(Topics)]
    assert list(TOPICS.kinds.values()) == [kind.event for kind in EVENT_KINDS]
    assert [TOPICS.of(kind.event) for kind in EVENT_KINDS] == list(TOPICS.names)


def test_a_topic_that_is_not_configured_is_named_by_its_events() -> None:
    with pytest.raises(ValueError, match=r"no topic for RaceStatusEvent: set topics\.race_status"):
        Topics(prices="prices").of(rbhq_stream.RaceStatusEvent)


@each_kind
def test_each_kind_is_encoded_and_decoded(kind: EventKind) -> None:
    event = EXAMPLES[kind.event]
    assert decode(kind.event, encode(event)) == (event,)


@each_kind
def test_handlers_get_each_kind_and_then_its_parts(kind: EventKind) -> None:
    event = EXAMPLES[kind.event]
    dispatcher = Dispatcher()
    got: list[object] = []
    dispatcher.add(kind.event, got.append)
    expected: list[object] = [event]
    for part, attribute in kind.parts:
        assert getattr(event, attribute), "the example has one"
        dispatcher.add(part, got.append)
        expected += getattr(event, attribute)
    for handler, arguments in dispatcher.calls(event):
        handler(*arguments)
    assert got == expected


@each_kind
def test_on_is_typed_for_each_part(kind: EventKind) -> None:
    overloads = inspect.getsource(Handlers)
    for part, _ in kind.parts:
        assert (
            f"def on(self, kind: type[{part.__name__}]) -> OnPart[{part.__name__}, {kind.event.__name__}]" in overloads
        )


@each_kind
def test_the_simulator_publishes_each_kind(kind: EventKind) -> None:
    assert any(isinstance(timed.event, kind.event) for timed in Simulator(seed=1).events())


@each_kind
def test_the_embedded_broker_has_a_topic_for_each_kind(kind: EventKind) -> None:
    with EmbeddedBroker(partitions=1) as broker:
        (record,) = broker.publish(EXAMPLES[kind.event])
        assert record.topic == getattr(broker.topics, kind.topic)


@pytest.mark.parametrize("signal", SIGNALS)
def test_handlers_can_be_registered_for_each_signal(signal: type[Signal]) -> None:
    dispatcher = Dispatcher()
    dispatcher.add(signal, print)
    dispatcher.add(Signal, print)
    one: Any = object.__new__(signal)
    assert len(list(dispatcher.calls(one))) == 2
