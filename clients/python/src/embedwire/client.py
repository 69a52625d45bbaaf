"""The client for code without an event loop."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack, cast, overload

import grpc

from embedwire import replies, requests, vectors
from embedwire.connection import DEFAULT_TARGET, TLS, Attempts, Connection
from embedwire.details import FailedCall, error_of
from embedwire.inputs import Input
from embedwire.options import CallOptions
from embedwire.results import Embedding, Event, Model, Result
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc


class Client:
    """Calls an Embedwire server. Safe to share between threads; `AsyncClient` is its twin for asyncio.

    It connects with the first call and may be used in a `with` block, which closes it.

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
        """Close the connection; calls that still run are cancelled."""
        self._channel.close()

    def stream(self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]) -> "Stream":
        """Embed one or more inputs and hand out every segment and result as it arrives.

        Segments of one input come in order, inputs interleave, and each input ends with its `Result`. Segments are
        provisional until then: a failed result voids them. With one input, its failure is raised in place of a
        result; with several it is in the result. Files are uploaded by themselves where that is better.

        Args:
            model: name or alias of the model, for instance "marengo3.0".
            inputs: what to embed, 1 to 256.
            **options: see `CallOptions`.

        Returns:
            An iterator of `Segment` and `Result`. Leaving its `with` block ends the call.

        Raises:
            TypeError: an input is none.
            OSError: a path is no file that can be read.
            EmbedwireError: while iterating: the call failed, or its only input. See `embedwire.errors`.
        """
        wanted = requests.listed(inputs)
        number, arguments = self._connection.call(options, requests.default_timeout(wanted))
        plan = requests.plan(model, wanted, options)
        if not plan.uploads:
            attempts = self._connection.attempts(arguments)
            return Stream(lambda: self._stub.CreateEmbedding(plan.request, **attempts.arguments()), number, attempts)
        upload = requests.Upload(plan, options.get("chunk_bytes", requests.CHUNK_BYTES))
        call = self._stub.CreateEmbeddingFromUpload(upload.messages(), **arguments)
        return Stream(lambda: call, number, upload=upload)

    @overload
    def embed(self, model: str, inputs: Input, **options: Unpack[CallOptions]) -> Embedding: ...

    @overload
    def embed(self, model: str, inputs: Sequence[Input], **options: Unpack[CallOptions]) -> list[Embedding]: ...

    def embed(
        self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]
    ) -> Embedding | list[Embedding]:
        """Embed one or more inputs and return when all have a result.

        Takes and raises what `stream` does; a failure of the only input is raised, those among several are in
        `Embedding.failure`.

        Returns:
            One `Embedding` for one input; for a sequence, a list in its order.
        """
        wanted = requests.listed(inputs)
        with self.stream(model, wanted, **options) as events:
            collector = replies.Collector(len(wanted), events.request_id)
            for event in events:
                collector.add(event)
        found = collector.embeddings()
        return found[0] if isinstance(inputs, Input) else found

    @overload
    def embed_unary(self, model: str, inputs: Input, **options: Unpack[CallOptions]) -> Embedding: ...

    @overload
    def embed_unary(self, model: str, inputs: Sequence[Input], **options: Unpack[CallOptions]) -> list[Embedding]: ...

    def embed_unary(
        self, model: str, inputs: Input | Sequence[Input], **options: Unpack[CallOptions]
    ) -> Embedding | list[Embedding]:
        """Do the same in one message each way: the cheapest call for a short text.

        Raises, beside what `embed` raises:
            ValueError: the files do not fit into a message, or their size cannot be known.
            RequestError: the answer is larger than 4 MiB (reason REPLY_TOO_LARGE).
        """
        wanted = requests.listed(inputs)
        number, arguments = self._connection.call(options, requests.default_timeout(wanted))
        message = requests.unary(model, wanted, options)
        reply = self._answer(self._stub.CreateEmbeddingUnary, message, number, arguments)
        found = replies.unary(reply, len(wanted), number)
        return found[0] if isinstance(inputs, Input) else found

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """What each model accepts and returns.

        Raises:
            EmbedwireError: the call failed.
        """
        found: list[Model] = []
        page = pb.ListModelsResponse(next_page_token="")
        while True:
            number, arguments = self._connection.call({"timeout": timeout}, requests.TEXT_SECONDS)
            request = pb.ListModelsRequest(page_token=page.next_page_token)
            page = self._answer(self._stub.ListModels, request, number, arguments)
            found += [replies.model(item) for item in page.models]
            if not page.next_page_token:
                return found

    def _answer(self, method: Any, request: Any, number: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - messages
        attempts = self._connection.attempts(arguments)
        while True:
            try:
                return method(request, **attempts.arguments())
            except grpc.RpcError as error:
                delay = attempts.delay(cast("FailedCall", error))
                if delay is None:
                    raise error_of(cast("FailedCall", error), number) from None
            time.sleep(delay)


class Stream(Iterator[Event]):
    """The events of one call, as they arrive. An iterator, and a context manager that ends the call.

    Attributes:
        request_id: the id of the call, under which the server's log has the details.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        number: str,
        attempts: Attempts | None = None,
        upload: requests.Upload | None = None,
    ) -> None:
        self.request_id = number
        self._start = start
        self._attempts = attempts  # as long as nothing has come
        self._upload = upload
        self._closed = threading.Event()
        self._call: Any = None
        self._call = start()  # which may raise

    def __next__(self) -> Event:
        while not self._closed.is_set():
            event = replies.event(self._message(), self.request_id)
            if isinstance(event, Result) and self._upload is not None:
                self._upload.answered(event.input_index)
            if event is not None:
                return event
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the call, if it still runs; nothing more comes then."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def _message(self) -> replies.Response:
        while True:
            try:
                message: replies.Response = next(self._call)
            except grpc.RpcError as error:
                delay = self._failed(error)
            else:
                self._attempts = None
                return message
            if self._closed.wait(delay):
                raise StopIteration
            self._call = self._start()
            if self._closed.is_set():  # meanwhile
                self._call.cancel()

    def _failed(self, error: Any) -> float:  # noqa: ANN401 - gRPC's
        """Seconds until the next attempt; raises what there is to raise if there is none."""
        if self._closed.is_set():
            raise StopIteration from None
        if self._upload is not None and self._upload.error is not None:
            raise self._upload.error from None
        delay = None if self._attempts is None else self._attempts.delay(error)
        if delay is None:
            raise error_of(error, self.request_id) from None
        return delay
