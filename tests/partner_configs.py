"""Configurations for the real broker."""

from __future__ import annotations

from typing import Any

from rbhq_stream import FeedConfig, Topics
from tests.broker.fixtures import Partner
from tests.broker.kafka import KafkaCluster


def partner_config(cluster: KafkaCluster, partner: Partner, **fields: Any) -> FeedConfig:
    """Returns the configuration with the access data that RBHQ would have given the partner."""
    given: dict[str, Any] = {
        "bootstrap_servers": cluster.bootstrap,
        "username": partner.username,
        "password": partner.password,
        "ca_file": cluster.ca_file,
        "group_id": f"{partner.group_prefix}app",
        "topics": Topics(*partner.topics),
        "connect_timeout": 15.0,
        "session_timeout": 10.0,
    }
    if fields.get("kafka", {}).get("group.protocol") == "consumer":
        del given["session_timeout"]  # the brokers decide on it
    return FeedConfig(**{**given, **fields})


def partner_toml(cluster: KafkaCluster, partner: Partner) -> str:
    """Returns the same access data, with the topics, for a TOML file."""
    return f"""
        bootstrap_servers = "{cluster.bootstrap}"
        username = "{partner.username}"
        password = "{partner.password}"
        ca_file = "{cluster.ca_file}"
        topics.prices = "{partner.topics.prices}"
        topics.race_status = "{partner.topics.race_status}"
        """
