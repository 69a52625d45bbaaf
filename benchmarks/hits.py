"""Row of cache hits: calls per second of texts whose result is cached, compared with the lower bound."""

import contextlib
from collections.abc import AsyncGenerator

from benchmarks import requests
from benchmarks.gateway import DEFAULT, Gateway, Start
from benchmarks.rounds import Comparison
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import STREAM, UNARY, Stage, answer_of
from benchmarks.subjects import Embedding
from benchmarks.texts import CALLS_EACH, CONNECTIONS, unary_of
from embedwire.v1 import embedding_pb2 as pb

HITS, FLOOR = "hits, streamed", "bare stream"
UNARY_HITS, UNARY_FLOOR = "hits, unary", "bare unary"


@row(26, "hits", Bound("cache hit ÷ bare stream", 0.5, 0.6), Bound("unary cache hit ÷ bare unary", 0.5, 0.6))
async def hits(stage: Stage) -> Measured:
    """Calls/s of a cached text, 64 in flight ÷ a bare server that sends the same answer; streamed and unary."""
    found = await compared(stage)
    for name in (HITS, UNARY_HITS):
        if any(sample.asked for sample in found.samples[name]):
            raise AssertionError(f"{name}: a hit made an upstream request")
    return Measured([found.ratios(HITS, FLOOR), found.ratios(UNARY_HITS, UNARY_FLOOR)], found.notes())


async def compared(stage: Stage) -> Comparison:
    """Compare hits of one gateway with the bare server, by both methods."""
    async with _cached(stage, DEFAULT) as server:
        streamed = await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH)
        unary, answer = await unary_of(stage, server)
        if answer.embeddings[0].result.cache_status != pb.CACHE_STATUS_HIT:
            raise AssertionError("the text is not cached")
        streamed_answer = await answer_of(server, requests.text())
        async with stage.bare(streamed_answer) as bare, stage.bare(answer) as bare_unary:
            return await stage.compare(
                {
                    HITS: streamed,
                    FLOOR: bare(STREAM, requests.text(), CONNECTIONS, CALLS_EACH),
                    UNARY_HITS: unary,
                    UNARY_FLOOR: bare_unary(UNARY, requests.text_unary(), CONNECTIONS, CALLS_EACH),
                }
            )


@contextlib.asynccontextmanager
async def cached_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of streamed texts whose result is cached."""
    async with _cached(stage, start) as server:
        yield await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH)


@contextlib.asynccontextmanager
async def cached_unary_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of unary calls for a text whose result is cached."""
    async with _cached(stage, start) as server:
        yield (await unary_of(stage, server))[0]


@contextlib.asynccontextmanager
async def _cached(stage: Stage, start: Start) -> AsyncGenerator[Gateway]:
    """Run a gateway that has cached the text."""
    async with stage.gateway("text", start, cache_store="memory") as server:
        async with server.stub() as stub:
            await stub.CreateEmbeddingUnary(requests.text_unary(), timeout=60)
        yield server
