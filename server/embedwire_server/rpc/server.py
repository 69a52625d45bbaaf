"""The gRPC server: listening, graceful stop, and replacement if its accept loops fail."""

import asyncio
from collections.abc import Callable

import grpc
import structlog

from embedwire_server.auth.tokens import Authenticator
from embedwire_server.core.address import Address
from embedwire_server.core.errors import Draining
from embedwire_server.observability.exception_logging import describe
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Check
from embedwire_server.rpc import drain, handlers, reflection, services
from embedwire_server.rpc.delivery import Delivery
from embedwire_server.rpc.drain import ActiveCalls, DrainGate
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.interceptors.errors import ErrorInterceptor
from embedwire_server.rpc.interceptors.observe import ObservabilityInterceptor
from embedwire_server.rpc.server_options import MAX_CONNECTION_AGE_GRACE_SECONDS, ServerOptions, channel_arguments
from embedwire_server.rpc.service import EmbeddingServicer
from embedwire_server.rpc.services import Services, Wrap

# Time for gRPC to write GOAWAY, before replies to held calls cause new ones.
GOAWAY_POLLS = 5
# Time to send the status of aborted calls, and for clients to close their connections.
FLUSH_SECONDS = 2.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0  # seconds between attempts to listen again

Credentials = Callable[[], grpc.ServerCredentials]

log = structlog.get_logger(__name__)


class Server:
    """A gRPC server that listens, starts and stops gracefully.

    If its accept loops fail, gRPC's server is replaced by one that uses the public API only. Accept operations cannot
    be cancelled: each pending one would receive one more call that nothing can run. During the replacement, health
    reports NOT_SERVING; running calls continue.

    Args:
        services: the services that it serves.
        private_api: whether it uses the private API of grpcio at first.
    """

    def __init__(self, services: Services, *, private_api: bool) -> None:
        self._services = services
        self._server, self._accept_loops = services.server(private_api=private_api, failed=self._replace)
        self._address = Address("")
        self._credentials: Credentials | None = None
        self._is_stopping = False
        self._replacing: asyncio.Task[None] | None = None
        self._replaced: asyncio.Task[None] | None = None

    def listen(self, address: str, credentials: Credentials | None = None) -> int:
        """Bind a port, for TLS or plaintext; return the port that was bound.

        Raises:
            RuntimeError: the port is in use.
        """
        self._address, self._credentials = Address(address), credentials
        port = self._bind()
        self._address = Address(self._address.with_port(port))
        return port

    async def start(self) -> None:
        """Start serving."""
        await self._server.start()
        if self._accept_loops is not None:
            self._accept_loops.open()

    async def stop(self, grace: float) -> None:
        """Reject new calls, give running calls `grace` seconds, abort the rest with DRAINING; none is left afterwards.

        gRPC sends GOAWAY and refuses new connections, but a call that crosses GOAWAY ends with CANCELLED, and so do all
        that gRPC has not accepted yet. Their callers cannot know that they may retry on another server. So calls are
        held at the drain gate until no more arrive; the held ones are then running calls.
        """
        running = self._services.running
        self._is_stopping = True
        await self._stop_replacing()
        self._services.delivery.drain(grace)
        stopping = await _stop_accepting(self._server, self._services.drain_gate, grace + 2 * FLUSH_SECONDS)
        running.end(Draining(), services=reflection.SERVICES)  # these streams have no end of their own
        if not await running.ended(grace):
            running.end(Draining())
            await running.ended(FLUSH_SECONDS)
        await asyncio.wait([stopping], timeout=FLUSH_SECONDS)
        await self._server.stop(None)
        await stopping
        if self._replaced is not None:
            self._replaced.cancel()  # ends its calls immediately
            await asyncio.gather(self._replaced, return_exceptions=True)

    def _bind(self) -> int:
        if self._credentials is None:
            return self._server.add_insecure_port(self._address)
        return self._server.add_secure_port(self._address, self._credentials())

    def _replace(self, method: str, error: Exception) -> None:
        log.error(
            "an accept loop has failed: the gRPC server is replaced by one that uses the public API",
            method=method,
            **describe(error),
        )
        if self._is_stopping:
            return
        self._services.drain_gate.close()  # before a reply lets its caller send the next call to a stopping server
        self._replacing = asyncio.create_task(self._serve_by_public_api())

    async def _serve_by_public_api(self) -> None:
        before, drain_gate, health = self._server, self._services.drain_gate, self._services.health
        await health.unready(Check.ACCEPT_LOOPS, "the gRPC server is being replaced")
        await drain_gate.hold()
        self._server, self._accept_loops = self._services.server(private_api=False)
        self._replaced = asyncio.create_task(_stop(before, MAX_CONNECTION_AGE_GRACE_SECONDS))
        await self._bind_again()
        await self._server.start()
        await drain_gate.open()
        await health.ready(Check.ACCEPT_LOOPS)
        log.info("serving with the public API of grpcio", target=self._address)

    async def _bind_again(self) -> None:
        """Listen on the port again as soon as the replaced server has closed it."""
        pause = _FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                self._bind()
            except (RuntimeError, ValueError, OSError) as error:
                if pause < _LONGEST_PAUSE <= 2 * pause:
                    log.error("cannot listen again; retrying", target=self._address, **describe(error))  # noqa: TRY400 - no texts
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    async def _stop_replacing(self) -> None:
        if self._replacing is not None:
            self._replacing.cancel()
            await asyncio.gather(self._replacing, return_exceptions=True)


