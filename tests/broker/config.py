"""The configuration of one node: a broker and controller in one process (KRaft).

The settings are those of a strict production broker wherever a client can tell the difference
(TLS, SCRAM, access control, no topics made on the fly), and impatient everywhere else, so that a
test does not wait for a timeout that protects nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOG4J = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


@dataclass(frozen=True)
class Ports:
    """The ports of one node; ``advertised`` is where clients are told to find ``client``."""

    client: int
    internal: int
    controller: int
    advertised: int


def server_properties(
    node_id: int,
    ports: Ports,
    controllers: Mapping[int, int],
    directory: Path,
    certificate: Path,
    extra: Mapping[str, str],
) -> str:
    """The text of ``server.properties``; ``controllers`` has every node's controller port."""
    brokers = len(controllers)
    settings: dict[str, str | int] = {
        "process.roles": "broker,controller",
        "node.id": node_id,
        "controller.quorum.voters": ",".join(f"{node}@127.0.0.1:{port}" for node, port in controllers.items()),
        "log.dirs": str(directory / "data"),
        # --- listeners: clients over SASL_SSL; ourselves and the other nodes in the clear
        "listeners": f"CLIENT://127.0.0.1:{ports.client},INTERNAL://127.0.0.1:{ports.internal},"
        f"CONTROLLER://127.0.0.1:{ports.controller}",
        "advertised.listeners": f"CLIENT://localhost:{ports.advertised},INTERNAL://127.0.0.1:{ports.internal}",
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.client.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.location": str(certificate),
        # A test may change the certificate of a running broker, also for a wrong one.
        "ssl.allow.dn.changes": "true",
        "ssl.allow.san.changes": "true",
        # --- permissions: nothing is allowed that was not granted, except on INTERNAL
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
        "allow.everyone.if.no.acl.found": "false",
        # --- topics
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "default.replication.factor": brokers,
        "min.insync.replicas": min(2, brokers),
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": brokers,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": brokers,
        "transaction.state.log.min.isr": min(2, brokers),
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": brokers,
        "share.coordinator.state.topic.min.isr": min(2, brokers),
        "message.max.bytes": 16 * 1024 * 1024,
        "replica.fetch.max.bytes": 16 * 1024 * 1024,
        # --- groups: no waiting for more members, and short sessions permitted
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 500,
        "group.consumer.session.timeout.ms": 6000,
        "group.consumer.min.session.timeout.ms": 1000,
        "group.consumer.heartbeat.interval.ms": 500,
        "group.consumer.min.heartbeat.interval.ms": 100,
        # --- a node that is gone is noticed soon
        "broker.heartbeat.interval.ms": 250,
        "broker.session.timeout.ms": 2000,
        "replica.fetch.wait.max.ms": 50,
        # --- retention and compaction are looked at all the time
        "log.initial.task.delay.ms": 500,
        "log.retention.check.interval.ms": 1000,
        "log.segment.delete.delay.ms": 500,
        "log.cleaner.backoff.ms": 500,
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        # --- a small machine
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.replica.fetchers": 1,
        "background.threads": 2,
        "num.recovery.threads.per.data.dir": 1,
    }
    settings.update(extra)
    return "".join(f"{name}={value}\n" for name, value in settings.items())
