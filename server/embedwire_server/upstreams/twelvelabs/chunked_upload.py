"""Upload of a large file in chunks, each to a URL of its own. Facts: upstream API notes, section 13."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from embedwire_server.core.inputs import Content
from embedwire_server.media.in_memory import READ_BYTES
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.client import ANSWERED, HttpClient, read_json
from embedwire_server.upstreams.http.exchange import Request
from embedwire_server.upstreams.http.response_body import unusable
from embedwire_server.upstreams.twelvelabs.errors import Subject
from embedwire_server.upstreams.twelvelabs.identifiers import identifier, json_object
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect

URLS_AT_ONCE = 50  # the most that the upstream returns
MAX_CHUNKS = 10_000  # each is a request; the object stores behind the URLs accept no more

_PATH = "/assets/multipart-uploads"
_ENDPOINT = f"{_PATH}/{{id}}"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
# They describe this server's connection and body: those of the upstream could only be the same or wrong.
_OWN_HEADERS = {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}


class ChunkedUpload:
    """Creates assets whose files are uploaded in chunks.

    Args:
        client: sends the requests.
        dialect: builds them.
    """

    def __init__(self, client: HttpClient, dialect: V2Dialect) -> None:
        self._client = client
        self._dialect = dialect

    async def create(self, call: EmbedCall, content: Content, name: str, size: int) -> str:
        """Upload a file; return the identifier of its asset.

        Raises:
            GatewayError: a request failed. The upstream drops what it has received after a day.
        """
        members = {"filename": name, "type": "audio", "total_size": size}
        request = self._dialect.request(call, b"POST", _PATH, _PATH, members)
        request.is_creation = True
        session = _Session(await self._json(call, request), size, self._dialect.key(call))
        proofs = []
        for number in range(session.chunks):
            if number not in session.urls:
                await self._more_urls(call, session, number)
            proofs.append(await self._send_chunk(call, session, content, number))
        path = f"{_PATH}/{session.id}"
        completion = self._dialect.request(call, b"POST", path, _ENDPOINT, {"completed_chunks": proofs})
        completion.is_creation = True
        await self._json(call, completion)
        return session.asset_id

    async def _more_urls(self, call: EmbedCall, session: "_Session", number: int) -> None:
        path = f"{_PATH}/{session.id}/presigned-urls"
        members = {"start": number + 1, "count": min(URLS_AT_ONCE, session.chunks - number)}
        request = self._dialect.request(call, b"POST", path, f"{_ENDPOINT}/presigned-urls", members)
        session.add_urls(await self._json(call, request))
        if number not in session.urls:
            raise unusable(f"it has no URL for chunk {number + 1}")

    async def _send_chunk(self, call: EmbedCall, session: "_Session", content: Content, number: int) -> dict[str, Any]:
        """Send one chunk to its URL, without a key; return the proof that the upstream requires."""
        start = number * session.chunk_size
        size = min(session.chunk_size, session.size - start)
        url = self._checked(session.urls.pop(number))
        headers = [(b"Host", url.netloc), *session.headers, (b"content-length", str(size).encode())]
        request = Request(url, headers, _part(content, start, size), b"PUT", f"{_ENDPOINT}/chunk")
        request.has_trace_context = False  # the URL may be signed for these headers, and be of another service
        body = await self._client.send(call, request, self._dialect.error_of(Subject.CHUNK), ANSWERED | {204})
        await body.close()
        etag = body.headers.get(b"etag", b"").decode("latin-1").strip('"')
        if not etag:
            raise unusable("the response to a chunk has no ETag")
        return {"chunk_index": number + 1, "proof": etag, "proof_type": "etag", "chunk_size": size}

    def _checked(self, text: str) -> httpx.URL:
        """Return the URL of a chunk; without TLS it is used only if it begins like the URL of the upstream."""
        try:
            url = httpx.URL(text)
            host = url.host
        except (httpx.InvalidURL, ValueError):
            host = ""
        if not host:
            raise unusable("the URL of a chunk is not valid")
        base = self._dialect.base_url
        if url.scheme != "https" and (url.scheme, url.netloc) != (base.scheme, base.netloc):
            raise unusable("the URL of a chunk is neither https nor on the upstream's own host")
        return url

    async def _json(self, call: EmbedCall, request: Request) -> dict[str, Any]:
        body = await self._client.send(call, request, self._dialect.error_of(Subject.ASSET_CREATION))
        return json_object(await read_json(body))


class _Session:
    """Session of an upload, as the upstream describes it."""

    def __init__(self, reply: Mapping[str, Any], size: int, key: str | None) -> None:
        self.id = identifier(reply.get("upload_id"), key)
        self.asset_id = identifier(reply.get("asset_id"), key)
        self.size = size
        chunk_size = reply.get("chunk_size")
        if type(chunk_size) is not int or chunk_size < 1:
            raise unusable("its chunk_size is not a number of bytes")
        self.chunk_size = chunk_size
        self.chunks = -(-size // chunk_size)
        if self.chunks > MAX_CHUNKS:
            raise unusable(f"it divides the file into {self.chunks} chunks, more than {MAX_CHUNKS}")
        self.headers = _headers(reply.get("upload_headers"))
        self.urls: dict[int, str] = {}  # by number of the chunk, from 0, until it is sent
        self.add_urls(reply)

    def add_urls(self, reply: Mapping[str, Any]) -> None:
        """Add the URLs of a response, as far as they are those of chunks."""
        items = reply.get("upload_urls")
        if items is not None and not isinstance(items, list):
            raise unusable("its upload URLs are not a list")
        for item in items or ():
            index, url = (item.get("chunk_index"), item.get("url")) if isinstance(item, dict) else (None, None)
            if type(index) is not int or not isinstance(url, str):
                raise unusable("an upload URL has no chunk_index or no url")
            if 0 < index <= self.chunks:
                self.urls[index - 1] = url


def _headers(given: Any) -> list[tuple[bytes, bytes]]:  # noqa: ANN401 - any JSON value
    """Return the headers that the requests for chunks must have."""
    headers = {} if given is None else json_object(given)
    for name, value in headers.items():
        if not isinstance(value, str) or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise unusable("its headers for chunks are not valid")
    return [(name.encode(), value.encode()) for name, value in headers.items() if name.lower() not in _OWN_HEADERS]


async def _part(content: Content, start: int, size: int) -> AsyncGenerator[bytes]:
    """Yield a part of a file in pieces."""
    for offset in range(start, start + size, READ_BYTES):
        yield await asyncio.to_thread(content.read_at, offset, min(READ_BYTES, start + size - offset))
