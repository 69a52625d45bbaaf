"""TCP server of a test, which leaves no connection open."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable

Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_BACKLOG = 100
_ITERATIONS = 3  # of the event loop, from the end of a connection to its closed socket


class _Connections:
    """The connections of a server, each of which is known from its acceptance on."""

    def __init__(self, serve: Serving, tls: ssl.SSLContext | None, limit: int) -> None:
        self._serve, self._tls, self._limit = serve, tls, limit
        self._accepted: set[socket.socket] = set()  # without a transport
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, listener: socket.socket) -> None:
        """Accept one connection, and serve it in a task."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = listener.accept()
            connection.settimeout(0)
            self._accepted.add(connection)
            task = asyncio.create_task(self._served(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel the tasks, and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._accepted:
            connection.close()
        for writer in self._writers:
            writer.transport.abort()
        for _ in range(_ITERATIONS):
            await asyncio.sleep(0)

    async def _served(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await self._streams(connection)
            self._writers.difference_update([each for each in self._writers if each.is_closing()])
            self._writers.add(writer)
            await self._serve(reader, writer)

    async def _streams(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(self._limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        except OSError:
            connection.close()
            raise
        finally:
            self._accepted.discard(connection)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


@contextlib.asynccontextmanager
async def tcp_server(serve: Serving, *, tls: ssl.SSLContext | None = None, limit: int = 1 << 16) -> AsyncGenerator[int]:
    """Serve each connection in a task; yields the port. At the end, cancel the tasks and close the connections.

    `asyncio.start_server` loses connections that arrive at the end: their task is cancelled before its first step and
    runs no `finally`, or their transport is created after the server has been closed.
    """
    loop, connections = asyncio.get_running_loop(), _Connections(serve, tls, limit)
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        listener.settimeout(0)
        loop.add_reader(listener, connections.accept, listener)
        try:
            yield listener.getsockname()[1]
        finally:
            loop.remove_reader(listener)
            await connections.close()
