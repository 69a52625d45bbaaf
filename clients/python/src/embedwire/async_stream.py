"""Event stream of one call, for the asyncio client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from embedwire import replies
from embedwire.details import error_from_call
from embedwire.errors import EmbedwireError, Failure
from embedwire.pushback import PushbackRetry
from embedwire.results import Event, Result
from embedwire.tasks import LastTask
from embedwire.uploads import UploadMessages

# Starts a grpc.aio call.
Start = Callable[[], Awaitable[tuple[Any, UploadMessages | None]]]


class AsyncStream(AsyncIterator[Event]):
    """Async iterator over the events of one call, as they arrive. A context manager that cancels the call on exit.

    Iterating raises `EmbedwireError` if the call or its only input fails, and `OSError` if a file cannot be read.

    Attributes:
        request_id: id of the call in the server's log.
        upload: messages of an upload; None for other calls.
    """

    def __init__(self, start: Start, request_id: str, task: LastTask, retry: PushbackRetry) -> None:
        self.request_id = request_id
        self._task = task
        self._start = start
        self._retry: PushbackRetry | None = retry  # None after the first message
        self._events: Iterator[Event] = iter(())  # of the last message
        self._call: Any = None
        self.upload: UploadMessages | None = None
        self._is_awaited = False
        self._is_closed = False

    async def __anext__(self) -> Event:
        while not self._is_closed:
            event = next(self._events, None)
            if event is not None:
                self._task.note(event)
                if isinstance(event, Result) and self.upload is not None:
                    self.upload.skip(event.input_index)
                return event
            if self._is_awaited:
                raise RuntimeError("another task is waiting for the next event of this stream")
            self._is_awaited = True
            try:
                message = await self._message()
            finally:
                self._is_awaited = False
            if message is grpc.aio.EOF:
                self._is_closed = True
                break
            self._events = replies.events(message, self.request_id)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the call if it is running, and end the iteration."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    async def _message(self) -> Any:  # noqa: ANN401 - a response or EOF
        while True:
            if self._call is None:
                self._call, self.upload = await self._start()
                if self._is_closed:  # during the start
                    self._call.cancel()
            try:
                with translate_errors(self.request_id, self._task.id):
                    try:
                        message = await self._call.read()
                    except grpc.aio.AioRpcError as error:
                        delay = self._delay(error)
                        if delay is None:
                            raise
                    else:
                        self._retry = None
                        return message
            except EmbedwireError:
                if self._is_closed:
                    return grpc.aio.EOF
                if self.upload is not None and self.upload.error is not None:
                    raise self.upload.error from None
                raise
            await asyncio.sleep(delay)
            self._call = None

    def _delay(self, error: grpc.aio.AioRpcError) -> float | None:
        """Return the seconds until the retry; None if there is none. An upload cannot be sent again."""
        if self._retry is None or self.upload is not None or self._is_closed:
            return None
        return self._retry.delay(error)


@contextlib.contextmanager
def translate_errors(request_id: str, task_id: str = "") -> Iterator[None]:
    """Convert the exceptions of a failed or cancelled grpc.aio call to EmbedwireError.

    Args:
        request_id: id of the call.
        task_id: as in `error_from_call`.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # the task is cancelled, not only its call
            raise
        raise Failure("CANCELLED", "CANCELLED", "the call was cancelled by this client").error(request_id) from None
    except grpc.aio.AioRpcError as error:
        raise error_from_call(error, request_id, task_id) from None


def preserve_status(call: Any) -> None:  # noqa: ANN401 - gRPC's call
    """Keep the status of the server, which grpc.aio replaces by INTERNAL.

    It does so if the server ends the call while a message is being written. grpc.aio has no public API that returns the
    status of the server.
    """
    if hasattr(call, "_cython_call"):
        call._cython_call = _StatusPreservingCall(call._cython_call)  # noqa: SLF001 - see above


class StatusPreserver(grpc.aio.StreamStreamClientInterceptor):
    """The innermost interceptor of a client with interceptors, which hide the call from `preserve_status`."""

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:  # noqa: ANN401
        """Begin the call."""
        call = await continuation(details, requests)
        preserve_status(call)
        return call


class _StatusPreservingCall:
    """Proxy of grpc.aio's inner call: a failed write does not change the status."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - grpc's Cython call
        self._call = call

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the Cython call
        return getattr(self._call, name)

    def set_internal_error(self, _: str) -> None:
        """Ignore the error of a failed write: the status of the server follows."""
