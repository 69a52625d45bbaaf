"""The gRPC server: services, what surrounds them in its order, options; and how it is stopped.

What its options promise about connections, and why:

- A message has at most `max_message_bytes`, also once it is decompressed; metadata 16 KiB. gRPC refuses the rest with
  RESOURCE_EXHAUSTED; the server itself sees only that such a call has ended, and metrics and log say CANCELLED. Soft
  and hard limit of metadata are the same, since between them calls are refused at random.
- A connection that has not spoken HTTP/2 within `handshake_timeout` is closed.
- The server pings a connection that is silent for `keepalive_time`, also one without calls, and closes it if the
  peer's TCP does not acknowledge that in `keepalive_timeout`: a host that has vanished is not waited for. The answer
  itself has `ping_timeout`. gRPC also pings to measure the connection while it receives, and on a slow link the answer
  waits behind the data that the peer has buffered.
- Clients may ping as often as they like, with or without calls. gRPC's limit on pings would end all calls of the
  connection with UNAVAILABLE, which the handlers here see as a cancelled call. It saves nothing: a ping costs 0.2 to
  1.4 us, as SETTINGS and WINDOW_UPDATE do, which gRPC does not limit. See docs/decisions/026-hints-and-pings.md.
- A connection without calls is closed after 300 s; any connection is asked to reconnect after `max_connection_age`, so
  that load spreads over replicas, and its calls then have 600 s to finish, the longest default deadline.
- A call whose first message does not arrive is ended, after 600 s, the longest default deadline: a large message on a
  slow link takes minutes. Health and reflection have 10 s. At most 2,000 (500)
  calls wait for it: then the oldest one of the connection that has most of them is ended.
- Health watches are limited to 2,000 and 500 of a connection, reflection streams to 100 and 10.
- A connection carries at most 1,000 calls at a time; a client queues more by itself.
- Connections take at most half of the files that the process may open; further ones are closed at once. The other half
  is for the upstream, the metrics and uploads.
"""

import asyncio
import dataclasses
import resource
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2, embedding_pb2_grpc
from embedwire_server.access import Access
from embedwire_server.errors import Draining
from embedwire_server.metrics import Metrics
from embedwire_server.rpc import reflection
from embedwire_server.rpc.calls import DefaultDeadlines, Running
from embedwire_server.rpc.door import Door
from embedwire_server.rpc.health import SERVICE, HealthServicer
from embedwire_server.rpc.interceptors import Observe, Translate, closing
from embedwire_server.rpc.lanes import Lanes
from embedwire_server.rpc.pending_calls import PendingCalls
from embedwire_server.rpc.servicer import EmbeddingServicer

MAX_PENDING_CALLS = 4_000
MAX_PENDING_MESSAGES = 2_000
MAX_PENDING_MESSAGES_OF_OPEN_SERVICES = 500
MAX_METADATA_BYTES = 16 << 10
MAX_CALLS_OF_A_CONNECTION = 1_000
MAX_CONNECTION_IDLE_SECONDS = 300
MAX_CONNECTION_AGE_GRACE_SECONDS = 600
# For the message that asks clients to leave to reach them, before answers to calls that were held invite new ones.
LEAVING_SECONDS = 0.02
# For calls that are ended to say so, and for clients to hang up. Those that do neither are not waited for.
GOODBYE_SECONDS = 2.0

_MAX_INT = (1 << 31) - 1
_EMBEDDING = embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"]
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]

Handlers = Mapping[str, Any]  # grpc.RpcMethodHandler, a named tuple behind its types, by path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What callers may do; seconds and bytes.

    `deadlines` are for callers who set none. Who gives no room for a message for `stall_timeout` is ended. Clients give
    room in portions, up to some megabytes, so a caller must take as much in that time. `shares_port` lets other servers
    that do the same listen on the same port: each gets some of the connections. `reflection` tells tools the contract.
    A call whose first message has not arrived in `first_message_timeout` is ended, whatever its deadline; health and
    reflection, whose messages are small, and which need no token, have a shorter time. A reflection stream that asks
    nothing for `reflection_idle_timeout` is ended as well.
    """

    max_message_bytes: int = 16 << 20
    deadlines: DefaultDeadlines = dataclasses.field(default_factory=DefaultDeadlines)
    stall_timeout: float = 60.0
    first_message_timeout: float = 600.0
    first_message_timeout_of_open_services: float = 10.0
    reflection_idle_timeout: float = 60.0
    handshake_timeout: float = 10.0
    keepalive_time: float = 60.0
    keepalive_timeout: float = 20.0
    ping_timeout: float = 120.0
    max_connection_age: float = 1800.0
    shares_port: bool = False
    reflection: bool = True


class Server:
    """A server that is told where to listen, started, and stopped in good order."""

    def __init__(self, server: grpc.aio.Server, lanes: Lanes, door: Door, running: Running) -> None:
        self._server = server
        self._lanes = lanes
        self._door = door
        self._running = running

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Take a port, for TLS or for plain text; the one that was really taken.

        Raises:
            RuntimeError: it is in use.
        """
        if credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, credentials)

    async def start(self) -> None:
        """Serve from now on."""
        await self._server.start()
        self._lanes.open()

    async def stop(self, grace: float) -> None:
        """Turn callers away, give running calls `grace` seconds, end the rest with DRAINING; none is left afterwards.

        gRPC asks clients to leave and refuses their connections, but a call that crosses its message on the way
        ends with CANCELLED, as if its caller had wanted that, and so do all that it has not taken in yet. Callers
        cannot tell that they may try elsewhere. So calls are held for a moment until no more arrive; the ones that
        are held are then running calls.
        """
        await self._door.hold()
        stopping = asyncio.create_task(self._server.stop(grace + 2 * GOODBYE_SECONDS))
        await asyncio.sleep(LEAVING_SECONDS)
        await self._door.open()
        self._running.end(Draining(), services=reflection.SERVICES)  # they have no end of their own
        if not await self._running.ended(grace):
            self._running.end(Draining())
            await self._running.ended(GOODBYE_SECONDS)
        await asyncio.wait([stopping], timeout=GOODBYE_SECONDS)
        await self._server.stop(None)
        await stopping


