"""Takes the messages that the client has fetched, many at once where its version does so without losing records."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, Message, libversion


def _client_version() -> tuple[int, ...]:
    """Returns the first two numbers of librdkafka's version."""
    version: Any = libversion()  # 2.12.0 returns a string, the others a string and a number
    text = version if isinstance(version, str) else version[0]
    return tuple(int(number) for number in text.split(".")[:2])


_MARKS_ENDS_WELL = _client_version() >= (2, 13)
"""Before 2.13, `consume` counts the end-of-partition message in a batch as a record: when the partition is resumed
after a pause, the client skips one record. `poll` does not."""


def fetched(consumer: Consumer, maximum: int) -> list[Message]:
    """Returns the messages that the client has fetched, without waiting for more."""
    if _MARKS_ENDS_WELL:
        return consumer.consume(maximum, 0)
    messages: list[Message] = []
    while len(messages) < maximum and (message := consumer.poll(0)) is not None:
        messages.append(message)
    return messages
