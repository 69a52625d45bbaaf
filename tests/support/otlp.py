"""Receiver of OTLP over gRPC, from OpenTelemetry's own stubs, on port 0."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclasses.dataclass
class Received:
    """A span, with its attributes and those of its resource as Python values."""

    span: trace_pb2.Span
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def is_error(self) -> bool:
        return self.span.status.code == trace_pb2.Status.STATUS_CODE_ERROR


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Records what is exported to it; with `hang`, it accepts calls and never answers."""

    def __init__(self, *, hang: bool = False) -> None:
        self.spans: list[Received] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.endpoint = ""
        self._hang = hang
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def running(self, address: str = "127.0.0.1:0") -> AsyncGenerator["Receiver"]:
        server = grpc.aio.server()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        self.endpoint = f"http://127.0.0.1:{server.add_insecure_port(address)}"
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the method
        self.metadata.append(dict(context.invocation_metadata()))
        if self._hang:
            await asyncio.Event().wait()
        self.add(request)
        async with self._changed:
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def add(self, request: Any) -> None:
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [Received(span, _values(span.attributes), resource) for span in scope.spans]

    def named(self, name: str) -> list[Received]:
        return sorted((one for one in self.spans if one.name == name), key=lambda one: one.span.start_time_unix_nano)

    async def received(self, count: int, seconds: float = 30) -> list[Received]:
        """Wait until this number of spans has arrived."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.spans) >= count)
        return self.spans


def variables(endpoint: str, **more: str) -> dict[str, str]:
    """The environment of a server that exports to this endpoint, soon after the end of a span."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "20"} | more


def _values(pairs: Sequence[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
