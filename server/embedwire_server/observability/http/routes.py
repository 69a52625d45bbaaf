"""The paths of the HTTP port. Handlers run one at a time in its thread; each is short, since it holds the GIL."""

import structlog
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from embedwire_server.observability.exception_logging import describe
from embedwire_server.observability.heartbeat import Heartbeat
from embedwire_server.observability.http import probes
from embedwire_server.observability.http.metrics_page import metrics_page
from embedwire_server.observability.http.status_page import StatusPage
from embedwire_server.observability.readiness import Readiness

log = structlog.get_logger(__name__)


def application(
    registry: CollectorRegistry,
    readiness: Readiness,
    heartbeat: Heartbeat,
    max_silence: float,
    status_page: StatusPage | None = None,
) -> ASGIApp:
    """Build the application.

    Args:
        registry: the metrics.
        readiness: the checks of `/readyz`.
        heartbeat: the heartbeat of the main event loop, for `/livez`.
        max_silence: the seconds without a heartbeat after which `/livez` fails.
        status_page: the page at `/`; None serves no page.
    """

    async def metrics(request: Request) -> Response:
        return metrics_page(registry, request)

    async def livez(_: Request) -> Response:
        return probes.livez(heartbeat, max_silence)

    async def readyz(_: Request) -> Response:
        return probes.readyz(readiness)

    routes = [Route("/metrics", metrics), Route("/livez", livez), Route("/readyz", readyz)]
    if status_page is not None:
        routes.insert(0, Route("/", status_page.response))
    paths = ", ".join(route.path for route in routes)

    async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"not found; the paths are {paths}\n", 404)(scope, receive, send)

    return _logged(Router(routes, redirect_slashes=False, default=not_found))


def _logged(app: ASGIApp) -> ASGIApp:
    """Answer an unexpected exception with 500 and without its text; uvicorn would log its traceback."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - of a collector of metrics, for instance
            log.error("an HTTP response cannot be generated", path=scope["path"], **describe(error))  # noqa: TRY400 - no texts
            await PlainTextResponse("the log has the details\n", 500)(scope, receive, send)

    return run
