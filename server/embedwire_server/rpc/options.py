"""The options of a gRPC server, and the limits that they hold callers to.

What they promise about connections, and why:

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

import dataclasses
import resource

from embedwire_server.rpc.deadline import DefaultDeadlines

MAX_PENDING_CALLS = 4_000
MAX_METADATA_BYTES = 16 << 10
MAX_CALLS_OF_A_CONNECTION = 1_000
MAX_CONNECTION_IDLE_SECONDS = 300
MAX_CONNECTION_AGE_GRACE_SECONDS = 600

_MAX_INT = (1 << 31) - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What callers may do; seconds and bytes.

    `deadlines` are for callers that set none. A call is ended if its caller gives no room for a message for
    `stall_timeout`. Clients give room in portions, up to some megabytes, so a caller must take as much in that
    time. `shares_port` lets other servers that do the same listen on the same port: each gets some of the
    connections. `reflection` tells tools the contract. A call whose first message has not arrived in
    `first_message_timeout` is ended, whatever its deadline; health and reflection, whose messages are small, and
    which need no token, have a shorter time. A reflection stream that asks nothing for `reflection_idle_timeout` is
    ended as well.
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


def of(rules: ServerOptions) -> tuple[tuple[str, int], ...]:
    """The options of a server that holds its callers to these rules."""
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
        # Beyond it gRPC answers CANCELLED, without details and unseen by metrics; here a refusal says why.
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
