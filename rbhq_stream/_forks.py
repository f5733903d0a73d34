"""`forks` notifies the owners of Kafka clients in a forked child.

An owner of a Kafka client belongs to the process that created the client. A forked child gets a copy of the process's
memory, but neither our threads nor the Kafka client's. Code that waits for one of these threads would wait for ever. So
the owners are notified of the fork before any other code runs in the child.

Nothing is cleaned up in the child. Closing the client there would abort the process or hang, and its connections belong
to the parent.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """An object that does not work in a forked child."""

    def note_fork(self) -> None:
        """Notes that this process is a forked child."""


class _Forks:
    """Notifies the registered objects of a fork. It holds weak references to them."""

    def __init__(self) -> None:
        self._watched: WeakSet[Forkable] = WeakSet()
        if hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=self._notify)

    def watch(self, forkable: Forkable) -> None:
        self._watched.add(forkable)

    def _notify(self) -> None:
        for forkable in list(self._watched):
            forkable.note_fork()


forks = _Forks()
"""The only instance in the process, because a function that is registered with Python for forks can't be removed."""
