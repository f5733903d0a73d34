"""The steps for one broker: its name is resolved, a TCP connection is opened, TLS is negotiated."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from rbhq_stream._config import FeedConfig
from rbhq_stream._diagnose.findings import Finding
from rbhq_stream._diagnose.progress import Progress, by, in_background
from rbhq_stream._diagnose.tls import handshake

STEPS = ("resolve", "connect", "tls")
"""The steps for each broker."""

_DROPPED = (
    "Packets are dropped on the way. The usual causes: RBHQ has not whitelisted the public IP address of this host, or"
    " a firewall on your side blocks outgoing TCP to port {port} (RBHQ's is 9196)."
)
_REFUSED = (
    "The host exists, but nothing listens on port {port}, or a firewall rejects the connection. Check host and port"
    " (RBHQ's is 9196) in bootstrap_servers."
)
_NO_ROUTE = "This host has no route to that address: check its routes, its VPN and its firewall."
_NO_NAME = "Check the host name in bootstrap_servers for typing errors, and this host's DNS."
_ADVERTISED = "The cluster itself names this address, and clients must use it. "


def examine_broker(
    progress: Progress, config: FeedConfig, broker: str, deadline: float, *, advertised: bool = False
) -> bool:
    """Runs the steps of one broker.

    Args:
        progress: Where the steps are recorded.
        config: The configuration of the feed.
        broker: Its `host:port`.
        deadline: When to give up (monotonic).
        advertised: Whether the address comes from the cluster instead of the configuration.

    Returns:
        Whether a Kafka client can use it.
    """
    name, _, number = broker.rpartition(":")
    host, port = name.strip("[]"), int(number)
    preface = _ADVERTISED if advertised else ""
    family = {"v4": socket.AF_INET, "v6": socket.AF_INET6}.get(
        str(config.kafka.get("broker.address.family")), socket.AF_UNSPEC
    )
    addresses = progress.run("resolve", broker, lambda: _resolve(host, port, family, deadline, preface))
    if addresses is None:
        progress.skip("not tried: the name doesn't resolve", broker)
        return False
    address = progress.run("connect", broker, lambda: _connect(addresses, port, deadline, preface))
    if address is None:
        progress.skip("not tried: no connection", broker)
        return False
    return progress.run("tls", broker, lambda: (handshake(config, host, address, port, deadline), True)) is not None


def _resolve(
    host: str, port: int, family: socket.AddressFamily, deadline: float, preface: str
) -> tuple[Finding, list[str]]:
    lookup = in_background(lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
    facts = {"error": "UnreachableError"}
    try:
        found = by(deadline, lookup)
    except TimeoutError:
        hint = f"{preface}This host's DNS doesn't respond: check its resolver."
        return Finding("failed", f"no response from the DNS about {host}", hint, facts), []
    except (OSError, UnicodeError) as error:  # a label that is too long is a UnicodeError
        reason = error.strerror if isinstance(error, OSError) else "not a valid host name"
        return Finding("failed", f"{host} doesn't resolve: {reason}", preface + _NO_NAME, facts), []
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    return Finding("ok", ", ".join(addresses), facts={"addresses": addresses}), addresses


def _connect(addresses: Sequence[str], port: int, deadline: float, preface: str) -> tuple[Finding, str]:
    """Tries each address until one works, as a Kafka client does."""
    attempts: list[str] = []
    hints: list[str] = []
    dropped = False
    for number, address in enumerate(addresses):
        begin = time.monotonic()
        share = max(0.05, (deadline - begin) / (len(addresses) - number))
        try:
            socket.create_connection((address, port), share).close()
        except TimeoutError:
            dropped = True
            attempts.append(f"{address}: timed out after {time.monotonic() - begin:.1f} s")
            hints.insert(0, _DROPPED)
        except ConnectionRefusedError:
            attempts.append(f"{address}: connection refused")
            hints.append(_REFUSED)
        except OSError as error:
            attempts.append(f"{address}: {error.strerror or error}")
            hints.append(_NO_ROUTE)
        else:
            detail = "; ".join([*attempts, f"connected to {address}"])
            facts = {"address": address}
            if dropped:  # a refused connection costs a client no time
                return Finding(
                    "warning",
                    detail,
                    "Clients lose time with the address that doesn't respond whenever they connect.",
                    facts,
                ), address
            return Finding("ok", detail, facts=facts), address
    hint = preface + hints[0].format(port=port)
    return Finding("failed", "; ".join(attempts), hint, {"error": "UnreachableError"}), ""
