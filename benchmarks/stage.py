"""The environment of a row: a directory, the upstream, durations, and functions that start the subjects."""

import contextlib
import dataclasses
import socket
import sys
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import requests
from benchmarks.gateway import DEFAULT, Gateway, Start, gateway
from benchmarks.h2load import Load
from benchmarks.processes import Command, free_port, listening, running
from benchmarks.rounds import Comparison, Subject, side_by_side, with_restarts
from benchmarks.subjects import Embedding, Served, embedding
from benchmarks.upstream import Upstream, upstream
from embedwire.v1 import embedding_pb2 as pb

STREAM, UNARY, UPLOAD = "CreateEmbedding", "CreateEmbeddingUnary", "CreateEmbeddingFromUpload"


@dataclasses.dataclass
class Stage:
    """The environment of a row.

    Attributes:
        directory: for logs and files of the programs.
        peers: the virtual environment of the peers.
        rounds: number of bursts of each subject.
        seconds: duration of one burst.
        wanted: the requested rows.
        panels: the panels of the plot, by title.
    """

    directory: Path
    peers: Path
    upstream: Upstream
    rounds: int
    seconds: float
    wanted: frozenset[str]
    panels: dict[str, Comparison] = dataclasses.field(default_factory=dict)

    def gateway(
        self, way: str, start: Start = DEFAULT, **flags: Any
    ) -> contextlib.AbstractAsyncContextManager[Gateway]:
        """Run a gateway that uses this port of the upstream."""
        return gateway(self.directory, self.upstream, way, start, flags)

    async def compare(self, subjects: Mapping[str, Subject]) -> Comparison:
        """Compare these subjects."""
        return await side_by_side(subjects, self.rounds, self.seconds)

    async def compare_restarted(
        self, subjects: Mapping[str, Callable[[], contextlib.AbstractAsyncContextManager[Subject]]]
    ) -> Comparison:
        """Compare these subjects with restarts after every two rounds."""
        return await with_restarts(subjects, self.rounds, self.seconds)

    async def panel(self, title: str, measure: Callable[["Stage"], Awaitable[Comparison]]) -> Comparison:
        """Measure a comparison once that several rows and the plot share."""
        if title not in self.panels:
            self.panels[title] = await measure(self)
        return self.panels[title]

    async def streaming(
        self, server: Gateway, request: pb.CreateEmbeddingRequest, segments: int, connections: int, calls_each: int
    ) -> Embedding:
        """Run a gateway for streams; its first stream is checked completely."""
        async with server.stub() as stub:
            events = [event async for event in stub.CreateEmbedding(request, timeout=60)]
        requests.check_events(events, segments)
        load = self.load(server.target, STREAM, requests.framed(request), connections, calls_each)
        return embedding(server, load, len(requests.framed(*events)))

    def load(self, target: str, method: str, messages: bytes, connections: int, calls_each: int) -> Load:
        """Return the load of calls of one method with these messages."""
        body = self.directory / f"{method}-{zlib.crc32(messages):08x}.request"
        body.write_bytes(messages)
        return Load(f"http://{target}{requests.PATH}{method}", body, connections, calls_each)

    @contextlib.asynccontextmanager
    async def bare(self, answer: pb.CreateEmbeddingUnaryResponse) -> AsyncGenerator[Callable[..., Served]]:
        """Run a bare server that sends this answer; yield a function that returns it with a load."""
        port = free_port()
        file = self.directory / f"bare-{port}.answer"
        file.write_bytes(answer.SerializeToString())
        command: Command = [sys.executable, "-m", "benchmarks.bare", str(port), file]
        async with running(command, self.directory / f"bare-{port}.log") as program:
            await listening(port, program)

            def asked(method: str, request: Any, connections: int, calls_each: int) -> Served:
                segments = answer.embeddings[0].segments
                events = [pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent(segment=each)]) for each in segments]
                size = len(requests.framed(*events) if method == STREAM else requests.framed(answer))
                messages = requests.framed(request)
                return Served(self.load(f"127.0.0.1:{port}", method, messages, connections, calls_each), size)

            yield asked


@contextlib.asynccontextmanager
async def opened(build: Path, rounds: int, seconds: float, wanted: frozenset[str]) -> AsyncGenerator[Stage]:
    """Run the upstream; yield a stage below the build directory."""
    directory = build / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    with alone():
        async with upstream(directory) as running_upstream:
            yield Stage(directory, build / "peers", running_upstream, rounds, seconds, wanted)


@contextlib.contextmanager
def alone(name: str = "embedwire-bench") -> Iterator[None]:
    """Lock this machine: concurrent benchmarks would disturb each other, also those of two checkouts.

    Raises:
        RuntimeError: another benchmark has the lock.
    """
    with socket.socket(
        socket.AF_UNIX
    ) as held:  # abstract socket: no file, and released by the kernel when the process ends
        try:
            held.bind(f"\0{name}")
        except OSError:
            raise RuntimeError("another benchmark runs on this machine; wait until it has ended") from None
        yield


async def answer_of(server: Gateway, request: pb.CreateEmbeddingRequest) -> pb.CreateEmbeddingUnaryResponse:
    """Return the answer of a gateway as one message of any size."""
    async with server.stub() as stub:
        responses = [response async for response in stub.CreateEmbedding(request, timeout=60)]
    segments, result = requests.segments_and_result(responses)
    return pb.CreateEmbeddingUnaryResponse(embeddings=[pb.InputEmbedding(segments=segments, result=result)])
