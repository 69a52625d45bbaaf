"""The asyncio client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import grpc

from embedwire import replies, requests, vectors
from embedwire.connection import DEFAULT_TARGET, TLS, Connection, PushbackRetry
from embedwire.details import error_from_call
from embedwire.errors import EmbedwireError, Failure
from embedwire.inputs import AnyInput, Input, Text
from embedwire.options import CallOptions
from embedwire.results import Embedding, Event, Model, Result
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc

if TYPE_CHECKING:
    from embedwire.v1.embedding_pb2_grpc import EmbeddingServiceAsyncStub


class AsyncClient:
    """Asyncio client of an Embedwire server. See `Client` for synchronous code.

    The connection is opened by the first call, and again by the first call in another event loop (a further
    `asyncio.run`), so that it can be constructed without one. An `async with` block closes it.

    Args:
        target: HOST:PORT, or any other gRPC name such as "dns:///embeddings.internal:443".
        tls: True for TLS with gRPC's default roots, a `TLS` for other settings, False for plain text.
        token: the bearer token for the server; sent over TLS or to a loopback address only.
        upstream_api_key: your own API key for the upstream, if the server accepts callers' keys; sent over TLS or
            to a loopback address only. Without it the server uses its own key.
        timeout: default timeout of a call in seconds; None means 60 s, or 600 s if any input is audio.
        wait_for_ready: wait for an unreachable server until the timeout, instead of failing at once.
        retry_on_pushback: retry a call once if the server rejected it before any work and sent
            `grpc-retry-pushback-ms`: after that delay and within the timeout. Other failures and uploads are not
            retried.

    Raises:
        ValueError: an argument is invalid; the message names it.
    """

    def __init__(  # noqa: PLR0913 - keyword arguments with defaults
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: TLS | bool = False,
        token: str | None = None,
        upstream_api_key: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool = False,
        retry_on_pushback: bool = True,
    ) -> None:
        vectors.preload_numpy()
        chosen = TLS() if tls is True else tls or None
        self._connection = Connection(
            target, chosen, token, upstream_api_key, timeout, wait_for_ready, retry_on_pushback
        )
        self._channel: grpc.aio.Channel | None = None
        self._opened_stub: EmbeddingServiceAsyncStub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and cancel the calls that still run. A later call opens it again."""
        channel, self._channel, self._opened_stub = self._channel, None, None
        if channel is not None:
            await channel.close()

    def stream(self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]) -> "AsyncStream":
        """Embed one or more inputs and yield every segment and result as it arrives.

        Segments of one input are in order, inputs interleave, and each input ends with its `Result`. Segments are
        provisional until then: a failed result makes them invalid. The failure of the only input is raised; with
        several inputs it is in `Result.failure`. Files beyond 1 MiB in total are uploaded in chunks.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: what to embed, 1 to 256.
            **options: see `CallOptions`.

        Returns:
            An async iterator of `Segment` and `Result`. The call starts with the first iteration. Its `async with`
            block cancels the call on exit.

        Raises:
            TypeError: an input is not a Text, Image or Audio.
            OSError: while iterating: a file cannot be read.
            EmbedwireError: while iterating: the call or its only input failed. See `embedwire.errors`.
        """
        items = requests.normalize_inputs(inputs)
        request_id, arguments = self._connection.call_arguments(options, requests.default_timeout(items))

        retry = self._connection.pushback_retry(arguments)

        async def start() -> tuple[Any, requests.UploadMessages | None]:
            plan = await _plan(items, model, options)
            if not plan.uploads:
                return self._stub.CreateEmbedding(plan.request, **retry.call_arguments()), None
            upload = requests.UploadMessages(plan, options.get("chunk_bytes", requests.CHUNK_BYTES))
            call: Any = self._stub.CreateEmbeddingFromUpload(upload.messages_async(), **arguments)
            _preserve_status(call)
            return call, upload

        return AsyncStream(start, request_id, retry)

    @overload
    async def embed(self, model: str, inputs: Input, **options: Unpack[CallOptions]) -> Embedding: ...

    @overload
    async def embed(self, model: str, inputs: Sequence[Input], **options: Unpack[CallOptions]) -> list[Embedding]: ...

    async def embed(
        self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]
    ) -> Embedding | list[Embedding]:
        """Embed one or more inputs and return when all have a result.

        Arguments and exceptions are those of `stream`. The failure of the only input is raised; with several inputs
        it is in `Embedding.failure`. One text alone is sent by a unary call, which has the least overhead.

        Returns:
            One `Embedding` for one input; for a sequence, a list in its order.
        """
        items = requests.normalize_inputs(inputs)
        if requests.is_one_text(items):
            embedding = await self._embed_text(model, items[0], options)
            return embedding if isinstance(inputs, Input) else [embedding]
        async with self.stream(model, items, **options) as events:
            collector = replies.Collector(len(items), events.request_id)
            async for event in events:
                collector.add(event)
        embeddings = collector.embeddings()
        return embeddings[0] if isinstance(inputs, Input) else embeddings

    async def models(self, *, timeout: float | None = None) -> list[Model]:  # noqa: ASYNC109 - it is the deadline
        """List the models of the server, and what each accepts and returns.

        Raises:
            EmbedwireError: the call failed.
        """
        models: list[Model] = []
        page = pb.ListModelsResponse(next_page_token="")
        while True:
            request_id, arguments = self._connection.call_arguments({"timeout": timeout}, requests.TEXT_SECONDS)
            request = pb.ListModelsRequest(page_token=page.next_page_token)
            page = await self._call_with_retry(self._stub.ListModels, request, request_id, arguments)
            models += [replies.model(item) for item in page.models]
            if not page.next_page_token:
                return models

    async def _embed_text(self, model: str, item: Text, options: CallOptions) -> Embedding:
        request_id, arguments = self._connection.call_arguments(options, requests.TEXT_SECONDS)
        message = requests.unary_request(model, item, options)
        reply = await self._call_with_retry(self._stub.CreateEmbeddingUnary, message, request_id, arguments)
        return replies.unary_response(reply, request_id)

    async def _call_with_retry(self, method: Any, request: Any, request_id: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
        retry = self._connection.pushback_retry(arguments)
        while True:
            with _translate_errors(request_id):
                try:
                    return await method(request, **retry.call_arguments())
                except grpc.aio.AioRpcError as error:
                    delay = retry.delay(error)
                    if delay is None:
                        raise
            await asyncio.sleep(delay)

    @property
    def _stub(self) -> "EmbeddingServiceAsyncStub":
        """The stub, on a channel of the running event loop."""
        if self._opened_stub is None or self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            target = self._connection.target
            credentials, options = self._connection.credentials, self._connection.channel_options
            self._channel = (
                grpc.aio.insecure_channel(target, options)
                if credentials is None
                else grpc.aio.secure_channel(target, credentials, options)
            )
            self._opened_stub = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)  # type: ignore[assignment]
        assert self._opened_stub is not None  # noqa: S101 - for the type checker
        return self._opened_stub


