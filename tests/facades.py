"""One suite for both facades: a test drives `Feed` and `AsyncFeed` with the same calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from rbhq_stream import AsyncFeed, Event, Feed, FeedConfig, Retry
from rbhq_stream.retry import NO_RETRY


class Facade(Protocol):
    """A feed, entered or not, that a synchronous test drives."""

    feed: Feed | AsyncFeed

    def enter(self) -> None: ...
    def leave(self, error: BaseException | None = None) -> None: ...
    def finish(self) -> None: ...
    def next(self) -> Event: ...
    def poll(self, timeout: float) -> Event | None: ...
    def batches(self, max_events: int, max_wait: float) -> Callable[[], list[Event]]: ...
    def run(self, retry: Retry = NO_RETRY, at_once: int = 1, **limits: Any) -> None: ...


class SyncFacade:
    def __init__(self, config: FeedConfig, **options: Any) -> None:
        self.feed = Feed(config, **options)

    def enter(self) -> None:
        self.feed.__enter__()

    def leave(self, error: BaseException | None = None) -> None:
        self.feed.__exit__(None if error is None else type(error), error, None)

    def finish(self) -> None:
        self.feed.close()

    def next(self) -> Event:
        return next(self.feed)

    def poll(self, timeout: float) -> Event | None:
        return self.feed.poll(timeout)

    def batches(self, max_events: int, max_wait: float) -> Callable[[], list[Event]]:
        return self.feed.batches(max_events, max_wait).__next__

    def run(self, retry: Retry = NO_RETRY, at_once: int = 1, **limits: Any) -> None:
        self.feed.run(retry=retry, workers=at_once, **limits)


class AsyncFacade:
    def __init__(self, config: FeedConfig, **options: Any) -> None:
        self.feed = AsyncFeed(config, **options)
        self.loop = asyncio.new_event_loop()

    def enter(self) -> None:
        self.loop.run_until_complete(self.feed.__aenter__())

    def leave(self, error: BaseException | None = None) -> None:
        self.loop.run_until_complete(self.feed.__aexit__(None if error is None else type(error), error, None))

    def finish(self) -> None:
        self.loop.run_until_complete(self.feed.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def next(self) -> Event:
        try:
            return self.loop.run_until_complete(self.feed.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def poll(self, timeout: float) -> Event | None:
        return self.loop.run_until_complete(self.feed.poll(timeout))

    def batches(self, max_events: int, max_wait: float) -> Callable[[], list[Event]]:
        batches = self.feed.batches(max_events, max_wait)

        def next_batch() -> list[Event]:
            try:
                return self.loop.run_until_complete(batches.__anext__())
            except StopAsyncIteration:
                raise StopIteration from None

        return next_batch

    def run(self, retry: Retry = NO_RETRY, at_once: int = 1, **limits: Any) -> None:
        self.loop.run_until_complete(self.feed.run(retry=retry, concurrency=at_once, **limits))


both_facades = pytest.mark.parametrize("facade", [SyncFacade, AsyncFacade], ids=["Feed", "AsyncFeed"])
