"""TCP server of a test, which leaves no connection open."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable

Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_BACKLOG = 100
_ITERATIONS = 3  # of the event loop, from the end of a connection to its closed socket


@contextlib.asynccontextmanager
async def tcp_server(serve: Serving, *, tls: ssl.SSLContext | None = None, limit: int = 1 << 16) -> AsyncGenerator[int]:
    """Serve each connection in a task; yields the port. At the end, cancel the tasks and close the connections.

    `asyncio.start_server` loses connections that arrive at the end: their task is cancelled before its first step and
    runs no `finally`, or their transport is created after the server has been closed. Here each socket is known from
    its acceptance on.
    """
    loop = asyncio.get_running_loop()
    accepted: set[socket.socket] = set()
    writers: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Task[None]] = set()

    def accept() -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = listener.accept()
            connection.settimeout(0)
            accepted.add(connection)
            task = asyncio.create_task(served(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def served(connection: socket.socket) -> None:
        reader = asyncio.StreamReader(limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls)
            except OSError:
                connection.close()
                raise
            finally:
                accepted.discard(connection)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            writers.difference_update([each for each in writers if each.is_closing()])
            writers.add(writer)
            await serve(reader, writer)

    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        listener.settimeout(0)
        loop.add_reader(listener, accept)
        try:
            yield listener.getsockname()[1]
        finally:
            loop.remove_reader(listener)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for connection in accepted:
                connection.close()
            for writer in writers:
                writer.transport.abort()
            for _ in range(_ITERATIONS):
                await asyncio.sleep(0)
