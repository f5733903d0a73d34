"""``TcpProxy``: a loopback proxy that breaks the network between a client and a broker on demand.

It knows nothing of Kafka: it passes bytes on. All its work is done in one thread of its own (an
asyncio event loop); the methods may be called from any thread and have taken effect on return.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any, TypeVar, final

from tests.broker.ports import free_port

T = TypeVar("T")
_CHUNK = 64 * 1024
_PIECES = 64
# Close at once with a reset instead of in good order.
_RESET = struct.pack("ii", 1, 0)


class _Flow(Enum):
    NORMAL = "bytes pass"
    HELD = "bytes wait, and pass later"
    SWALLOWED = "bytes are read and thrown away"


class _Link:
    """One client's connection, and ours to the target once there is one."""

    def __init__(self, client: asyncio.StreamWriter, task: asyncio.Task[Any]) -> None:
        self.writers = [client]
        self.task = task
        self.lost_bytes = False
        self.silent = False

    def reset(self) -> None:
        self.abort()
        self.task.cancel()

    def abort(self) -> None:
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            with suppress(OSError):  # it may be closed already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@final
class TcpProxy:
    """Listens on ``port`` and passes everything to the target port and back, until another mode is set.

    ``connections`` counts the connections accepted so far, ``bytes_to_target`` and
    ``bytes_to_client`` what was passed on. It runs from its creation until ``close()``, or as a
    context manager.
    """

    def __init__(self, target_port: int, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = free_port()
        self.connections = 0
        self.bytes_to_target = 0
        self.bytes_to_client = 0
        self._target_port = target_port
        self._links: set[_Link] = set()
        self._flow = _Flow.NORMAL
        self._delay = 0.0
        self._bytes_until_cut: int | None = None
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tcp-proxy", daemon=True)
        self._thread.start()
        self._flowing: asyncio.Event = self._do(self._new_event())
        self.accept()

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    def cut(self) -> None:
        """Reset every open connection. New ones are still accepted."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Stop listening: new connections are refused, open ones stay."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._do(self._accept())

    def blackhole(self, *, swallow: bool = False) -> None:
        """Let nothing through, while every connection stays open and new ones are accepted.

        As when a network goes silent: no error, no answer. The bytes wait and arrive after
        ``resume()``. With ``swallow`` they are read and lost; a connection that lost any is reset
        by ``resume()``, since what would follow makes no sense.
        """
        self._do(self._set_flow(_Flow.SWALLOWED if swallow else _Flow.HELD))

    def silence(self) -> None:
        """Let nothing through on the connections that are open now, for ever; new ones are as always.

        As when a firewall or a NAT gateway has forgotten them: no error, no answer, no end.
        """
        self._do(self._silence())

    def resume(self) -> None:
        """End a ``blackhole``."""
        self._do(self._set_flow(_Flow.NORMAL))

    def delay(self, seconds: float) -> None:
        """Let every byte arrive so much later, in each direction; 0 ends it.

        A round trip takes twice as long, and so does opening a connection.
        """
        self._delay = seconds

    def cut_after(self, nbytes: int) -> None:
        """Reset every connection once, after exactly so many more bytes went to the clients."""
        self._bytes_until_cut = nbytes

    def reset(self) -> None:
        """Back to a proxy that passes everything on; for the end of a test."""
        self._delay = 0.0
        self._bytes_until_cut = None
        self.resume()
        self.accept()

    def close(self) -> None:
        """Stop listening, reset every connection and end the thread."""
        if self._loop.is_closed():
            return
        self._do(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- everything below runs in the proxy's own thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the proxy's thread and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _new_event(self) -> asyncio.Event:
        event = asyncio.Event()
        event.set()
        return event

    async def _accept(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self, *, only_lossy: bool = False) -> None:
        links = [link for link in self._links if link.lost_bytes or not only_lossy]
        for link in links:
            link.reset()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)

    async def _silence(self) -> None:
        for link in self._links:
            link.silent = True

    async def _set_flow(self, flow: _Flow) -> None:
        self._flow = flow
        if flow is _Flow.NORMAL:
            await self._cut(only_lossy=True)
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _shut_down(self) -> None:
        await self._refuse()
        await self._cut()
        await asyncio.sleep(0)  # the sockets are closed in the next round of the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        link = _Link(writer, task)
        self._links.add(link)
        try:
            await self._pass_on(link, reader, writer)
        except (OSError, asyncio.CancelledError):
            link.abort()
        finally:
            for each in link.writers:
                each.close()
            self._links.discard(link)

    async def _pass_on(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._flow is _Flow.SWALLOWED:
            while await reader.read(_CHUNK):
                link.lost_bytes = True
            return
        await self._flowing.wait()
        await asyncio.sleep(2 * self._delay)
        target_reader, target = await asyncio.open_connection(self.host, self._target_port)
        link.writers.append(target)
        for each in link.writers:  # so that drain() waits until the bytes are really out
            each.transport.set_write_buffer_limits(0)
        pumps = [
            asyncio.ensure_future(self._pump(link, reader, target, to_client=False)),
            asyncio.ensure_future(self._pump(link, target_reader, writer, to_client=True)),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        for pump in done:
            pump.result()

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        to_client: bool,
    ) -> None:
        """Pass bytes in one direction until that side ends."""
        pieces: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(_PIECES)
        reading = asyncio.ensure_future(self._read(reader, pieces))
        try:
            while True:
                due, data = await pieces.get()
                if isinstance(data, OSError):
                    raise data
                if not data:
                    return
                await asyncio.sleep(due - self._loop.time())
                await self._write(link, data, writer, to_client=to_client)
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes | OSError]]) -> None:
        data: bytes | OSError = b"-"
        while data and isinstance(data, bytes):
            try:
                data = await reader.read(_CHUNK)
            except OSError as error:
                data = error
            await pieces.put((self._loop.time() + self._delay, data))

    async def _write(self, link: _Link, data: bytes, writer: asyncio.StreamWriter, *, to_client: bool) -> None:
        if self._flow is _Flow.HELD:
            await self._flowing.wait()
        if link.silent:
            return
        if self._flow is _Flow.SWALLOWED:
            link.lost_bytes = True
            return
        left = self._bytes_until_cut if to_client else None
        data = data[:left]
        if to_client:
            self.bytes_to_client += len(data)
        else:
            self.bytes_to_target += len(data)
        if left is not None:
            self._bytes_until_cut = left - len(data)
        writer.write(data)
        await writer.drain()
        if left is not None and left == len(data):
            self._bytes_until_cut = None
            for each in list(self._links):
                each.reset()
