"""Connections to the upstream through a proxy."""

import asyncio
import socket
from collections.abc import Sequence

import httpx
import pytest
from aiohappyeyeballs import AddrInfoType

from embedwire_server.core.failure_causes import Cause
from embedwire_server.core.proxies import Proxy
from embedwire_server.upstreams.http import connection_errors
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.resolver import Resolver
from tests.e2e.connect.peers import CONNECTED, Authority, Caller, echoing, failure, found, nothing
from tests.support.forward_proxy import REFUSED, ForwardProxy, listening
from tests.support.ports import NO_SERVER

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "pieces"])
async def test_a_tunnel(authority: Authority, *, is_tls: bool, pieces: bool) -> None:
    """For an https origin a proxy gets CONNECT with the origin's name and the credentials; TLS is inside the tunnel."""
    async with echoing(authority.context("upstream.test")) as port:
        context = authority.context("127.0.0.1") if is_tls else None
        async with ForwardProxy(port, "me:secret", pieces=pieces, context=context).running() as forward:
            proxy = Proxy("127.0.0.1", forward.port, is_tls, b"me:secret")
            made = Dialer(
                httpx.URL("https://upstream.test/v1.3"), proxy, authority.path, resolver=Resolver(hanging_but_for_proxy)
            )
            accepted = asyncio.Event()
            caller = await made.connect(Caller, accepted.set)
            assert await caller.echo(b"a") == b"a"
            assert accepted.is_set()
            assert (made.target_prefix, made.headers) == (b"", ())
            assert forward.heads[0].startswith(b"CONNECT upstream.test:443 HTTP/1.1\r\nHost: upstream.test:443\r\n")


async def hanging_but_for_proxy(host: str, port: int) -> Sequence[AddrInfoType]:
    """A resolver for the proxy only: the origin's name is looked up by the proxy."""
    assert host == "127.0.0.1"
    return await found((host, port))(host, port)


async def test_an_http_origin_behind_a_proxy() -> None:
    """The connection is one to the proxy; requests need absolute form and the credentials."""
    async with echoing() as port:
        made = Dialer(httpx.URL("http://upstream.test:81/v1.3"), Proxy("127.0.0.1", port, user=b"me:secret"))
        assert await (await made.connect(Caller, nothing)).echo(b"a") == b"a"
    assert made.target_prefix == b"http://upstream.test:81"
    assert made.headers == ((b"Proxy-Authorization", b"Basic bWU6c2VjcmV0"),)


ANSWERS = {
    "403": (REFUSED % 403, Cause.PROXY_REFUSED),
    "502": (REFUSED % 502, Cause.PROXY_REFUSED),
    "301": (REFUSED % 301, Cause.PROXY_REFUSED),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\n", Cause.PROXY_REFUSED),
    "407": (REFUSED % 407, Cause.PROXY_AUTHENTICATION),
    "bytes behind the head": (CONNECTED + b"HTTP/1.1 200 OK\r\n", Cause.PROXY_REFUSED),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", Cause.PROXY_REFUSED),
    "an alert of TLS": (bytes.fromhex("15030300020246"), Cause.PROXY_REFUSED),
    "a large head": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 4000, Cause.PROXY_REFUSED),
    "a long line": (b"HTTP/1.1 200 OK\r\na: " + b"b" * 20000, Cause.PROXY_REFUSED),
    "interim responses": (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, Cause.PROXY_REFUSED),
}


@pytest.mark.parametrize(("answer", "cause"), ANSWERS.values(), ids=ANSWERS)
async def test_a_proxy_that_opens_no_tunnel(answer: bytes, cause: Cause) -> None:
    """A response of a proxy other than success to CONNECT has its cause, and the connection is closed."""
    accepted = asyncio.Event()
    async with ForwardProxy(answer=answer).running() as forward:
        proxy = Proxy("127.0.0.1", forward.port, user=b"me:secret")
        made = Dialer(httpx.URL("https://upstream.test"), proxy)
        with pytest.raises(httpx.ProxyError) as caught:
            await made.connect(Caller, accepted.set)
        async with asyncio.timeout(30):
            while forward.open:
                await asyncio.sleep(0.01)
    assert connection_errors.cause_of(caught.value) is cause
    if answer.startswith(b"HTTP/1.1 403"):
        assert connection_errors.message_of(caught.value, cause).endswith("with status 403")
    assert "secret" not in repr(caught.value) + repr(caught.value.__cause__) + repr(proxy)
    assert not accepted.is_set()


async def test_a_proxy_that_cannot_be_reached(authority: Authority) -> None:
    """A proxy that refuses, has no name, disconnects, or has an invalid certificate is the cause itself."""

    async def no_such_name(*_: object) -> Sequence[AddrInfoType]:
        raise socket.gaierror(socket.EAI_NONAME, "")

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200")

    unreachable = httpx.ProxyError, Cause.PROXY_UNREACHABLE
    async with echoing(authority.context("127.0.0.1")) as untrusted, listening(close) as closing:
        refusing = int(NO_SERVER.rpartition(":")[2])
        for scheme in ("http", "https"):
            url = httpx.URL(f"{scheme}://upstream.test")
            assert await failure(Dialer(url, Proxy("127.0.0.1", refusing))) == unreachable
            assert await failure(Dialer(url, Proxy("proxy.test", 1), resolver=Resolver(no_such_name))) == unreachable
            assert await failure(Dialer(url, Proxy("127.0.0.1", untrusted, is_tls=True))) == unreachable
        half = Dialer(httpx.URL("https://upstream.test"), Proxy("127.0.0.1", closing))
        assert await failure(half) == unreachable


async def test_tls_that_fails_inside_a_tunnel(authority: Authority) -> None:
    """A TLS failure inside a tunnel is the upstream's, with the same cause as without a proxy."""
    accepted = asyncio.Event()
    async with echoing(authority.context("other.test")) as port, ForwardProxy(port).running() as forward:
        made = Dialer(httpx.URL("https://upstream.test"), Proxy("127.0.0.1", forward.port), authority.path)
        assert await failure(made, accepted.set) == (httpx.ConnectError, Cause.CERTIFICATE_WRONG_NAME)

    async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(without_tls) as port, ForwardProxy(port).running() as forward:
        made = Dialer(httpx.URL("https://upstream.test"), Proxy("127.0.0.1", forward.port), authority.path)
        assert (await failure(made))[1] is Cause.TLS_TO_PLAINTEXT_PORT
    assert accepted.is_set()
