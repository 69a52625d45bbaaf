"""What surrounds every call: `Observe` outermost, `Translate` innermost, and nothing else.

Each is a context manager around the handler, whatever its shape. Streaming handlers, also the
generators of other libraries, are run as coroutines that write, so that a call is one task and
its cleanup happens there.
"""

import abc
import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog

from embedwire_server.errors import GatewayError, MalformedMessage, Reason
from embedwire_server.failures import is_cancelled, unforeseen
from embedwire_server.metrics import Metrics
from embedwire_server.rpc import calls, status
from embedwire_server.rpc.health import SERVICE

UPSTREAM_KEY = "embedwire-upstream"

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler, a named tuple behind its types
Around = Callable[[Context], contextlib.AbstractAsyncContextManager[None]]

log = structlog.get_logger("embedwire_server.calls")


class _Surrounding(grpc.aio.ServerInterceptor):
    """Runs every call of a known method within `around`. The wrapped handlers are made once."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of a method that exists; gRPC itself answers for any other."""
        method = details.method
        if method not in self._handlers:
            handler = await continuation(details)
            if handler is None:
                return None
            self._handlers[method] = self.wrap(handler, method)
        return self._handlers[method]

    @abc.abstractmethod
    def wrap(self, handler: Handler, method: str) -> Handler:
        """Build the handler that stands in for this one."""


class Observe(_Surrounding):
    """Gives each call its request id and trailers, and reports its end to metrics and log.

    Args:
        metrics: told of every call.
        upstream: the configured upstream, named in the trailers.
        deadlines: for callers who set none.
    """

    def __init__(self, metrics: Metrics, upstream: str, deadlines: calls.DefaultDeadlines) -> None:
        super().__init__()
        self._deadlines = deadlines
        self._metrics = metrics
        self._upstream = upstream

    def wrap(self, handler: Handler, method: str) -> Handler:
        """See the class."""
        _, service, name = method.split("/")
        labels = (_shape(handler), service, name)
        return _surround(handler, lambda context: self._observed(context, labels))

    @contextlib.asynccontextmanager
    async def _observed(self, context: Context, labels: tuple[str, str, str]) -> AsyncGenerator[None]:
        metadata = dict(context.invocation_metadata() or ())
        call = calls.Call(
            calls.request_id(metadata.get(calls.REQUEST_ID_KEY)),
            calls.Deadline(context.time_remaining(), self._deadlines),
            metadata.get(calls.UPSTREAM_KEY),
        )
        calls.current.set(call)
        structlog.contextvars.bind_contextvars(request_id=call.request_id)
        context.set_trailing_metadata(((calls.REQUEST_ID_KEY, call.request_id), (UPSTREAM_KEY, self._upstream)))
        self._metrics.calls_started.labels(*labels).inc()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._report(call, labels, _code(context, call), time.perf_counter() - started)

    def _report(self, call: calls.Call, labels: tuple[str, str, str], code: str, seconds: float) -> None:
        _, service, method = labels
        self._metrics.calls_handled.labels(*labels, code).inc()
        self._metrics.call_seconds.labels(*labels).observe(seconds)
        is_ours = service == SERVICE
        if is_ours:
            self._metrics.calls.labels(method, call.model, call.reason).inc()
        write = log.info if is_ours else log.debug  # probes come all the time
        facts = {"code": code, "reason": call.reason, "model": call.model} if is_ours else {"code": code}
        write("call", service=service, method=method, **facts, seconds=round(seconds, 6))


class Translate(_Surrounding):
    """Turns every failure into a status with details, and never into the text of an exception."""

    def wrap(self, handler: Handler, method: str) -> Handler:
        """See the class. The methods of EmbeddingService have a deadline, watches and reflection do not."""
        is_ours = method.startswith(f"/{SERVICE}/")
        around = _translated_in_time if is_ours else _translated
        return _surround(_tolerant(handler), around, _decoded)


@contextlib.asynccontextmanager
async def _translated(context: Context) -> AsyncGenerator[None]:
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except GatewayError as error:
        await _abort(context, error)
    except (asyncio.CancelledError, grpc.aio.InternalError) as error:
        # A caller who leaves cancels what is awaited, or makes the write that is under way fail.
        if isinstance(error, asyncio.CancelledError) and not is_cancelled():  # leaked out of a library
            await _abort(context, unforeseen(error))
        calls.current.get().reason = _reason_to_leave(context)
        raise
    except Exception as error:  # noqa: BLE001 - its text must not reach the caller
        await _abort(context, unforeseen(error))


@contextlib.asynccontextmanager
async def _translated_in_time(context: Context) -> AsyncGenerator[None]:
    async with _translated(context), calls.current.get().deadline.enforced():
        yield


async def _abort(context: Context, error: GatewayError) -> None:
    calls.current.get().reason = error.reason
    trailers = (*context.trailing_metadata(), (status.DETAILS_KEY, status.details(error)))
    await context.abort(status.code(error), status.text(error), trailers)


def _reason_to_leave(context: Context) -> Reason:
    remaining = context.time_remaining()
    return Reason.DEADLINE_EXCEEDED if remaining is not None and remaining <= 0 else Reason.CANCELLED


def _code(context: Context, call: calls.Call) -> str:
    """The status code that the call ends with, as metrics and log name it."""
    if (code := context.code()) is not None:  # set by an abort, also by that of another library
        return grpc.StatusCode(code).name
    return "OK" if call.reason == "OK" else status.CODES[Reason(call.reason)].name


def _tolerant(handler: Handler) -> Handler:
    """The same handler, which is given a `MalformedMessage` for bytes that cannot be decoded."""
    decode = handler.request_deserializer

    def deserializer(data: bytes) -> Any:  # noqa: ANN401 - whatever the handler takes
        try:
            return decode(data)
        except Exception:  # noqa: BLE001 - gRPC would answer UNKNOWN
            return MalformedMessage()

    return handler._replace(request_deserializer=deserializer)


def _surround(handler: Handler, around: Around, prepare: Callable[[Any], Any] = lambda request: request) -> Handler:
    """The same handler, with each call inside `around`, streams as coroutines that write.

    What arrives, a message or a stream of them, goes through `prepare` first, also inside `around`.
    """
    name = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    inner = getattr(handler, name)

    async def unary(request: Any, context: Context) -> Any:  # noqa: ANN401 - whatever the handler takes and gives
        async with around(context):
            return await inner(prepare(request), context)

    async def stream(request: Any, context: Context) -> None:  # noqa: ANN401 - whatever the handler takes
        async with around(context):
            if not inspect.isasyncgenfunction(inner):
                await inner(prepare(request), context)
                return
            async with contextlib.aclosing(inner(prepare(request), context)) as messages:
                async for message in messages:
                    await context.write(message)

    return handler._replace(**{name: stream if handler.response_streaming else unary})


def _decoded(request: Any) -> Any:  # noqa: ANN401 - one message or a stream of them
    """The request, unless it stands for bytes that could not be decoded."""
    if isinstance(request, MalformedMessage):
        raise request
    return _decoded_each(request) if isinstance(request, AsyncIterator) else request


async def _decoded_each(messages: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    async for message in messages:
        yield _decoded(message)


def _shape(handler: Handler) -> str:
    """The kind of call, as the metrics of the gRPC ecosystem name it."""
    if handler.request_streaming:
        return "bidi_stream" if handler.response_streaming else "client_stream"
    return "server_stream" if handler.response_streaming else "unary"
