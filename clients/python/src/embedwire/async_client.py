"""The client for asyncio."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import grpc

from embedwire import replies, requests, vectors
from embedwire.connection import DEFAULT_TARGET, TLS, Attempts, Connection
from embedwire.details import error_of
from embedwire.errors import EmbedwireError, Failure
from embedwire.inputs import Input, Known
from embedwire.options import CallOptions
from embedwire.results import Embedding, Event, Model, Result
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc

if TYPE_CHECKING:
    from embedwire.v1.embedding_pb2_grpc import EmbeddingServiceAsyncStub


class AsyncClient:
    """Calls an Embedwire server from asyncio. `Client` is its twin for code without an event loop.

    It may be made anywhere and connects with the first call; in another event loop (a further `asyncio.run`) it
    connects anew. An `async with` block closes it.

    Args:
        target: HOST:PORT, or any other gRPC name such as "dns:///embeddings.internal:443".
        tls: True for TLS with gRPC's own roots, a `TLS` for anything else; False for plain text.
        token: the bearer token that the server wants; sent over TLS or to a loopback address only.
        upstream_api_key: your own key for the upstream, for servers that take one; likewise. Without it the
            server's key is used.
        timeout: seconds that each call gets unless it chooses; None is 60 s, or 600 s if any input is audio.
        wait_for_ready: wait for a server that is not there yet, within the timeout, rather than fail.
        retry_refusals: call once more, as soon as the server asks for and within the timeout, what it refused before it
            did any work. Nothing else is repeated, nor is an upload.

    Raises:
        ValueError: an argument cannot be used; the message says why.
    """

    def __init__(  # noqa: PLR0913 - each has a default and a name
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: TLS | bool = False,
        token: str | None = None,
        upstream_api_key: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool = False,
        retry_refusals: bool = True,
    ) -> None:
        vectors.load()
        chosen = TLS() if tls is True else tls or None
        self._connection = Connection(target, chosen, token, upstream_api_key, timeout, wait_for_ready, retry_refusals)
        self._channel: grpc.aio.Channel | None = None
        self._opened: EmbeddingServiceAsyncStub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that still run are cancelled. A later call opens it again."""
        channel, self._channel, self._opened = self._channel, None, None
        if channel is not None:
            await channel.close()

    def stream(self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]) -> "AsyncStream":
        """Embed one or more inputs and hand out every segment and result as it arrives.

        Segments of one input come in order, inputs interleave, and each input ends with its `Result`. Segments are
        provisional until then: a failed result voids them. With one input, its failure is raised in place of a
        result; with several it is in the result. Files are uploaded by themselves where that is better.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: what to embed, 1 to 256.
            **options: see `CallOptions`.

        Returns:
            An async iterator of `Segment` and `Result`. The call begins with the first of them, and leaving its
            `async with` block ends it.

        Raises:
            TypeError: an input is none.
            OSError: while iterating: a path is no file that can be read.
            EmbedwireError: while iterating: the call failed, or its only input. See `embedwire.errors`.
        """
        wanted = requests.listed(inputs)
        number, arguments = self._connection.call(options, requests.default_timeout(wanted))

        attempts = self._connection.attempts(arguments)

        async def start() -> tuple[Any, requests.Upload | None]:
            plan = await _off_the_loop(wanted, requests.plan, model, options)
            if not plan.uploads:
                return self._stub.CreateEmbedding(plan.request, **attempts.arguments()), None
            upload = requests.Upload(plan, options.get("chunk_bytes", requests.CHUNK_BYTES))
            call: Any = self._stub.CreateEmbeddingFromUpload(upload.messages_async(), **arguments)
            _keep_status(call)
            return call, upload

        return AsyncStream(start, number, attempts)

    @overload
    async def embed(self, model: str, inputs: Input, **options: Unpack[CallOptions]) -> Embedding: ...

    @overload
    async def embed(self, model: str, inputs: Sequence[Input], **options: Unpack[CallOptions]) -> list[Embedding]: ...

    async def embed(
        self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]
    ) -> Embedding | list[Embedding]:
        """Embed one or more inputs and return when all have a result.

        Takes and raises what `stream` does; a failure of the only input is raised, those among several are in
        `Embedding.failure`.

        Returns:
            One `Embedding` for one input; for a sequence, a list in its order.
        """
        wanted = requests.listed(inputs)
        async with self.stream(model, wanted, **options) as events:
            collector = replies.Collector(len(wanted), events.request_id)
            async for event in events:
                collector.add(event)
        found = collector.embeddings()
        return found[0] if isinstance(inputs, Input) else found

    @overload
    async def embed_unary(self, model: str, inputs: Input, **options: Unpack[CallOptions]) -> Embedding: ...

    @overload
    async def embed_unary(
        self, model: str, inputs: Sequence[Input], **options: Unpack[CallOptions]
    ) -> list[Embedding]: ...

    async def embed_unary(
        self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]
    ) -> Embedding | list[Embedding]:
        """Do the same in one message each way: the cheapest call for a short text.

        Raises, beside what `embed` raises:
            ValueError: the files do not fit into a message, or their size cannot be known.
            RequestError: the answer is larger than 4 MiB (reason REPLY_TOO_LARGE).
        """
        wanted = requests.listed(inputs)
        number, arguments = self._connection.call(options, requests.default_timeout(wanted))
        message = await _off_the_loop(wanted, requests.unary, model, options)
        reply = await self._answer(self._stub.CreateEmbeddingUnary, message, number, arguments)
        found = replies.unary(reply, len(wanted), number)
        return found[0] if isinstance(inputs, Input) else found

    async def models(self, *, timeout: float | None = None) -> list[Model]:  # noqa: ASYNC109 - it is the deadline
        """What each model accepts and returns.

        Raises:
            EmbedwireError: the call failed.
        """
        found: list[Model] = []
        page = pb.ListModelsResponse(next_page_token="")
        while True:
            number, arguments = self._connection.call({"timeout": timeout}, requests.TEXT_SECONDS)
            request = pb.ListModelsRequest(page_token=page.next_page_token)
            page = await self._answer(self._stub.ListModels, request, number, arguments)
            found += [replies.model(item) for item in page.models]
            if not page.next_page_token:
                return found

    async def _answer(self, method: Any, request: Any, number: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
        attempts = self._connection.attempts(arguments)
        while True:
            with _failures(number):
                try:
                    return await method(request, **attempts.arguments())
                except grpc.aio.AioRpcError as error:
                    delay = attempts.delay(error)
                    if delay is None:
                        raise
            await asyncio.sleep(delay)

    @property
    def _stub(self) -> "EmbeddingServiceAsyncStub":
        """The stub, on a channel that is opened where the event loop runs."""
        if self._opened is None or self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            target = self._connection.target
            credentials, options = self._connection.credentials, self._connection.channel_options
            self._channel = (
                grpc.aio.insecure_channel(target, options)
                if credentials is None
                else grpc.aio.secure_channel(target, credentials, options)
            )
            self._opened = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)  # type: ignore[assignment]
        assert self._opened is not None  # noqa: S101 - for the type checker
        return self._opened


