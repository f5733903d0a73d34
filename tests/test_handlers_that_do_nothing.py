"""A handler whose code has not run is refused, or its event is not acknowledged."""

from __future__ import annotations

import asyncio
import functools
import inspect
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from rbhq_stream import (
    AsyncFeed,
    DecodeError,
    Feed,
    PartitionsLost,
    PriceEvent,
    PriceUpdate,
    Retry,
    TopicPartition,
)
from rbhq_stream.testing import MemorySource
from tests.facades import AsyncFacade, SyncFacade
from tests.memory_feeds import PRICES, MakeFacade, memory_config, price, prices

pytestmark = pytest.mark.timeout(30)

pytestmark = pytest.mark.timeout(30)

BAD = b'{"meetingId": 1, "eventNumber":'


async def coroutine_function(event: object) -> None: ...


def generator_function(event: object) -> Iterator[None]:
    yield


@types.coroutine
def awaitable_generator_function(event: object) -> Generator[None, None, None]:
    yield


async def async_generator_function(event: object) -> AsyncIterator[None]:
    yield


class Application:
    async def coroutine_method(self, event: object) -> None: ...

    def generator_method(self, event: object) -> Iterator[None]:
        yield

    async def async_generator_method(self, event: object) -> AsyncIterator[None]:
        yield

    @classmethod
    async def class_method(cls, event: object) -> None: ...

    @staticmethod
    async def static_method(event: object) -> None: ...


class AsyncCall:
    async def __call__(self, event: object) -> None: ...


class GeneratorCall:
    def __call__(self, event: object) -> Iterator[None]:
        yield


class AsyncGeneratorCall:
    async def __call__(self, event: object) -> AsyncIterator[None]:
        yield


async def of_a_factor(factor: object, event: object) -> None: ...


COROUTINE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "function": coroutine_function,
    "method": Application().coroutine_method,
    "class method": Application.class_method,
    "static method": Application.static_method,
    "static method object": staticmethod(coroutine_function),
    "object with an async __call__": AsyncCall(),
    "partial": functools.partial(of_a_factor, 2),
    "partial of a partial of a method": functools.partial(
        functools.partial(Application.coroutine_method, Application())
    ),
    "partial of an object": functools.partial(AsyncCall()),
    "generator function that types.coroutine made awaitable": awaitable_generator_function,
    "cached": functools.lru_cache(coroutine_function),
}
GENERATOR_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "generator function": generator_function,
    "generator method": Application().generator_method,
    "object with a generator as __call__": GeneratorCall(),
    "partial of a generator function": functools.partial(generator_function),
    "async generator function": async_generator_function,
    "async generator method": Application().async_generator_method,
    "object with an async generator as __call__": AsyncGeneratorCall(),
    "partial of an async generator function": functools.partial(async_generator_function),
}


