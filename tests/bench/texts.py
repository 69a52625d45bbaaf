"""Rows of short texts: calls a second beside the floor, and beside the way that must not ship."""

import contextlib
import sys

from bench import requests
from bench.rounds import GATEWAY, Comparison, Subject
from bench.rows import Bound, Measured, row
from bench.stage import STREAM, UNARY, Stage, answer_of
from bench.subjects import embedding

CONNECTIONS, CALLS_EACH = 8, 8
FLOOR, ON_HTTPX = "bare server", "on httpx, files="
FILES = (sys.executable, "-m", "bench.files_app", "serve")
IDEAL_SECONDS = 0.2
MANY_EACH = 48


@row(1, "text", Bound("text ÷ bare stream", 0.42, 0.60))
async def text(stage: Stage) -> Measured:
    """Text calls/s, one process, 64 in flight ÷ a bare server that streams one prebuilt segment."""
    found = await stage.panel("64 in flight, streamed", streamed)
    return Measured([found.ratios(GATEWAY, FLOOR)], found.notes(GATEWAY, FLOOR))


@row(2, "httpx", Bound("text ÷ on httpx with files=", 3, 5))
async def httpx(stage: Stage) -> Measured:
    """The same ÷ the same gateway on httpx's default transport with `files=`."""
    found = await stage.panel("64 in flight, streamed", streamed)
    return Measured([found.ratios(GATEWAY, ON_HTTPX)], found.notes(GATEWAY, ON_HTTPX))


async def streamed(stage: Stage) -> Comparison:
    """Whom of them is wanted, side by side."""
    request = requests.text()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(stage.gateway("text"))
        subjects: dict[str, Subject] = {GATEWAY: await stage.streaming(server, request, 1, CONNECTIONS, CALLS_EACH)}
        if "text" in stage.wanted:
            bare = await stack.enter_async_context(stage.bare(await answer_of(server, request)))
            subjects[FLOOR] = bare(STREAM, request, CONNECTIONS, CALLS_EACH)
        if "httpx" in stage.wanted:
            other = await stack.enter_async_context(stage.gateway("text", command=FILES))
            subjects[ON_HTTPX] = await stage.streaming(other, request, 1, CONNECTIONS, CALLS_EACH)
        return await stage.compare(subjects)


@row(3, "unary", Bound("unary text ÷ bare unary", 0.36, 0.55))
async def unary(stage: Stage) -> Measured:
    """Unary text calls/s ÷ a bare unary server that sends the same."""
    found = await stage.panel("64 in flight, unary", answered)
    return Measured([found.ratios(GATEWAY, FLOOR)], found.notes())


async def answered(stage: Stage) -> Comparison:
    """Both with the same answer."""
    request = requests.text_unary()
    async with stage.gateway("text") as server:
        async with server.stub() as stub:
            answer = await stub.CreateEmbeddingUnary(request, timeout=60)
        requests.check(answer.embeddings[0].segments, answer.embeddings[0].result, 1)
        async with stage.bare(answer) as bare:
            load = stage.load(server.target, UNARY, request, CONNECTIONS, CALLS_EACH)
            ours = embedding(server, load, len(requests.framed(answer)))
            return await stage.compare({GATEWAY: ours, FLOOR: bare(UNARY, request, CONNECTIONS, CALLS_EACH)})


@row(7, "late", Bound("200 ms upstream ÷ ideal", 0.5, 0.8))
async def late(stage: Stage) -> Measured:
    """An upstream that takes 200 ms, 384 in flight: calls/s ÷ ideal."""
    async with stage.gateway("text-late") as server:
        ours = await stage.streaming(server, requests.text(), 1, CONNECTIONS, MANY_EACH)
        found = await stage.compare({GATEWAY: ours})
    ideal = CONNECTIONS * MANY_EACH / IDEAL_SECONDS
    ratios = [sample.rate / ideal for sample in found.samples[GATEWAY]]
    return Measured([ratios], [*found.notes(), f"ideal {ideal:,.0f}/s"])
