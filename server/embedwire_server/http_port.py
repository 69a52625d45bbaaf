"""The HTTP port of a server: metrics, probes and the status page."""

import asyncio
import contextlib
from collections.abc import Callable

from starlette.types import ASGIApp

from embedwire_server.config.settings import Settings
from embedwire_server.observability.heartbeat import Heartbeat
from embedwire_server.observability.http.routes import application
from embedwire_server.observability.http.server import HttpServer
from embedwire_server.observability.http.status_page import StatusPage
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Readiness
from embedwire_server.policies.rate_limit.policy import RateLimiters
from embedwire_server.status_source import StatusSource


class HttpPort:
    """Builds what the port serves, and opens it.

    Args:
        settings: returns the settings that are in force.
        metrics: the metrics.
        rate_limiters: the rate limiters, for the status page.
        readiness: the checks of readiness.

    Attributes:
        heartbeat: the heartbeat of the main event loop; it has to run as long as the port is open.
    """

    def __init__(
        self, settings: Callable[[], Settings], metrics: Metrics, rate_limiters: RateLimiters, readiness: Readiness
    ) -> None:
        self.heartbeat = Heartbeat()
        metrics.event_loop_silence.set_function(lambda: self.heartbeat.silence)
        self._settings = settings
        self._registry = metrics.registry
        self._readiness = readiness
        self._source = StatusSource(settings, metrics, rate_limiters)

    def open(self, stack: contextlib.AsyncExitStack) -> str:
        """Serve until the stack is closed; return the URL of the metrics.

        Raises:
            OSError: the port is in use.
        """
        address = self._settings().metrics.address
        try:
            server = stack.enter_context(HttpServer(address.host, address.port, self._application()))
        except OSError as error:
            raise OSError(error.errno, f"--metrics-listen {address}: {error.strerror}") from error
        return f"http://{address.with_port(server.port)}/metrics"

    def _application(self) -> ASGIApp:
        settings, page = self._settings(), None
        if settings.metrics.status_page:
            page = StatusPage(self._source.status, self._readiness, self.heartbeat, asyncio.get_running_loop())
        return application(self._registry, self._readiness, self.heartbeat, settings.workers.timeout, page)
