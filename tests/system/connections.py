"""Abuse of upstream connections: unsolicited bytes, interim responses and compressed bodies."""

import asyncio
import dataclasses
import gzip
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2_grpc
from tests.e2e.test_interim_responses import BAD, CONTINUE, HINTS
from tests.e2e.test_unsolicited_bytes import Rounds
from tests.support.raw_upstream import RawUpstream, Request, Step, embed, http, vector
from tests.system.experiment import Experiment, guarantee
from tests.system.server import MIB
from tests.system.verdict import Verdict

MALFORMED = "UPSTREAM_MALFORMED_REPLY"
MOST_MEMORY = 160  # MiB for all bombs together: 1 MiB of each may be a part of the reply that is not complete


@dataclasses.dataclass
class _Called:
    stub: Any


@guarantee("unsolicited-bytes")
async def none_becomes_a_vector(experiment: Experiment) -> Verdict:
    """Bytes that answer no request close their connection; each caller gets its own vector, at the first attempt."""
    verdict, callers = Verdict(), 8
    rounds = Rounds(callers, experiment.scaled(1000, 60), experiment.seed)
    upstream = RawUpstream(rounds)
    with upstream.running() as url:
        async with (
            experiment.server(url, retry_max_attempts=1) as server,
            grpc.aio.insecure_channel(server.target) as channel,
        ):
            got = await rounds.play(_Called(embedding_pb2_grpc.EmbeddingServiceStub(channel)))
    calls = callers * rounds.rounds
    verdict.exactly(f"of {calls} calls without their own vector", sum(n != i for i, n in enumerate(got)), 0)
    verdict.exactly("upstream requests", len(upstream.requests), calls)
    verdict.at_least("connections closed", upstream.connections, calls // 4)
    return verdict


@guarantee("interim-responses")
async def they_are_bounded(experiment: Experiment) -> Verdict:
    """Endless interim responses end their own call at a limit; concurrent calls succeed."""
    verdict, count = Verdict(), experiment.scaled(400, 40)
    kinds = [CONTINUE * 20_000, HINTS * 20_000, *(answer for answer, _ in BAD.values())]

    def script(asked: Request) -> list[Step]:
        return [kinds[asked.number % len(kinds)]] * 20 if asked.number % 2 else [http(vector(asked.number))]

    upstream = RawUpstream(script)
    with upstream.running() as url:
        async with experiment.server(url) as server, grpc.aio.insecure_channel(server.target) as channel:
            called = _Called(embedding_pb2_grpc.EmbeddingServiceStub(channel))
            memory = server.memory()
            got = await asyncio.gather(*[embed(called, number) for number in range(count)])
            grown = (server.memory() - memory) / MIB
    verdict.exactly(f"of {count // 2} good calls OK", sum(got[n] == n for n in range(0, count, 2)), count // 2)
    bad = [got[number] for number in range(1, count, 2)]
    verdict.exactly(f"of {count // 2} bad calls {MALFORMED}", bad.count(MALFORMED), count // 2)
    verdict.at_most("MiB more memory", grown, 64, "{:.0f}")
    return verdict


@guarantee("compressed-bombs")
async def they_do_not_fill_the_memory(experiment: Experiment) -> Verdict:
    """64 concurrent replies that expand a thousandfold are decompressed no further than they are read."""
    verdict, count, size = Verdict(), 64, experiment.scaled(256, 16) * MIB
    bomb = http(gzip.compress(vector(0)[:-1] + b" " * size + b"}"), "200 OK", "Content-Encoding: gzip")
    upstream = RawUpstream(lambda asked: [bomb if asked.number else http(vector(0))])
    with upstream.running() as url:
        async with experiment.server(url) as server, grpc.aio.insecure_channel(server.target) as channel:
            called = _Called(embedding_pb2_grpc.EmbeddingServiceStub(channel))
            await embed(called, 0)
            memory = server.memory()
            got = await asyncio.gather(*[embed(called, number) for number in range(1, count + 1)])
            grown = (server.peak_memory() - memory) / MIB
    verdict.exactly(f"of {count} calls {MALFORMED}", got.count(MALFORMED), count)
    verdict.at_most(f"MiB more memory for {count * size // MIB} MiB", grown, MOST_MEMORY, "{:.0f}")
    return verdict
