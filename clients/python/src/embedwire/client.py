"""The synchronous client."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Self, Unpack, cast, overload

import grpc

from embedwire import options as checks
from embedwire import replies, requests
from embedwire.base_client import BaseClient, in_turn
from embedwire.details import FailedCall, error_from_call
from embedwire.inputs import Input, Text
from embedwire.map.run import Run
from embedwire.map.threads import MapRun, Threads
from embedwire.options import CHUNK_BYTES, CallOptions, MapOptions, OnProgress
from embedwire.results import Embedding, Model, Progress
from embedwire.stream import Stream
from embedwire.tasks import LastTask
from embedwire.uploads import UploadMessages
from embedwire.v1 import embedding_pb2 as pb


class Client(BaseClient):
    """Synchronous client of an Embedwire server. Safe to share between threads. See `AsyncClient` for asyncio.

    The first calls open the connections. A `with` block closes them. A client can be pickled and copied; the copy has
    the same arguments and separate connections.

    Args:
        target: HOST:PORT, or another gRPC target such as "dns:///embeddings.internal:443". Calls use all addresses of a
            name in turn (round robin).
        tls: True for TLS with gRPC's default root certificates, a `TLS` for other settings, False for plaintext.
        token: bearer token for the server; sent over TLS or to a loopback address only.
        upstream_api_key: your own API key of the upstream, if the server accepts callers' keys; sent over TLS or
            to a loopback address only. Without it the server uses its own key.
        timeout: default deadline of a call in seconds; None means the default of `CallOptions`, which depends on the
            inputs.
        wait_for_ready: wait for an unreachable server until the deadline, instead of failing immediately.
        retry_on_pushback: retry a call once if the server rejected it, or ended it in its shutdown, and sent
            `grpc-retry-pushback-ms`: after that delay and within the deadline. Other failures and uploads are not
            retried.
        channels: number of channels, 1 or more, each with separate connections; calls use them in turn. One worker
            process of the server serves a connection, so a client needs several channels to use several workers.
        keepalive_time: interval of keepalive pings in seconds, which are sent only while calls run and no data arrives;
            without an answer within 20 s the connection is closed and its calls fail. None turns the pings off.
        interceptors: interceptors of grpc (`AsyncClient`: of grpc.aio). Their effects are outside the guarantees of
            this client.
        channel_options: channel arguments of gRPC, which take precedence over those of this client. Their effects are
            outside the guarantees of this client.

    Raises:
        ValueError: an argument is invalid, or a credential would be sent in plaintext to a non-loopback address; the
            message names the argument.
        TypeError: the timeout is not a number.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and cancel running calls. Later calls raise `ClosedError`."""
        self._stop_runs()
        for channel in self._channels:
            channel.close()

    def stream(self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]) -> Stream:
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
            An iterator of `Segment`, `Result` and `Progress`. Its `with` block cancels the call on exit.

        Raises:
            TypeError: an input is not a Text, Image or Audio, or the model or an option has the wrong type.
            ValueError: the model or an option is invalid.
            OSError: a file cannot be read.
            ClosedError: the client is closed.
            EmbedwireError: while iterating: the call or its only input failed. See `embedwire.errors`.
        """
        self._check_open()
        checks.check_model(model)
        items = requests.normalize_inputs(inputs)
        checks.check(options, CallOptions)
        return self._start(requests.plan(model, items, options), options)

    @overload
    def embed(
        self, model: str, inputs: Input, *, on_progress: OnProgress | None = None, **options: Unpack[CallOptions]
    ) -> Embedding: ...

    @overload
    def embed(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        on_progress: OnProgress | None = None,
        **options: Unpack[CallOptions],
    ) -> list[Embedding]: ...

    def embed(
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
            embeddings = [self._embed_text(model, items[0], options)]
        else:
            with self.stream(model, items, **options) as events:
                collector = replies.Collector(len(items), events.request_id)
                for event in events:
                    collector.add(event)
                    if on_progress is not None and isinstance(event, Progress):
                        on_progress(event)
            embeddings = collector.embeddings()
        return embeddings[0] if isinstance(inputs, Input) else embeddings

    def map(self, model: str, inputs: Iterable[Input], **options: Unpack[MapOptions]) -> MapRun:
        """Embed any number of inputs in concurrent calls of several each, and yield each embedding as it arrives.

        Each input that is read from the iterable ends once, as an embedding with its key and with its position in the
        iterable as `input_index`. The failure of an input is in its embedding; nothing is raised for it. Inputs that
        the server rejects (OVERLOADED, RATE_LIMITED, DRAINING) are sent again until it accepts them. An input for
        which the upstream has created a task is not: it ends with the failure, whose `upstream_task_id` can be the
        source of another input. A thread reads the iterable, at most `inputs_per_call` x `concurrent_calls` inputs
        ahead of the embeddings that the caller has received.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: any iterable of inputs; it may block and may be endless.
            **options: see `MapOptions`.

        Returns:
            An iterator of `Embedding`. Its `with` block cancels the calls on exit.

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
        threads = Threads(run, inputs, lambda plan, chosen: self._start(plan, chosen, retries=False))
        self._runs.add(threads)
        return MapRun(threads)

    def models(self, *, timeout: float | None = None) -> list[Model]:
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
            page = self._call_with_retry("ListModels", request, request_id, arguments)
            models += [replies.model(item) for item in page.models]
            if not page.next_page_token:
                return models

    def _open(self) -> None:
        connection = self._connection
        credentials, options = connection.credentials, connection.grpc_options
        self._channels = [
            grpc.intercept_channel(
                grpc.insecure_channel(connection.target, options)
                if credentials is None
                else grpc.secure_channel(connection.target, credentials, options),
                *connection.interceptors,
            )
            for _ in range(connection.channels)
        ]
        self._stubs = in_turn(self._channels)

    def _start(self, plan: requests.Plan, options: CallOptions, *, retries: bool = True) -> Stream:
        """Begin a streaming call."""
        request_id, arguments = self._connection.call_arguments(options, plan.inputs)
        task = LastTask(len(plan.inputs))
        stub = next(self._stubs)
        if plan.uploads:
            upload = UploadMessages(plan, options.get("chunk_bytes", CHUNK_BYTES))
            call = self._begin(stub.CreateEmbeddingFromUpload, upload.messages(), arguments)
            return Stream(lambda: call, request_id, task, upload=upload)
        retry = self._connection.pushback_retry(arguments, enabled=retries)
        begin = lambda: self._begin(stub.CreateEmbedding, plan.request, retry.call_arguments())  # noqa: E731
        return Stream(begin, request_id, task, retry)

    def _embed_text(self, model: str, item: Text, options: CallOptions) -> Embedding:
        checks.check_model(model)
        checks.check(options, CallOptions)
        request_id, arguments = self._connection.call_arguments(options)
        request = requests.unary_request(model, item, options)
        reply = self._call_with_retry("CreateEmbeddingUnary", request, request_id, arguments)
        return replies.unary_response(reply, request_id)

    def _call_with_retry(self, name: str, request: Any, request_id: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - messages
        method = getattr(next(self._stubs), name)
        retry = self._connection.pushback_retry(arguments)
        while True:
            try:
                return self._begin(method, request, retry.call_arguments())
            except grpc.RpcError as error:
                delay = retry.delay(cast("FailedCall", error))
                if delay is None:
                    raise error_from_call(cast("FailedCall", error), request_id) from None
            time.sleep(delay)
