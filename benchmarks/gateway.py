"""The gateway as in production: all policies in force, rate limits unset as by default, many slots in flight."""

import asyncio
import contextlib
import dataclasses
import re
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from benchmarks.builds import THIS, Build
from benchmarks.processes import MEASURED_CORE, Command, Running, free_port, free_ports, listening, running
from benchmarks.upstream import Upstream
from embedwire.v1 import embedding_pb2_grpc

# A commit without one of these settings does not have the limit.
_CONCURRENCY = {"concurrency_inputs_per_modality": 4096, "concurrency_queue_per_modality": 4096}
_KEY = "a-key-of-the-benchmark"
_HANDLED = re.compile(r"^grpc_server_handled_total\{(.*)\} (\S+)$", re.MULTILINE)
_OURS, _OK = 'grpc_method="CreateEmbedding', 'grpc_code="OK"'


@dataclasses.dataclass(frozen=True)
class Gateway:
    """A running gateway.

    Attributes:
        metrics_ports: one for each worker.
        way: the upstream's port that it uses.
        before: number of earlier requests to that port.
    """

    program: Running
    target: str
    metrics_ports: tuple[int, ...]
    way: str
    upstream: Upstream
    before: int

    @contextlib.asynccontextmanager
    async def stub(self, *options: tuple[str, Any]) -> AsyncGenerator[Any]:
        """Return a stub on a separate connection."""
        chosen = (("grpc.use_local_subchannel_pool", 1), *options)
        async with grpc.aio.insecure_channel(self.target, chosen) as channel:
            yield embedding_pb2_grpc.EmbeddingServiceStub(channel)

    async def good_calls(self) -> int:
        """Return the number of embedding calls that ended with OK, by its own metrics."""
        return sum(await self.good_calls_by_worker())

    async def good_calls_by_worker(self) -> list[int]:
        """Return the same for each of its processes."""
        return await self._calls(_OURS, _OK)

    async def ended_calls(self) -> int:
        """Return the number of all ended calls."""
        return sum(await self._calls(_OURS))

    async def asked(self, others: int = 0) -> str:
        """Return the upstream requests per call so far, without `others` of other programs."""
        requests = (await self.upstream.counts(self.way)).requests - self.before - others
        return f"upstream requests ÷ calls {requests / await self.ended_calls():.2f}"

    async def _calls(self, *wanted: str) -> list[int]:
        pages = [await asyncio.to_thread(_page, port) for port in self.metrics_ports]
        return [_sum(page, wanted) for page in pages]


def _sum(page: str, wanted: Sequence[str]) -> int:
    samples = _HANDLED.findall(page)
    return sum(int(float(value)) for labels, value in samples if all(label in labels for label in wanted))


@dataclasses.dataclass(frozen=True)
class Start:
    """The parameters with which a gateway is started.

    Args:
        build: the installed commit.
        app: a module of this benchmark that serves with another composition root.
        environment: its additional environment variables.
        tool: a command as a prefix, for example a profiler.
        cores: its CPU affinity.
    """

    build: Build = THIS
    app: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tool: Command = ()
    cores: str = MEASURED_CORE

    def command(self, flags: Mapping[str, Any]) -> Command:
        """Return the whole command line."""
        chosen = {self.build.flag(name): str(value) for name, value in (_CONCURRENCY | dict(flags)).items()}
        variables = {"TWELVELABS_API_KEY": _KEY, **self.environment}
        serve = self.build.app(self.app) if self.app else self.build.serve
        settings = [word for flag, value in chosen.items() if flag is not None for word in (flag, value)]
        return ["env", *(f"{name}={value}" for name, value in variables.items()), *self.tool, *serve, *settings]


DEFAULT = Start()


@contextlib.asynccontextmanager
async def gateway(
    directory: Path, upstream: Upstream, way: str, start: Start, flags: Mapping[str, Any]
) -> AsyncGenerator[Gateway]:
    """Start one and wait until it serves."""
    before = (await upstream.counts(way)).requests
    port, metrics_ports = free_port(), tuple(free_ports(flags.get("workers", 1)))
    listen = {"listen": f"127.0.0.1:{port}", "metrics_listen": f"127.0.0.1:{metrics_ports[0]}"}
    command = start.command({**listen, "upstream": upstream.url(way), **flags})
    async with running(command, directory / f"gateway-{port}.log", start.cores) as program:
        for one in (port, *metrics_ports):
            await listening(one, program)
        yield Gateway(program, f"127.0.0.1:{port}", metrics_ports, way, upstream, before)


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text: str = page.read().decode()
        return text
