"""A fake server for what the real one never sends: events and reasons of a later version, requested refusals."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2

SERVICE = "embedwire.v1.EmbeddingService"
METHODS: dict[str, tuple[str, type[Message], type[Message]]] = {
    "CreateEmbedding": ("unary_stream", pb.CreateEmbeddingRequest, pb.CreateEmbeddingResponse),
    "CreateEmbeddingUnary": ("unary_unary", pb.CreateEmbeddingUnaryRequest, pb.CreateEmbeddingUnaryResponse),
    "CreateEmbeddingFromUpload": (
        "stream_stream",
        pb.CreateEmbeddingFromUploadRequest,
        pb.CreateEmbeddingFromUploadResponse,
    ),
    "ListModels": ("unary_unary", pb.ListModelsRequest, pb.ListModelsResponse),
}


@dataclasses.dataclass
class Fake(grpc.GenericRpcHandler):
    """Answers calls by its script in sequence; the last answer is repeated.

    Attributes:
        script: the answers; see README.md.
        calls: what arrived: method, metadata, seconds to the deadline and the first message.
    """

    script: list[dict[str, Any]]
    calls: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        name = handler_call_details.method.rpartition("/")[2]
        kind, request_type, response_type = METHODS[name]
        metadata = {pair[0]: pair[1] for pair in handler_call_details.invocation_metadata or ()}

        def begun(data: bytes, context: Any) -> dict[str, Any]:
            request = json_format.MessageToDict(request_type.FromString(data), preserving_proto_field_name=True)
            deadline = context.time_remaining()
            self.calls.append({"method": name, "metadata": metadata, "deadline": deadline, "request": request})
            return self.script[min(len(self.calls), len(self.script)) - 1]

        methods: dict[str, Callable[..., Any]] = {
            "unary_unary": grpc.unary_unary_rpc_method_handler,
            "unary_stream": grpc.unary_stream_rpc_method_handler,
            "stream_stream": grpc.stream_stream_rpc_method_handler,
        }

        async def one(data: bytes, context: Any) -> bytes:
            answer = begun(data, context)
            if "status" in answer:
                await _abort(context, answer)
            return _encoded(answer["messages"][0], response_type)

        async def many(data: Any, context: Any) -> AsyncGenerator[bytes]:
            if isinstance(data, bytes):
                answer = begun(data, context)
            else:
                answer = begun(await anext(data), context)
                async for _ in data:
                    pass
            for message in answer.get("messages", ()):
                yield _encoded(message, response_type)
            if answer.get("hangs"):
                await asyncio.Event().wait()  # until the call is cancelled
            if "status" in answer:
                await _abort(context, answer)

        return methods[kind](one if kind == "unary_unary" else many)  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def serving(fake: Fake, port: int = 0) -> AsyncGenerator[str]:
    """Serve; yield the target."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((fake,))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def _encoded(spec: dict[str, Any], kind: type[Message]) -> bytes:
    """Encode a message from its JSON; `$unknown` at any position adds a field that no client has.

    A message of a stream may be given as its only event.
    """
    if "events" in kind.DESCRIPTOR.fields_by_name and "events" not in spec:
        spec = {"events": [spec]}
    message = kind()
    json_format.ParseDict(_without_unknown(spec), message)
    _add_unknown(spec, message)
    return message.SerializeToString()


def _without_unknown(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_unknown(each) for name, each in value.items() if name != "$unknown"}
    return [_without_unknown(each) for each in value] if isinstance(value, list) else value


def _add_unknown(spec: Any, message: Any) -> None:
    for name, value in spec.items():
        if name == "$unknown":
            field = pb.TextInput(value="later").SerializeToString()  # any length-delimited content
            message.MergeFromString(_tag(value, 2) + bytes([len(field)]) + field)
        elif isinstance(value, dict):
            _add_unknown(value, getattr(message, name))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for each, inner in zip(value, getattr(message, name), strict=True):
                _add_unknown(each, inner)


def _tag(number: int, wire_type: int) -> bytes:
    key, data = number << 3 | wire_type, b""
    while key > 0x7F:
        data, key = data + bytes([key & 0x7F | 0x80]), key >> 7
    return data + bytes([key])


async def _abort(context: Any, answer: dict[str, Any]) -> None:
    """End a call with the status and details of the answer."""
    code, message = grpc.StatusCode[answer["status"]], answer.get("message", "said by the fake server")
    status = status_pb2.Status(code=code.value[0], message=message)
    details: list[Message] = []
    if "domain" in answer:  # not of Embedwire
        details.append(error_details_pb2.ErrorInfo(reason=answer["reason"], domain=answer["domain"]))
    elif "reason" in answer:
        details += [
            error_details_pb2.ErrorInfo(reason=str(answer["reason"]), domain="embedwire.dev"),
            _failure(answer, code, message),
        ]
    for detail in details:
        status.details.add().Pack(detail)
    trailers: list[tuple[str, str | bytes]] = [(name, value) for name, value in answer.get("trailers", {}).items()]
    encoded = bytes.fromhex(answer["raw_details"]) if "raw_details" in answer else status.SerializeToString()
    if details or "raw_details" in answer:
        trailers.append(("grpc-status-details-bin", encoded))
    await context.abort(code, message, tuple(trailers))


def _failure(answer: dict[str, Any], code: grpc.StatusCode, message: str) -> pb.Failure:
    reason = answer["reason"]
    number = reason if isinstance(reason, int) else error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    failure = pb.Failure(code=code.value[0], reason=number, message=message)  # type: ignore[arg-type]
    json_format.ParseDict(answer.get("failure", {}), failure)
    if "retry_delay" in answer:
        failure.retry_delay.FromMilliseconds(round(answer["retry_delay"] * 1000))
    for violation in answer.get("violations", ()):
        failure.field_violations.add(**violation)
    for quota in answer.get("quotas", ()):
        failure.quota_violations.add(**quota)
    return failure
