"""The codes that the Kafka client gives to errors of its own, which no broker reports.

They are public, but in the client their names begin with an underscore.
"""

from __future__ import annotations

from confluent_kafka import KafkaError


def _code(name: str) -> int:
    code: int = getattr(KafkaError, f"_{name}")
    return code


ALL_BROKERS_DOWN = _code("ALL_BROKERS_DOWN")
AUTHENTICATION = _code("AUTHENTICATION")
AUTO_OFFSET_RESET = _code("AUTO_OFFSET_RESET")
DESTROY = _code("DESTROY")
FATAL = _code("FATAL")
MSG_TIMED_OUT = _code("MSG_TIMED_OUT")
PARTITION_EOF = _code("PARTITION_EOF")
RESOLVE = _code("RESOLVE")
SSL = _code("SSL")
TIMED_OUT = _code("TIMED_OUT")
TRANSPORT = _code("TRANSPORT")
UNKNOWN_TOPIC = _code("UNKNOWN_TOPIC")
