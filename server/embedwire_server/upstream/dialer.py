"""Connections to one origin: the name lookup, TCP, the tunnel through a proxy, and TLS, all within one time limit.

The addresses of a host are tried in the order of the system, the next one 250 ms after the one before if that has not
answered (Happy Eyeballs, RFC 8305): an address that does not respond does not use up the time limit.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiohappyeyeballs
import httpx

from embedwire_server.upstream import tunnel
from embedwire_server.upstream.proxies import Proxy
from embedwire_server.upstream.resolver import Lookup, Resolver, getaddrinfo

CONNECT_SECONDS = 10.0
ATTEMPT_DELAY_SECONDS = 0.25  # between two addresses, as RFC 8305 recommends
SHUTDOWN_SECONDS = 1.0  # for the upstream's close_notify
_DEFAULT_PORTS = {"http": 80, "https": 443}

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """Opens connections to one origin, directly or through a proxy.

    Attributes:
        target_prefix: what precedes the path in the request line: `http://host:port` for an http origin behind a proxy.
        headers: what each request carries for the proxy then: its credentials. They appear in no repr or message.

    Args:
        url: the origin; its path is ignored.
        proxy: carries the connections; None connects directly.
        ca_file: authorities to trust in place of those of the system, in PEM form.
        lookup: finds the addresses of a name.

    Raises:
        OSError: the authorities cannot be read.
    """

    def __init__(
        self,
        url: httpx.URL,
        proxy: Proxy | None = None,
        ca_file: Path | None = None,
        lookup: Lookup = getaddrinfo,
    ) -> None:
        self._scheme, self._host = url.scheme, url.host.rstrip(".")
        self._port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
        self._proxy = proxy
        self._resolver = Resolver(lookup)
        is_tls, is_tls_proxy = url.scheme == "https", proxy is not None and proxy.is_tls
        context = tls_context(ca_file) if is_tls or is_tls_proxy else None
        self._context = context if is_tls else None
        self._proxy_context = context if is_tls_proxy else None
        is_forwarded = proxy is not None and not is_tls
        self.target_prefix = f"http://{url.netloc.decode()}".encode() if is_forwarded else b""
        self.headers = proxy.headers if is_forwarded and proxy is not None else ()

    async def connect(self, factory: Callable[[], P], on_accepted: Callable[[], None]) -> P:
        """Open a connection and return its protocol, connected: what it sends and receives is HTTP.

        Args:
            factory: makes the protocol.
            on_accepted: called once there is a TCP connection to the origin, or to the proxy that forwards requests,
                also if TLS fails on it.

        Raises:
            httpx.ConnectError: there is no connection; from the exception of the network.
            httpx.ConnectTimeout: there is none within the time limit.
            httpx.ProxyError: the proxy refuses to connect.
            httpx.UnsupportedProtocol: the address cannot be used.
        """
        if self._scheme not in _DEFAULT_PORTS:
            raise httpx.UnsupportedProtocol("the address must begin with http:// or https://")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._connect(factory, on_accepted)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except UnicodeError as error:
            raise httpx.UnsupportedProtocol("the host name cannot be used") from error
        except (OSError, RuntimeError, MemoryError) as error:
            raise httpx.ConnectError("no connection") from error

    async def _connect(self, factory: Callable[[], P], on_accepted: Callable[[], None]) -> P:
        if self._proxy is None:
            return await self._open(self._host, self._port, self._context, factory, on_accepted)
        proxy = self._proxy
        if self._context is None:
            return await self._open(proxy.host, proxy.port, self._proxy_context, factory, on_accepted)
        outer = await self._open(proxy.host, proxy.port, self._proxy_context, lambda: tunnel.Tunnel(), lambda: None)
        return await outer.upgrade(self._host, self._port, proxy.headers, self._context, factory, on_accepted)

    async def _open(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        factory: Callable[[], P],
        on_accepted: Callable[[], None],
    ) -> P:
        connected = await self._tcp(host, port)
        try:
            on_accepted()
            tls = {"server_hostname": host, "ssl_shutdown_timeout": SHUTDOWN_SECONDS} if context else {}
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_connection(factory, sock=connected, ssl=context, **tls)  # type: ignore[arg-type]
        except BaseException:
            with contextlib.suppress(OSError):
                connected.close()
            raise
        return protocol

    async def _tcp(self, host: str, port: int) -> socket.socket:
        addresses = await self._resolver.addresses(host, port)
        try:
            connected = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=ATTEMPT_DELAY_SECONDS)
        except OSError:
            self._resolver.forget(host, port)
            raise
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Settings of TLS to the upstream: verified, version 1.2 or later, HTTP/1.1 only.

    Args:
        ca_file: authorities to trust in place of those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR.

    Raises:
        OSError: the file cannot be read, or holds no certificates.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
