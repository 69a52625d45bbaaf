"""HTTP server in its own thread, with its own event loop, so that it answers while the main event loop is busy."""

import asyncio
import contextlib
import errno
import socket
import threading
from typing import Any, Self

import structlog
import uvicorn
from starlette.types import ASGIApp

from embedwire_server.observability import logs
from embedwire_server.observability.http.connections import MIN_CONNECTION_SECONDS, LimitedProtocol

_BACKLOG = 32  # also the most connections that are accepted before the next check of their number
_TICK_SECONDS = 1.0  # between two updates of the Date header
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = structlog.get_logger(__name__)


class HttpServer:
    """Serves an ASGI application for operators; use it as a context manager.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        app: the application; it runs in the server's thread.

    Attributes:
        port: the port that was bound.

    Raises:
        OSError: the port is in use.
    """

    def __init__(self, host: str, port: int, app: ASGIApp) -> None:
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.SelectorEventLoop()
        self._loop.set_exception_handler(self._report)
        self._server = _Server(_config(app))
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving, and release the port."""
        self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve([self._socket]))

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle a failed accept by closing connections that are not new: asyncio accepts again after a second."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_RESOURCES:
            self._server.end_connections(MIN_CONNECTION_SECONDS)
        else:
            logs.report_loop_exception(loop, context)


class _Server(uvicorn.Server):
    """Uvicorn's server without polling, and with an immediate stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End `serve`; called in its event loop."""
        self._stopped.set()

    async def main_loop(self) -> None:
        """Wait for the stop."""
        while not self._stopped.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port and all connections."""
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        self.end_connections(0)
        await asyncio.sleep(0)  # the transports are closed then

    def end_connections(self, seconds: float) -> None:
        """Close the connections that are older than this."""
        for connection in self.server_state.connections.copy():
            if isinstance(connection, LimitedProtocol):
                connection.abort_after(seconds)


def _config(app: ASGIApp) -> uvicorn.Config:
    """Return a configuration that reads no variable of the environment, and that logs nothing."""
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        backlog=_BACKLOG,
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("Connection", "close")],
    )


def _listening(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
