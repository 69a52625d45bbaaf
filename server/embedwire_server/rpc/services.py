"""The registered gRPC services, with their interceptors, drain gate and accept loops."""

from collections.abc import Callable

import grpc
import structlog
from grpc_health.v1 import health_pb2

from embedwire.v1 import embedding_pb2
from embedwire_server.auth.tokens import Authenticator
from embedwire_server.core.errors import Draining
from embedwire_server.observability.metrics import Metrics
from embedwire_server.rpc import error_details, handlers, reflection, status
from embedwire_server.rpc.delivery import Delivery
from embedwire_server.rpc.drain import ActiveCalls, DrainGate
from embedwire_server.rpc.grpcio import last_message
from embedwire_server.rpc.grpcio.accept_loops import AcceptLoops
from embedwire_server.rpc.handlers import Context, Handler, Handlers
from embedwire_server.rpc.health import SERVICE, HealthServicer
from embedwire_server.rpc.interceptors.errors import ErrorInterceptor
from embedwire_server.rpc.interceptors.observe import ObservabilityInterceptor
from embedwire_server.rpc.pending_calls import PendingCalls
from embedwire_server.rpc.server_options import ServerOptions, channel_arguments
from embedwire_server.rpc.service import EmbeddingServicer

# Pending accept operations for each method of EmbeddingService, and for health checks, beside gRPC's own one.
ACCEPT_LOOPS = 8
HEALTH_ACCEPT_LOOPS = 2
MAX_PENDING_MESSAGES = 2_000
MAX_PENDING_MESSAGES_OF_OPEN_SERVICES = 500
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]

Wrap = Callable[[Handler, str], Handler]

log = structlog.get_logger(__name__)

_EMBEDDING = embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"]
_CHECK = f"/{HEALTH.full_name}/Check"


class Services:
    """The services, with interceptors and drain gate. Servers that are made from it share all of these.

    Args:
        servicer: the servicer of EmbeddingService.
        health: the grpc.health.v1 servicer.
        metrics: count every call.
        upstream: the name of the configured upstream, for the trailers.
        options: the server options.
        authenticator: authenticates callers.
        spans: wraps each handler of EmbeddingService, with its path, so that it records spans.

    Attributes:
        drain_gate: the drain gate.
        running: the active calls.
        delivery: delays the end of calls whose connection is about to be closed.
        health: the grpc.health.v1 servicer.
    """

    def __init__(  # noqa: PLR0913 - what a server is made of
        self,
        servicer: EmbeddingServicer,
        health: HealthServicer,
        metrics: Metrics,
        upstream: str,
        options: ServerOptions,
        *,
        authenticator: Authenticator,
        spans: Wrap | None = None,
    ) -> None:
        self.drain_gate, self.running, self.health = DrainGate(), ActiveCalls(), health
        self.delivery = Delivery(options.max_connection_age)
        self._metrics = metrics
        self._options = options
        self._authenticator = authenticator
        self._pending = pending_calls(options)
        self._spans = spans
        self._observe = ObservabilityInterceptor(metrics, upstream, options, self.running)
        self._ours = handlers.of_service(servicer, _EMBEDDING)
        self._others = handlers.of_service(health, HEALTH)
        if options.reflection:
            self._others |= reflection.handlers_for((SERVICE, HEALTH.full_name), options.reflection_idle_timeout)

    def server(
        self, *, private_api: bool, failed: Callable[[str, Exception], object] | None = None
    ) -> tuple[grpc.aio.Server, AcceptLoops | None]:
        """Make a server, and the accept loops to open once it has been started.

        Args:
            private_api: whether it uses the private API of grpcio.
            failed: called with the method and the exception if an accept loop fails; needed with the private API.
        """
        translate = ErrorInterceptor(self._authenticator, *self._pending, self.delivery, private_api=private_api)
        ours = self._intercepted(translate, self._ours, self._spans)
        others = self._intercepted(translate, self._others)
        self._metrics.grpc_private_api.set(private_api)
        server = grpc.aio.server(options=channel_arguments(self._options))
        if not private_api or failed is None:
            register(server, {**ours, **others})
            return server, None
        ours = {
            path: last_message.with_status(handler) if handler.response_streaming else handler
            for path, handler in ours.items()
        }
        register(server, {**ours, **others})
        accepted = {path: (handler, ACCEPT_LOOPS) for path, handler in ours.items()}
        accepted[_CHECK] = (others[_CHECK], HEALTH_ACCEPT_LOOPS)
        return server, AcceptLoops(server, accepted, self._refuse, failed)

    async def _refuse(self, method: str, context: Context) -> None:
        """Reject a call that the server cannot run, as in a drain, so that its caller retries on another server."""
        error = Draining()
        log.warning("a call is rejected; clients may retry it", method=method, reason=error.reason)
        await self.drain_gate.enter()
        await context.abort(status.code(error), status.message(error), error_details.trailers(error))

    def _intercepted(
        self, translate: ErrorInterceptor, inner: Handlers, spans: Wrap | None = None
    ) -> dict[str, Handler]:
        translated = {path: translate.wrap(handler) for path, handler in inner.items()}
        if spans is not None:
            translated = {path: spans(handler, path) for path, handler in translated.items()}
        return {path: self.drain_gate.wrap(self._observe.wrap(handler, path)) for path, handler in translated.items()}


def pending_calls(options: ServerOptions) -> tuple[PendingCalls, PendingCalls]:
    """Return the limits for EmbeddingService, and those for the services that need no token."""
    return (
        PendingCalls(MAX_PENDING_MESSAGES, options.first_message_timeout),
        PendingCalls(MAX_PENDING_MESSAGES_OF_OPEN_SERVICES, options.first_message_timeout_of_open_services),
    )


def register(server: grpc.aio.Server, registered: Handlers) -> None:
    """Register handlers with a server, by method path."""
    for path, handler in registered.items():
        _, service, name = path.split("/")
        server.add_registered_method_handlers(service, {name: handler})
