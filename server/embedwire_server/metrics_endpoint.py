"""`/metrics` over HTTP, from a thread of its own: it answers also while the event loop is busy."""

import socket
import threading
from socketserver import ThreadingMixIn
from typing import Self
from wsgiref import simple_server

import prometheus_client
from prometheus_client import CollectorRegistry

_POLL_SECONDS = 0.05  # how long a stop may have to wait


class MetricsEndpoint:
    """Serves one registry; use it as a context manager.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        registry: what is served.

    Attributes:
        port: the port that was really taken.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        server_class = _ServerV6 if ":" in host else _Server
        app = prometheus_client.make_wsgi_app(registry)
        self._server = simple_server.make_server(host, port, app, server_class, _SilentHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop answering and give the port back."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _SilentHandler(simple_server.WSGIRequestHandler):
    timeout = 10  # a scraper that says nothing holds no thread for ever

    def log_message(self, *_: object) -> None:
        """Say nothing: scrapes come all the time."""
