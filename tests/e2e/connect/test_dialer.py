"""Connections to the upstream: addresses, DNS lookups, TLS, proxies, timeout, and cancellation."""

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path

import httpx
import pytest
import trustme
from aiohappyeyeballs import AddrInfoType

from embedwire_server.core.failure_causes import Cause
from embedwire_server.core.proxies import Proxy
from embedwire_server.upstreams.http import connection_errors, dialer
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.resolver import Lookup, Resolver
from tests.support.forward_proxy import REFUSED, ForwardProxy, listening

pytestmark = pytest.mark.asyncio


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


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


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


async def test_an_address_that_does_not_respond() -> None:
    """The next address is tried long before the timeout, and the socket of the first one is closed."""
    with full() as dead:
        async with echoing() as port:
            made = Dialer(httpx.URL("http://upstream.test"), resolver=resolving(dead, dead, ("127.0.0.1", port)))
            before = sockets()
            async with asyncio.timeout(dialer.CONNECT_SECONDS / 2):
                caller = await made.connect(Caller, nothing)
            await asyncio.sleep(0)
            assert sockets() <= before + 2  # both ends of one connection
            assert caller.transport is not None
            option = caller.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert option
            assert await caller.echo(b"a") == b"a"


async def test_the_first_address_that_answers_is_used() -> None:
    """An address that refuses is skipped at once; the order is that of the resolver."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        refusing = free.getsockname()
    async with echoing() as first, echoing() as second:
        addresses = refusing, ("127.0.0.1", first), ("127.0.0.1", second)
        caller = await Dialer(httpx.URL("http://upstream.test"), resolver=resolving(*addresses)).connect(
            Caller, nothing
        )
        assert caller.transport is not None
        assert caller.transport.get_extra_info("peername")[1] == first
        assert await caller.echo(b"a") == b"a"
    assert await failure(Dialer(httpx.URL("http://upstream.test"), resolver=resolving(refusing, refusing))) == (
        httpx.ConnectError,
        Cause.CONNECTION_REFUSED,
    )


async def test_lookups_are_shared_and_cached() -> None:
    """Concurrent connects, and connects soon after, share one lookup; a failed lookup is repeated."""
    lookups = itertools.count(1)
    made = 0

    async with echoing() as port:

        async def look_up(host: str, _: int) -> Sequence[AddrInfoType]:
            nonlocal made
            made = next(lookups)
            await asyncio.sleep(0)
            if made == 1:
                raise socket.gaierror(socket.EAI_AGAIN, "")
            return await found(("127.0.0.1", port))(host, port)

        origin = Dialer(httpx.URL("http://upstream.test"), resolver=Resolver(look_up))
        failures = [*await asyncio.gather(failure(origin), failure(origin))]
        assert (failures, made) == ([(httpx.ConnectError, Cause.DNS_FAILED)] * 2, 1)
        callers = await asyncio.gather(*(origin.connect(Caller, nothing) for _ in range(10)))
        callers.append(await origin.connect(Caller, nothing))
        assert made == 2
        assert {await caller.echo(b"a") for caller in callers} == {b"a"}
    assert await failure(origin) == (httpx.ConnectError, Cause.CONNECTION_REFUSED)
    await failure(origin)
    assert made == 3  # addresses that could not be reached are removed from the cache


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_needs_no_lookup(host: str) -> None:
    """An IP address is not looked up, so it works also if all threads of the resolver are busy."""
    async with asyncio.timeout(20):
        ((_, kind, _, _, address),) = await Resolver(hanging).addresses(host, 80)
    assert (kind, address[:2]) == (socket.SOCK_STREAM, (host, 80))


async def test_a_resolver_that_hangs() -> None:
    """A lookup without an answer has a cause of its own; concurrent connects share one lookup."""
    lookups = 0

    async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
        nonlocal lookups
        lookups += 1
        return await hanging(host, port)

    origin = Dialer(httpx.URL("http://upstream.test"), resolver=Resolver(look_up, 0.1))
    failures = [*await asyncio.gather(failure(origin), failure(origin)), await failure(origin)]
    assert (failures, lookups) == ([(httpx.ConnectError, Cause.DNS_FAILED)] * 3, 1)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls(host: str, authority: Authority) -> None:
    """Certificates are verified for names and addresses against the given authorities; the protocol is HTTP/1.1."""
    accepted = asyncio.Event()
    async with echoing(authority.context(host)) as port:
        caller = await Dialer(httpx.URL(f"https://{host}:{port}"), None, authority.path).connect(Caller, accepted.set)
        assert caller.transport is not None
        assert caller.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert await caller.echo(b"a") == b"a"
        assert await failure(Dialer(httpx.URL(f"https://{host}:{port}"))) == (
            httpx.ConnectError,
            Cause.CERTIFICATE_UNTRUSTED,
        )
    assert accepted.is_set()
    accepted.clear()
    async with echoing(authority.context("other.test", "127.0.0.2")) as port:
        made = Dialer(httpx.URL(f"https://{host}:{port}"), None, authority.path)
        assert await failure(made, accepted.set) == (httpx.ConnectError, Cause.CERTIFICATE_WRONG_NAME)
    assert accepted.is_set()


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


CONNECTED = b"HTTP/1.1 200 OK\r\n\r\n"
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
        async with asyncio.timeout(5):
            while forward.open:
                await asyncio.sleep(0.01)
    assert connection_errors.cause_of(caught.value) is cause
    if answer.startswith(b"HTTP/1.1 403"):
        assert connection_errors.message_of(caught.value, cause).endswith("with status 403")
    assert "secret" not in repr(caught.value) + repr(caught.value.__cause__) + repr(proxy)
    assert not accepted.is_set()


async def test_a_proxy_that_cannot_be_reached(authority: Authority) -> None:
    """A proxy that refuses, has no name, disconnects, or has an invalid certificate is the cause itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        refusing = free.getsockname()[1]

    async def no_such_name(*_: object) -> Sequence[AddrInfoType]:
        raise socket.gaierror(socket.EAI_NONAME, "")

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200")

    unreachable = httpx.ProxyError, Cause.PROXY_UNREACHABLE
    async with echoing(authority.context("127.0.0.1")) as untrusted, listening(close) as closing:
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


