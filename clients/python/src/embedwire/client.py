"""The synchronous client."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack, cast, overload

import grpc

from embedwire import replies, requests, vectors
from embedwire.connection import DEFAULT_TARGET, TLS, Connection, PushbackRetry
from embedwire.details import FailedCall, error_from_call
from embedwire.inputs import Input, Text
from embedwire.options import CallOptions
from embedwire.results import Embedding, Event, Model, Result
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc


class Client:
    """Synchronous client of an Embedwire server. Safe to share between threads. See `AsyncClient` for asyncio.

    The connection is opened by the first call. A `with` block closes it.

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
        credentials, options = self._connection.credentials, self._connection.channel_options
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._stub = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and cancel the calls that still run."""
        self._channel.close()

    def stream(self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]) -> "Stream":
        """Embed one or more inputs and yield every segment and result as it arrives.

        Segments of one input are in order, inputs interleave, and each input ends with its `Result`. Segments are
        provisional until then: a failed result makes them invalid. The failure of the only input is raised; with
        several inputs it is in `Result.failure`. Files beyond 1 MiB in total are uploaded in chunks.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: what to embed, 1 to 256.
            **options: see `CallOptions`.

        Returns:
            An iterator of `Segment` and `Result`. Its `with` block cancels the call on exit.

        Raises:
            TypeError: an input is not a Text, Image or Audio.
            OSError: a file cannot be read.
            EmbedwireError: while iterating: the call or its only input failed. See `embedwire.errors`.
        """
        items = requests.normalize_inputs(inputs)
        request_id, arguments = self._connection.call_arguments(options, requests.default_timeout(items))
        plan = requests.plan(model, items, options)
        if not plan.uploads:
            retry = self._connection.pushback_retry(arguments)
            return Stream(lambda: self._stub.CreateEmbedding(plan.request, **retry.call_arguments()), request_id, retry)
        upload = requests.UploadMessages(plan, options.get("chunk_bytes", requests.CHUNK_BYTES))
        call = self._stub.CreateEmbeddingFromUpload(upload.messages(), **arguments)
        return Stream(lambda: call, request_id, upload=upload)

    @overload
    def embed(self, model: str, inputs: Input, **options: Unpack[CallOptions]) -> Embedding: ...

    @overload
    def embed(self, model: str, inputs: Sequence[Input], **options: Unpack[CallOptions]) -> list[Embedding]: ...

    def embed(
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
            embedding = self._embed_text(model, items[0], options)
            return embedding if isinstance(inputs, Input) else [embedding]
        with self.stream(model, items, **options) as events:
            collector = replies.Collector(len(items), events.request_id)
            for event in events:
                collector.add(event)
        embeddings = collector.embeddings()
        return embeddings[0] if isinstance(inputs, Input) else embeddings

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """List the models of the server, and what each accepts and returns.

        Raises:
            EmbedwireError: the call failed.
        """
        models: list[Model] = []
        page = pb.ListModelsResponse(next_page_token="")
        while True:
            request_id, arguments = self._connection.call_arguments({"timeout": timeout}, requests.TEXT_SECONDS)
            request = pb.ListModelsRequest(page_token=page.next_page_token)
            page = self._call_with_retry(self._stub.ListModels, request, request_id, arguments)
            models += [replies.model(item) for item in page.models]
            if not page.next_page_token:
                return models

    def _embed_text(self, model: str, item: Text, options: CallOptions) -> Embedding:
        request_id, arguments = self._connection.call_arguments(options, requests.TEXT_SECONDS)
        message = requests.unary_request(model, item, options)
        reply = self._call_with_retry(self._stub.CreateEmbeddingUnary, message, request_id, arguments)
        return replies.unary_response(reply, request_id)

    def _call_with_retry(self, method: Any, request: Any, request_id: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - messages
        retry = self._connection.pushback_retry(arguments)
        while True:
            try:
                return method(request, **retry.call_arguments())
            except grpc.RpcError as error:
                delay = retry.delay(cast("FailedCall", error))
                if delay is None:
                    raise error_from_call(cast("FailedCall", error), request_id) from None
            time.sleep(delay)


class Stream(Iterator[Event]):
    """The events of one call, as they arrive. An iterator, and a context manager that cancels the call on exit.

    Attributes:
        request_id: the id of the call in the server's log.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        request_id: str,
        retry: PushbackRetry | None = None,
        upload: requests.UploadMessages | None = None,
    ) -> None:
        self.request_id = request_id
        self._start = start
        self._retry = retry  # None after the first message
        self._upload = upload
        self._events: Iterator[Event] = iter(())  # of the last message
        self._closed = threading.Event()
        self._call: Any = None
        self._call = start()  # may raise; `__del__` needs the attribute

    def __next__(self) -> Event:
        while not self._closed.is_set():
            event = next(self._events, None)
            if event is None:
                self._events = replies.events(self._message(), self.request_id)
                continue
            if isinstance(event, Result) and self._upload is not None:
                self._upload.skip(event.input_index)
            return event
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the call if it still runs, and end the iteration."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def _message(self) -> replies.Response:
        while True:
            try:
                message: replies.Response = next(self._call)
            except grpc.RpcError as error:
                delay = self._delay_or_raise(error)
            else:
                self._retry = None
                return message
            if self._closed.wait(delay):
                raise StopIteration
            self._call = self._start()
            if self._closed.is_set():  # by another thread, during the start
                self._call.cancel()

    def _delay_or_raise(self, error: Any) -> float:  # noqa: ANN401 - a grpc.RpcError that is a call
        """Return the seconds until the retry, or raise the exception of the call if it is not retried."""
        if self._closed.is_set():
            raise StopIteration from None
        if self._upload is not None and self._upload.error is not None:
            raise self._upload.error from None
        delay = None if self._retry is None else self._retry.delay(error)
        if delay is None:
            raise error_from_call(error, self.request_id) from None
        return delay
