"""A small Kafka cluster in Python, on the loopback interface: what `EmbeddedBroker` runs."""

from rbhq_stream.testing._cluster.cluster import BrokerClosedError, Cluster

__all__ = ["BrokerClosedError", "Cluster"]
