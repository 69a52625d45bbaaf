"""Callers that start and stop sending: uploads, health watches, reflection, and calls with headers only."""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.rpc.reflection import MAX_STREAMS_OF_A_CONNECTION
from embedwire_server.rpc.services import MAX_PENDING_MESSAGES
from tests.support import http2
from tests.support.messages import request, text_input, upload_input
from tests.support.pki import bearer, sha256
from tests.system.answers import slow
from tests.system.callers import Callers, Outcome, explain
from tests.system.experiment import Experiment, guarantee
from tests.system.server import MIB, Server
from tests.system.verdict import Verdict

Message = pb.CreateEmbeddingFromUploadRequest
HALF_OPEN = 255
WATCHES = 110  # of a connection
LARGE = 32  # of these, those that send some megabytes before they stop
TOKENS = "".join(f'[[tokens]]\nname = "{name}"\nsha256 = "{sha256(name)}"\n' for name in ("a", "b"))
UNARY, WATCH = "/embedwire.v1.EmbeddingService/CreateEmbeddingUnary", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SMALL_FIELDS = [(f"k{number:03}", "v") for number in range(400)]


@guarantee("half-open-uploads")
async def half_open_uploads(experiment: Experiment) -> Verdict:
    """255 stopped uploads do not delay other connections and tokens, use little memory, and are ended."""
    idle, rounds = experiment.scaled(20.0, 6.0), experiment.scaled(20, 3)
    tokens = experiment.directory / f"{experiment.name}.toml"
    tokens.write_text(TOKENS)
    async with (
        experiment.environment(slow(0.05), 2, config=tokens, uploads_idle_timeout=idle) as (_, server, callers),
        Callers.connected(server.target, 1) as hostile,
    ):
        memory = server.memory()
        stopped = [
            asyncio.create_task(_upload(hostile, "a", 4 * MIB if number < LARGE else 400, stops=True))
            for number in range(HALF_OPEN)
        ]
        await _begun(server, HALF_OPEN)
        held = (await server.sums("embedwire_buffered_bytes")).total()
        began = time.monotonic()
        for _ in range(rounds):
            await asyncio.gather(*[_upload(callers, name, 100_000) for name in "ab" for _ in range(10)])
        seconds = time.monotonic() - began
        codes = callers.codes
        await asyncio.gather(*stopped)
        reasons = Counter(outcome.reason for outcome in hostile.outcomes)
        left = (await server.sums("embedwire_buffered_bytes")).total()
        verdict = Verdict()
        verdict.exactly("of others", dict(codes), {"OK": 20 * rounds})
        verdict.at_most("s for each 20 of others", seconds / rounds, experiment.scaled(3, 10), "{:.2f}")
        verdict.exactly("of those that stopped", dict(reasons), {"CALLER_STALLED": HALF_OPEN})
        verdict.at_most("MiB held by them", held / MIB, 48, "{:.1f}")
        verdict.exactly("bytes held at the end", left, 0)
        verdict.at_most("MiB more memory", (server.peak_memory() - memory) / MIB, 200, "{:.1f}")
        callers.outcomes += hostile.outcomes
    tokens.unlink()
    return verdict


async def _upload(callers: Callers, token: str, size: int, *, stops: bool = False) -> None:
    outcome = Outcome("upload", time.monotonic())

    stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(callers.channels[0])
    call = stub.CreateEmbeddingFromUpload(metadata=bearer(token), timeout=120)
    try:
        await call.write(Message(request=request(upload_input("image"))))
        for at in range(0, size, 256 << 10):
            data, is_last = bytes(min(size - at, 256 << 10)), at + (256 << 10) >= size and not stops
            await call.write(Message(chunk=pb.UploadChunk(data=data, last=is_last)))
        if not stops:
            await call.done_writing()
        while (event := await call.read()) is not grpc.aio.EOF:
            outcome.results += sum(each.HasField("result") for each in event.events)
    except grpc.aio.AioRpcError as error:
        explain(outcome, error)
    outcome.ended = time.monotonic()
    callers.outcomes.append(outcome)


async def _begun(server: Server, count: int) -> None:
    """Wait until this many inputs are in flight."""
    async with asyncio.timeout(60):
        while (await server.sums("embedwire_inputs_in_flight")).total() < count:
            await asyncio.sleep(0.05)