class AsyncStream(AsyncIterator[Event]):
    """The events of one call, as they arrive. An async iterator, and a context manager that cancels the call on exit.

    Attributes:
        request_id: the id of the call in the server's log.
    """

    def __init__(self, start: Any, request_id: str, retry: PushbackRetry) -> None:  # noqa: ANN401 - starts a grpc.aio call
        self.request_id = request_id
        self._start = start
        self._retry: PushbackRetry | None = retry  # None after the first message
        self._events: Iterator[Event] = iter(())  # of the last message
        self._call: Any = None
        self._upload: requests.UploadMessages | None = None
        self._is_awaited = False
        self._is_closed = False

    async def __anext__(self) -> Event:
        while not self._is_closed:
            event = next(self._events, None)
            if event is not None:
                if isinstance(event, Result) and self._upload is not None:
                    self._upload.skip(event.input_index)
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
        """Cancel the call if it still runs, and end the iteration."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    async def _message(self) -> Any:  # noqa: ANN401 - a response or EOF
        while True:
            if self._call is None:
                self._call, self._upload = await self._start()
                if self._is_closed:  # during the start
                    self._call.cancel()
            try:
                with _translate_errors(self.request_id):
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
                if self._upload is not None and self._upload.error is not None:
                    raise self._upload.error from None
                raise
            await asyncio.sleep(delay)
            self._call = None

    def _delay(self, error: grpc.aio.AioRpcError) -> float | None:
        """Return the seconds until the retry; None if there is none. An upload cannot be sent again."""
        if self._retry is None or self._upload is not None or self._is_closed:
            return None
        return self._retry.delay(error)


@contextlib.contextmanager
def _translate_errors(request_id: str) -> Iterator[None]:
    """Convert the exceptions of a failed or cancelled grpc.aio call to EmbedwireError."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # the task is cancelled, not only its call
            raise
        raise Failure("CANCELLED", "CANCELLED", "the call was cancelled by this client").error(request_id) from None
    except grpc.aio.AioRpcError as error:
        raise error_from_call(error, request_id) from None


def _preserve_status(call: Any) -> None:  # noqa: ANN401 - gRPC's call
    """Work around grpc.aio replacing the server's status by an INTERNAL of its own.

    It does so if the server ends the call while a message is being written, and has no public API that returns the
    status of the server.
    """
    if hasattr(call, "_cython_call"):
        call._cython_call = _StatusPreservingCall(call._cython_call)  # noqa: SLF001 - see above


class _StatusPreservingCall:
    """Proxy of grpc.aio's inner call: a failed write does not change the status."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - grpc's Cython call
        self._call = call

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the Cython call
        return getattr(self._call, name)

    def set_internal_error(self, _: str) -> None:
        """Ignore the error of a failed write: the status of the server follows."""


async def _plan(items: list[AnyInput], model: str, options: CallOptions) -> requests.Plan:
    """Build the request, in a thread if that reads files."""
    if requests.reads_files(items):
        return await asyncio.to_thread(requests.plan, model, items, options)
    return requests.plan(model, items, options)