def named(callables: Mapping[str, object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("function", callables.values(), ids=callables.keys())


@named(COROUTINE_FUNCTIONS)
def test_a_feed_refuses_coroutine_functions(function: Any) -> None:
    feed = Feed(memory_config())
    for kind in (PriceEvent, PriceUpdate, PartitionsLost):
        with pytest.raises(TypeError, match=rf"on\({kind.__name__}\): .* coroutine function.*AsyncFeed"):
            feed.on(kind)(function)


@named(COROUTINE_FUNCTIONS)
def test_an_async_feed_accepts_coroutine_functions(function: Any) -> None:
    AsyncFeed(memory_config()).on(PriceEvent)(function)


@named(GENERATOR_FUNCTIONS)
def test_both_refuse_generator_functions(make_facade: MakeFacade, function: Any) -> None:
    with pytest.raises(TypeError, match=r"on\(PriceEvent\): .* generator function"):
        make_facade().feed.on(PriceEvent)(function)


@named({**COROUTINE_FUNCTIONS, **GENERATOR_FUNCTIONS})
def test_on_bad_record_and_positions_are_plain_functions(make_facade: MakeFacade, function: Any) -> None:
    with pytest.raises(TypeError, match=r"on_bad_record: .* (coroutine|generator) function"):
        make_facade(on_bad_record=function)
    with pytest.raises(TypeError, match=r"positions: .* (coroutine|generator) function"):
        make_facade(positions=function)


def returns_a_coroutine(event: object) -> object:
    return coroutine_function(event)


def returns_a_generator(event: object) -> object:
    return generator_function(event)


def returns_an_async_generator(event: object) -> object:
    return async_generator_function(event)


class Pending:
    """An awaitable that is not a coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def decorated(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(function)
    def wrapper(event: Any) -> Any:
        return function(event)

    return wrapper


@contextmanager
def context_manager(event: object) -> Iterator[None]:
    yield


@asynccontextmanager
async def async_context_manager(event: object) -> AsyncIterator[None]:
    yield


RETURN_AN_AWAITABLE: dict[str, Callable[[Any], Any]] = {
    "plain function": returns_a_coroutine,
    "decorated": decorated(coroutine_function),
    "awaitable": lambda event: Pending(),
}
RETURN_A_GENERATOR: dict[str, Callable[[Any], Any]] = {
    "plain function": returns_a_generator,
    "generator expression": lambda event: (update for update in event.price_updates),
    "map": lambda event: map(print, event.price_updates),
    "filter": lambda event: filter(print, event.price_updates),
    "decorated generator function": decorated(generator_function),
    "async generator": returns_an_async_generator,
    "decorated async generator function": decorated(async_generator_function),
    "context manager": context_manager,
    "async context manager": async_context_manager,
}


def check_nothing_is_acknowledged(make_facade: MakeFacade, source: MemorySource, handler: Any, retry: Retry) -> None:
    """The feed must raise at the first event, each time, and must not commit it."""
    source.publish(*prices(3))
    facade = make_facade()
    calls: list[PriceEvent] = []

    @facade.feed.on(PriceEvent)
    def note(event: PriceEvent) -> None:
        calls.append(event)

    facade.feed.on(PriceEvent)(handler)
    facade.enter()
    for count in (1, 2):
        with pytest.raises(TypeError, match=r"handler of PriceEvent.*it has not run, so nothing is acknowledged"):
            facade.run(retry)
        assert calls == [price(1)] * count
    facade.leave(TypeError())
    assert source.committed.get(PRICES, 0) == 0


@named(RETURN_A_GENERATOR)
def test_a_handler_must_not_return_a_generator(
    make_facade: MakeFacade, memory_source: MemorySource, function: Any
) -> None:
    check_nothing_is_acknowledged(make_facade, memory_source, function, Retry(attempts=1))


@named(RETURN_AN_AWAITABLE)
def test_a_handler_of_a_feed_must_not_return_an_awaitable(memory_source: MemorySource, function: Any) -> None:
    def make(**options: Any) -> Any:
        return SyncFacade(memory_config(), source=memory_source, **options)

    check_nothing_is_acknowledged(make, memory_source, function, Retry(attempts=1))


def test_a_handler_that_did_nothing_is_not_called_again(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    """A second call would return the same result."""
    check_nothing_is_acknowledged(
        make_facade, memory_source, returns_a_generator, Retry(attempts=5, wait=60, max_wait=60)
    )


async def _returns_a_coroutine(event: object) -> Any:
    return coroutine_function(event)  # where "await" was forgotten


async def _returns_a_generator(event: object) -> Any:
    return generator_function(event)


async def _returns_a_task(event: object) -> Any:
    return asyncio.ensure_future(asyncio.sleep(0))


@named({"coroutine": _returns_a_coroutine, "generator": _returns_a_generator, "task": _returns_a_task})
def test_the_result_of_an_awaited_handler_is_checked_too(memory_source: MemorySource, function: Any) -> None:
    facades: list[AsyncFacade] = []

    def make(**options: Any) -> Any:
        facades.append(AsyncFacade(memory_config(), source=memory_source, **options))
        return facades[-1]

    check_nothing_is_acknowledged(make, memory_source, function, Retry(attempts=1))
    facades[0].finish()


@named({**COROUTINE_FUNCTIONS, **RETURN_AN_AWAITABLE})
def test_an_async_feed_awaits_every_awaitable_result(memory_source: MemorySource, function: Any) -> None:
    memory_source.publish(*prices(2))
    facade = AsyncFacade(memory_config(), source=memory_source)
    facade.feed.on(PriceEvent)(function)

    @facade.feed.on(PriceEvent)
    def stop(event: PriceEvent) -> None:
        if event == price(2):
            facade.feed.stop()

    facade.run()
    facade.finish()
    assert memory_source.committed[PRICES] == 2


def test_a_decorator_that_runs_a_coroutine_function_is_accepted(
    make_facade: MakeFacade, memory_source: MemorySource
) -> None:
    """Only a call shows whether a decorator runs the function that it decorates."""
    ran: list[object] = []

    def in_its_own_way(function: Callable[[Any], Awaitable[None]]) -> Callable[[Any], None]:
        @functools.wraps(function)
        def wrapper(event: Any) -> None:
            step = function(event).__await__()
            for _ in step:
                pass

        return wrapper

    @in_its_own_way
    async def handler(event: object) -> None:
        ran.append(event)
        facade.feed.stop()

    memory_source.publish(price(1))
    facade = make_facade()
    assert inspect.iscoroutinefunction(inspect.unwrap(handler))
    facade.feed.on(PriceEvent)(handler)
    facade.run()
    assert ran == [price(1)]
    assert memory_source.committed[PRICES] == 1


class Touchy:
    """Behaves like a proxy of a missing object."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "make_result",
    [lambda: None, int, list, lambda: iter([1]), object, Touchy, Mock, MagicMock, TypeError, Future],
)
def test_any_other_result_is_ignored(
    make_facade: MakeFacade, memory_source: MemorySource, make_result: Callable[[], object]
) -> None:
    memory_source.publish(price(1))
    facade = make_facade()

    def handler(event: PriceEvent) -> object:
        facade.feed.stop()
        return make_result()

    facade.feed.on(PriceEvent)(handler)
    facade.run()
    assert memory_source.committed[PRICES] == 1


def test_a_handler_of_parts_is_named_in_the_error(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    def handler_of_updates(update: PriceUpdate) -> object:
        return generator_function(update)

    memory_source.publish(price(1))
    facade = make_facade()
    facade.feed.on(PriceUpdate)(handler_of_updates)
    with pytest.raises(TypeError, match="handler_of_updates"):
        facade.run()


def test_a_handler_of_signals_is_checked_too(make_facade: MakeFacade, memory_source: MemorySource) -> None:
    facade = make_facade()
    facade.feed.on(PartitionsLost)(returns_a_generator)
    facade.enter()
    memory_source.lose("prices")
    for _ in range(2):
        with pytest.raises(TypeError, match=r"PartitionsLost.*it has not run"):
            facade.poll(20)


@named({**RETURN_AN_AWAITABLE, "generator": returns_a_generator})
def test_the_result_of_on_bad_record_is_checked_too(
    make_facade: MakeFacade, memory_source: MemorySource, function: Callable[[DecodeError], object]
) -> None:
    memory_source.publish_raw("prices", BAD)
    memory_source.publish(price(2))
    facade = make_facade(on_bad_record=function)
    facade.enter()
    for _ in range(2):
        with pytest.raises(TypeError, match=r"on_bad_record.*it has not run"):
            facade.next()
    facade.leave(TypeError())
    assert memory_source.committed.get(PRICES, 0) == 0


@named({**RETURN_AN_AWAITABLE, "generator": returns_a_generator})
def test_the_result_of_positions_is_checked_too(
    make_facade: MakeFacade, function: Callable[[Collection[TopicPartition]], Any]
) -> None:
    with pytest.raises(TypeError, match=r"positions.*it has not run"):
        make_facade(positions=function).enter()
