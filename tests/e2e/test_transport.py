"""One attempt over real connections: the cause of its failure, and whether it may be retried."""

import asyncio
import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncGenerator, Callable
from typing import Self

import httpx
import pytest

from embedwire_server.core.errors import Reason, RetrySafety, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, FileSource, TextInput, UrlSource
from embedwire_server.core.models import MARENGO_30
from embedwire_server.core.results import Segment
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.retry import RetryPolicy
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.upstreams.base import EmbedCall, Upstream
from embedwire_server.upstreams.http import response_body
from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.http.exchange import Exchange, Request, Sender
from embedwire_server.upstreams.http.transport import Transport
from embedwire_server.upstreams.http.upstream import HttpUpstream
from embedwire_server.upstreams.twelvelabs.v1 import V1Dialect
from tests.support.embed_calls import embedded
from tests.support.ports import NO_SERVER
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

pytestmark = pytest.mark.asyncio

TEXT = TextInput("", "a text")
AUDIO = AudioInput("", UrlSource("http://media.test/a"))


def upstream_on(sender: Sender, base_url: str) -> HttpUpstream:
    return HttpUpstream(HttpClient(sender, "custom"), V1Dialect(base_url, None, "test"))


def call(item: TextInput | AudioInput = TEXT) -> EmbedCall:
    return EmbedCall(item, MARENGO_30, deadline=1e9)


@contextlib.asynccontextmanager
async def attempts_at(base_url: str) -> AsyncGenerator[HttpUpstream]:
    transport = Transport()
    try:
        yield upstream_on(transport, base_url)
    finally:
        await transport.aclose()


async def failure_of(upstream: Upstream, item: TextInput | AudioInput = TEXT) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await embedded(upstream, call(item))
    return caught.value


async def test_the_end_of_an_earlier_reply_is_not_a_response() -> None:
    """A reply that is read to its end while the next request is on the same connection is not its response."""
    data = json.dumps(reply("audio_embedding", segments=2)).encode()
    cut = data.index(b"}, {") + 1
    is_begun, is_read, is_sent, visits = asyncio.Event(), asyncio.Event(), asyncio.Event(), list[Visit]()
    may_go_on, batches = asyncio.Event(), list[list[Segment]]()

    async def emit(segments: list[Segment]) -> None:
        batches.append(segments)
        is_begun.set()
        await may_go_on.wait()

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
        first = asyncio.create_task(upstream.embed(call(AUDIO), emit))
        await asyncio.wait_for(is_begun.wait(), 20)
        is_sent.set()
        await asyncio.sleep(0.1)  # the rest arrives, and the connection is free
        second = asyncio.create_task(failure_of(upstream))
        async with asyncio.timeout(30):
            while len(visits) < 2:
                await asyncio.sleep(0.01)
        may_go_on.set()
        await first
        assert [len(batch) for batch in batches] == [1, 1]
        is_read.set()
        failure = await second

    assert visits[0].writer is visits[1].writer
    assert (failure.reason, failure.retry_safety) == (Reason.UPSTREAM_UNAVAILABLE, RetrySafety.FRESH)


class Unreadable(InMemoryContent):
    """A file on a disk that fails midway."""

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield b"a beginning"
        raise OSError("the disk is gone")


async def test_an_unreadable_file_is_not_an_upstream_failure() -> None:
    """A read error of a file being sent is raised as it is, and is not a failure that would be retried."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    file = AudioInput("", FileSource(Unreadable(b"a" * 1000), "a.wav", "audio/wav"))
    async with ScriptedHttpServer(script).running() as scripted, attempts_at(scripted.base_url) as upstream:
        with pytest.raises(OSError, match="disk is gone"):
            await embedded(upstream, call(file))


class Slow(InMemoryContent):
    """A file whose first piece is read, and whose rest never arrives."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        object.__setattr__(self, "is_begun", asyncio.Event())

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self.data[:100]
        self.is_begun.set()  # type: ignore[attr-defined] # set above: the class is frozen
        await asyncio.Event().wait()


async def test_an_incomplete_cancelled_request_is_not_counted() -> None:
    """A request cancelled before it is complete is not counted; one that was sent completely is."""
    arrived = asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await visit.gone()

    half = Slow(b"a" * 1000)
    async with ScriptedHttpServer(script).running() as scripted, attempts_at(scripted.base_url) as upstream:
        for content, is_sent, attempts in ((half, half.is_begun, 0), (InMemoryContent(b"a" * 1000), arrived, 1)):  # type: ignore[attr-defined]
            attempt = call(AudioInput("", FileSource(content, "a.wav", "audio/wav")))
            running = asyncio.create_task(embedded(upstream, attempt))
            await asyncio.wait_for(is_sent.wait(), 20)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert attempt.attempts == attempts


