"""Brokers on free ports of the loopback interface, served by one thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

from rbhq_stream.errors import RbhqStreamError
from rbhq_stream.testing._cluster import protocol
from rbhq_stream.testing._cluster.group_requests import Connection
from rbhq_stream.testing._cluster.protocol import Address
from rbhq_stream.testing._cluster.requests import Requests
from rbhq_stream.testing._cluster.schema import MalformedError, Reader

_R = TypeVar("_R")
_log = logging.getLogger("rbhq_stream.testing")

_HOST = "127.0.0.1"
_HEADER = struct.Struct(">hhi")  # the kind of request, its version, its number
_MAX_REQUEST = 256 * 1024 * 1024
_LAST_REQUESTS = 0.1
"""Seconds to process the last requests of a client that has disconnected, which may be records without
acknowledgement."""


class BrokerClosedError(RbhqStreamError):
    """The embedded broker was used outside its `with` block."""

    def __str__(self) -> str:
        return "the embedded broker is not running: use it inside its `with` block"


class _Broker:
    """One broker: a listener, and the connections that it has accepted."""

    def __init__(self, number: int, requests: Requests) -> None:
        self._requests = requests
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._response_time = 0.0
        self._response_time_changed = asyncio.Event()  # set, and replaced, with each change
        self.address = Address(number, _HOST, 0)

    @property
    def is_up(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        """Listens, on the same port as before if there was one."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, _HOST, self.address.port)
            port: int = self._server.sockets[0].getsockname()[1]
            self.address = Address(self.address.id, _HOST, port)

    async def stop(self) -> None:
        """Drops all connections and refuses new ones."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def slow_down(self, seconds: float) -> None:
        """Makes each response take this long from now on. Those that are waiting are sent at once."""
        self._response_time = seconds
        self._response_time_changed.set()
        self._response_time_changed = asyncio.Event()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        # also if the task is cancelled before it has begun
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves a connection until either side ends it.

        Reading continues while a response waits for records or for other members, so that a closed connection is
        noticed.
        """
        connection = Connection()
        frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        responding = asyncio.create_task(self._respond(frames, writer, connection))
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while 0 < (size := int.from_bytes(await reader.readexactly(4), "big")) <= _MAX_REQUEST:
                    frames.put_nowait(await reader.readexactly(size))
            frames.put_nowait(None)
            await asyncio.wait([responding], timeout=_LAST_REQUESTS)
            self._requests.groups.disconnected(connection)
        finally:
            responding.cancel()

    async def _respond(
        self, frames: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter, connection: Connection
    ) -> None:
        """Responds to the requests of a connection, one after the other."""
        try:
            while (frame := await frames.get()) is not None:
                if self._response_time:
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._response_time_changed.wait(), self._response_time)
                response = await self._response(frame, connection)
                if response is not None:
                    writer.write(len(response).to_bytes(4, "big") + response)
                    await writer.drain()
        except ConnectionError:
            pass
        except MalformedError as error:  # for example from a client that speaks TLS
            _log.debug("the embedded broker got something that is not Kafka's protocol: %s", error)
        except Exception:  # noqa: BLE001  # the other connections must be served whatever happens
            _log.exception("the embedded broker failed; this is a defect in it")
        writer.transport.abort()

    async def _response(self, frame: bytes, connection: Connection) -> bytes | None:
        reader = Reader(frame)
        key, version, number = _HEADER.unpack(reader.take(_HEADER.size))
        out = bytearray(number.to_bytes(4, "big", signed=True))
        api = protocol.APIS.get(key)
        if key == protocol.API_VERSIONS:
            # for an unknown version the reply lists the known ones, and the client continues with one of these
            response = await self._requests.handle(key, {}, connection)
            response["error"] = protocol.NO_ERROR if version == 0 else protocol.UNSUPPORTED_VERSION
        elif api is None or version != api.version:
            raise MalformedError(f"request {key} in version {version}, which is not understood")
        else:
            reader.take(max(0, int.from_bytes(reader.take(2), "big", signed=True)))  # the client's name
            request = api.request.read(reader)
            response = await self._requests.handle(key, request, connection)
            if key == protocol.PRODUCE and request["acks"] == 0:
                return None
        protocol.APIS[key].response.write(response, out)
        return bytes(out)


