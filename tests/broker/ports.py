"""Choosing TCP ports for brokers that have to come back on the same port after a restart."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 20000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def _highest() -> int:
    """The last port below those the system hands to outgoing connections.

    While a broker is down, any outgoing connection could otherwise be given its port.
    """
    try:
        first_ephemeral = int(_EPHEMERAL.read_text().split()[0])
    except OSError:
        first_ephemeral = 32768
    return first_ephemeral - 1 if first_ephemeral > _LOWEST + 1000 else 65535


def free_port() -> int:
    """A loopback port nobody listens on, and that this process has not been given before."""
    for _ in range(1000):
        port = random.randint(_LOWEST, _highest())
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("no free TCP port found on loopback")