@contextlib.asynccontextmanager
async def silent() -> AsyncGenerator[int]:
    """A server that accepts and reads, and does not answer."""
    async with ForwardProxy(answer=b"").running() as server:
        yield server.port


STAGES = ["name lookup", "TCP", "TLS", "CONNECT", "TLS to the proxy", "TLS in the tunnel"]
CAUSES = dict(
    zip(
        STAGES,
        [Cause.CONNECT_TIMEOUT] * 3 + [Cause.PROXY_UNREACHABLE] * 2 + [Cause.CONNECT_TIMEOUT],
        strict=True,
    )
)


@contextlib.asynccontextmanager
async def stuck(stage: str, seconds: float = dialer.CONNECT_SECONDS) -> AsyncGenerator[Dialer]:
    """A dialer whose connects hang in one stage."""
    async with contextlib.AsyncExitStack() as stack:
        quiet = await stack.enter_async_context(silent())
        tunnel = await stack.enter_async_context(ForwardProxy(answer=CONNECTED).running())
        dead = stack.enter_context(full())
        https = httpx.URL("https://upstream.test")
        yield {
            "name lookup": lambda: Dialer(
                httpx.URL("http://upstream.test"), resolver=Resolver(hanging), seconds=seconds
            ),
            "TCP": lambda: Dialer(httpx.URL("http://upstream.test"), resolver=resolving(dead, dead), seconds=seconds),
            "TLS": lambda: Dialer(https, resolver=resolving(("127.0.0.1", quiet)), seconds=seconds),
            "CONNECT": lambda: Dialer(https, Proxy("127.0.0.1", quiet), seconds=seconds),
            "TLS to the proxy": lambda: Dialer(https, Proxy("127.0.0.1", quiet, is_tls=True), seconds=seconds),
            "TLS in the tunnel": lambda: Dialer(https, Proxy("127.0.0.1", tunnel.port), seconds=seconds),
        }[stage]()


@pytest.mark.parametrize("stage", STAGES)
async def test_the_time_limit(stage: str) -> None:
    """Each stage that does not end is ended by the one connect timeout."""
    async with stuck(stage, 0.4) as made:
        assert (await failure(made))[1] is CAUSES[stage]


@pytest.mark.parametrize("stage", STAGES)
async def test_a_connect_that_is_cancelled(stage: str) -> None:
    """A cancelled connect ends at once in each stage, and leaves no socket, and no task but the shared lookup."""
    async with stuck(stage) as made:
        before, tasks = sockets(), len(asyncio.all_tasks())
        connecting = [asyncio.create_task(made.connect(Caller, nothing)) for _ in range(3)]
        async with asyncio.timeout(20):  # they have sockets, or all wait for the lookup
            while sockets() < before + (0 if stage == "name lookup" else 3):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # to various points of the stage: a connect may be cancelled at any of them
        for connect in connecting:
            connect.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait(connecting)
            assert all(connect.cancelled() for connect in connecting)
            while sockets() > before or len(asyncio.all_tasks()) > tasks + (stage == "name lookup"):
                await asyncio.sleep(0.01)
