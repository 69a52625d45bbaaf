"""Short responses give the same result read in one step, with a Content-Length, and incrementally, without."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from embedwire_server.core.errors import GatewayError, Reason, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, Input, TextInput, UrlSource
from embedwire_server.core.models import MARENGO_30
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.http.response_body import SHORT_BYTES
from embedwire_server.upstreams.http.transport import Transport
from embedwire_server.upstreams.http.upstream import HttpUpstream
from embedwire_server.upstreams.twelvelabs.v1 import V1Dialect
from tests.support.upstreams import ScriptedHttpServer, Visit

MODEL = dataclasses.replace(MARENGO_30, dimensions=2)
TEXT = TextInput("", "a red fox")
AUDIO = AudioInput("", UrlSource("http://media.test/a.mp3"))
BODY = b'{"model_name":"m","text_embedding":{"segments":[{"float":[0.5,-1]}]}}'
SPOKEN = (
    b'{"model_name":"m","audio_embedding":{"segments":[{"float":[1,2],"start_offset_sec":0},'
    b'{"float":[3,4],"start_offset_sec":6}]}}'
)
BROKEN = {
    "no model_name": BODY.replace(b"model_name", b"model"),
    "model_name null": BODY.replace(b'"m"', b"null"),
    "model_name not UTF-8": BODY.replace(b'"m"', b'"\xff"'),
    "error_message": BODY.replace(b'{"segments"', b'{"error_message":"the text is too long","segments"'),
    "error_message alone": b'{"model_name":"m","text_embedding":{"error_message":"the text is too long"}}',
    "no embedding": b'{"model_name":"m"}',
    "no segments": BODY.replace(b'{"float":[0.5,-1]}', b""),
    "two segments": BODY.replace(b"[{", b'[{"float":[1,2]},{'),
    "segments twice": BODY.replace(b'{"segments"', b'{"segments":[{"float":[1,2]}],"segments"'),
    "three numbers": BODY.replace(b"-1", b"-1,2"),
    "nested": BODY.replace(b"-1", b"[-1]"),
    "NaN": BODY.replace(b"-1", b"NaN"),
    "too large for float32": BODY.replace(b"-1", b"1e39"),
    "string in the vector": BODY.replace(b"-1", b'"-1"'),
    "trailing comma": BODY.replace(b"-1", b"-1,"),
    "bytes behind": BODY + b"}",
    "NUL behind": BODY + b"\0",
    "spaces alone": b" \n ",
    "nothing": b"",
    "no JSON": b"<html></html>",
}
Outcome = tuple[list[Segment], object]
Answer = Callable[[Visit], Awaitable[None]]


@contextlib.asynccontextmanager
async def upstream_at(server: ScriptedHttpServer) -> AsyncGenerator[HttpUpstream]:
    transport = Transport()
    try:
        yield HttpUpstream(HttpClient(transport, "custom"), V1Dialect(server.base_url, None, "test"))
    finally:
        await transport.aclose()


async def outcome(upstream: HttpUpstream, item: Input = TEXT) -> Outcome:
    """The emitted segments, and the summary or the failure as text."""
    emitted: list[Segment] = []

    async def emit(segments: list[Segment]) -> None:
        emitted.extend(segments)

    try:
        return emitted, await upstream.embed(EmbedCall(item, MODEL, deadline=1e9), emit)
    except GatewayError as failure:
        return emitted, (type(failure), failure.reason, failure.message)


def whole(body: bytes) -> Answer:
    """A response with Content-Length."""

    async def answer(visit: Visit) -> None:
        await visit.answer(body)

    return answer


def closing(body: bytes) -> Answer:
    """A response that ends with the connection."""

    async def answer(visit: Visit) -> None:
        await visit.head()
        await visit.send(body)
        visit.writer.close()

    return answer


def chunked(body: bytes, *, is_complete: bool = True) -> Answer:
    """A response in chunks of 7 bytes."""

    async def answer(visit: Visit) -> None:
        pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        await visit.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
        if is_complete:
            await visit.send(b"0\r\n\r\n")
        else:
            visit.writer.close()

    return answer


def cut_off(body: bytes, length: int) -> Answer:
    """A response that is shorter than its Content-Length."""

    async def answer(visit: Visit) -> None:
        await visit.head(200, length)
        await visit.send(body)
        visit.writer.close()

    return answer


async def outcomes(item: Input, *answers: Answer) -> list[Outcome]:
    """The outcome of each answer."""
    script = iter(answers)

    async def answer(visit: Visit) -> None:
        await next(script)(visit)

    async with ScriptedHttpServer(answer).running() as server, upstream_at(server) as used:
        return [await outcome(used, item) for _ in answers]


@pytest.mark.parametrize("body", [BODY, *BROKEN.values()], ids=["good", *BROKEN])
async def test_the_framing_does_not_change_the_result(body: bytes) -> None:
    """The same bytes give the same segments, and the same summary or failure, in each framing."""
    first, *others = await outcomes(TEXT, whole(body), closing(body), chunked(body))
    assert others == [first, first]


@pytest.mark.parametrize(("item", "body"), [(TEXT, BODY), (AUDIO, SPOKEN)], ids=["text", "audio"])
async def test_truncated_at_each_byte(item: Input, body: bytes) -> None:
    """A body that ends early is malformed, one that is cut off is a lost connection, after the same segments."""
    cuts = range(len(body))
    ended = await outcomes(item, *itertools.chain(*[(whole(body[:cut]), closing(body[:cut])) for cut in cuts]))
    assert ended[::2] == ended[1::2]
    lost = await outcomes(
        item,
        *itertools.chain(*[(cut_off(body[:cut], len(body)), chunked(body[:cut], is_complete=False)) for cut in cuts]),
    )
    assert lost[::2] == lost[1::2]
    assert [len(segments) for segments, _ in lost] == [len(segments) for segments, _ in ended]


async def test_a_short_response_that_pauses() -> None:
    """A segment of audio is passed on as soon as it arrives."""
    is_emitted = asyncio.Event()

    async def pausing(visit: Visit) -> None:
        cut = SPOKEN.index(b"},{") + 1
        await visit.head(200, len(SPOKEN))
        await visit.send(SPOKEN[:cut])
        await is_emitted.wait()
        await visit.send(SPOKEN[cut:])

    async def emit(_: list[Segment]) -> None:
        is_emitted.set()

    async with ScriptedHttpServer(pausing).running() as server, upstream_at(server) as upstream, asyncio.timeout(20):
        summary = await upstream.embed(EmbedCall(AUDIO, MODEL, deadline=1e9), emit)
    assert summary.model_name == "m"


@pytest.mark.parametrize("size", [SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 4 * SHORT_BYTES])
async def test_around_the_limit(size: int) -> None:
    """Responses on either side of the size limit for reading in one step give the same result."""
    body = BODY[:-1] + b" " * (size - len(BODY)) + b"}"
    assert len(body) == size
    first, second = await outcomes(TEXT, whole(body), closing(body))
    assert first == second
    assert len(first[0]) == 1


async def test_a_fault_in_the_first_bytes_fails_at_once() -> None:
    """A short body that begins with a fault fails immediately, also if the rest of it never arrives."""

    async def silent(visit: Visit) -> None:
        await visit.head(200, 5000)
        await visit.send(b"<html>")
        await visit.gone()

    async with ScriptedHttpServer(silent).running() as server, upstream_at(server) as upstream, asyncio.timeout(20):
        _, failure = await outcome(upstream)
    assert failure == (
        UpstreamFailure,
        Reason.UPSTREAM_MALFORMED_REPLY,
        "the upstream's reply cannot be used: it is not a JSON object",
    )


@pytest.mark.parametrize("length", [b"0" * 20 + b"69", b"0" * 5000 + b"69", b"9" * 30, b"+69", b"69, 69", b""])
async def test_unusual_content_lengths(length: bytes) -> None:
    """A Content-Length in unusual notation, or none, is read as HTTP defines, and never an unexpected exception."""

    async def answer(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + BODY)
        visit.writer.close()

    (found,) = await outcomes(TEXT, answer)
    assert isinstance(found[1], ReplySummary) or found[1][:2] == (  # type: ignore[index] # see `outcome`
        UpstreamFailure,
        Reason.UPSTREAM_MALFORMED_REPLY,
    )
