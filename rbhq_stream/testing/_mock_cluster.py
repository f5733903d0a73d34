"""librdkafka's mock brokers, by its C interface: the Python client can't say how many partitions their topics have.

The functions are those of `rdkafka.h` and `rdkafka_mock.h`, called in the very library that confluent_kafka has loaded.
"""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka.cimpl

_log = logging.getLogger("rbhq_stream.testing")

_PRODUCER = 0  # RD_KAFKA_PRODUCER
_CONF_OK = 0  # RD_KAFKA_CONF_OK
_ERROR_SIZE = 512

_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
_POINTER, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rd_kafka_conf_new": (_POINTER, ()),
    "rd_kafka_conf_destroy": (None, (_POINTER,)),
    "rd_kafka_conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _TEXT, ctypes.c_size_t)),
    "rd_kafka_conf_set_log_cb": (None, (_POINTER, _LogCallback)),
    "rd_kafka_new": (_POINTER, (_INT, _POINTER, _TEXT, ctypes.c_size_t)),
    "rd_kafka_set_log_queue": (_INT, (_POINTER, _POINTER)),
    "rd_kafka_poll": (_INT, (_POINTER, _INT)),
    "rd_kafka_destroy": (None, (_POINTER,)),
    "rd_kafka_err2str": (_TEXT, (_INT,)),
    "rd_kafka_mock_cluster_new": (_POINTER, (_POINTER, _INT)),
    "rd_kafka_mock_cluster_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, (_POINTER,)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_topic_create": (_INT, (_POINTER, _TEXT, _INT, _INT)),
    "rd_kafka_mock_broker_set_down": (_INT, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_up": (_INT, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        (_POINTER, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(_INT)),
    ),
}

# syslog's levels, as librdkafka logs
_LEVELS = (*[logging.CRITICAL] * 3, logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)


class MockCluster:
    """Brokers on free ports of the loopback interface, in threads of librdkafka's. Close it when done."""

    def __init__(self, brokers: int) -> None:
        self._c = _library()
        self._brokers = brokers
        # kept as long as the handle: the C side holds only its address
        self._log_callback = _LogCallback(_on_log)
        self._handle = self._new_handle()
        with _no_signals():
            self._cluster: int | None = self._c.rd_kafka_mock_cluster_new(self._handle, brokers)
        if not self._cluster:
            self._c.rd_kafka_destroy(self._handle)
            raise OSError(f"librdkafka could not start {brokers} mock brokers on the loopback interface")
        # the mock waits 3 s for more members before it lets the first one begin
        self._c.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap_servers: str = self._c.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create_topic(self, name: str, partitions: int) -> None:
        """Adds a topic, replicated on every broker."""
        self._ask(self._c.rd_kafka_mock_topic_create, name.encode(), partitions, self._brokers)

    def set_down(self, broker: int) -> None:
        """Makes a broker (counted from 1) drop its connections and refuse new ones."""
        self._ask(self._c.rd_kafka_mock_broker_set_down, broker)

    def set_up(self, broker: int) -> None:
        """Lets a broker that is down be reached again."""
        self._ask(self._c.rd_kafka_mock_broker_set_up, broker)

    def fail(self, request: int, *errors: int) -> None:
        """Answers the next requests of a kind, by its number in Kafka's protocol, with these errors, one each."""
        self._c.rd_kafka_mock_push_request_errors_array(
            self._cluster, request, len(errors), (_INT * len(errors))(*errors)
        )

    def close(self) -> None:
        """Stops the brokers. Again is harmless."""
        if self._cluster:
            self._drain_log()
            self._c.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
            self._drain_log()
            self._c.rd_kafka_destroy(self._handle)

    def _new_handle(self) -> int:
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        conf = self._c.rd_kafka_conf_new()
        # with a queue the log callback runs in our own call of rd_kafka_poll, never in a thread of librdkafka's
        for name, value in (b"log.queue", b"true"), (b"log_level", b"4"):
            if self._c.rd_kafka_conf_set(conf, name, value, error, _ERROR_SIZE) != _CONF_OK:
                self._c.rd_kafka_conf_destroy(conf)
                raise OSError(f"librdkafka: {error.value.decode()}")
        self._c.rd_kafka_conf_set_log_cb(conf, self._log_callback)
        handle: int | None = self._c.rd_kafka_new(_PRODUCER, conf, error, _ERROR_SIZE)
        if not handle:
            self._c.rd_kafka_conf_destroy(conf)
            raise OSError(f"librdkafka: {error.value.decode()}")
        self._c.rd_kafka_set_log_queue(handle, None)
        return handle

    def _drain_log(self) -> None:
        while self._c.rd_kafka_poll(self._handle, 0):
            pass

    def _ask(self, function: Callable[..., int], *arguments: Any) -> None:
        # the cluster's thread overlooks what is asked before it is back at its poll, and then takes a second to see it
        time.sleep(0.002)
        error = function(self._cluster, *arguments)
        self._drain_log()
        if error:
            raise OSError(f"librdkafka's mock cluster: {self._c.rd_kafka_err2str(error).decode()}")


@contextmanager
def _no_signals() -> Iterator[None]:
    """Threads that are started here get no signals. The mock cluster's would end on the first one."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_log(_handle: int, level: int, facility: bytes, text: bytes) -> None:
    _log.log(_LEVELS[min(max(level, 0), 7)], "mock broker: %s: %s", facility.decode(), text.decode(errors="replace"))


def _library() -> Any:
    module = Path(confluent_kafka.cimpl.__file__)
    if sys.platform == "win32":
        # Windows looks a name up in one library only, not in those it was linked with
        found = sorted(module.parent.parent.glob("confluent_kafka.libs/librdkafka*.dll"))
        if not found:
            raise OSError("librdkafka's DLL was not found beside the confluent_kafka package")
        library = ctypes.CDLL(str(found[0]))
    else:
        library = ctypes.CDLL(str(module))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
