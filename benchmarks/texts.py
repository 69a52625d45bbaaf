"""Rows of short texts: calls per second compared with the lower bound, and with httpx's default transport."""

import contextlib
import functools
import math
from collections.abc import AsyncGenerator

from benchmarks import requests
from benchmarks.gateway import DEFAULT, Gateway, Start
from benchmarks.rounds import GATEWAY, Comparison, Subject
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import STREAM, UNARY, Stage, answer_of
from benchmarks.subjects import Embedding, embedding
from embedwire.v1 import embedding_pb2 as pb

CONNECTIONS, CALLS_EACH = 8, 8
FLOOR, ON_HTTPX = "bare server", "on httpx, files="
FILES = Start(app="benchmarks.files_app")
IDEAL_SECONDS = 0.2
MANY_EACH = 48
# Limits as for a paid plan, too high to be reached.
RATE_LIMITS = {"rate_limits_text_requests_per_minute": 100_000_000, "rate_limits_text_requests_per_day": 100_000_000}


@row(1, "text", Bound("text ÷ bare stream", 0.45, 0.60))
async def text(stage: Stage) -> Measured:
    """Text calls/s, one process, 64 in flight ÷ a bare server that streams one prebuilt segment."""
    found = await stage.panel("64 in flight, streamed", streamed)
    return Measured([found.ratios(GATEWAY, FLOOR)], found.notes(GATEWAY, FLOOR))


@row(2, "httpx", Bound("text ÷ on httpx with files=", 3, 5))
async def httpx(stage: Stage) -> Measured:
    """The same ÷ the same gateway on httpx's default transport with `files=`."""
    found = await stage.panel("64 in flight, streamed", streamed)
    return Measured([found.ratios(GATEWAY, ON_HTTPX)], found.notes(GATEWAY, ON_HTTPX))


@contextlib.asynccontextmanager
async def texts(
    stage: Stage, start: Start = DEFAULT, connections: int = CONNECTIONS, calls_each: int = CALLS_EACH
) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of streamed texts."""
    async with stage.gateway("text", start) as server:
        yield await stage.streaming(server, requests.text(), 1, connections, calls_each)


async def streamed(stage: Stage) -> Comparison:
    """Compare the requested subjects."""
    request = requests.text()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(stage.gateway("text"))
        subjects: dict[str, Subject] = {GATEWAY: await stage.streaming(server, request, 1, CONNECTIONS, CALLS_EACH)}
        if "text" in stage.wanted:
            bare = await stack.enter_async_context(stage.bare(await answer_of(server, request)))
            subjects[FLOOR] = bare(STREAM, request, CONNECTIONS, CALLS_EACH)
        if "httpx" in stage.wanted:
            other = await stack.enter_async_context(stage.gateway("text", FILES))
            subjects[ON_HTTPX] = await stage.streaming(other, request, 1, CONNECTIONS, CALLS_EACH)
        return await stage.compare(subjects)


@row(3, "unary", Bound("unary text ÷ bare unary", 0.40, 0.55))
async def unary(stage: Stage) -> Measured:
    """Unary text calls/s ÷ a bare unary server that sends the same."""
    found = await stage.panel("64 in flight, unary", answered)
    return Measured([found.ratios(GATEWAY, FLOOR)], found.notes())


async def answered(stage: Stage) -> Comparison:
    """Compare both with the same answer."""
    async with stage.gateway("text") as server:
        ours, answer = await unary_of(stage, server)
        async with stage.bare(answer) as bare:
            floor = bare(UNARY, requests.text_unary(), CONNECTIONS, CALLS_EACH)
            return await stage.compare({GATEWAY: ours, FLOOR: floor})


async def unary_of(stage: Stage, server: Gateway) -> tuple[Embedding, pb.CreateEmbeddingUnaryResponse]:
    """Run a gateway under the load of unary calls, after a complete check of one answer."""
    request = requests.text_unary()
    async with server.stub() as stub:
        answer = await stub.CreateEmbeddingUnary(request, timeout=60)
    requests.check(answer.embeddings[0].segments, answer.embeddings[0].result, 1)
    load = stage.load(server.target, UNARY, requests.framed(request), CONNECTIONS, CALLS_EACH)
    return embedding(server, load, len(requests.framed(answer))), answer


@contextlib.asynccontextmanager
async def texts_in_one_message(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of streamed texts whose segment and result share a message."""
    async with stage.gateway("text", start) as server:
        yield await stage.streaming(server, requests.text(per_message=2), 1, CONNECTIONS, CALLS_EACH)


@row(21, "one-message", Bound("text in one message ÷ in two, CPU", 1, 0.85, at_most=True))
async def one_message(stage: Stage) -> Measured:
    """CPU of a streamed text whose segment and result share a message ÷ of the same in two messages."""
    subjects = {"one message": texts_in_one_message, "two messages": texts}
    found = await stage.compare_restarted({name: functools.partial(start, stage) for name, start in subjects.items()})
    one, two = ([sample.cpu or math.nan for sample in found.samples[name]] for name in subjects)
    return Measured([[cpu / other for cpu, other in zip(one, two, strict=True)]], found.notes())


@contextlib.asynccontextmanager
async def unary_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of texts by the unary call."""
    async with stage.gateway("text", start) as server:
        yield (await unary_of(stage, server))[0]


@contextlib.asynccontextmanager
async def late_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of texts, with an upstream that takes 200 ms."""
    async with stage.gateway("text-late", start) as server:
        yield await stage.streaming(server, requests.text(), 1, CONNECTIONS, MANY_EACH)


@row(7, "late", Bound("200 ms upstream ÷ ideal", 0.54, 0.8))
async def late(stage: Stage) -> Measured:
    """An upstream that takes 200 ms, 384 in flight: calls/s ÷ ideal."""
    async with late_texts(stage) as ours:
        found = await stage.compare({GATEWAY: ours})
    ideal = CONNECTIONS * MANY_EACH / IDEAL_SECONDS
    ratios = [sample.rate / ideal for sample in found.samples[GATEWAY]]
    return Measured([ratios], [*found.notes(), f"ideal {ideal:,.0f}/s"])


@contextlib.asynccontextmanager
async def limited_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway with rate limits under a load of texts."""
    async with stage.gateway("text", start, **RATE_LIMITS) as server:
        yield await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH)


@row(17, "limits", Bound("text with rate limits ÷ without", 0.9, 0.97))
async def limits(stage: Stage) -> Measured:
    """Text calls/s with two rate limits set ÷ without, as in all other rows."""
    subjects = {"with limits": limited_texts, "without": texts}
    found = await stage.compare_restarted({name: functools.partial(start, stage) for name, start in subjects.items()})
    return Measured([found.ratios("with limits", "without")], found.notes())