class Cluster:
    """Brokers, and the records and groups that they keep. Its methods may be called from any thread."""

    def __init__(self, brokers: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_closing = False
        self._closing = threading.Lock()  # held while something is handed to the event loop, or the loop is stopped
        self._are_denied = False
        self._requests = Requests(self._known_brokers)
        self._brokers = [_Broker(number, self._requests) for number in range(1, brokers + 1)]
        self._thread = threading.Thread(target=self._main, name="rbhq_stream embedded broker", daemon=True)
        self._thread.start()
        try:
            for broker in self._brokers:
                self._run(broker.start())
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` of each broker."""
        return ",".join(f"{broker.address.host}:{broker.address.port}" for broker in self._brokers)

    def create_topic(self, name: str, partitions: int) -> None:
        """Creates a topic, whose partitions are on every broker."""
        self._call(lambda: self._requests.create_topic(name, partitions, {}))

    def set_down(self, broker: int) -> None:
        """Makes a broker (counted from 1) drop its connections and refuse new ones."""
        self._run(self._brokers[broker - 1].stop())

    def set_up(self, broker: int) -> None:
        """Lets a broker that is down be reached again."""
        self._run(self._brokers[broker - 1].start())

    def slow_down(self, broker: int, seconds: float) -> None:
        """Makes each response of a broker (counted from 1) take this long; 0 makes it fast again."""
        self._call(lambda: self._brokers[broker - 1].slow_down(seconds))

    def evict(self, group_id: str) -> None:
        """Removes all members from a group, as if none had sent a heartbeat within its session time-out."""
        self._call(lambda: self._requests.groups.evict(group_id))

    def end_offsets(self) -> dict[tuple[str, int], int]:
        """Returns the offset of the next record, by topic and partition."""
        return self._call(lambda: {partition: log.end for partition, log in self._requests.logs.items()})

    def committed(self, group_id: str) -> dict[tuple[str, int], int]:
        """Returns what a group has committed, by topic and partition."""
        return self._call(lambda: self._requests.groups.committed(group_id))

    def wait_until_handled(self, group_id: str, timeout: float) -> bool:
        """Waits until a group has committed the end of each partition that was ever written to."""

        def is_handled() -> bool:
            committed = self._requests.groups.committed(group_id)
            return all(committed.get(partition, 0) >= log.end for partition, log in self._requests.logs.items())

        return self._run(self._requests.groups.wait_for_commits(is_handled, timeout))

    def expire(self, before: int | None) -> None:
        """Deletes the records that were written before a time (milliseconds since 1970), or all of them."""

        def expire() -> None:
            for log in self._requests.logs.values():
                if before is None:
                    log.delete_before(log.end)
                else:
                    log.expire(before)

        self._call(expire)

    def fail_commits(self, *errors: int) -> None:
        """Refuses the next commits with these error codes, one each; `NO_ERROR` lets one succeed."""
        self._call(lambda: self._requests.groups.commit_errors.extend(errors))

    def deny_brokers(self, denied: bool) -> None:
        """Sets whether the brokers report in their metadata that there are none.

        The last broker of a real cluster does that while it shuts down.
        """

        self._are_denied = denied

    def close(self) -> None:
        """Stops the brokers at once; safe to call more than once."""
        with self._closing:
            if not self._is_closing:
                self._is_closing = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _known_brokers(self) -> list[Address]:
        return [] if self._are_denied else [broker.address for broker in self._brokers if broker.is_up]

    def _main(self) -> None:
        """The thread of the brokers."""
        self._loop.run_forever()
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        for broker in self._brokers:
            await broker.stop()
        self._requests.groups.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # the transports that were aborted last close their sockets

    def _call(self, function: Callable[[], _R]) -> _R:
        """Calls a function in the thread of the brokers."""

        async def call() -> _R:
            return function()

        return self._run(call())

    def _run(self, coroutine: Coroutine[Any, Any, _R]) -> _R:
        """Runs a coroutine in the thread of the brokers.

        Raises:
            BrokerClosedError: the cluster was closed before, or meanwhile.
        """
        with self._closing:
            if self._is_closing:
                coroutine.close()
                raise BrokerClosedError
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise BrokerClosedError from None
