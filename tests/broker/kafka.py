"""``KafkaCluster``: a real Kafka for a test, with one broker or several.

::

    with KafkaCluster(directory) as cluster:
        cluster.create_topic("prices")
        cluster.create_user("partner", "secret")
        cluster.allow_read("partner", "prices")
        consumer = Consumer({**cluster.client_settings("partner", "secret"), "group.id": "g"})

Clients come in over SASL_SSL with SCRAM-SHA-512 and may do only what they were granted. What the
test itself does (the methods here) goes over another listener that needs no password.
"""

from __future__ import annotations

import base64
import secrets
import shutil
import ssl
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, final

from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]

from tests.broker.access import AccessOperations
from tests.broker.certificates import CertificateAuthority
from tests.broker.config import Ports, server_properties
from tests.broker.core import wait_until
from tests.broker.install import install
from tests.broker.node import KafkaNode
from tests.broker.ports import free_port
from tests.broker.proxy import TcpProxy
from tests.broker.topics import TopicOperations


@final
class KafkaCluster(AccessOperations, TopicOperations):
    """One or more combined broker and controller nodes, numbered from 1: ``nodes[0]`` is node 1.

    With three nodes there is a quorum of three, every topic is on all of them, and a message
    counts as published when two have it: one node can be away.

    With ``proxied`` there is a ``TcpProxy`` in front of every node, and clients are told to
    connect to that: ``proxies[0]`` is on the way to node 1. ``config`` adds to (or replaces)
    settings of ``server.properties``; ``jvm_options`` are added to those of Java.
    """

    def __init__(
        self,
        directory: Path,
        brokers: int = 1,
        *,
        proxied: bool = False,
        config: Mapping[str, str] | None = None,
        jvm_options: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.directory = directory
        self.authority = CertificateAuthority(directory / "certificates")
        self.admin_username = "admin"
        self.admin_password = secrets.token_hex(16)
        self.proxies: list[TcpProxy] = []
        self._brokers = brokers
        self._proxied = proxied
        self._config = dict(config or {})
        self._jvm_options = jvm_options
        self._stack = ExitStack()

    @property
    def bootstrap(self) -> str:
        """The addresses clients connect to first: ``localhost:port,...``."""
        return ",".join(f"localhost:{node.ports.advertised}" for node in self.nodes)

    @property
    def ca_file(self) -> Path:
        """The CA certificate a client has to trust."""
        return self.authority.ca_file

    @property
    def ca_pem(self) -> str:
        """The same as text."""
        return self.authority.ca_pem

    def client_settings(self, username: str, password: str) -> dict[str, Any]:
        """What a confluent-kafka client needs in order to log in as this user."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.ca_file),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": username,
            "sasl.password": password,
        }

    def use_certificate(self, certificate: Path) -> None:
        """Show clients another certificate, from now on and on every node.

        One of those ``authority`` makes: ``server()`` for a good one, or a faulty one. It takes
        effect for new connections, and stays through restarts.
        """
        for node in self.nodes:
            folder = node.directory / "certificates"
            folder.mkdir(exist_ok=True)
            # A file of a new name each time, or Kafka would not look at it.
            file = folder / f"{certificate.stem}-{uuid.uuid4().hex[:8]}.pem"
            shutil.copy(certificate, file)
            name = "listener.name.client.ssl.keystore.location"
            self._configure(ResourceType.BROKER, str(node.node_id), {name: str(file)})
            wait_until(partial(_shows, node, certificate), f"node {node.node_id} shows {certificate.name}")

    def __enter__(self) -> KafkaCluster:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill every node and close every connection. The folder and the logs in it stay."""
        self._forget_clients()
        for node in self.nodes:
            node.kill()
        self._stack.close()

    def _start(self) -> None:
        libs = install()
        certificate = self.authority.server()
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for node_id in range(1, self._brokers + 1):
            ports = self._choose_ports()
            folder = self.directory / f"node-{node_id}"
            self.nodes.append(KafkaNode(node_id, folder, ports, libs, self._jvm_options))
        controllers = {node.node_id: node.ports.controller for node in self.nodes}
        for node in self.nodes:
            node.write_properties(
                server_properties(
                    node.node_id,
                    node.ports,
                    controllers,
                    node.directory,
                    certificate,
                    self._config,
                )
            )
        with ThreadPoolExecutor() as pool:  # a second of Java each, so all at once
            list(pool.map(lambda node: node.format(cluster_id, self.admin_password), self.nodes))
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        self.group_coordinator("any")  # the first question has Kafka make the topic groups need

    def _choose_ports(self) -> Ports:
        client = free_port()
        advertised = client
        if self._proxied:
            proxy = self._stack.enter_context(TcpProxy(client))
            self.proxies.append(proxy)
            advertised = proxy.port
        return Ports(client, free_port(), free_port(), advertised)


def _shows(node: KafkaNode, certificate: Path) -> bool:
    """Whether a node that is up shows clients this certificate, good or not."""
    if not node.running:
        return True  # it will
    shown = ssl.get_server_certificate(("127.0.0.1", node.ports.client), timeout=5)
    return shown.strip() in certificate.read_text()
