"""`WorkerThreads`: a few threads that do what one other thread gives them.

They are daemon threads: one that never returns does not keep the process from ending. Interrupts strike only the thread
that gives out work, so that one calls nothing that takes a lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

_T = TypeVar("_T")


class WorkerThreads(Generic[_T]):
    """Started once, closed once.

    Args:
        count: how many threads.
        work: what to do with each item, on one of the threads. What it raises ends that thread.
        wake: called on each thread when it has ended.
    """

    def __init__(self, count: int, work: Callable[[_T], object], wake: Callable[[], None]) -> None:
        self._count = count
        self._work = work
        self._wake = wake
        self._items: SimpleQueue[_T | None] = SimpleQueue()
        self._is_closing = False  # written by the thread that gives out work
        self._started: list[threading.Thread] = []  # likewise
        self._ended: deque[threading.Thread] = deque()  # each thread appends itself

    def start(self) -> None:
        """Starts the threads. A thread that an interrupt leaves out of the list ends by `close`, as the others do."""
        for number in range(self._count):
            thread = threading.Thread(target=self._run, name=f"rbhq_stream worker {number + 1}", daemon=True)
            thread.start()
            self._started.append(thread)

    def put(self, item: _T) -> None:
        """Has the next idle thread work on the item."""
        self._items.put(item)

    def close(self) -> None:
        """Lets each thread end after its current item. Items that none has begun with are dropped. Idempotent."""
        self._is_closing = True
        for _ in range(self._count):
            self._items.put(None)

    def is_over(self) -> bool:
        """Whether no thread works any more, after `close`."""
        return set(self._started) <= set(self._ended)

    def _run(self) -> None:
        try:
            while (item := self._items.get()) is not None and not self._is_closing:
                self._work(item)
        finally:
            self._ended.append(threading.current_thread())
            self._wake()
