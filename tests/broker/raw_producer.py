"""Publishes what the Python client cannot: records whose header names are any bytes.

A producer in C or Go can write a header name that is not UTF-8. This module calls librdkafka's C interface, in the very
library that confluent_kafka has loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import confluent_kafka.cimpl

_POINTER, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rd_kafka_conf_new": (_POINTER, ()),
    "rd_kafka_conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _TEXT, ctypes.c_size_t)),
    "rd_kafka_new": (_POINTER, (_INT, _POINTER, _TEXT, ctypes.c_size_t)),
    "rd_kafka_flush": (_INT, (_POINTER, _INT)),
    "rd_kafka_destroy": (None, (_POINTER,)),
    "rd_kafka_headers_new": (_POINTER, (ctypes.c_size_t,)),
    "rd_kafka_header_add": (_INT, (_POINTER, _TEXT, ctypes.c_ssize_t, _TEXT, ctypes.c_ssize_t)),
}
_PRODUCER = 0  # RD_KAFKA_PRODUCER
_ERROR_SIZE = 512
# the tags of rd_kafka_producev's arguments
_END, _TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADERS = 0, 1, 3, 4, 7, 10
_COPY = 2  # RD_KAFKA_MSG_F_COPY


def publish(
    bootstrap_servers: str,
    topic: str,
    value: bytes,
    headers: Sequence[tuple[bytes, bytes | None]],
    *,
    partition: int = 0,
) -> None:
    """Publishes one record and waits until the broker has it."""
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    error = ctypes.create_string_buffer(_ERROR_SIZE)
    conf = library.rd_kafka_conf_new()
    for setting in ((b"bootstrap.servers", bootstrap_servers.encode()), (b"log_level", b"0")):
        _check(library.rd_kafka_conf_set(conf, *setting, error, _ERROR_SIZE))
    producer = library.rd_kafka_new(_PRODUCER, conf, error, _ERROR_SIZE)
    c_headers = library.rd_kafka_headers_new(len(headers))
    for key, content in headers:
        size = -1 if content is None else len(content)
        _check(library.rd_kafka_header_add(c_headers, key, len(key), content, size))
    _check(
        library.rd_kafka_producev(
            _POINTER(producer),
            *(_INT(_TOPIC), _TEXT(topic.encode())),
            *(_INT(_PARTITION), ctypes.c_int32(0)),
            *(_INT(_FLAGS), _INT(_COPY)),
            *(_INT(_VALUE), _TEXT(value), ctypes.c_size_t(len(value))),
            *(_INT(_HEADERS), _POINTER(c_headers)),
            _INT(_END),
        )
    )
    _check(library.rd_kafka_flush(producer, 10_000))
    library.rd_kafka_destroy(producer)


def _check(error: int) -> None:
    if error:
        raise OSError(f"librdkafka returned error {error}")
