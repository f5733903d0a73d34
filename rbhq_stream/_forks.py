"""What holds a Kafka client belongs to the process that made the client: `forks` tells it of a fork, in the child.

A forked child gets a copy of the process's memory, but neither our threads nor the Kafka client's. Whatever waits for
one of these would wait for ever. So those who hold a client are told of a fork before any other code runs in the child.

Nothing is cleaned up there. To end the client would abort the process or wait, and its connections are the parent's.
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
