"""The gRPC server: where it listens, how it is stopped, and how it is replaced if its accept loops fail."""

import asyncio
from collections.abc import Callable

import grpc
import structlog

from embedwire_server.auth.tokens import Authenticator
from embedwire_server.core.address import Address
from embedwire_server.core.errors import Draining
from embedwire_server.observability.exceptions import describe
from embedwire_server.observability.metrics import Metrics
from embedwire_server.rpc import handlers, options, reflection, services
from embedwire_server.rpc.drain import ActiveCalls, DrainGate
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.interceptors.errors import ErrorInterceptor
from embedwire_server.rpc.interceptors.observe import ObservabilityInterceptor
from embedwire_server.rpc.options import MAX_CONNECTION_AGE_GRACE_SECONDS, ServerOptions
from embedwire_server.rpc.service import EmbeddingServicer
from embedwire_server.rpc.services import Services

# For the message that asks clients to leave to reach them, before answers to calls that were held invite new ones.
LEAVING_SECONDS = 0.02
# For calls that are ended to say so, and for clients to hang up. Those that do neither are not waited for.
GOODBYE_SECONDS = 2.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0  # seconds between attempts to listen on the port of a server that is replaced

Credentials = Callable[[], grpc.ServerCredentials]

log = structlog.get_logger(__name__)


class Server:
    """A server that listens, is started, and is stopped in order.

    gRPC's server is replaced by one that uses the public API only if its accept loops fail. Accept operations cannot be
    withdrawn: each that is pending would receive one more call that nothing can run. While it is replaced, health says
    NOT_SERVING; calls that run go on.

    Args:
        services: what it serves.
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
        """Take a port, for TLS or for plain text; the one that was really taken.

        Raises:
            RuntimeError: it is in use.
        """
        self._address, self._credentials = Address(address), credentials
        port = self._bind()
        self._address = Address(self._address.with_port(port))
        return port

    async def start(self) -> None:
        """Serve from now on."""
        await self._server.start()
        if self._accept_loops is not None:
            self._accept_loops.open()

    async def stop(self, grace: float) -> None:
        """Turn callers away, give running calls `grace` seconds, end the rest with DRAINING; none is left afterwards.

        gRPC asks clients to leave and refuses their connections, but a call that crosses its message on the way
        ends with CANCELLED, as if its caller had wanted that, and so do all that it has not taken in yet. Callers
        cannot tell that they may try elsewhere. So calls are held for a moment until no more arrive; the ones that
        are held are then running calls.
        """
        running = self._services.running
        self._is_stopping = True
        await self._stop_replacing()
        stopping = await _leave(self._server, self._services.door, grace + 2 * GOODBYE_SECONDS)
        running.end(Draining(), services=reflection.SERVICES)  # they have no end of their own
        if not await running.ended(grace):
            running.end(Draining())
            await running.ended(GOODBYE_SECONDS)
        await asyncio.wait([stopping], timeout=GOODBYE_SECONDS)
        await self._server.stop(None)
        await stopping
        if self._replaced is not None:
            self._replaced.cancel()  # which ends its calls at once
            await asyncio.gather(self._replaced, return_exceptions=True)

    def _bind(self) -> int:
        if self._credentials is None:
            return self._server.add_insecure_port(self._address)
        return self._server.add_secure_port(self._address, self._credentials())

    def _replace(self, method: str, error: Exception) -> None:
        log.error(
            "an accept loop has failed: all are closed, and the server is replaced", method=method, **describe(error)
        )
        if self._is_stopping:
            return
        self._services.door.close()  # now: answers let their callers send further calls to a server that stops
        self._replacing = asyncio.create_task(self._serve_by_public_api())

    async def _serve_by_public_api(self) -> None:
        before, door, health = self._server, self._services.door, self._services.health
        await health.unready("accept loops")
        await door.hold()
        self._server, self._accept_loops = self._services.server(private_api=False)
        self._replaced = asyncio.create_task(_stopped(before, MAX_CONNECTION_AGE_GRACE_SECONDS))
        await self._bind_again()
        await self._server.start()
        await door.open()
        await health.ready("accept loops")
        log.info("serving by the public API of grpcio", target=self._address)

    async def _bind_again(self) -> None:
        """Listen on the port as soon as the server before has closed it."""
        pause = _FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                self._bind()
            except (RuntimeError, ValueError, OSError) as error:
                if pause < _LONGEST_PAUSE <= 2 * pause:
                    log.error("cannot listen again; trying on", target=self._address, **describe(error))  # noqa: TRY400 - no texts
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    async def _stop_replacing(self) -> None:
        if self._replacing is not None:
            self._replacing.cancel()
            await asyncio.gather(self._replacing, return_exceptions=True)


class HealthServer:
    """A server for health checks and nothing else, for probes that do not speak TLS. Its calls have the same limits.

    Args:
        health: grpc.health.v1.
        metrics: count every call.
        upstream: name of the configured upstream, for the trailers.
        rules: what callers may do.
        private_api: whether the private API of grpcio is used.
    """

    def __init__(
        self, health: HealthServicer, metrics: Metrics, upstream: str, rules: ServerOptions, *, private_api: bool = True
    ) -> None:
        self._server = grpc.aio.server(options=options.of(rules))
        self._gate = DrainGate()
        observe = ObservabilityInterceptor(metrics, upstream, rules, ActiveCalls())
        errors = ErrorInterceptor(Authenticator(), *services.pending_calls(rules), private_api=private_api)
        inner = handlers.of_service(health, services.HEALTH)
        services.register(
            self._server,
            {path: self._gate.wrap(observe.wrap(errors.wrap(handler), path)) for path, handler in inner.items()},
        )

    def listen(self, address: str) -> int:
        """Take a port, for plain text; the one that was really taken.

        Raises:
            RuntimeError: it is in use.
        """
        return self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Serve from now on."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Turn callers away, and give running calls `grace` seconds."""
        await (await _leave(self._server, self._gate, grace))


async def _leave(server: grpc.aio.Server, gate: DrainGate, grace: float) -> asyncio.Task[None]:
    """Begin to stop a server, without a call that gRPC ends with CANCELLED; see `Server.stop`."""
    await gate.hold()
    stopping = asyncio.create_task(server.stop(grace))
    await asyncio.sleep(LEAVING_SECONDS)
    await gate.open()
    return stopping


async def _stopped(server: grpc.aio.Server, grace: float) -> None:
    """Stop a server; if that is cancelled, without any grace."""
    try:
        await server.stop(grace)
    finally:
        await server.stop(None)


def build(  # noqa: PLR0913 - what a server is made of
    servicer: EmbeddingServicer,
    health: HealthServicer,
    metrics: Metrics,
    upstream: str,
    rules: ServerOptions | None = None,
    *,
    access: Authenticator | None = None,
    private_api: bool = True,
) -> Server:
    """Put the server together; the caller tells it where to listen and starts it.

    Args:
        servicer: the service itself.
        health: grpc.health.v1.
        metrics: count every call.
        upstream: name of the configured upstream, for the trailers.
        rules: what callers may do.
        access: authenticates callers; by default every caller is accepted.
        private_api: whether the private API of grpcio is used; `grpcio.guard` knows.
    """
    services = Services(servicer, health, metrics, upstream, rules or ServerOptions(), access=access or Authenticator())
    return Server(services, private_api=private_api)
