"""Rows of short texts: calls a second beside the floor, and beside the way that must not ship."""

import sys

from bench import requests
from bench.rows import Bound, Measured, row
from bench.stage import STREAM, UNARY, Stage, answer_of
from bench.subjects import embedding

CONNECTIONS, CALLS_EACH = 8, 8
FILES = (sys.executable, "-m", "bench.files_app", "serve")
IDEAL_SECONDS = 0.2
MANY_EACH = 48


@row(1, "text", Bound("text ÷ bare stream", 0.42, 0.60))
async def text(stage: Stage) -> Measured:
    """Text calls/s, one process, 64 in flight ÷ a bare server that streams one prebuilt segment."""
    async with stage.gateway("text") as server, stage.bare(await answer_of(server, requests.text())) as bare:
        ours = await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH)
        floor = bare(STREAM, requests.text(), CONNECTIONS, CALLS_EACH)
        found = await stage.compare({"gateway": ours, "bare server": floor}, "64 in flight, streamed")
    ratios = found.ratios("gateway", "bare server")
    return Measured([ratios], found.notes())


@row(2, "httpx", Bound("text ÷ on httpx with files=", 3, 5))
async def httpx(stage: Stage) -> Measured:
    """The same ÷ the same gateway on httpx's default transport with `files=`."""
    async with stage.gateway("text") as server, stage.gateway("text", command=FILES) as other:
        ours = await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH)
        theirs = await stage.streaming(other, requests.text(), 1, CONNECTIONS, CALLS_EACH)
        found = await stage.compare({"gateway": ours, "on httpx, files=": theirs}, "64 in flight, streamed")
    ratios = found.ratios("gateway", "on httpx, files=")
    return Measured([ratios], found.notes())


@row(3, "unary", Bound("unary text ÷ bare unary", 0.36, 0.55))
async def unary(stage: Stage) -> Measured:
    """Unary text calls/s ÷ a bare unary server that sends the same."""
    request = requests.text_unary()
    async with stage.gateway("text") as server:
        async with server.stub() as stub:
            answer = await stub.CreateEmbeddingUnary(request, timeout=60)
        requests.check(answer.embeddings[0].segments, answer.embeddings[0].result, 1)
        async with stage.bare(answer) as bare:
            load = stage.load(server.target, UNARY, request, CONNECTIONS, CALLS_EACH)
            ours = embedding(server, load, len(requests.framed(answer)))
            floor = bare(UNARY, request, CONNECTIONS, CALLS_EACH)
            found = await stage.compare({"gateway": ours, "bare server": floor}, "64 in flight, unary")
    ratios = found.ratios("gateway", "bare server")
    return Measured([ratios], found.notes())


@row(7, "late", Bound("200 ms upstream ÷ ideal", 0.5, 0.8))
async def late(stage: Stage) -> Measured:
    """An upstream that takes 200 ms, 384 in flight: calls/s ÷ ideal."""
    async with stage.gateway("text-late") as server:
        ours = await stage.streaming(server, requests.text(), 1, CONNECTIONS, MANY_EACH)
        found = await stage.compare({"gateway": ours})
    ideal = CONNECTIONS * MANY_EACH / IDEAL_SECONDS
    ratios = [sample.rate / ideal for sample in found.samples["gateway"]]
    return Measured([ratios], [*found.notes(), f"ideal {ideal:,.0f}/s"])
