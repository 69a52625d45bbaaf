"""Metrics endpoint: `/metrics` over HTTP, from its own threads, so that it answers while the event loop is busy.

Connections are limited in number, bytes and time, so that scrapers cannot exhaust the threads and file descriptors of
the process.
"""

import contextlib
import errno
import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, Self
from wsgiref import simple_server

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry

from embedwire_server.observability.exception_logging import describe

MAX_CONNECTIONS = 16
MAX_CONNECTION_SECONDS = 10.0  # from its start to the end of the response
MIN_CONNECTION_SECONDS = 1.0  # after which a new connection may replace it if there are too many
MAX_HEAD_BYTES = 16 << 10
_POLL_SECONDS = 0.05  # the delay of a stop, and of closing an expired connection
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_BUSY = (
    b"HTTP/1.0 503 Service Unavailable\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\nRetry-After: 1\r\n\r\ntoo many connections\n"
)

log = structlog.get_logger(__name__)

StartResponse = Callable[[str, list[tuple[str, str]]], object]
App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class MetricsEndpoint:
    """Serves one registry; use it as a context manager.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        registry: the registry to serve.

    Attributes:
        port: the port that was bound.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        server_class = _ServerV6 if ":" in host else _Server
        app = _Routes(prometheus_client.make_wsgi_app(registry))
        self._server = simple_server.make_server(host, port, app, server_class, _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving, and release the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.end_connections()


class _Routes:
    """WSGI application with one path, for GET and HEAD."""

    def __init__(self, metrics: App) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()  # one page at a time: each holds the GIL, which calls need

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if environ["PATH_INFO"] != "/metrics":
            body = _plain(start_response, "404 Not Found", "the metrics are at /metrics\n")
        elif method not in {"GET", "HEAD"}:
            body = _plain(start_response, "405 Method Not Allowed", "use GET or HEAD\n", ("Allow", "GET, HEAD"))
        else:
            try:
                body = self._page(environ, start_response)
            except Exception as error:  # noqa: BLE001 - wsgiref would print it
                log.error("the metrics cannot be generated", **describe(error))  # noqa: TRY400 - no texts
                body = _plain(start_response, "500 Internal Server Error", "the log has the details\n")
        return [] if method == "HEAD" else [body]

    def _page(self, environ: dict[str, Any], start_response: StartResponse) -> bytes:
        begun: list[tuple[str, list[tuple[str, str]]]] = []
        with self._lock:
            pieces = self._metrics(environ | {"REQUEST_METHOD": "GET"}, lambda *answer: begun.append(answer))
            body = b"".join(pieces)
        status, headers = begun[0]
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return body


def _plain(start_response: StartResponse, status: str, text: str, *headers: tuple[str, str]) -> bytes:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return body


class _Server(ThreadingMixIn, simple_server.WSGIServer):
    """WSGI server with a thread for each connection, up to `MAX_CONNECTIONS`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the base takes them
        self._connections: dict[socket.socket, float] = {}  # the start of each, oldest first
        super().__init__(*args, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Without files or memory for it, pause: it stays pending, and a retry follows."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _NO_RESOURCES:
                self._end_older_than(MIN_CONNECTION_SECONDS)
                time.sleep(_POLL_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base has it
        """Answer in a thread. If there are too many connections, close the oldest one or reject this one with a 503."""
        if len(self._connections) >= MAX_CONNECTIONS and not self._end_older_than(MIN_CONNECTION_SECONDS, most=1):
            request.setblocking(False)  # noqa: FBT003 - its only argument
            with contextlib.suppress(OSError):
                request.send(_BUSY)
            self.shutdown_request(request)
            return
        self._connections[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the base has it
        """Close a connection."""
        self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close expired connections; `serve_forever` calls this periodically."""
        self._end_older_than(MAX_CONNECTION_SECONDS)

    def handle_error(self, *_: object) -> None:
        """Log an exception, unless it is that of a lost connection."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            log.error("a connection for metrics failed", **describe(error))

    def end_connections(self) -> None:
        """Close all connections."""
        self._end_older_than(0)

    def _end_older_than(self, seconds: float, most: int = MAX_CONNECTIONS) -> int:
        """Shut down the oldest connections; return how many. Their threads end, whether they read or write."""
        latest = time.monotonic() - seconds
        ended = [one for one, since in self._connections.copy().items() if since <= latest][:most]
        for request in ended:
            self._connections.pop(request, None)
            with contextlib.suppress(OSError):  # its thread has closed it
                request.shutdown(socket.SHUT_RDWR)
        return len(ended)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Head(io.BufferedReader):
    """Request stream, limited to `MAX_HEAD_BYTES`."""

    left = MAX_HEAD_BYTES

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line, up to the limit."""
        most = self.left if size is None or size < 0 else min(size, self.left)
        line = super().readline(most)
        self.left -= len(line)
        return line


class _Handler(simple_server.WSGIRequestHandler):
    """Handles one request."""

    server_version = "embedwire"

    def setup(self) -> None:
        """Limit the request to `MAX_HEAD_BYTES`."""
        super().setup()
        self.rfile: _Head = _Head(socket.SocketIO(self.connection, "r"))

    def parse_request(self) -> bool:
        """Return whether there is a request to answer; reject one that is too long."""
        if not super().parse_request():
            return False
        if self.rfile.left <= 0:
            self.send_error(431)
            return False
        return True

    def get_stderr(self) -> Any:  # noqa: ANN401 - any stream
        """Discard wsgiref's tracebacks of broken connections; exceptions of the application are logged."""
        return io.StringIO()

    def log_message(self, *_: object) -> None:
        """Log nothing: scrapes are frequent."""
