"""One attempt over real connections: what its failure is called, and whether it may be repeated."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncGenerator

import httpx
import pytest
from upstreams import ScriptedHttpServer, Visit, reply

from embedwire_server.content import MemoryContent
from embedwire_server.domain import AudioInput, Completion, FileSource, TextInput, UrlSource
from embedwire_server.errors import Reason, Repeatable, UpstreamFailure
from embedwire_server.models import MARENGO_30
from embedwire_server.upstream import UpstreamCall, http
from embedwire_server.upstream.http import HttpUpstream
from embedwire_server.upstream.transport import Transport

pytestmark = pytest.mark.asyncio

TEXT = TextInput("", "a text")


def call(item: TextInput | AudioInput = TEXT) -> UpstreamCall:
    return UpstreamCall(item, MARENGO_30, deadline=1e9)


@contextlib.asynccontextmanager
async def attempts_at(base_url: str) -> AsyncGenerator[HttpUpstream]:
    transport = Transport()
    try:
        yield HttpUpstream(transport, base_url, "custom", None, "test")
    finally:
        await transport.aclose()


async def failure_of(upstream: HttpUpstream, item: TextInput | AudioInput = TEXT) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        async for _ in upstream.embed(call(item)):
            pass
    return caught.value


async def test_the_end_of_an_earlier_reply_is_no_answer() -> None:
    """A reply that is read to its end while the next request is on the same connection does not answer that one."""
    data = json.dumps(reply("audio_embedding", segments=2)).encode()
    cut = data.index(b"}, {") + 1
    is_read, is_sent, visits = asyncio.Event(), asyncio.Event(), list[Visit]()

    async def script(visit: Visit) -> None:
        visits.append(visit)
        if len(visits) == 1:
            await visit.head(200, len(data))
            await visit.send(data[:cut])
            await is_sent.wait()
            await visit.send(data[cut:])
        else:
            await is_read.wait()
            visit.writer.close()

    async with ScriptedHttpServer(script).running() as scripted, attempts_at(scripted.base_url) as upstream:
        first = upstream.embed(call(AudioInput("", UrlSource("http://media.test/a"))))
        assert isinstance(await anext(first), list)
        is_sent.set()
        await asyncio.sleep(0.1)  # the rest arrives, and with it the connection is free
        second = asyncio.create_task(failure_of(upstream))
        async with asyncio.timeout(5):
            while len(visits) < 2:
                await asyncio.sleep(0.01)
        assert [type(part) async for part in first] == [list, Completion]
        is_read.set()
        failure = await second

    assert visits[0].writer is visits[1].writer
    assert (failure.reason, failure.repeatable) == (Reason.UPSTREAM_UNAVAILABLE, Repeatable.FRESH)


class Unreadable(MemoryContent):
    """A file on a disk that fails in the middle."""

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield b"a beginning"
        raise OSError("the disk is gone")


async def test_an_unreadable_file_is_no_fault_of_the_upstreams() -> None:
    """If the file cannot be read while it is sent, that is what is raised: nothing that would be repeated."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    file = AudioInput("", FileSource(Unreadable(b"a" * 1000), "a.wav", "audio/wav"))
    async with ScriptedHttpServer(script).running() as scripted, attempts_at(scripted.base_url) as upstream:
        with pytest.raises(OSError, match="disk is gone"):
            async for _ in upstream.embed(call(file)):
                pass


class Slow(MemoryContent):
    """A file whose first piece is read, and the rest never."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        object.__setattr__(self, "is_begun", asyncio.Event())

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self.data[:100]
        self.is_begun.set()  # type: ignore[attr-defined] # set above: the class is frozen
        await asyncio.Event().wait()


async def test_a_request_that_is_cancelled_before_it_is_complete_is_not_counted() -> None:
    """The upstream cannot act on half a request; one that was sent completely counts, whatever becomes of it."""
    arrived = asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await visit.gone()

    half = Slow(b"a" * 1000)
    async with ScriptedHttpServer(script).running() as scripted, attempts_at(scripted.base_url) as upstream:
        for content, is_sent, attempts in ((half, half.is_begun, 0), (MemoryContent(b"a" * 1000), arrived, 1)):  # type: ignore[attr-defined]
            attempt = call(AudioInput("", FileSource(content, "a.wav", "audio/wav")))
            running = asyncio.create_task(anext(upstream.embed(attempt)))
            await asyncio.wait_for(is_sent.wait(), 20)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert attempt.trace.attempts == attempts


async def test_nobody_listens() -> None:
    """Without a connection nothing was sent, so it may be sent again."""
    async with attempts_at("http://127.0.0.1:1") as upstream:
        failure = await failure_of(upstream)
    assert (failure.reason, failure.repeatable) == (Reason.UPSTREAM_UNAVAILABLE, Repeatable.YES)
    assert isinstance(failure.__cause__, httpx.ConnectError)


async def test_an_address_that_cannot_be_used() -> None:
    """An address that is refused before anything is sent is no reply of the upstream's."""
    async with attempts_at("gopher://127.0.0.1:1") as upstream:
        failure = await failure_of(upstream)
    assert failure.reason is Reason.UPSTREAM_UNAVAILABLE
    assert isinstance(failure.__cause__, httpx.UnsupportedProtocol)


class OneChunk(httpx.AsyncBaseTransport):
    """A transport whose replies arrive in one chunk, as when many packets are read at once."""

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        self._body, self._headers = body, headers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 - the interface
        async def body() -> AsyncGenerator[bytes]:
            yield self._body

        return httpx.Response(200, headers=self._headers, content=body())


@pytest.mark.parametrize("replies", [1, 16])
@pytest.mark.parametrize("is_compressed", [False, True])
async def test_large_chunks_of_small_values_leave_turns_to_others(replies: int, *, is_compressed: bool) -> None:
    """While half megabytes of very many small values are read, others have a turn after each piece of any reply."""
    body = b'{"model_name": "m", "text_embedding": {"segments": [' + b"[]," * (1 << 17)
    sent = OneChunk(gzip.compress(body), {"content-encoding": "gzip"}) if is_compressed else OneChunk(body, {})
    upstream = HttpUpstream(sent, "http://upstream.test", "custom", None, "test")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    running = asyncio.create_task(others())
    failures = await asyncio.gather(*(failure_of(upstream) for _ in range(replies)))
    running.cancel()
    assert {failure.reason for failure in failures} == {Reason.UPSTREAM_MALFORMED_REPLY}
    assert turns >= replies * (len(body) // http.PIECE_BYTES - 1)
