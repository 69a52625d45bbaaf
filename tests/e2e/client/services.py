"""gRPC services written by the test, for responses that the real server never sends."""

import contextlib
import dataclasses
import hashlib
import struct
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
from google.rpc import status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc, error_reason_pb2

Context = Any  # of grpc.aio, which has two type parameters


@contextlib.asynccontextmanager
async def service(address: str = "127.0.0.1:0", **methods: Any) -> AsyncGenerator[str]:
    """Serve these methods of EmbeddingService, or none; yields the target."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    if methods:
        unimplemented: Any = embedding_pb2_grpc.EmbeddingServiceServicer
        servicer = unimplemented()
        for name, method in methods.items():
            setattr(servicer, name, method)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def vector(values: Sequence[float] = (1.0, 2.0)) -> pb.Vector:
    data = struct.pack(f"<{len(values)}f", *values)
    return pb.Vector(dimensions=len(values), float32_le=data)


def segment(index: int = 0, place: int = 0, **more: Any) -> pb.CreateEmbeddingResponse:
    chosen: dict[str, Any] = {"text": pb.TextSegment(), "vector": vector()} | more
    made = pb.Segment(input_index=index, segment_index=place, **chosen)
    return pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent(segment=made)])


def result(index: int = 0, **more: Any) -> pb.CreateEmbeddingResponse:
    chosen: dict[str, Any] = {"model_name": "m", "dimensions": 2, "segment_count": 1, "upstream": "custom"} | more
    made = pb.InputResult(input_index=index, **chosen)
    return pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent(result=made)])


def unary(*inputs: int, **more: Any) -> pb.CreateEmbeddingUnaryResponse:
    """The answer of CreateEmbeddingUnary for inputs of these indices."""
    embeddings = [
        pb.InputEmbedding(result=result(index, **more).events[0].result, segments=[segment(index).events[0].segment])
        for index in inputs
    ]
    return pb.CreateEmbeddingUnaryResponse(embeddings=embeddings)


def uploaded(response: pb.CreateEmbeddingResponse) -> pb.CreateEmbeddingFromUploadResponse:
    """The same events as an answer to an upload."""
    return pb.CreateEmbeddingFromUploadResponse(events=response.events)


def answering(*events: pb.CreateEmbeddingResponse) -> Any:
    """A CreateEmbedding that sends these events and ends with OK."""

    async def create(_: pb.CreateEmbeddingRequest, __: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        for event in events:
            yield event

    return create


def rejection(reason: str = "OVERLOADED", delay: float | None = None, **more: Any) -> pb.Failure:
    """A failure by which a server rejects a call before any work."""
    code = grpc.StatusCode.UNAVAILABLE if reason == "DRAINING" else grpc.StatusCode.RESOURCE_EXHAUSTED
    number = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    failure = pb.Failure(code=code.value[0], reason=number, message="come back later", **more)
    if delay is not None:
        failure.retry_delay.FromMilliseconds(round(delay * 1000))
    return failure


async def end_with(context: Context, failure: pb.Failure, code: grpc.StatusCode | None = None) -> None:
    """End a call with a failure in its details, with its code or another one."""
    code = code or next(code for code in grpc.StatusCode if code.value[0] == failure.code)
    status = status_pb2.Status(code=failure.code, message=failure.message)
    status.details.add().Pack(failure)
    await context.abort(code, failure.message, (("grpc-status-details-bin", status.SerializeToString()),))


@dataclasses.dataclass
class ReceivedFile:
    """The received part of one uploaded file."""

    index: int
    sizes: list[int] = dataclasses.field(default_factory=list)
    hash: Any = dataclasses.field(default_factory=hashlib.sha256)
    is_complete: bool = False


@dataclasses.dataclass
class Recorder:
    """CreateEmbedding and its siblings that answer every input and record each call.

    Attributes:
        rejections: the failures of the first calls, if they are streams; of an upload after its first chunk.
    """

    rejections: list[pb.Failure] = dataclasses.field(default_factory=list)
    metadata: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    remaining: list[float | None] = dataclasses.field(default_factory=list)
    requests: list[Any] = dataclasses.field(default_factory=list)
    files: list[ReceivedFile] = dataclasses.field(default_factory=list)
    peers: list[str] = dataclasses.field(default_factory=list)

    def _note(self, request: Any, context: Context) -> None:
        self.metadata.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        self.requests.append(request)
        self.peers.append(context.peer())

    async def stream(self, request: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        self._note(request, context)
        if self.rejections:
            await end_with(context, self.rejections.pop(0))
        for index, item in enumerate(request.inputs):
            yield segment(index, input_key=item.key)
            yield result(index, input_key=item.key)

    async def unary(self, request: Any, context: Context) -> pb.CreateEmbeddingUnaryResponse:
        self._note(request, context)
        return unary(*range(len(request.inputs)))

    async def models(self, request: Any, context: Context) -> pb.ListModelsResponse:
        self._note(request, context)
        return pb.ListModelsResponse(models=[pb.Model(name="m")])

    async def upload(self, messages: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingFromUploadResponse]:
        """Record the request, and for each file the sizes of its chunks and the hash of its bytes; then answer."""
        request = (await anext(messages)).request
        self._note(request, context)
        index: int | None = None
        async for message in messages:
            chunk = message.chunk
            if chunk.input_index != index:
                index = chunk.input_index
                self.files.append(ReceivedFile(index))
            self.files[-1].sizes.append(len(chunk.data))
            self.files[-1].hash.update(chunk.data)
            self.files[-1].is_complete = chunk.last
            if self.rejections:
                await end_with(context, self.rejections.pop(0))
        for index in range(len(request.inputs)):
            yield uploaded(segment(index))
            yield uploaded(result(index))

    def serving(self, *address: str) -> contextlib.AbstractAsyncContextManager[str]:
        return service(
            *address,
            CreateEmbedding=self.stream,
            CreateEmbeddingUnary=self.unary,
            CreateEmbeddingFromUpload=self.upload,
            ListModels=self.models,
        )
