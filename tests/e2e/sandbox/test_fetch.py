"""Fetching of media: the request for a URL, and the allowed hosts."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from embedwire_sandbox.errors import RefusalError
from embedwire_sandbox.media.fetch import Fetcher
from tests.support.media import png
from tests.support.tcp_server import tcp_server


class Files:
    """A server that answers every request with a picture, and records the head of each byte for byte."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        body = png()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    @property
    def line(self) -> str:
        return self.heads[-1].decode().splitlines()[0]

    @property
    def headers(self) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in self.heads[-1].decode().splitlines()[1:] if line)


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    found = Files()
    async with tcp_server(found.serve) as found.port:
        yield found


async def fetch(url: str) -> None:
    async with Fetcher(any_url=False, timeout_sec=10, max_bytes=1 << 20) as fetcher:
        (await fetcher.fetch(url, "image_url")).file.close()


SIGNED = (
    "/bucket/a%2Fb%20c.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261129%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-SignedHeaders=host&X-Amz-Signature=00ff&response-content-disposition=attachment%3B%20filename%3D%22a+b.png%22"
)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a%2Fb",
        "/a%2fb",
        "/a%20b",
        "/%7Ea/~b",
        "/%41%2D%2e",
        "/%",
        "/100%/%zz",
        "/a/../b/./c//d/",
        "/..;/a",
        "/a:b@c!$&'()*,;=",
        '/a"<>^`{|}\\b',
        "/A?b=1&a=2&b=3&a=",
        "/a?",
        "/a?&&",
        "/a?b",
        "/a?b=",
        "/a?c+d=e%20f&g=%2B",
        "/a?u=http%3A%2F%2Fh%2F%3Fx%3D1&v=http://h/?x=1",
        "/a?t=%E2%82%AC&t=%e2%82%ac",
        "/a??b?=?",
        SIGNED,
    ],
)
async def test_request_line(files: Files, target: str) -> None:
    """The request line has the URL byte for byte as given."""
    await fetch(f"http://127.0.0.1:{files.port}{target}")
    assert files.line == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("", "/"),
        ("?a=%2F", "/?a=%2F"),
        ("#part", "/"),
        ("/a%2F#part?b", "/a%2F"),
        ("/é?ü=%20", "/%C3%A9?%C3%BC=%20"),
    ],
)
async def test_normalised_request_lines(files: Files, given: str, sent: str) -> None:
    """An empty path is a slash, a fragment is not sent, and non-ASCII is encoded; all else is unchanged."""
    await fetch(f"http://127.0.0.1:{files.port}{given}")
    assert files.line == f"GET {sent} HTTP/1.1"


async def test_scheme_and_host(files: Files) -> None:
    """A scheme and a host in upper case are accepted, and user info becomes a header."""
    await fetch(f"HTTP://us%40er:pa%3Ass@LocalHost:{files.port}/A")
    assert files.line == "GET /A HTTP/1.1"
    assert files.headers["Host"].lower() == f"localhost:{files.port}"
    assert files.headers["Authorization"] == "Basic dXNAZXI6cGE6c3M="


@pytest.mark.parametrize(
    "host",
    [
        "167772161",  # 10.0.0.1, in a notation that the system accepts
        "10.1",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:10.0.0.1]",
        "[fe80::1%25lo]",
        "169.254.169.254",
        "\uff10.0.0.0",
        "1\uff10.0.0.1",
    ],
)
async def test_other_hosts(host: str) -> None:
    """Another host is refused in every notation of its address."""
    with pytest.raises(RefusalError, match=r"loopback|host"):
        await fetch(f"http://{host}:1/a")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/a b",
        "http://127.0.0.1:{port}/a\r\nX: y",
        "http://127.0.0.1:{port}/a\n",
        "http://127.0.0.1:{port}/\0",
        " http://127.0.0.1:{port}/",
        "http:/127.0.0.1:{port}/",
        "http://127.0.0.1:{port}0/",
        "http:\\\\127.0.0.1:{port}\\a",
        "http://",
        "http:///a",
        "http://@/a",
        "ftp://127.0.0.1:{port}/a",
        "/a",
        "",
    ],
)
async def test_no_url(files: Files, url: str) -> None:
    """An invalid URL is refused without a request."""
    with pytest.raises(RefusalError, match="image_url"):
        await fetch(url.format(port=files.port))
    assert not files.heads
