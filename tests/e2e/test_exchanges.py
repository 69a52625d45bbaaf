"""Exchanges with the upstream over real sockets: what is written, read, refused and cancelled."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.exchange import Exchange
from embedwire_server.upstreams.http.response_stream import MAX_BUFFERED_BYTES, ResponseStream
from embedwire_server.upstreams.http.transport import Transport
from tests.support.ports import NO_SERVER
from tests.support.serving import until
from tests.support.tcp_server import tcp_server
from tests.support.upstreams import ScriptedHttpServer, Visit, answer, endless


class Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.is_closed = True


def post(
    base_url: str,
    body: httpx.AsyncByteStream | bytes = b"hello",
    length: int = 5,
    headers: dict[str, str] | None = None,
) -> httpx.Request:
    stream = httpx.ByteStream(body) if isinstance(body, bytes) else body
    fields = {"content-length": str(length), **(headers or {})}
    extensions = {"exchange": Exchange()}
    return httpx.Request("POST", base_url + "/embed", headers=fields, stream=stream, extensions=extensions)


@contextlib.asynccontextmanager
async def transport() -> AsyncGenerator[Transport]:
    opened = Transport()
    try:
        yield opened
    finally:
        await opened.aclose()


async def test_requests_share_a_connection() -> None:
    """Sequential requests share one connection; concurrent ones have one each."""
    async with ScriptedHttpServer(answer).running() as upstream, transport() as client:
        for _ in range(5):
            response = await client.handle_async_request(post(upstream.base_url))
            assert b"text_embedding" in b"".join([piece async for piece in response.stream])  # type: ignore[union-attr]
        await asyncio.gather(*[client.handle_async_request(post(upstream.base_url)) for _ in range(8)])
    connections = [visit.writer for visit in upstream.visits]
    assert len(set(connections[:5])) == 1
    assert len(set(connections[5:])) == 8


async def test_an_origin_is_prepared_once() -> None:
    """The authorities of an origin are read once, when the server starts, and used by its requests."""
    prepared = []

    def dialer(url: httpx.URL) -> Dialer:
        prepared.append(url)
        return Dialer(url)

    async with ScriptedHttpServer(answer).running() as upstream, contextlib.AsyncExitStack() as stack:
        client = Transport(dialer)
        stack.push_async_callback(client.aclose)
        client.prepare(upstream.base_url)
        assert len(prepared) == 1
        await client.handle_async_request(post(upstream.base_url))
        assert len(prepared) == len(upstream.visits) == 1


def test_unreadable_authorities_fail_before_a_request(tmp_path: Path) -> None:
    """Unreadable authorities are an error when the origin is prepared."""
    client = Transport(functools.partial(Dialer, ca_file=tmp_path / "missing.pem"))
    with pytest.raises(FileNotFoundError):
        client.prepare(f"https://{NO_SERVER}")


async def test_a_request_is_written_as_it_is_given() -> None:
    """Method, path, query, headers and body arrive unchanged; `Host` is added."""
    async with ScriptedHttpServer(answer).running() as upstream, transport() as client:
        request = post(f"{upstream.base_url}/v1.3/a%20b", Pieces(b"he", b"", b"llo"), headers={"x-a": "b c"})
        await client.handle_async_request(request)
    visit = upstream.visits[0]
    assert visit.headers["x-a"] == "b c"
    assert (visit.path, visit.body) == ("/v1.3/a%20b/embed", b"hello")
    assert visit.headers["host"] == upstream.base_url.removeprefix("http://")
    assert request.extensions["exchange"].is_sent


@pytest.mark.parametrize("pieces", [(b"hello", b"!"), (b"hell",), ()], ids=["longer", "shorter", "empty"])
async def test_a_body_of_another_length_than_declared(pieces: tuple[bytes, ...]) -> None:
    """Such a request fails and closes its connection: the upstream would read the rest as the next request."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    async with ScriptedHttpServer(script).running() as upstream, transport() as client:
        body = Pieces(*pieces)
        with pytest.raises(httpx.LocalProtocolError, match="as long as"):
            await client.handle_async_request(post(upstream.base_url, body))
        assert body.is_closed
        await until(lambda: not client.open_connections)


