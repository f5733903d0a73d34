"""`WorkerThreads`: threads that process the items that one other thread gives them.

They are daemon threads, so one that never returns does not keep the process from ending. Only the thread that gives out
the items can be interrupted, so it calls nothing that takes a lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

_T = TypeVar("_T")


class WorkerThreads(Generic[_T]):
    """A fixed number of threads, which are started once and closed once.

    Args:
        count: how many threads.
        work: called with each item on one of the threads. An exception ends that thread.
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
        """Starts the threads. One that an interrupt leaves out of the list is ended by `close` like the others."""
        for number in range(self._count):
            thread = threading.Thread(target=self._run, name=f"rbhq_stream worker {number + 1}", daemon=True)
            thread.start()
            self._started.append(thread)

    def put(self, item: _T) -> None:
        """Adds an item, which the next idle thread processes."""
        self._items.put(item)

    def close(self) -> None:
        """Ends each thread after its current item. Items that no thread has started are dropped. Idempotent."""
        self._is_closing = True
        for _ in range(self._count):
            self._items.put(None)

    def is_over(self) -> bool:
        """Returns whether all threads have ended, after `close`."""
        return set(self._started) <= set(self._ended)

    def _run(self) -> None:
        try:
            while (item := self._items.get()) is not None and not self._is_closing:
                self._work(item)
        finally:
            self._ended.append(threading.current_thread())
            self._wake()
