"""gRPC method handlers of any call type, unary or streaming, built with the public API of grpcio."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler
Handlers = Mapping[str, Handler]  # by the path of the method
Run = Callable[[Any, Context], Awaitable[Any]]

_MAKE = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def made(
    run: Any,  # noqa: ANN401 - a coroutine function or an async generator function
    *,
    request_streaming: bool,
    response_streaming: bool,
    request_deserializer: Any = None,  # noqa: ANN401 - typed differently for each shape
    response_serializer: Any = None,  # noqa: ANN401
) -> Handler:
    """Make a handler of this call type; without a codec, messages are bytes."""
    make: Any = _MAKE[request_streaming, response_streaming]
    return make(run, request_deserializer=request_deserializer, response_serializer=response_serializer)


def changed(handler: Handler, **changes: Any) -> Handler:  # noqa: ANN401 - the arguments of `made`
    """Copy a handler with other arguments of `made`."""
    kept = {
        "run": run_of(handler),
        "request_streaming": handler.request_streaming,
        "response_streaming": handler.response_streaming,
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    return made(**kept | changes)


def run_of(handler: Handler) -> Any:  # noqa: ANN401 - a coroutine function or an async generator function
    """Return the function that a handler runs."""
    request, response = handler.request_streaming, handler.response_streaming
    return getattr(handler, f"{'stream' if request else 'unary'}_{'stream' if response else 'unary'}")


def of_service(servicer: object, service: ServiceDescriptor, name: str = "") -> dict[str, Handler]:
    """Make the handlers of all methods of a service, by method path; `name` replaces the full name of the service."""
    return {
        f"/{name or service.full_name}/{method.name}": _of_method(getattr(servicer, method.name), method)
        for method in service.methods
    }


def _of_method(run: Any, method: MethodDescriptor) -> Handler:  # noqa: ANN401 - whatever the servicer has
    return made(
        run,
        request_streaming=method.client_streaming,
        response_streaming=method.server_streaming,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )
