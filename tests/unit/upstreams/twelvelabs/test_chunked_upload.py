"""Sessions of uploads in chunks whose description by the upstream is odd or hostile."""

from collections.abc import Callable
from typing import Any

import pytest

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.twelvelabs.chunked_upload import MAX_CHUNKS, ChunkedUpload
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect
from tests.support.embed_calls import call
from tests.support.upstreams import ScriptedHttpServer, Visit
from tests.unit.upstreams.twelvelabs.scripted_support import KEY, CannedResponse, CannedSender, answering, encoded

SIZE = 100
Change = Callable[[str], dict[str, Any]]


async def created(change: Change) -> tuple[str | UpstreamFailure, ScriptedHttpServer]:
    """Upload a file in a session with changed members; return its asset or the failure."""

    def reply(visit: Visit, base_url: str) -> Any:
        if not visit.path.startswith("/assets"):
            return {}
        urls = [{"chunk_index": number, "url": f"{base_url}/put/{number}"} for number in (1, 2)]
        return {"upload_id": "u1", "asset_id": "a1", "chunk_size": 60, "upload_urls": urls} | change(base_url)

    async with answering(reply, ETag='"proof"') as (client, dialect, server):
        try:
            content = InMemoryContent(b"x" * SIZE)
            return await ChunkedUpload(client, dialect).create(call("audio"), content, "a.wav", SIZE), server
        except UpstreamFailure as failure:
            return failure, server


def first_url(url: str) -> Change:
    return lambda _: {"upload_urls": [{"chunk_index": 1, "url": url}]}


NO_LISTS: list[Any] = [True, 1, 1.5, "x", {"a": 1}, [1], [[]]]


@pytest.mark.parametrize(
    "members",
    [
        *({"upload_urls": value} for value in NO_LISTS),
        *({"upload_headers": value} for value in (True, "x", ["a"], {"a": 1}, {"a": None}, {"a": ["b"]})),
        *({"chunk_size": value} for value in (True, 0, -1, 1.5, "60", None, [60])),
        *({"upload_id": value} for value in (None, 1, "", "a/b", "x" * 200, ["a"])),
        {"asset_id": "../a"},
        *({name: f"a-{KEY}-b"} for name in ("upload_id", "asset_id")),
    ],
    ids=repr,
)
async def test_wrong_types(members: dict[str, Any]) -> None:
    """A member of another type makes the reply malformed."""
    failure, server = await created(lambda _: members)
    assert isinstance(failure, UpstreamFailure)
    assert failure.reason is Reason.UPSTREAM_MALFORMED_REPLY
    assert len(server.visits) == 1 or "upload_urls" in members


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "//host/", "https:///x", "https://host:port/", "https://[::1", "https://xn--/", "https://\ud800/"),
        *(
            "https://host\r\n/",
            "https://a\u2000b/",
            "https://host/" + "x" * 100_000,
            "http://other.test/",
            "ftp://host/",
        ),
    ],
    ids=lambda url: repr(url[:20]),
)
async def test_invalid_url(url: str) -> None:
    """A URL that cannot be used, or that is not safe, makes the reply malformed, and nothing is sent to it."""
    failure, server = await created(first_url(url))
    assert isinstance(failure, UpstreamFailure)
    assert failure.reason is Reason.UPSTREAM_MALFORMED_REPLY
    assert len(server.visits) == 1


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Host", "Transfer-Encoding", "Connection"])
async def test_headers_of_this_server(name: str) -> None:
    """Headers that describe the connection and the size of the chunk are never those of the upstream."""
    asset, server = await created(lambda _: {"upload_headers": {name: "chunked", "X-Of-The-Store": "yes"}})
    chunks = [visit for visit in server.visits if visit.path.startswith("/put")]

    assert asset == "a1"
    assert [(one.headers["content-length"], one.headers["x-of-the-store"]) for one in chunks] == [
        ("60", "yes"),
        ("40", "yes"),
    ]
    for one in chunks:
        assert "chunked" not in one.headers.values()
        assert "x-api-key" not in one.headers


@pytest.mark.parametrize(
    ("name", "value"),
    [("a\r\nb", "c"), ("a", "b\r\nc: d"), ("a", "b\0"), ("", "b"), ("a b", "c"), ("a:", "b"), ("é", "b"), ("a", "é")],
)
async def test_invalid_header(name: str, value: str) -> None:
    """A header that HTTP does not allow makes the reply malformed."""
    failure, server = await created(lambda _: {"upload_headers": {name: value}})
    assert isinstance(failure, UpstreamFailure)
    assert failure.reason is Reason.UPSTREAM_MALFORMED_REPLY
    assert len(server.visits) == 1


async def test_too_many_chunks() -> None:
    """A size of chunks that needs very many requests makes the reply malformed."""

    def reply(_: Visit, __: str) -> Any:
        return {"upload_id": "u1", "asset_id": "a1", "chunk_size": 1}

    size = MAX_CHUNKS + 1
    async with answering(reply) as (client, dialect, server):
        with pytest.raises(UpstreamFailure, match="chunks") as raised:
            await ChunkedUpload(client, dialect).create(call("audio"), InMemoryContent(bytes(size)), "a.wav", size)

    assert raised.value.reason is Reason.UPSTREAM_MALFORMED_REPLY
    assert len(server.visits) == 1


async def test_urls_of_no_chunk() -> None:
    """URLs of chunks that the file does not have are ignored."""
    numbers = [-5, 0, 3, 10**30, 1, 2]
    asset, server = await created(
        lambda base: {"upload_urls": [{"chunk_index": number, "url": f"{base}/put/{number}"} for number in numbers]}
    )
    assert asset == "a1"
    assert [visit.path for visit in server.visits if visit.path.startswith("/put")] == ["/put/1", "/put/2"]


async def test_url_without_tls() -> None:
    """If the upstream's URL has TLS, that of a chunk must have it as well, also on the upstream's own host."""
    urls = [{"chunk_index": 1, "url": "http://up.test/put/1"}]
    session = {"upload_id": "u1", "asset_id": "a1", "chunk_size": SIZE, "upload_urls": urls}
    sender = CannedSender(CannedResponse(encoded(session)))
    chunked = ChunkedUpload(HttpClient(sender, "twelvelabs"), V2Dialect("https://up.test", KEY, "test"))
    with pytest.raises(UpstreamFailure, match="neither https"):
        await chunked.create(call("audio"), InMemoryContent(b"x" * SIZE), "a.wav", SIZE)

    assert len(sender.requests) == 1


async def test_a_rejected_chunk() -> None:
    """A 401 for a chunk is not reported as a rejected key, which the request did not have."""
    urls = [{"chunk_index": 1, "url": "https://store.test/put/1"}]
    session = {"upload_id": "u1", "asset_id": "a1", "chunk_size": SIZE, "upload_urls": urls}
    rejected = CannedResponse(b"<Error><Code>AccessDenied</Code></Error>")
    rejected.status = 401
    sender = CannedSender(CannedResponse(encoded(session)), rejected)
    chunked = ChunkedUpload(HttpClient(sender, "twelvelabs"), V2Dialect("https://up.test", KEY, "test"))
    with pytest.raises(UpstreamFailure) as raised:
        await chunked.create(call("audio"), InMemoryContent(b"x" * SIZE), "a.wav", SIZE)

    assert raised.value.reason is Reason.UPSTREAM_UNAVAILABLE
    assert "URL of a chunk" in raised.value.message
