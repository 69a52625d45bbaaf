"""gRPC channel arguments of the server, and the limits that they enforce.

The limits on connections and calls, and their reasons:

- A message has at most `max_message_bytes`, also after decompression; metadata 16 KiB. gRPC rejects more with
  RESOURCE_EXHAUSTED; the server itself sees only that such a call has ended, and metrics and log say CANCELLED. Soft
  and hard limit of metadata are the same, since gRPC rejects calls between them at random.
- A connection without an HTTP/2 handshake within `handshake_timeout` is closed.
- The server pings a connection that is silent for `keepalive_time`, also one without calls, and closes it if the
  peer's TCP does not acknowledge the ping within `keepalive_timeout`: this detects a host that has vanished. The
  answer to the ping has `ping_timeout`: on a slow link it waits behind the data that the peer has buffered.
- The receive window of a stream is `RECEIVE_WINDOW_BYTES`. gRPC's default is at least as large once data arrive, and
  has no limit: it measures each connection (BDP probe), and overestimates fast ones. A stream can then buffer 16 MiB
  and more. See docs/decisions/058-receive-window.md.
- Clients may ping as often as they like, with or without calls. gRPC's limit on pings would end all calls of the
  connection with UNAVAILABLE, which the handlers here see as a cancelled call. It saves nothing: a ping costs 0.2 to
  1.4 us, as SETTINGS and WINDOW_UPDATE do, which gRPC does not limit. See docs/decisions/026-hints-and-pings.md.
- A connection without calls is closed after 300 s; any connection is asked to reconnect after `max_connection_age`, so
  that load spreads over replicas, and its calls then have 3,600 s to finish, the longest default deadline.
- A call whose first message does not arrive is aborted after 600 s: a large message on a
  slow link takes minutes. Health and reflection have 10 s. At most 2,000 calls (health and reflection: 500) wait for
  it: beyond that, the oldest call of the connection that has most of them is aborted.
- A call may wait 600 s for the event loop to accept it. gRPC's default is 30 s, after
  which it answers CANCELLED, without details or metrics: an event loop that was blocked for that time would lose calls
  whose callers still wait. The callers' deadlines bound the wait.
- Health watches are limited to 2,000 and 500 of a connection, reflection streams to 100 and 10.
- A connection carries at most 1,000 concurrent calls; clients queue further ones themselves.
- Connections use at most half of the file descriptors that the process may open; further ones are closed immediately.
  The other half is for the upstream, the metrics endpoint and uploads.
"""

import dataclasses
import resource

from embedwire_server.rpc.deadline import DefaultDeadlines

MAX_PENDING_CALLS = 4_000
MAX_METADATA_BYTES = 16 << 10
MAX_CALLS_OF_A_CONNECTION = 1_000
RECEIVE_WINDOW_BYTES = 4 << 20
MAX_CONNECTION_IDLE_SECONDS = 300
MAX_CONNECTION_AGE_GRACE_SECONDS = 3600
MAX_SECONDS_BEFORE_ACCEPTED = 600

_MAX_INT = (1 << 31) - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Limits and timeouts of a gRPC server, in bytes and seconds.

    Attributes:
        max_message_bytes: the size of a message.
        deadlines: the deadlines of calls whose caller sets none.
        stall_timeout: a call whose peer opens no flow-control window for this time is aborted. Clients open it in steps
            of up to some megabytes, so a caller must read as much in that time.
        first_message_timeout: a call whose first message has not arrived by then is aborted, whatever its deadline.
        first_message_timeout_of_open_services: the same for health and reflection, which need no token and have small
            messages.
        reflection_idle_timeout: a reflection stream without a request for this time is aborted.
        handshake_timeout: the time for the HTTP/2 handshake.
        keepalive_time: the silence after which a connection is pinged.
        keepalive_timeout: the time for the peer's TCP to acknowledge the ping.
        ping_timeout: the time for the answer to the ping.
        max_connection_age: the age at which a connection is asked to reconnect.
        shares_port: whether other servers with this option may listen on the same port; each gets some of the
            connections.
        reflection: whether the server has gRPC server reflection.
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


def channel_arguments(options: ServerOptions) -> tuple[tuple[str, int], ...]:
    """Return the channel arguments for these options."""
    return (
        # By default a second server binds the same port silently and takes half of the connections.
        ("grpc.so_reuseport", int(options.shares_port)),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", MAX_CALLS_OF_A_CONNECTION),
        ("grpc.http2.bdp_probe", 0),  # with it, the next option has no effect
        ("grpc.http2.lookahead_bytes", RECEIVE_WINDOW_BYTES),
        # Streams that have ended and are not deallocated yet. By default gRPC counts them with the running ones and so
        # rejects clients that keep to the limit; without a limit, calls that are reset immediately exhaust the memory.
        ("grpc.http2.max_deallocating_streams", MAX_CALLS_OF_A_CONNECTION),
        # Beyond it gRPC answers CANCELLED, without details or metrics. The server's own limits are lower, with details.
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        # In seconds. Beyond it gRPC answers CANCELLED as well.
        ("grpc.server_max_unrequested_time_in_server", MAX_SECONDS_BEFORE_ACCEPTED),
        ("grpc.server_handshake_timeout_ms", _ms(options.handshake_timeout)),
        ("grpc.keepalive_time_ms", _ms(options.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _ms(options.keepalive_timeout)),
        ("grpc.http2.ping_timeout_ms", _ms(options.ping_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),  # no limit
        ("grpc.max_allowed_incoming_connections", _max_connections()),
        ("grpc.max_connection_idle_ms", _ms(MAX_CONNECTION_IDLE_SECONDS)),
        ("grpc.max_connection_age_ms", _ms(options.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", _ms(MAX_CONNECTION_AGE_GRACE_SECONDS)),
    )


def _max_connections() -> int:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MAX_INT if files == resource.RLIM_INFINITY else files // 2


def _ms(seconds: float) -> int:
    """Convert seconds to milliseconds, within the range of an option: at least 1, at most the largest int."""
    return max(1, min(round(seconds * 1000), _MAX_INT))
