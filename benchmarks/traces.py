"""Row of traces: short texts with and without tracing, with a receiver of OTLP over gRPC on the other core."""

import asyncio
import contextlib
import dataclasses
import functools
import sys
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from benchmarks.gateway import DEFAULT, Start
from benchmarks.processes import OTHER_CORE, free_port, listening, running
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from benchmarks.subjects import Embedding
from benchmarks.texts import texts

ONE_PERCENT = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@row(
    25,
    "traces",
    Bound("text, all calls traced ÷ without tracing", 0.4, 0.7),
    Bound("text, 1 % of calls traced ÷ without tracing", 0.7, 0.9),
)
async def traces(stage: Stage) -> Measured:
    """Text calls/s with a span for call, input and request, exported over gRPC ÷ without tracing."""
    found = await stage.compare_restarted(
        {
            "all traced": functools.partial(traced_texts, stage),
            "1 % traced": functools.partial(traced_texts, stage, more=ONE_PERCENT),
            "without": functools.partial(texts, stage),
        }
    )
    ratios = [found.ratios(name, "without") for name in ("all traced", "1 % traced")]
    return Measured(ratios, found.notes())


@contextlib.asynccontextmanager
async def traced_texts(
    stage: Stage, start: Start = DEFAULT, more: dict[str, str] | None = None
) -> AsyncGenerator[Embedding]:
    """Run a gateway with tracing under a load of texts."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.traces", str(port)]
    async with running(command, stage.directory / f"traces-{port}.log", OTHER_CORE) as receiver:
        await listening(port, receiver)
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"} | (more or {})
        async with texts(stage, dataclasses.replace(start, environment=environment)) as subject:
            await subject(0.2)
            await receiver.written("spans arrive")
            yield subject


class Receiver(grpc.GenericRpcHandler):
    """Accepts all exports without decoding them."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != _EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(self.export)

    async def export(self, _: bytes, __: Any) -> bytes:
        """Return an empty response, and print a line."""
        print("spans arrive", flush=True)  # noqa: T201 - the benchmark waits for it
        return b""


async def serve(port: int) -> None:
    """Receive until the process is ended."""
    server = grpc.aio.server(handlers=[Receiver()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
