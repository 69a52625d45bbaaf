"""What surrounds every call within the door: `Observe`, then `Translate`, and nothing else.

Each wraps the handler, whatever its shape, once and for all: gRPC's own interceptors are asked anew for every call, and
leave circles of garbage behind each. Every handler is run
as a coroutine that reads and writes, also the generators of other libraries, so that a call is one
task, its cleanup happens there, and its time begins before its first message has arrived.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import grpc
import structlog

from embedwire_server import logs
from embedwire_server.access import Access
from embedwire_server.errors import GatewayError, MalformedMessage, Reason
from embedwire_server.failures import is_cancelled, unforeseen
from embedwire_server.metrics import Metrics
from embedwire_server.rpc import calls, handlers, status
from embedwire_server.rpc.grpcio import batch_leak
from embedwire_server.rpc.handlers import Context, Handler, Run
from embedwire_server.rpc.health import SERVICE
from embedwire_server.rpc.options import Rules
from embedwire_server.rpc.outbox import Outbox, Writer
from embedwire_server.rpc.pending_calls import PendingCalls

UPSTREAM_KEY = "embedwire-upstream"
# A caller who takes nothing does not take the status either. It stays behind what was sent before.
ABORT_SECONDS = 1.0
# gRPC cannot end a call with a status while its first write is under way: it would send the initial metadata twice.
BEGINNING_SECONDS, _LOOK_SECONDS = 0.5, 0.005

Complete = Callable[[Any], Awaitable[Any]]

log = structlog.get_logger("embedwire_server.calls")


class Observe:
    """Gives each call its request id and trailers, and reports its end to metrics and log.

    Args:
        metrics: told of every call.
        upstream: the configured upstream, named in the trailers.
        rules: default deadlines, and how long a write may take.
        running: told of every call as well, until its caller has been told how it ended.
    """

    def __init__(self, metrics: Metrics, upstream: str, rules: Rules, running: calls.Running) -> None:
        self._rules = rules
        self._metrics = metrics
        self._running = running
        self._upstream = upstream
        self._log = log.bind()  # `log` itself looks it up again for each line

    def wrap(self, handler: Handler, method: str) -> Handler:
        """Build the handler that stands in for the one of this method, a path."""
        _, service, name = method.split("/")
        labels = (_shape(handler), service, name)
        inner = handlers.run_of(handler)

        async def run(messages: Any, context: Context) -> Any:  # noqa: ANN401 - whatever the handler takes and gives
            call = self._begin(context, labels)
            started = time.perf_counter()
            try:
                return await inner(messages, context)
            finally:
                try:
                    self._report(call, labels, _code(context, call), time.perf_counter() - started)
                except Exception as error:  # noqa: BLE001 - a report that fails must not fail the call
                    unforeseen(error)

        # Every handler reads its messages itself, one or many, so that waiting for the first is within its time.
        return handlers.changed(handler, request_streaming=True, run=run)

    def _begin(self, context: Context, labels: tuple[str, str, str]) -> calls.Call:
        call = self._call(context, labels[1])
        calls.current.set(call)
        self._running.add(call)
        calls.at_the_end(lambda: self._running.discard(call))
        logs.request_id.set(call.request_id)
        context.set_trailing_metadata(((calls.REQUEST_ID_KEY, call.request_id), (UPSTREAM_KEY, self._upstream)))
        self._metrics.calls_started.labels(*labels).inc()
        return call

    def _call(self, context: Context, service: str) -> calls.Call:
        """What is known of a call at its start. Only ours have a default deadline: watches have no end."""
        metadata = calls.single_values(context.invocation_metadata() or ())
        is_ours = service == SERVICE
        return calls.Call(
            calls.request_id(metadata.get(calls.REQUEST_ID_KEY)),
            service,
            context.time_remaining(),
            self._rules.deadlines if is_ours else calls.NO_DEADLINES,
            self._rules.stall_timeout,
            is_ours=is_ours,
            caller=calls.caller_of(context.peer()),
            upstream_key=metadata.get(calls.UPSTREAM_KEY),
            authorization=metadata.get(calls.AUTHORIZATION_KEY),
        )

    def _report(self, call: calls.Call, labels: tuple[str, str, str], code: str, seconds: float) -> None:
        _, service, method = labels
        self._metrics.calls_handled.labels(*labels, code).inc()
        self._metrics.call_seconds.labels(*labels).observe(seconds)
        if call.is_ours:
            self._metrics.calls.labels(method, call.model, call.reason).inc()
        facts: dict[str, object] = {"service": service, "method": method, "code": code}
        if call.is_ours:
            facts["reason"] = call.reason
            facts["model"] = call.model
        if call.token is not None:
            self._metrics.caller_calls.labels(call.token.name, call.reason).inc()
            facts["caller"] = call.token.name
        if call.cause:
            facts["cause"] = call.cause
        facts["seconds"] = round(seconds, 6)
        write = self._log.info if call.is_ours else self._log.debug  # probes come all the time
        write("call", **facts)


class Translate:
    """Turns every failure into a status with details, and never into the text of an exception.

    Args:
        access: who may call. Health and reflection are open: probes have no token, and the contract is no secret.
        pending: the calls of our service whose first message has not arrived.
        pending_open: those of the services that are open.
        private_api: whether the private API of grpcio is used; see `rpc.grpcio`.
    """

    def __init__(
        self,
        access: Access,
        pending: PendingCalls,
        pending_open: PendingCalls,
        *,
        private_api: bool,
    ) -> None:
        self._private_api = private_api
        self._complete: Complete = batch_leak.complete_operation if private_api else _plainly
        self._begin: Complete = batch_leak.complete_operation if private_api else _uninterrupted
        self._access = access
        self._pending = (pending_open, pending)
        self._outbox = Outbox()

    def wrap(self, handler: Handler) -> Handler:
        """Build the handler that stands in for this one. What it runs is given all messages, also if it takes one."""
        handler = _tolerant(handler)
        inner, serialize = handlers.run_of(handler), handler.response_serializer
        receive = self._each if handler.request_streaming else self._only

        async def answer(call: calls.Call, context: Context) -> Any:  # noqa: ANN401 - as the handler does
            if call.is_ours:  # probes are always answered
                self._outbox.admit(call)
            message = await inner(await receive(call, context), context)
            if call.is_ours:
                self._outbox.put(message.ByteSize(), call)
            return message

        async def write(call: calls.Call, context: Context) -> bytes | None:
            stream = Writer(context, call, serialize, self._complete, self._begin)
            last = await inner(await receive(call, context), stream)
            if last is None or self._private_api:  # gRPC sends what the handler returns
                return None if last is None else serialize(last)
            await stream.write(last)
            return None

        if handler.response_streaming:
            return handlers.changed(handler, response_serializer=None, run=self._translated(write))
        return handlers.changed(handler, run=self._translated(answer))

    async def _only(self, call: calls.Call, context: Context) -> Any:  # noqa: ANN401 - the message that the handler takes
        """The message of a call that has one."""
        message = await self._first(call, context)
        if message is grpc.aio.EOF:
            await calls.has_said_all()
            raise MalformedMessage
        return _decoded(message)

    async def _each(self, call: calls.Call, context: Context) -> AsyncGenerator[Any]:
        """The messages of a call that has many."""

        async def decoded() -> AsyncGenerator[Any]:
            message = await self._first(call, context)
            while message is not grpc.aio.EOF:
                yield _decoded(message)
                message = None  # it may be large, and the next may be long in coming
                message = await self._complete(context.read())

        return decoded()

    async def _first(self, call: calls.Call, context: Context) -> Any:  # noqa: ANN401 - a message of any type
        pending = self._pending[call.is_ours]
        pending.add(call)
        try:
            return await self._complete(context.read())
        finally:
            pending.discard(call)

    def _translated(self, run: Callable[[calls.Call, Context], Awaitable[Any]]) -> Run:
        """The same within the call's time, every failure of it told as a status."""

        async def translated(_: Any, context: Context) -> Any:  # noqa: ANN401 - gRPC's messages, and what the handler gives
            call = calls.current.get()
            try:
                with call:
                    if call.is_ours:  # before any of its messages is read
                        call.authenticated(self._access.authenticate(call.authorization))
                    return await run(call, context)
            except grpc.aio.AbortError:
                raise
            except GatewayError as error:
                await self._abort(context, error)
            except (asyncio.CancelledError, grpc.aio.InternalError) as error:
                # A caller who leaves cancels what is awaited, or makes the write that is under way fail.
                if isinstance(error, asyncio.CancelledError) and not is_cancelled():  # leaked out of a library
                    await self._abort(context, unforeseen(error))
                    return None
                call.reason = _reason_to_leave(context)
                raise asyncio.CancelledError from error  # gRPC logs anything else as an error of ours
            except Exception as error:  # noqa: BLE001 - its text must not reach the caller
                await self._abort(context, unforeseen(error))

        return translated

    async def _abort(self, context: Context, error: GatewayError) -> None:
        """End the call with this failure. gRPC raises AbortError, here or, if nobody listens, after the handler."""
        call = calls.current.get()
        call.reason, call.cause = error.reason, error.cause or ""
        # Their frames hold the call, which holds the error: such cycles wait for the garbage collector, and with them
        # what gRPC keeps of the call, its metadata among it. The context is the cancellation by which a deadline ends a
        # call.
        error.__traceback__ = error.__context__ = None
        trailers = (*context.trailing_metadata(), *status.trailers(error))
        await _begun(call)
        with contextlib.suppress(TimeoutError, grpc.aio.InternalError):
            async with asyncio.timeout(ABORT_SECONDS):
                try:
                    await self._complete(context.abort(status.code(error), status.text(error), trailers))
                except grpc.aio.AbortError as aborted:
                    calls.at_the_end(functools.partial(aborted.with_traceback, None))  # for the same reason
                    raise


async def _plainly(operation: Awaitable[Any]) -> Any:  # noqa: ANN401 - whatever it returns
    return await operation


async def _uninterrupted(operation: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever it returns
    return await asyncio.shield(asyncio.ensure_future(operation))


async def _begun(call: calls.Call) -> None:
    """Wait until the first write is complete if it was interrupted, but not for a caller that takes nothing."""
    until = asyncio.get_running_loop().time() + BEGINNING_SECONDS
    while call.is_beginning and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - gRPC has no event for it
        await asyncio.sleep(_LOOK_SECONDS)


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

    return handlers.changed(handler, request_deserializer=deserializer)


def _decoded(message: Any) -> Any:  # noqa: ANN401 - a message of any type
    """The message, unless it stands for bytes that could not be decoded."""
    if isinstance(message, MalformedMessage):
        raise message
    return message


def _shape(handler: Handler) -> str:
    """The kind of call, as the metrics of the gRPC ecosystem name it."""
    if handler.request_streaming:
        return "bidi_stream" if handler.response_streaming else "client_stream"
    return "server_stream" if handler.response_streaming else "unary"