class HealthServer:
    """A gRPC server for health checks only, for probes that do not support TLS. Its calls have the same limits.

    Args:
        health: the grpc.health.v1 servicer.
        metrics: count every call.
        upstream: the name of the configured upstream, for the trailers.
        options: the server options.
        private_api: whether the private API of grpcio is used.
    """

    def __init__(
        self,
        health: HealthServicer,
        metrics: Metrics,
        upstream: str,
        options: ServerOptions,
        *,
        private_api: bool = True,
    ) -> None:
        self._server = grpc.aio.server(options=channel_arguments(options))
        self._gate = DrainGate()
        observe = ObservabilityInterceptor(metrics, upstream, options, ActiveCalls())
        delivery = Delivery(options.max_connection_age)
        errors = ErrorInterceptor(Authenticator(), *services.pending_calls(options), delivery, private_api=private_api)
        inner = handlers.of_service(health, services.HEALTH)
        services.register(
            self._server,
            {path: self._gate.wrap(observe.wrap(errors.wrap(handler), path)) for path, handler in inner.items()},
        )

    def listen(self, address: str) -> int:
        """Bind a port, for plaintext; return the port that was bound.

        Raises:
            RuntimeError: the port is in use.
        """
        return self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Start serving."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Reject new calls, and give running calls `grace` seconds."""
        await (await _stop_accepting(self._server, self._gate, grace))


async def _stop_accepting(server: grpc.aio.Server, gate: DrainGate, grace: float) -> asyncio.Task[None]:
    """Begin to stop a server, without a call that gRPC ends with CANCELLED; see `Server.stop`."""
    await gate.hold()
    stopping = asyncio.create_task(server.stop(grace))
    await drain.pause(GOAWAY_POLLS)
    await gate.open()
    return stopping


async def _stop(server: grpc.aio.Server, grace: float) -> None:
    """Stop a server with a grace period; without one if this is cancelled."""
    try:
        await server.stop(grace)
    finally:
        await server.stop(None)


def build(  # noqa: PLR0913 - what a server is made of
    servicer: EmbeddingServicer,
    health: HealthServicer,
    metrics: Metrics,
    upstream: str,
    options: ServerOptions | None = None,
    *,
    authenticator: Authenticator | None = None,
    private_api: bool = True,
    spans: Wrap | None = None,
) -> Server:
    """Assemble the server; the caller binds its port and starts it.

    Args:
        servicer: the servicer of EmbeddingService.
        health: the grpc.health.v1 servicer.
        metrics: count every call.
        upstream: the name of the configured upstream, for the trailers.
        options: the server options.
        authenticator: authenticates callers; by default every caller is accepted.
        private_api: whether the private API of grpcio is used; see `grpcio.guard`.
        spans: records spans of calls; see `Services`.
    """
    services = Services(
        servicer,
        health,
        metrics,
        upstream,
        options or ServerOptions(),
        authenticator=authenticator or Authenticator(),
        spans=spans,
    )
    return Server(services, private_api=private_api)
