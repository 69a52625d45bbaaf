"""Client of Redis, from a URL: the pool of connections, name lookup and TLS.

redis-py closes a connection whose command was cancelled between the request and the end of the reply; so no reply is
taken for that of a later command.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from typing import Any, cast

import aiohappyeyeballs
from redis.asyncio import Connection, ConnectionPool, Redis, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from embedwire_server.config.redis_url import RedisUrl
from embedwire_server.upstreams.http.resolver import Resolver

_ADDRESS_DELAY_SECONDS = 0.01  # between two addresses of a host (RFC 8305)
_SHUTDOWN_SECONDS = 0.1  # for the peer's close_notify


def new_client(url: RedisUrl, max_connections: int) -> Redis:
    """Return a client of this server.

    Nothing in it retries, limits the time or checks connections: the caller does. The protocol is RESP2, which all
    versions and proxies of Redis support.
    """
    options: dict[str, Any] = {"path": url.path}
    if not url.path:
        tls = ssl.create_default_context() if url.is_tls else None
        options = {"host": url.host, "port": url.port, "resolver": Resolver(), "tls": tls}
    pool = ConnectionPool(
        connection_class=UnixDomainSocketConnection if url.path else _TcpConnection,
        max_connections=max_connections,
        db=url.database,
        username=url.username,
        password=url.password,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=None,
        driver_info=None,
        **options,
    )
    return Redis.from_pool(pool)


def reason_of(error: Exception) -> str:
    """Return the reason of a failed operation, one of `REDIS_ERRORS`."""
    if isinstance(error, OutOfMemoryError):
        return "full"
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "timeout"
    return "connection" if isinstance(error, OSError | RedisConnectionError) else "other"


def is_rejection(error: Exception) -> bool:
    """Whether Redis has answered a command with an error, so that it may accept others."""
    return isinstance(error, ResponseError)


class _TcpConnection(Connection):
    """Connection with the name lookup that the upstream's connections have: lookups do not accumulate.

    Args:
        resolver: finds the addresses of the host; shared by all connections.
        tls: TLS context; None connects without TLS.
        options: see the base class.
    """

    def __init__(self, *, resolver: Resolver, tls: ssl.SSLContext | None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._resolver = resolver
        self._tls = tls

    async def _connect(self) -> None:
        """Open the connection; the extension point of the base class."""
        connected = await self._tcp()
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in cast(Mapping[int, int], self.socket_keepalive_options).items():
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
            self._reader, self._writer = await asyncio.open_connection(
                sock=connected,
                ssl=self._tls,
                server_hostname=self.host if self._tls else None,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS if self._tls else None,
            )
        except BaseException:
            with contextlib.suppress(OSError):
                connected.close()
            raise

    async def _tcp(self) -> socket.socket:
        addresses = await self._resolver.addresses(self.host, self.port)
        try:
            return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_ADDRESS_DELAY_SECONDS)
        except BaseException:
            self._resolver.forget(self.host, self.port)
            raise
