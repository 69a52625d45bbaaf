"""`TwelveLabs` and `AsyncTwelveLabs`: the SDK's `client.embed.create`, through an Embedwire server."""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Never, Self

from embedwire.async_client import AsyncClient
from embedwire.client import Client
from embedwire.connection import DEFAULT_TARGET, TLS
from embedwire.errors import EmbedwireError
from embedwire.twelvelabs.create_call import CreateCall
from embedwire.twelvelabs.media import File
from embedwire.twelvelabs.options import RequestOptions
from embedwire.twelvelabs.types import EmbeddingResponse


class _EmbedOnly:
    """Base class whose missing attributes raise AttributeError with a reference to the SDK."""

    if not TYPE_CHECKING:  # for type checkers, no attribute is dynamic

        def __getattr__(self, name: str) -> Never:
            words = "this drop-in has only embed.create; use the package twelvelabs for the rest"
            raise AttributeError(f"{type(self).__name__} has no {name!r}: {words}")


class EmbedClient(_EmbedOnly):
    """Namespace `TwelveLabs.embed`."""

    def __init__(self, client: Client, timeout: float | None) -> None:
        self._client = client
        self._timeout = timeout

    def create(  # noqa: PLR0913 - the SDK's signature
        self,
        model_name: str,
        *,
        text: str | None = None,
        text_truncate: str | None = None,
        audio_url: str | None = None,
        audio_file: File | None = None,
        audio_start_offset_sec: float | None = None,
        image_url: str | None = None,
        image_file: File | None = None,
        request_options: RequestOptions | Mapping[str, Any] | None = None,
    ) -> EmbeddingResponse:
        """Embed a text, an image, an audio file, or several of them in one call.

        Args:
            model_name: name or alias of the model, for instance "marengo3.0".
            text: text to embed.
            text_truncate: end of a too long text to cut off: "none", "start" or "end". Deprecated with marengo3.0, and
                not sent for it.
            audio_url: URL of an audio file, which the upstream fetches; it takes precedence over `audio_file`.
            audio_file: audio file: a path (str or Path), a binary file, bytes, or one of the SDK's tuples.
            audio_start_offset_sec: start in the audio, in seconds from the beginning of the file.
            image_url: URL of an image, which the upstream fetches; it takes precedence over `image_file`.
            image_file: image, with the same types as `audio_file`.
            request_options: see `RequestOptions`.

        Returns:
            The embeddings of each input. If only some inputs failed, they have an `error_message`.

        Raises:
            ApiError: all inputs failed; `BadRequestError` if the status is 400. See `embedwire.twelvelabs.errors`.
            FileNotFoundError: a str or Path is not a file.
            TypeError, ValueError: an argument is invalid; the message names it.
        """
        arguments = {
            "text": text,
            "text_truncate": text_truncate,
            "audio_url": audio_url,
            "audio_file": audio_file,
            "audio_start_offset_sec": audio_start_offset_sec,
            "image_url": image_url,
            "image_file": image_file,
            "request_options": request_options,
        }
        create_call = CreateCall(model_name, self._timeout, arguments)
        while True:
            try:
                with self._client.stream(model_name, create_call.inputs(), **create_call.call_options()) as events:
                    for event in events:
                        create_call.add(event)
            except EmbedwireError as error:
                create_call.fail(error)
            if (delay := create_call.delay()) is None:
                return create_call.response()
            time.sleep(delay)


class AsyncEmbedClient(_EmbedOnly):
    """Namespace `AsyncTwelveLabs.embed`."""

    def __init__(self, client: AsyncClient, timeout: float | None) -> None:
        self._client = client
        self._timeout = timeout

    async def create(  # noqa: PLR0913 - the SDK's signature
        self,
        model_name: str,
        *,
        text: str | None = None,
        text_truncate: str | None = None,
        audio_url: str | None = None,
        audio_file: File | None = None,
        audio_start_offset_sec: float | None = None,
        image_url: str | None = None,
        image_file: File | None = None,
        request_options: RequestOptions | Mapping[str, Any] | None = None,
    ) -> EmbeddingResponse:
        """Embed a text, an image, an audio file, or several of them in one call.

        Arguments, return value and exceptions are those of `EmbedClient.create`.
        """
        arguments = {
            "text": text,
            "text_truncate": text_truncate,
            "audio_url": audio_url,
            "audio_file": audio_file,
            "audio_start_offset_sec": audio_start_offset_sec,
            "image_url": image_url,
            "image_file": image_file,
            "request_options": request_options,
        }
        create_call = CreateCall(model_name, self._timeout, arguments)
        while True:
            try:
                async with self._client.stream(
                    model_name, create_call.inputs(), **create_call.call_options()
                ) as events:
                    async for event in events:
                        create_call.add(event)
            except EmbedwireError as error:
                create_call.fail(error)
            if (delay := create_call.delay()) is None:
                return create_call.response()
            await asyncio.sleep(delay)


class TwelveLabs(_EmbedOnly):
    """Replacement for `twelvelabs.TwelveLabs` that sends `client.embed.create` to an Embedwire server.

    Args:
        api_key: your own TwelveLabs key, if the server accepts callers' keys; without it the server uses its own.
        target: HOST:PORT of the server, or another gRPC target.
        tls: True for TLS with gRPC's default root certificates, a `TLS` for other settings, False for plaintext.
        token: bearer token for the server.
        timeout: default deadline of a call in seconds, including retries; None means 60 s, or 600 s with audio.

    Raises:
        ValueError: an argument is invalid; the message names it.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        target: str = DEFAULT_TARGET,
        tls: TLS | bool = False,
        token: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._client = Client(
            target,
            tls=tls,
            token=token,
            upstream_api_key=api_key,
            timeout=timeout,
            retry_on_pushback=False,  # retries follow `max_retries` of the call
        )
        self.embed = EmbedClient(self._client, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and cancel running calls."""
        self._client.close()


class AsyncTwelveLabs(_EmbedOnly):
    """Replacement for `twelvelabs.AsyncTwelveLabs`. Arguments and exceptions are those of `TwelveLabs`."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        target: str = DEFAULT_TARGET,
        tls: TLS | bool = False,
        token: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._client = AsyncClient(
            target,
            tls=tls,
            token=token,
            upstream_api_key=api_key,
            timeout=timeout,
            retry_on_pushback=False,  # retries follow `max_retries` of the call
        )
        self.embed = AsyncEmbedClient(self._client, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and cancel running calls."""
        await self._client.close()