@pytest.mark.parametrize("header", ["a\r\nx-b: c", "a\nb", "a\rb"])
async def test_a_line_end_in_a_header_is_refused(header: str) -> None:
    """A request with a line end in a header is not sent: the rest would be another header or request."""
    async with ScriptedHttpServer(answer).running() as upstream, transport() as client:
        with pytest.raises(httpx.LocalProtocolError, match="line end"):
            await client.handle_async_request(post(upstream.base_url, headers={"x-a": header}))
    assert upstream.visits == []


async def test_cancelled_exchanges_leak_no_connection() -> None:
    """4,000 exchanges on ten connections are cancelled, each connection closes, and 100 further ones are answered."""
    closed = 0

    async def script(visit: Visit) -> None:
        nonlocal closed
        if len(upstream.visits) > 4000:
            await answer(visit)
        else:
            await visit.gone()
            closed += 1

    async with ScriptedHttpServer(script).running() as upstream, transport() as client:

        async def cancelled(count: int) -> None:
            for _ in range(count):
                before = len(upstream.visits)
                running = asyncio.ensure_future(client.handle_async_request(post(upstream.base_url)))
                while len(upstream.visits) == before:
                    await asyncio.sleep(0)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running

        await asyncio.gather(*[cancelled(400) for _ in range(10)])
        while len(upstream.visits) < 4000:  # some were cancelled before they arrived
            await cancelled(1)
        fresh = await asyncio.gather(*[client.handle_async_request(post(upstream.base_url)) for _ in range(100)])
        assert [response.status_code for response in fresh] == [200] * 100
        assert closed >= 3900


async def test_a_request_that_is_cancelled_at_any_moment_leaves_no_connection() -> None:
    """A cancelled request closes its connection, also while its body is being closed after the response's head."""

    class Slow(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self.pieces:
                await asyncio.sleep(0)
                yield piece

    async with ScriptedHttpServer(endless).running() as upstream, transport() as client:
        for turns in range(60):
            running = asyncio.ensure_future(client.handle_async_request(post(upstream.base_url, Slow(*[b"x"] * 5))))
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                response = await running
                await response.aclose()
        await until(lambda: not client.open_connections, 10)


async def test_a_response_is_read_no_faster_than_it_is_consumed() -> None:
    """Above half a MiB and one read, no more is read from the socket, however much the upstream has to send."""
    async with ScriptedHttpServer(endless).running() as upstream, transport() as client:
        response = await client.handle_async_request(post(upstream.base_url))
        stream = response.stream
        assert isinstance(stream, ResponseStream)
        await until(lambda: stream.buffered_bytes > MAX_BUFFERED_BYTES)
        for _ in range(100):
            await asyncio.sleep(0.005)
            assert stream.buffered_bytes <= MAX_BUFFERED_BYTES + (1 << 19)
        for _ in range(3):  # and reading continues each time
            assert await anext(stream)
        await stream.aclose()
        await until(upstream.visits[0].writer.is_closing)


async def test_a_final_response_ends_the_request() -> None:
    """A rejection before the body is sent is returned; the body and the connection are closed."""

    class Refusing(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, _: bytes) -> None:
            self.transport.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")  # type: ignore[attr-defined]

        def connection_lost(self, _: Exception | None) -> None:
            is_closed.set()

    class Endless(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                yield b"a"
                await asyncio.Event().wait()
            finally:
                self.is_closed = True

    is_closed = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(Refusing, "127.0.0.1", 0)
    body = Endless()
    async with server, transport() as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        request = post(url, body, 1000)
        response = await client.handle_async_request(request)
        assert response.status_code == 413
        assert [piece async for piece in response.stream] == [b"no"]  # type: ignore[union-attr]
        assert body.is_closed
        assert request.extensions["exchange"].is_early
        assert not request.extensions["exchange"].is_sent
        following = post(url)
        await client.handle_async_request(following)
        assert not following.extensions["exchange"].is_reused
        await asyncio.wait_for(is_closed.wait(), 10)


async def test_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests over TLS share a connection; a body and a response in many pieces arrive complete."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                seen.append(len(await reader.readexactly(1 << 20)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3000000))
                await writer.drain()
        writer.close()

    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        async with tcp_server(serve, tls=context) as port, transport() as client:
            url = f"https://localhost:{port}"
            for count in (1, 2, 3):
                request = post(url, Pieces(*[bytes(1 << 16)] * 16), 1 << 20)
                response = await client.handle_async_request(request)
                assert len(b"".join([piece async for piece in response.stream])) == 3000000  # type: ignore[union-attr]
                assert request.extensions["exchange"].is_reused is (count > 1)
            assert seen == [1 << 20] * 3