def build(  # noqa: PLR0913 - what a server is made of
    servicer: EmbeddingServicer,
    health: HealthServicer,
    metrics: Metrics,
    upstream: str,
    rules: Rules | None = None,
    *,
    access: Access | None = None,
) -> Server:
    """Put the server together; the caller tells it where to listen and starts it.

    Args:
        servicer: the service itself.
        health: grpc.health.v1.
        metrics: told of every call.
        upstream: name of the configured upstream, for the trailers.
        rules: what callers may do.
        access: who may call; by default everybody.
    """
    rules = rules or Rules()
    door, running = Door(), Running()
    observe = Observe(metrics, upstream, rules.deadlines, running)
    translate = _translate(rules, access or Access())

    def surrounded(handlers: Handlers) -> Handlers:
        return {path: door.wrap(observe.wrap(translate.wrap(handler), path)) for path, handler in handlers.items()}

    server = grpc.aio.server(options=_options(rules))
    ours = surrounded(_handlers(embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server, servicer, _EMBEDDING))
    ours = {path: closing(handler) if handler.response_streaming else handler for path, handler in ours.items()}
    others = surrounded(
        {
            **_handlers(health_pb2_grpc.add_HealthServicer_to_server, health, _HEALTH),
            **(_reflection_handlers(rules.reflection_idle_timeout) if rules.reflection else {}),
        }
    )
    _register(server, {**ours, **others})
    return Server(server, Lanes(server, ours), door, running)


def for_health(health: HealthServicer, metrics: Metrics, upstream: str, rules: Rules) -> grpc.aio.Server:
    """A server for health checks and nothing else, for probes that do not speak TLS; its calls have the same limits."""
    server = grpc.aio.server(options=_options(rules))
    observe, translate = Observe(metrics, upstream, rules.deadlines, Running()), _translate(rules, Access())
    handlers = _handlers(health_pb2_grpc.add_HealthServicer_to_server, health, _HEALTH)
    _register(server, {path: observe.wrap(translate.wrap(handler), path) for path, handler in handlers.items()})
    return server


def _translate(rules: Rules, access: Access) -> Translate:
    pending = PendingCalls(MAX_PENDING_MESSAGES, rules.first_message_timeout)
    pending_open = PendingCalls(MAX_PENDING_MESSAGES_OF_OPEN_SERVICES, rules.first_message_timeout_of_open_services)
    return Translate(rules.stall_timeout, access, pending, pending_open)


def _register(server: grpc.aio.Server, handlers: Handlers) -> None:
    for path, handler in handlers.items():
        _, service, name = path.split("/")
        server.add_registered_method_handlers(service, {name: handler})


class _Registry:
    """What stubs are told to add themselves to."""

    def __init__(self) -> None:
        self.handler: Any = None

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        (self.handler,) = handlers

    def add_registered_method_handlers(self, _: str, __: Handlers) -> None:
        """Newer stubs say it twice."""


def _handlers(add: Callable[[Any, Any], None], servicer: object, service: ServiceDescriptor) -> Handlers:
    """The handlers of a service by their paths."""
    registry = _Registry()
    add(servicer, registry)
    paths = [f"/{service.full_name}/{name}" for name in service.methods_by_name]
    return {path: registry.handler.service(_Details(path)) for path in paths}


def _reflection_handlers(idle_timeout: float) -> Handlers:
    servicer = reflection.servicer((SERVICE, _HEALTH.full_name), idle_timeout)
    handlers = _handlers(reflection.add_to_server, servicer, reflection.DESCRIPTOR)
    newer = {path.replace(reflection.V1ALPHA, reflection.V1): handler for path, handler in handlers.items()}
    return {**handlers, **newer}


class _Details(NamedTuple):
    method: str


def _options(rules: Rules) -> tuple[tuple[str, int], ...]:
    return (
        # By default a second server binds the same port silently and takes half of the connections.
        ("grpc.so_reuseport", int(rules.shares_port)),
        ("grpc.max_receive_message_length", rules.max_message_bytes),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", MAX_CALLS_OF_A_CONNECTION),
        # Calls that have ended and are not yet cleared away. By default gRPC counts them with the running ones and so
        # refuses clients that keep to the limit; with no limit at all, calls that are reset at once fill the memory.
        ("grpc.http2.max_deallocating_streams", MAX_CALLS_OF_A_CONNECTION),
        # Beyond it gRPC answers CANCELLED, without a word and unseen by metrics: who is refused is told why.
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        ("grpc.server_handshake_timeout_ms", _ms(rules.handshake_timeout)),
        ("grpc.keepalive_time_ms", _ms(rules.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _ms(rules.keepalive_timeout)),
        ("grpc.http2.ping_timeout_ms", _ms(rules.ping_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),  # no limit
        ("grpc.max_allowed_incoming_connections", _max_connections()),
        ("grpc.max_connection_idle_ms", _ms(MAX_CONNECTION_IDLE_SECONDS)),
        ("grpc.max_connection_age_ms", _ms(rules.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", _ms(MAX_CONNECTION_AGE_GRACE_SECONDS)),
    )


def _max_connections() -> int:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MAX_INT if files == resource.RLIM_INFINITY else files // 2


def _ms(seconds: float) -> int:
    """Milliseconds, at least 1, as an option can hold them."""
    return max(1, min(round(seconds * 1000), _MAX_INT))
