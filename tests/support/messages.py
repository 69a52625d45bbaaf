"""Shorthands for requests and failures."""

import contextlib
import dataclasses
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb


def text_input(value: str = "a red fox", key: str = "") -> pb.Input:
    return pb.Input(key=key, text=pb.TextInput(value=value))


def file_input(modality: str, data: bytes, name: str = "") -> pb.Input:
    source = pb.MediaSource(file=pb.FileSource(data=data, file_name=name))
    return _media_input(modality, source)


def url_input(modality: str, url: str) -> pb.Input:
    return _media_input(modality, pb.MediaSource(url=url))


def upload_input(modality: str, **source: Any) -> pb.Input:
    return _media_input(modality, pb.MediaSource(upload=pb.UploadSource(**source)))


def _media_input(modality: str, source: pb.MediaSource) -> pb.Input:
    if modality == "image":
        return pb.Input(image=pb.ImageInput(source=source))
    return pb.Input(audio=pb.AudioInput(source=source))


def request(*inputs: pb.Input, model: str = "marengo3.0", **more: Any) -> pb.CreateEmbeddingRequest:
    return pb.CreateEmbeddingRequest(model_name=model, inputs=inputs, **more)


@dataclasses.dataclass
class Failed:
    """A failed call: its status and its details, decoded."""

    code: grpc.StatusCode
    message: str
    failure: pb.Failure
    info: error_details_pb2.ErrorInfo
    fields: dict[str, str]
    trailers: dict[str, Any]


def failed(error: grpc.aio.AioRpcError) -> Failed:
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info, failure = error_details_pb2.ErrorInfo(), pb.Failure()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(failure)
    fields = {violation.field: violation.description for violation in failure.field_violations}
    return Failed(error.code(), error.details() or "", failure, info, fields, trailers)


def events_of(responses: list[Any]) -> list[pb.EmbeddingEvent]:
    return [event for response in responses for event in response.events]


def results(responses: list[Any]) -> dict[int, pb.InputResult]:
    done = [event.result for event in events_of(responses) if event.WhichOneof("event") == "result"]
    return {result.input_index: result for result in done}


def segments(responses: list[Any]) -> list[pb.Segment]:
    return [event.segment for event in events_of(responses) if event.WhichOneof("event") == "segment"]


async def ending(call: Any) -> grpc.StatusCode:
    """The status code of a call of any kind; a stream is read to its end."""
    if isinstance(call, grpc.aio.StreamUnaryCall | grpc.aio.UnaryUnaryCall):
        return await call.code()
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for _ in call:
            pass
    found: grpc.StatusCode = await call.code()
    return found
