"""Opens connections to one origin: name lookup, TCP, proxy tunnel and TLS, all within one time limit.

The addresses of a host are tried in the order of the system, alternating families, each 250 ms after the one before if
that has not responded (Happy Eyeballs, RFC 8305): an unresponsive address does not use up the time limit.
"""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiohappyeyeballs
import httpx

from embedwire_server.core.proxies import Proxy
from embedwire_server.upstreams.http.resolver import Resolver
from embedwire_server.upstreams.http.tunnel import SHUTDOWN_SECONDS, Target, Tunnel, TunnelError

CONNECT_SECONDS = 10.0
ATTEMPT_DELAY_SECONDS = 0.25  # between two addresses, as RFC 8305 recommends
_DEFAULT_PORTS = {"http": 80, "https": 443}

P = TypeVar("P", bound=asyncio.Protocol)


@dataclasses.dataclass(slots=True)
class _Progress:
    """Progress of a connect.

    Attributes:
        on_accepted: called once the origin, or the proxy that forwards requests to it, has accepted a connection.
        is_accepted: whether it has.
    """

    on_accepted: Callable[[], None]
    is_accepted: bool = False

    def accepted(self) -> None:
        self.is_accepted = True
        self.on_accepted()


class Dialer:
    """Opens connections to one origin, directly or through a proxy.

    Attributes:
        target_prefix: what precedes the path in the request line: `http://host:port` for an http origin behind a proxy.
        headers: proxy headers of each request in that case: the credentials. They appear in no repr or message.

    Args:
        url: the origin; its path is ignored.
        proxy: the proxy to use; None connects directly.
        ca_file: authorities to trust in place of those of the system, in PEM form.
        resolver: finds the addresses of the host.
        seconds: the time limit.
        new_context: creates a TLS context from the file of authorities; see `tls_context`.

    Raises:
        OSError: the authorities cannot be read.
    """

    def __init__(  # noqa: PLR0913 - how connections are opened
        self,
        url: httpx.URL,
        proxy: Proxy | None = None,
        ca_file: Path | None = None,
        *,
        resolver: Resolver | None = None,
        seconds: float = CONNECT_SECONDS,
        new_context: Callable[[Path | None], ssl.SSLContext] | None = None,
    ) -> None:
        is_tls = url.scheme == "https"
        context = (new_context or tls_context)(ca_file) if is_tls or (proxy is not None and proxy.is_tls) else None
        self._is_supported = url.scheme in _DEFAULT_PORTS
        self._origin = Target(
            url.host.rstrip("."), url.port or _DEFAULT_PORTS.get(url.scheme, 0), context if is_tls else None
        )
        self._proxy = None if proxy is None else Target(proxy.host, proxy.port, context if proxy.is_tls else None)
        self._credentials = () if proxy is None else proxy.headers
        is_forwarded = proxy is not None and not is_tls
        self.target_prefix = b"http://" + url.netloc if is_forwarded else b""
        self.headers = self._credentials if is_forwarded else ()
        self._resolver = resolver or Resolver()
        self._seconds = seconds

    async def connect(self, factory: Callable[[], P], on_accepted: Callable[[], None]) -> P:
        """Open a connection and return its protocol, connected and ready for HTTP.

        Args:
            factory: creates the protocol.
            on_accepted: called once there is a TCP connection to the origin, also if TLS fails on it. Behind a proxy,
                once there is a tunnel, or a connection to the proxy that forwards requests.

        Raises:
            httpx.ConnectError: the connection failed; its cause is the exception of the network.
            httpx.ConnectTimeout: the time limit passed.
            httpx.ProxyError: the proxy cannot be reached, or refuses to connect.
            httpx.UnsupportedProtocol: the address cannot be used.
        """
        if not self._is_supported:
            raise httpx.UnsupportedProtocol("the address must begin with http:// or https://")
        progress = _Progress(on_accepted)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._connect(factory, progress)
        except (OSError, RuntimeError, MemoryError, UnicodeError, TunnelError) as error:
            raise self._error(error, progress) from error

    def _error(self, error: Exception, progress: _Progress) -> httpx.TransportError:
        if self._proxy is not None and not progress.is_accepted:
            return httpx.ProxyError("no connection through the proxy")
        if isinstance(error, UnicodeError):
            return httpx.UnsupportedProtocol("the host name cannot be used")
        if isinstance(error, TimeoutError):
            return httpx.ConnectTimeout("no connection in time")
        return httpx.ConnectError("no connection")

    async def _connect(self, factory: Callable[[], P], progress: _Progress) -> P:
        if self._proxy is None:
            return await self._open(self._origin, factory, progress.accepted)
        if self._origin.context is None:
            protocol = await self._open(self._proxy, factory)
            progress.accepted()
            return protocol
        tunnel = await self._open(self._proxy, Tunnel)
        return await tunnel.open(self._origin, self._credentials, factory, progress.accepted)

    async def _open(self, target: Target, factory: Callable[[], P], on_accepted: Callable[[], None] | None = None) -> P:
        """Open TCP, and TLS if the target has a context."""
        connected = await self._tcp(target)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if on_accepted is not None:
                on_accepted()
            _, protocol = await asyncio.get_running_loop().create_connection(
                factory,
                sock=connected,
                ssl=target.context,
                server_hostname=target.host if target.context else None,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS if target.context else None,
            )
        except BaseException:
            with contextlib.suppress(OSError):
                connected.close()
            raise
        return protocol

    async def _tcp(self, target: Target) -> socket.socket:
        addresses = await self._resolver.addresses(target.host, target.port)
        try:
            return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=ATTEMPT_DELAY_SECONDS)
        except BaseException:  # also the time limit
            self._resolver.forget(target.host, target.port)
            raise


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS context for the upstream: verified, version 1.2 or later, HTTP/1.1 only.

    Args:
        ca_file: authorities to trust in place of those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR.

    Raises:
        OSError: the file cannot be read, or holds no certificates.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