@guarantee("open-streams")
async def open_streams(experiment: Experiment) -> Verdict:
    """Streams and calls that need no token and no message are limited; other calls and checks keep their latency."""
    waves, connections, calls = experiment.scaled(4, 2), experiment.scaled(8, 4), 700
    async with experiment.environment(slow(0.02), 1) as (_, server, callers), contextlib.AsyncExitStack() as stack:
        before = await _probe(server, callers, experiment.scaled(100, 30))
        memory = server.memory()
        hostile: list[_Hostile] = []
        for wave in range(1, waves + 1):
            for _ in range(connections):
                connection = await stack.enter_async_context(http2.Connection.open(server.target))
                hostile.append(_Hostile(connection))
                stack.callback(hostile[-1].counting.cancel)
            for one in hostile[-connections:]:
                await one.open(UNARY, calls, *SMALL_FIELDS)
                await one.open(WATCH, WATCHES, message=http2.message(b""))
                await one.open(REFLECTION, MAX_STREAMS_OF_A_CONNECTION + 10, message=http2.message(b":\x00"))
            refused = wave * connections * 10 + wave * connections * calls - MAX_PENDING_MESSAGES
            async with asyncio.timeout(120):
                while sum(one.ended for one in hostile) < refused:
                    await asyncio.sleep(0.05)
        during = await _probe(server, callers, experiment.scaled(100, 30))
        sent = sum(one.sent for one in hostile)
        verdict = Verdict()
        verdict.exactly("of real calls", dict(callers.codes), {"OK": len(callers.outcomes)})
        verdict.at_most("times the median of a call before", during[0] / before[0], experiment.scaled(2, 3), "{:.2f}")
        verdict.at_most("ms slowest health check", 1000 * during[1], experiment.scaled(300, 1000), "{:.1f}")
        verdict.at_least("hostile calls refused", sum(one.ended for one in hostile), refused)
        bound = experiment.scaled(900, 600)
        verdict.at_most(
            f"MiB more memory for {sent / MIB:.1f} MiB sent", (server.peak_memory() - memory) / MIB, bound, "{:.1f}"
        )
        callers.outcomes += [Outcome("hostile", 0, left=True) for _ in range(len(hostile) * calls)]
    return verdict


async def _probe(server: Server, callers: Callers, count: int) -> tuple[float, float]:
    """Make calls in sequence; return the median of their seconds and the slowest concurrent health check."""
    outcomes, checks = [], []
    async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        for number in range(count):
            outcomes.append(await callers.embed(request(text_input(f"probe {number}")), 20))
            began = time.monotonic()
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
            checks.append(time.monotonic() - began)
    return statistics.median(outcome.seconds for outcome in outcomes), max(checks)


class _Hostile:
    """A connection that starts calls and sends nothing more for them; counts those that the server has ended."""

    def __init__(self, connection: http2.Connection) -> None:
        self.sent = self.ended = 0
        self.counting = asyncio.create_task(self._count())
        self._connection = connection
        self._stream = 1
        self._has_settings = False

    async def open(self, path: str, count: int, *fields: tuple[str, str], message: bytes = b"") -> None:
        for _ in range(count):
            frames = http2.call(path, self._stream, *fields)
            if message:
                frames += http2.frame(http2.DATA, message, stream=self._stream)
            await self._connection.send(frames)
            self.sent += len(frames)
            self._stream += 2

    async def _count(self) -> None:
        while (got := await self._connection.next()) is not None:
            self.ended += got.kind == http2.HEADERS and bool(got.flags & http2.END_STREAM)
            if got.kind in {http2.PING, http2.SETTINGS} and not got.flags & http2.ACK:
                await self._acknowledge(got)

    async def _acknowledge(self, got: http2.Frame) -> None:
        """Acknowledge a ping or settings, except for the first settings; see `http2.Connection`."""
        if got.kind == http2.PING:
            await self._connection.send(http2.frame(http2.PING, got.payload, flags=http2.ACK))
        elif self._has_settings:
            await self._connection.send(http2.frame(http2.SETTINGS, flags=http2.ACK))
        else:
            self._has_settings = True
