"""What every operation on a cluster is built from: its nodes, an admin client, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka.admin import AdminClient

from tests.broker import wire
from tests.broker.node import BrokerError, KafkaNode

T = TypeVar("T")
WAIT_SECONDS = 30


def wait_until(done: Callable[[], bool], what: str, timeout: float = WAIT_SECONDS) -> None:
    """Return as soon as ``done()`` is true; raise an error naming ``what`` if it never is."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise BrokerError(f"not so after {timeout:g} s: {what}")
        time.sleep(0.02)


class ClusterCore:
    """The nodes of a cluster and the way to reach them past the client listener.

    Everything done here goes over the INTERNAL listener, which needs no password and may do
    anything: a test's own client is never involved.
    """

    nodes: list[KafkaNode]

    def __init__(self) -> None:
        self.nodes = []
        self._admin: AdminClient | None = None
        self._clients_know: list[int | None] = []

    @property
    def internal_bootstrap(self) -> str:
        """The addresses of the INTERNAL listener, which speaks plain text and allows everything."""
        return ",".join(f"127.0.0.1:{node.ports.internal}" for node in self.nodes)

    @property
    def admin(self) -> AdminClient:
        """An admin client that may do anything, for what has no method of its own here.

        Don't cache it: it changes when nodes stop or start.
        """
        self._renew_clients()
        admin = self._admin
        if admin is None:
            admin = self._admin = AdminClient(self._internal_client())
        return admin

    def running_nodes(self) -> list[KafkaNode]:
        """The nodes that are up and not paused."""
        return [node for node in self.nodes if node.running]

    def _renew_clients(self) -> None:
        """Forget clients that remember nodes as they no longer are, which can cost them a minute."""
        now = [node.pid if node.running else None for node in self.nodes]
        if now != self._clients_know:
            self._forget_clients()
            self._clients_know = now

    def _internal_client(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": ",".join(f"127.0.0.1:{node.ports.internal}" for node in self.running_nodes()),
            "log_level": 0,  # nodes are stopped on purpose all the time
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
        }

    def _forget_clients(self) -> None:
        """Have new clients made when next needed. One that another thread is using lives on there."""
        self._admin = None

    def _on_every_node(self, check: Callable[[int], bool], what: str) -> None:
        """Wait until the check holds for the internal port of every node that is up."""

        def holds() -> bool:
            try:
                return all(check(node.ports.internal) for node in self.running_nodes())
            except wire.NoAnswerError:
                return False

        wait_until(holds, what)

    def _ask_any(self, question: Callable[[int], T]) -> T:
        """Send a request to the nodes that are up until one responds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            for node in self.running_nodes():
                with suppress(wire.NoAnswerError):
                    return question(node.ports.internal)
            time.sleep(0.05)
        raise BrokerError("no node responds")
