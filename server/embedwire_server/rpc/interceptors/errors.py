"""Interceptor for authentication, deadlines and the mapping of exceptions to gRPC statuses."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import grpc

from embedwire_server.auth.tokens import Authenticator
from embedwire_server.core.cancellation import cancellation_requested
from embedwire_server.core.errors import GatewayError, MalformedMessage, Reason
from embedwire_server.observability.exception_logging import log_unexpected
from embedwire_server.rpc import call_context, error_details, handlers, status
from embedwire_server.rpc.delivery import Delivery
from embedwire_server.rpc.flow_control import MessageWriter, UnreadReplyBudget
from embedwire_server.rpc.grpcio import batch_leak, status_alone
from embedwire_server.rpc.handlers import Context, Handler, Run
from embedwire_server.rpc.pending_calls import PendingCalls

# Limit on sending the status, which queues behind earlier messages: a caller may read nothing.
ABORT_SECONDS = 1.0
# gRPC cannot end a call with a status while its first write is in progress: it would send the initial metadata twice.
BEGINNING_SECONDS, _LOOK_SECONDS = 0.5, 0.005

Complete = Callable[[Any], Awaitable[Any]]


class ErrorInterceptor:
    """Maps every failure to a status with details, which never contains the text of an unexpected exception.

    Args:
        access: authenticates callers. Health and reflection need no token, since probes have none.
        pending: the calls of EmbeddingService whose first message has not arrived.
        pending_open: those of the services that need no token.
        delivery: delays the end of calls whose connection is about to be closed.
        private_api: whether the private API of grpcio is used; see `rpc.grpcio`.
    """

    def __init__(
        self,
        access: Authenticator,
        pending: PendingCalls,
        pending_open: PendingCalls,
        delivery: Delivery,
        *,
        private_api: bool,
    ) -> None:
        self._private_api = private_api
        self._complete: Complete = batch_leak.complete_operation if private_api else _awaited
        self._begin: Complete = batch_leak.complete_operation if private_api else _uninterrupted
        self._access = access
        self._pending = (pending_open, pending)
        self._delivery = delivery
        self._unread_replies = UnreadReplyBudget()

    def wrap(self, handler: Handler) -> Handler:
        """Wrap a handler. The wrapper reads the messages from the context, also the only one of a unary request."""
        handler = _preserving_status(handler)
        inner, serialize = handlers.run_of(handler), handler.response_serializer
        receive = self._each if handler.request_streaming else self._only

        async def answer(call: call_context.Call, context: Context) -> Any:  # noqa: ANN401 - as the handler does
            if call.is_ours:  # probes are always answered
                self._unread_replies.admit(call)
            message = await inner(await receive(call, context), context)
            if call.is_ours:
                size = message.ByteSize()
                self._unread_replies.put(size, call)
                if self._delivery.is_needed(call.caller[1], size):
                    stream = MessageWriter(context, call, serialize, self._complete, self._begin)
                    return await self._delivered(call, stream, message)
            call.count_sent()
            return message

        async def write(call: call_context.Call, context: Context) -> bytes | None:
            stream = MessageWriter(context, call, serialize, self._complete, self._begin)
            last = await inner(await receive(call, context), stream)
            if last is None:
                return None
            if self._delivery.is_needed(call.caller[1], stream.sent):
                await self._delivery.wait(call.caller[1])
            if not self._private_api:
                await stream.write(last)
                return None
            call.count_sent()  # gRPC sends what the handler returns
            data: bytes = serialize(last)
            return data

        if handler.response_streaming:
            return handlers.changed(handler, response_serializer=None, run=self._translated(write))
        return handlers.changed(handler, run=self._translated(answer))

    async def _delivered(self, call: call_context.Call, stream: MessageWriter, message: Any) -> Any:  # noqa: ANN401 - of any type
        """Send a unary reply before its status, and wait until it has been delivered; see `rpc.delivery`.

        Raises:
            StatusDue: the status is still to be sent.
        """
        if not self._private_api:  # the status is sent with the reply: only earlier ones can be waited for
            await self._delivery.wait(call.caller[1])
            call.count_sent()
            return message
        await stream.write(message)
        await self._delivery.wait(call.caller[1])
        raise status_alone.StatusDue

    async def _only(self, call: call_context.Call, context: Context) -> Any:  # noqa: ANN401 - the message that the handler takes
        """Read the message of a call that has one."""
        message = await self._first(call, context)
        if message is grpc.aio.EOF:
            await call_context.await_half_close()
            raise MalformedMessage
        call.count_received()
        return _decoded(message)

    async def _each(self, call: call_context.Call, context: Context) -> AsyncGenerator[Any]:
        """Iterate over the messages of a call that has many."""

        async def decoded() -> AsyncGenerator[Any]:
            message = await self._first(call, context)
            while message is not grpc.aio.EOF:
                call.count_received()
                yield _decoded(message)
                message = None  # free it before the wait: it may be large
                message = await self._complete(context.read())

        return decoded()

    async def _first(self, call: call_context.Call, context: Context) -> Any:  # noqa: ANN401 - a message of any type
        pending = self._pending[call.is_ours]
        pending.add(call)
        try:
            return await self._complete(context.read())
        finally:
            pending.discard(call)

    def _translated(self, run: Callable[[call_context.Call, Context], Awaitable[Any]]) -> Run:
        """Run a handler within the call's deadline, and map every failure to a status."""

        async def translated(_: Any, context: Context) -> Any:  # noqa: ANN401 - gRPC's messages, and what the handler gives
            call = call_context.current.get()
            self._delivery.begin(call.caller[1])
            try:
                with call:
                    if call.is_ours:  # before any of its messages is read
                        call.authenticated(self._access.authenticate(call.authorization))
                    return await run(call, context)
            except grpc.aio.AbortError:
                raise
            except status_alone.StatusDue:
                context.set_trailing_metadata(call.trailers())
                await status_alone.send(context)
            except GatewayError as error:
                await self._abort(context, error)
            except (asyncio.CancelledError, grpc.aio.InternalError) as error:
                # A disconnect of the caller cancels what is awaited, or makes the write in progress fail.
                if (
                    isinstance(error, asyncio.CancelledError) and not cancellation_requested()
                ):  # leaked out of a library
                    await self._abort(context, log_unexpected(error))
                    return None
                call.reason = Reason.DEADLINE_EXCEEDED if call.is_expired else Reason.CANCELLED
                raise asyncio.CancelledError from error  # gRPC logs anything else as an error of ours
            except Exception as error:  # noqa: BLE001 - its text must not reach the caller
                await self._abort(context, log_unexpected(error))

        return translated

    async def _abort(self, context: Context, error: GatewayError) -> None:
        """End the call with this failure. gRPC raises AbortError, here or after the handler."""
        call = call_context.current.get()
        call.reason, call.cause = error.reason, error.cause or ""
        error.task_id = error.task_id or call.task_id
        # Break reference cycles: the frames hold the call, which holds the error. They would wait for the garbage
        # collector, and with them what gRPC keeps of the call, such as its metadata. `__context__` is the cancellation
        # by which a deadline ends a call.
        error.__traceback__ = error.__context__ = None
        trailers = (*call.trailers(), *error_details.trailers(error))
        await _begun(call)
        with contextlib.suppress(TimeoutError, grpc.aio.InternalError):
            async with asyncio.timeout(ABORT_SECONDS):
                try:
                    await self._complete(context.abort(status.code(error), status.message(error), trailers))
                except grpc.aio.AbortError as aborted:
                    call_context.on_call_done(functools.partial(aborted.with_traceback, None))  # breaks the same cycle
                    raise