class AsyncStream(AsyncIterator[Event]):
    """The events of one call, as they arrive. An async iterator, and a context manager that ends the call.

    Attributes:
        request_id: the id of the call, under which the server's log has the details.
    """

    def __init__(self, start: Any, number: str, attempts: Attempts) -> None:  # noqa: ANN401 - makes gRPC's call
        self.request_id = number
        self._start = start
        self._attempts: Attempts | None = attempts  # as long as nothing has come
        self._call: Any = None
        self._upload: requests.Upload | None = None
        self._is_awaited = False
        self._is_closed = False

    async def __anext__(self) -> Event:
        while not self._is_closed:
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
            event = replies.event(message, self.request_id)
            if isinstance(event, Result) and self._upload is not None:
                self._upload.answered(event.input_index)
            if event is not None:
                return event
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
        """End the call, if it still runs; nothing more comes then."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    async def _message(self) -> Any:  # noqa: ANN401 - a response or EOF
        while True:
            if self._call is None:
                self._call, self._upload = await self._start()
                if self._is_closed:  # meanwhile
                    self._call.cancel()
            try:
                with _failures(self.request_id):
                    try:
                        message = await self._call.read()
                    except grpc.aio.AioRpcError as error:
                        delay = self._delay(error)
                        if delay is None:
                            raise
                    else:
                        self._attempts = None
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
        """Seconds until the next attempt; None if there is none. What has been uploaded cannot be sent again."""
        if self._attempts is None or self._upload is not None or self._is_closed:
            return None
        return self._attempts.delay(error)


@contextlib.contextmanager
def _failures(number: str) -> Iterator[None]:
    """Every way in which gRPC says that a call failed, as an EmbedwireError."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # the task is meant, not only its call
            raise
        raise Failure("CANCELLED", "CANCELLED", "the call was cancelled by this client").error(number) from None
    except grpc.aio.AioRpcError as error:
        raise error_of(error, number) from None


def _keep_status(call: Any) -> None:  # noqa: ANN401 - gRPC's call
    """Keep grpc.aio from putting an INTERNAL of its own in the place of the server's status.

    It does so if the server ends the call while a message is being written, and offers no other way to see what the
    server said.
    """
    if hasattr(call, "_cython_call"):
        call._cython_call = _KeepsStatus(call._cython_call)  # noqa: SLF001 - see above


class _KeepsStatus:
    """gRPC's inner call, except that a failed write leaves the status alone."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - gRPC's own
        self._call = call

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever gRPC asks of it
        return getattr(self._call, name)

    def set_internal_error(self, _: str) -> None:
        """Leave the status to the server; who waits for it gets it."""


async def _off_the_loop(wanted: list[Known], make: Any, model: str, options: CallOptions) -> Any:  # noqa: ANN401
    """Make a request, in a thread if it reads files."""
    if requests.reads_files(wanted):
        return await asyncio.to_thread(make, model, wanted, options)
    return make(model, wanted, options)
