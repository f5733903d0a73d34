"""A feed belongs to the process that entered it.

A forked child gets a copy of the feed's memory, but neither its poll thread nor the Kafka client's threads. Whatever
waits for one of these would wait for ever, and the events in the buffer are the parent's. So the sessions of a process
are told of a fork, in the child and before any other code runs there.

Nothing is cleaned up in the child. To end the Kafka client there would abort the process, and its connections are the
parent's. The poll thread's frames, which no longer run, keep the client from being collected.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that does not work in a forked child."""

    def note_fork(self) -> None:
        """This process is a child that was forked. Called in the child."""


class _Forks:
    """Tells whoever asks for it of a fork, without keeping it in memory."""

    def __init__(self) -> None:
        self._watched: WeakSet[Forkable] = WeakSet()
        if hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=self._tell)

    def watch(self, forkable: Forkable) -> None:
        self._watched.add(forkable)

    def _tell(self) -> None:
        for forkable in list(self._watched):
            forkable.note_fork()


forks = _Forks()
"""One for the process, as Python calls these functions in every fork and never forgets them."""