async def _awaited(operation: Awaitable[Any]) -> Any:  # noqa: ANN401 - whatever it returns
    return await operation


async def _uninterrupted(operation: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever it returns
    task = asyncio.ensure_future(operation)
    # It fails if the call ends before it is complete. Retrieve that exception, or asyncio logs it.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)


async def _begun(call: call_context.Call) -> None:
    """Wait until an interrupted first write is complete, at most `BEGINNING_SECONDS`: the caller may read nothing."""
    until = asyncio.get_running_loop().time() + BEGINNING_SECONDS
    while call.is_beginning and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - gRPC has no event for it
        await asyncio.sleep(_LOOK_SECONDS)


def _preserving_status(handler: Handler) -> Handler:
    """Copy a handler so that it receives a `MalformedMessage` for bytes that cannot be decoded."""
    decode = handler.request_deserializer

    def deserializer(data: bytes) -> Any:  # noqa: ANN401 - whatever the handler takes
        try:
            return decode(data)
        except Exception:  # noqa: BLE001 - gRPC would answer UNKNOWN
            return MalformedMessage()

    return handlers.changed(handler, request_deserializer=deserializer)


def _decoded(message: Any) -> Any:  # noqa: ANN401 - a message of any type
    """Return the message; raise it if it is a `MalformedMessage`."""
    if isinstance(message, MalformedMessage):
        raise message
    return message