async def test_connection_refused() -> None:
    """A failed connection may be retried: nothing was sent."""
    async with attempts_at(f"http://{NO_SERVER}") as upstream:
        failure = await failure_of(upstream)
    assert (failure.reason, failure.retry_safety) == (Reason.UPSTREAM_UNAVAILABLE, RetrySafety.SAFE)
    assert isinstance(failure.__cause__, httpx.ConnectError)


async def test_an_address_that_cannot_be_used() -> None:
    """An address that is rejected before anything is sent is not a reply of the upstream."""
    async with attempts_at(f"gopher://{NO_SERVER}") as upstream:
        failure = await failure_of(upstream)
    assert failure.reason is Reason.UPSTREAM_UNAVAILABLE
    assert isinstance(failure.__cause__, httpx.UnsupportedProtocol)


class OneChunk:
    """A response that arrives in one chunk, as when many packets are read together."""

    status = 200

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self._chunks, self.headers = iter([body]), headers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        pass


class InOneChunk:
    """A transport that sends nothing and returns such responses."""

    def __init__(self, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self._body, self._headers = body, headers

    async def send(self, request: Request, exchange: Exchange) -> OneChunk:  # noqa: ARG002 - the interface
        return OneChunk(self._body, list(self._headers))


@pytest.mark.parametrize("replies", [1, 4])
@pytest.mark.parametrize("is_compressed", [False, True])
async def test_large_chunks_of_small_values_yield_to_other_tasks(replies: int, *, is_compressed: bool) -> None:
    """While half megabytes of very many small values are parsed, other tasks run after each piece of a reply."""
    body = b'{"model_name": "m", "text_embedding": {"segments": [' + b"[]," * (1 << 17)
    compressed = InOneChunk(gzip.compress(body), (b"content-encoding", b"gzip"))
    sent = compressed if is_compressed else InOneChunk(body)
    upstream = upstream_on(sent, "http://upstream.test")
    runs = 0

    async def others() -> None:
        nonlocal runs
        while True:
            await asyncio.sleep(0)
            runs += 1

    running = asyncio.create_task(others())
    failures = await asyncio.gather(*(failure_of(upstream) for _ in range(replies)))
    running.cancel()
    assert {failure.reason for failure in failures} == {Reason.UPSTREAM_MALFORMED_REPLY}
    assert runs >= replies * (len(body) // response_body.PIECE_BYTES - 1)


def _cut_off() -> bytes:
    return json.dumps(reply("audio_embedding", segments=2)).encode()[:-10]


def _malformed() -> bytes:
    return json.dumps(reply("audio_embedding", segments=2)).encode().replace(b"}, {", b"}; {")


def _rejected() -> bytes:
    return json.dumps(reply("audio_embedding", segments=2, error_message="too long")).encode()


def _too_large() -> bytes:
    """A segment, followed by more spaces than the reply limit; compressed, they are few bytes."""
    body = zlib.compressobj(wbits=31)
    parts = [body.compress(_rejected().partition(b"}, {")[0] + b"},")]
    parts += [body.compress(b" " * (1 << 20)) for _ in range(1 + (response_body.MAX_REPLY_BYTES >> 20))]
    return b"".join([*parts, body.flush()])


@pytest.mark.parametrize(
    ("make_body", "coding", "reason", "words"),
    [
        pytest.param(_cut_off, "identity", Reason.UPSTREAM_UNAVAILABLE, "before its reply was complete", id="cut off"),
        pytest.param(_malformed, "identity", Reason.UPSTREAM_MALFORMED_REPLY, "cannot be used", id="malformed"),
        pytest.param(_too_large, "gzip", Reason.UPSTREAM_MALFORMED_REPLY, "is too large", id="too large"),
        pytest.param(_rejected, "identity", Reason.INPUT_REJECTED, "too long", id="error_message"),
    ],
)
async def test_no_retry_after_the_head_of_a_success(
    make_body: Callable[[], bytes], coding: str, reason: Reason, words: str
) -> None:
    """A failure in the body of a successful response is not retried, however many attempts are allowed."""
    body, metrics = make_body(), Metrics("fake")

    async def script(visit: Visit) -> None:
        await visit.head(200, len(body) + (make_body is _cut_off), Content_Encoding=coding)
        await visit.send(body)
        visit.writer.close()

    async with ScriptedHttpServer(script).running() as scripted, attempts_at(scripted.base_url) as upstream:
        failure = await failure_of(RetryPolicy(upstream, RetryBudget(1.0, 3), metrics), AUDIO)

    assert (failure.reason, failure.retry_safety) == (reason, RetrySafety.UNSAFE)
    assert words in failure.message
    assert len(scripted.visits) == 1
