"""Export of spans by the SDK of OpenTelemetry, in a thread, to a receiver of OTLP.

The SDK reads its own variables (`OTEL_*`). It must not delay or fail anything: its queue is bounded and drops spans
when it is full, and a stop waits for the receiver for `FLUSH_SECONDS` at most.
"""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncGenerator, Mapping

import structlog
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from embedwire_server import __version__
from embedwire_server.observability import sdk_logs
from embedwire_server.observability.tracing import Tracer

FLUSH_SECONDS = 2.0  # at a stop; spans that are not exported by then are lost

_COMPRESSIONS = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

log = structlog.get_logger(__name__)


class TraceExport:
    """The SDK of one server.

    Args:
        variables: those of OpenTelemetry; they are valid, see `config.otel_variables`.

    Attributes:
        tracer: starts spans that are exported.

    Raises:
        Exception: the SDK rejects them, for instance since a certificate cannot be read.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        sdk_logs.take_over()
        self._exporter = _exporter(variables)
        # Without a handler for the end of the process, which would wait for the receiver.
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self.tracer = Tracer(self._provider.get_tracer("embedwire_server", __version__))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Export within a block; in the end, export the rest."""
        try:
            yield
        finally:
            await self._flush()

    async def _flush(self) -> None:
        """Export what is left, for `FLUSH_SECONDS`. A receiver that does not answer keeps a daemon thread at most."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await ended.wait()
        except TimeoutError:
            sdk_logs.end()
            log.warning("the receiver of traces has not taken the last spans; they are lost")
            threading.Thread(target=self._exporter.shutdown, daemon=True).start()  # cancels a request that waits


def _resource() -> Resource:
    """Describe this process; the variables take precedence."""
    ours = {"service.name": "embedwire", "service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    return Resource.create().merge(Resource(ours)).merge(OTELResourceDetector().detect())


def _exporter(variables: Mapping[str, str]) -> SpanExporter:
    if _first(variables, _PROTOCOLS) == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - one of two

        return OTLPSpanExporter()
    from grpc import Compression  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter as GrpcSpanExporter,
    )

    # The exporter does not know the value `none` of the specification.
    is_plain = _first(variables, _COMPRESSIONS) in {"", "none"}
    return GrpcSpanExporter(compression=Compression.NoCompression if is_plain else None)


def _first(variables: Mapping[str, str], names: tuple[str, ...]) -> str:
    """Return the first of these variables that is set, in lower case."""
    return next((value.strip().lower() for name in names if (value := variables.get(name))), "")
