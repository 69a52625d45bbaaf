"""The asyncio client."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import grpc

from embedwire import options as checks
from embedwire import replies, requests
from embedwire.async_stream import AsyncStream, StatusPreserver, preserve_status, translate_errors
from embedwire.base_client import BaseClient, in_turn
from embedwire.inputs import AnyInput, Input, Text
from embedwire.map.run import Run
from embedwire.map.tasks import AsyncMapRun, Tasks
from embedwire.options import CHUNK_BYTES, CallOptions, MapOptions, OnProgress
from embedwire.results import Embedding, Model, Progress
from embedwire.tasks import LastTask
from embedwire.uploads import UploadMessages
from embedwire.v1 import embedding_pb2 as pb

if TYPE_CHECKING:
    from embedwire.v1.embedding_pb2_grpc import EmbeddingServiceAsyncStub


class AsyncClient(BaseClient):
    """Asyncio client of an Embedwire server. Its arguments are those of `Client`, which is for synchronous code.

    The first calls open the connections, and so do the first calls in another event loop (a further `asyncio.run`). A
    client can be constructed without an event loop. An `async with` block closes the connections.

    Raises:
        ValueError: an argument is invalid, or a credential would be sent in plaintext to a non-loopback address; the
            message names the argument.
        TypeError: the timeout is not a number.
    """

    _channels: list[grpc.aio.Channel]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections and cancel running calls. Later calls raise `ClosedError`."""
        self._stop_runs()
        channels, self._channels = self._channels, []
        for channel in channels:
            await channel.close()

    def stream(self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]) -> AsyncStream:
        """Embed 1 to 256 inputs and yield each segment, result and progress as it arrives.

        Segments of one input arrive in order, inputs interleave, and each input ends with its `Result`. Segments are
        provisional until then: a failed result invalidates them. If there is one input, its failure is raised; among
        several inputs, a failure is in `Result.failure`. Files of together at most 1 MiB are sent in the request; all
        others are uploaded in chunks.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: one input, or a sequence of 1 to 256 inputs. See `map` for more.
            **options: see `CallOptions`.

        Returns:
            An async iterator of `Segment`, `Result` and `Progress`. The call starts with the first iteration. Its
            `async with` block cancels the call on exit.

        Raises:
            TypeError: an input is not a Text, Image or Audio, or the model or an option has the wrong type.
            ValueError: the model or an option is invalid.
            OSError: while iterating: a file cannot be read.
            ClosedError: the client is closed.
            EmbedwireError: while iterating: the call or its only input failed. See `embedwire.errors`.
        """
        self._check_open()
        checks.check_model(model)
        items = requests.normalize_inputs(inputs)
        checks.check(options, CallOptions)

        async def plan() -> requests.Plan:
            if requests.reads_files(items):
                return await asyncio.to_thread(requests.plan, model, items, options)
            return requests.plan(model, items, options)

        return self._start(plan, items, options)

    @overload
    async def embed(
        self, model: str, inputs: Input, *, on_progress: OnProgress | None = None, **options: Unpack[CallOptions]
    ) -> Embedding: ...

    @overload
    async def embed(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        on_progress: OnProgress | None = None,
        **options: Unpack[CallOptions],
    ) -> list[Embedding]: ...

    async def embed(
        self,
        model: str,
        inputs: Input | Sequence[Input],
        *,
        on_progress: OnProgress | None = None,
        **options: Unpack[CallOptions],
    ) -> Embedding | list[Embedding]:
        """Embed 1 to 256 inputs and return their embeddings when all have a result.

        If there is one input, its failure is raised; among several inputs, a failure is in `Embedding.failure`. A
        single text is sent by the unary RPC, which has the least overhead.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: one input, or a sequence of 1 to 256 inputs. See `map` for more.
            on_progress: function that is called with each `Progress` of the inputs as it arrives. Its exceptions end
                the call and are raised.
            **options: see `CallOptions`.

        Returns:
            One `Embedding` for one input; for a sequence, a list in the same order.

        Raises:
            TypeError: an input is not a Text, Image or Audio, or the model or an option has the wrong type.
            ValueError: the model or an option is invalid.
            OSError: a file cannot be read.
            ClosedError: the client is closed.
            EmbedwireError: the call or its only input failed. See `embedwire.errors`.
        """
        self._check_open()
        checks.check_on_progress(on_progress)
        items = requests.normalize_inputs(inputs)
        if requests.is_one_text(items):
            embeddings = [await self._embed_text(model, items[0], options)]
        else:
            async with self.stream(model, items, **options) as events:
                collector = replies.Collector(len(items), events.request_id)
                async for event in events:
                    collector.add(event)
                    if on_progress is not None and isinstance(event, Progress):
                        on_progress(event)
            embeddings = collector.embeddings()
        return embeddings[0] if isinstance(inputs, Input) else embeddings

    def map(
        self, model: str, inputs: Iterable[Input] | AsyncIterable[Input], **options: Unpack[MapOptions]
    ) -> AsyncMapRun:
        """Embed any number of inputs in concurrent calls of several each, and yield each embedding as it arrives.

        Each input that is read ends once, as an embedding with its key and with its position as `input_index`. The
        failure of an input is in its embedding; nothing is raised for it. Inputs that the server rejects (OVERLOADED,
        RATE_LIMITED, DRAINING) are sent again until it accepts them. An input for which the upstream has created a task
        is not: it ends with the failure, whose `upstream_task_id` can be the source of another input. At most
        `inputs_per_call` x `concurrent_calls` inputs are read ahead of the embeddings that the caller has received. A
        thread advances an iterable that is not a list or a tuple, since it may block.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: an iterable or an async iterable of inputs; it may be endless.
            **options: see `MapOptions`.

        Returns:
            An async iterator of `Embedding`. Its `async with` block cancels the calls on exit.

        Raises:
            TypeError: the inputs are not iterable, the model or an option has the wrong type, or an option is
                unknown. While iterating: an input is not a Text, Image or Audio.
            ValueError: the model or an option is invalid.
            ClosedError: the client is closed, also while iterating.
            DeadlineExceededError: while iterating: the timeout of the run passed before all inputs were embedded.
            Exception: while iterating: an exception of the iterable, after the embeddings of the inputs before it.
        """
        self._check_open()
        checks.check_model(model)
        checks.check(options, MapOptions)
        run = Run(model, options, lambda items: self._connection.call_timeout(options, items))
        tasks = Tasks(run, inputs, self._start_planned)
        self._runs.add(tasks)
        return AsyncMapRun(tasks)

    async def models(self, *, timeout: float | None = None) -> list[Model]:  # noqa: ASYNC109 - it is the deadline
        """Return the models of the server, with what each accepts and returns.

        Args:
            timeout: deadline in seconds; None means that of the client, or 60 s.

        Returns:
            One `Model` for each model of the server.

        Raises:
            TypeError: the timeout is not a number.
            ValueError: the timeout is negative.
            ClosedError: the client is closed.
            EmbedwireError: the call failed.
        """
        options: CallOptions = {"timeout": timeout}
        checks.check(options, CallOptions)
        models: list[Model] = []
        page = pb.ListModelsResponse(next_page_token="")
        while True:
            request_id, arguments = self._connection.call_arguments(options)
            request = pb.ListModelsRequest(page_token=page.next_page_token)
            page = await self._call_with_retry("ListModels", request, request_id, arguments)
            models += [replies.model(item) for item in page.models]
            if not page.next_page_token:
                return models

    def _open(self) -> None:
        self._channels = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def _start_planned(self, plan: requests.Plan, options: CallOptions) -> AsyncStream:
        async def planned() -> requests.Plan:
            return plan

        return self._start(planned, plan.inputs, options, retries=False)

    def _start(
        self,
        make_plan: Callable[[], Awaitable[requests.Plan]],
        inputs: Sequence[AnyInput],
        options: CallOptions,
        *,
        retries: bool = True,
    ) -> AsyncStream:
        """Return a stream that begins its call with the first iteration."""
        request_id, arguments = self._connection.call_arguments(options, inputs)
        retry = self._connection.pushback_retry(arguments, enabled=retries)

        async def start() -> tuple[Any, UploadMessages | None]:
            plan = await make_plan()
            if not plan.uploads:
                return self._begin(self._stub().CreateEmbedding, plan.request, retry.call_arguments()), None
            upload = UploadMessages(plan, options.get("chunk_bytes", CHUNK_BYTES))
            call = self._begin(self._stub().CreateEmbeddingFromUpload, upload.messages_async(), arguments)
            preserve_status(call)
            return call, upload

        return AsyncStream(start, request_id, LastTask(len(inputs)), retry)

    async def _embed_text(self, model: str, item: Text, options: CallOptions) -> Embedding:
        checks.check_model(model)
        checks.check(options, CallOptions)
        request_id, arguments = self._connection.call_arguments(options)
        request = requests.unary_request(model, item, options)
        reply = await self._call_with_retry("CreateEmbeddingUnary", request, request_id, arguments)
        return replies.unary_response(reply, request_id)

    async def _call_with_retry(self, name: str, request: Any, request_id: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
        method = getattr(self._stub(), name)
        retry = self._connection.pushback_retry(arguments)
        while True:
            with translate_errors(request_id):
                try:
                    return await self._begin(method, request, retry.call_arguments())
                except grpc.aio.AioRpcError as error:
                    delay = retry.delay(error)
                    if delay is None:
                        raise
            await asyncio.sleep(delay)

    def _stub(self) -> "EmbeddingServiceAsyncStub":
        """Return the next stub, on a channel of the running event loop.

        Raises:
            ClosedError: the client is closed.
        """
        self._check_open()
        if self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            connection = self._connection
            credentials, options = connection.credentials, connection.grpc_options
            added = [*connection.interceptors, StatusPreserver()] if connection.interceptors else None
            self._channels = [
                grpc.aio.insecure_channel(connection.target, options, interceptors=added)
                if credentials is None
                else grpc.aio.secure_channel(connection.target, credentials, options, interceptors=added)
                for _ in range(connection.channels)
            ]
            self._stubs = in_turn(self._channels)
        stub: EmbeddingServiceAsyncStub = next(self._stubs)
        return stub
