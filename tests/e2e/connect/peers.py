"""Servers, addresses and lookups for connections to them."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import httpx
import pytest
import trustme
from aiohappyeyeballs import AddrInfoType

from embedwire_server.core.failure_causes import Cause
from embedwire_server.upstreams.http import connection_errors
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.resolver import Lookup, Resolver
from tests.support.forward_proxy import listening


class Caller(asyncio.Protocol):
    """A protocol that sends bytes and receives one piece."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # of a stream

    def data_received(self, data: bytes) -> None:
        self._received.set_result(data)

    async def echo(self, data: bytes) -> bytes:
        assert self.transport is not None
        self.transport.write(data)
        try:
            return await self._received
        finally:
            self.transport.abort()


class Authority:
    """Certificates for a server of this machine, and the file with their authority."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.path = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.path))

    def context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


def echoing(context: ssl.SSLContext | None = None) -> contextlib.AbstractAsyncContextManager[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)

    return listening(serve, context)


@contextlib.contextmanager
def full() -> Generator[tuple[str, int]]:
    """An address that does not respond: a listener with a full backlog."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()


def found(*addresses: tuple[str, int]) -> Lookup:
    async def look_up(*_: object) -> Sequence[AddrInfoType]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    return look_up


def resolving(*addresses: tuple[str, int]) -> Resolver:
    return Resolver(found(*addresses))


async def hanging(*_: object) -> Sequence[AddrInfoType]:
    await asyncio.Event().wait()
    raise AssertionError


def nothing() -> None:
    """Ignore the connection."""


async def failure(made: Dialer, on_accepted: Callable[[], None] = nothing) -> tuple[type[Exception], Cause]:
    with pytest.raises(httpx.TransportError) as caught:
        await made.connect(Caller, on_accepted)
    return type(caught.value), connection_errors.cause_of(caught.value)


def sockets() -> int:
    """The number of open sockets of this process."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(link.readlink()))
    return sum(link.startswith("socket:") for link in links)


CONNECTED = b"HTTP/1.1 200 OK\r\n\r\n"
