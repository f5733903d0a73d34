"""`HandlerTasks`: the tasks in which an `AsyncFeed` calls the handlers of several events at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class HandlerTasks:
    """The tasks of one run. They belong to the event loop of that run."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def is_over(self) -> bool:
        """Returns whether no task is running."""
        return all(task.done() for task in self._tasks)

    async def cancel(self) -> None:
        """Cancels the tasks and waits until they have ended, even if it is cancelled itself in the meantime."""
        cancelled: asyncio.CancelledError | None = None
        while not self.is_over():
            running = list(self._tasks)
            for task in running:
                task.cancel()
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
