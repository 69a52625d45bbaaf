"""Requests of these tests, and what their callers receive."""

import base64
from collections.abc import AsyncIterable, Iterator
from typing import Any

import grpc
from google.rpc import status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.rpc import status
from tests.support.messages import text_input, upload_input

SECONDS = 60  # deadline of calls that do not test it
CHUNK_BYTES = 1 << 20
DETAILS = "grpc-status-details-bin"


def text(*inputs: pb.Input, **more: Any) -> pb.CreateEmbeddingUnaryRequest:
    return pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=inputs or [text_input()], **more)


async def responses_of(call: AsyncIterable[Any]) -> list[Any]:
    """The responses of a stream."""
    return [response async for response in call]


async def failed_or_none(call: Any) -> grpc.aio.AioRpcError | None:
    """The error of a call; None if it succeeds. A stream is read to its end."""
    try:
        await (responses_of(call) if isinstance(call, AsyncIterable) else call)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def failed(call: Any) -> grpc.aio.AioRpcError:
    """The error of a call, which must fail."""
    error = await failed_or_none(call)
    assert error is not None
    return error


def failure_of(error: grpc.aio.AioRpcError) -> pb.Failure | None:
    """The failure among the details of a failed call; None if there are no details."""
    details = dict(error.trailing_metadata()).get(DETAILS)
    return None if details is None else failure_in(details)


def failure_in(details: bytes) -> pb.Failure:
    """The failure in an encoded google.rpc.Status."""
    failure = pb.Failure()
    assert any(detail.Unpack(failure) for detail in status_pb2.Status.FromString(details).details)
    return failure


def size_of_trailers(error: grpc.aio.AioRpcError) -> int:
    """The bytes of names and values of all trailers, as they are encoded."""
    sizes = [len("grpc-status"), 2, len("grpc-message"), status.encoded_size(error.details() or "")]
    for name, value in error.trailing_metadata():
        sizes += [len(name), len(base64.b64encode(value) if isinstance(value, bytes) else value)]
    return sum(sizes)


def upload(data: bytes, files: int = 1, **source: Any) -> Iterator[pb.CreateEmbeddingFromUploadRequest]:
    """The messages of an upload of this many audio files with this content."""
    inputs = [upload_input("audio", **source)] * files
    yield pb.CreateEmbeddingFromUploadRequest(request=pb.CreateEmbeddingRequest(model_name="marengo3.0", inputs=inputs))
    for index in range(files):
        for end in range(CHUNK_BYTES, len(data) + CHUNK_BYTES, CHUNK_BYTES):
            part = data[end - CHUNK_BYTES : end]
            chunk = pb.UploadChunk(input_index=index, data=part, last=end >= len(data))
            yield pb.CreateEmbeddingFromUploadRequest(chunk=chunk)
