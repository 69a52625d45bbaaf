"""Computes embeddings from validated parameters."""

from collections.abc import Awaitable
from contextlib import AsyncExitStack, aclosing
from typing import Final

from embedwire_sandbox.errors import MediaError, invalid
from embedwire_sandbox.media.background import Stop, Threads
from embedwire_sandbox.media.fetch import Fetcher
from embedwire_sandbox.media.image import image_vector
from embedwire_sandbox.media.text import Side, count_tokens, text_vector, truncate
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.media.vectors import Vector
from embedwire_sandbox.models import Modality, Model
from embedwire_sandbox.options import LongTextReply, SandboxOptions
from embedwire_sandbox.v1.parameters import Parameters
from embedwire_sandbox.v1.result import Document, Result, Segment, Segments, segments_of
from embedwire_sandbox.v1.segments import audio_segments

_INLINE_CHARACTERS: Final = 2_000  # up to this length, a text costs less than a thread
_THREADS: Final = 4


class Embedder:
    """Computes the embeddings of a call.

    Args:
        options: The options.
        fetcher: Fetches media by URL.
    """

    def __init__(self, options: SandboxOptions, fetcher: Fetcher) -> None:
        self._options = options
        self._fetcher = fetcher
        self._threads = Threads(_THREADS)
        self._image_thread = Threads(1)  # decoding the largest image takes some 400 MB: one at a time

    def close(self) -> None:
        """Shut down the thread pools."""
        self._threads.close()
        self._image_thread.close()

    async def embed(self, parameters: Parameters, stack: AsyncExitStack) -> Document:
        """Embed all inputs of a call; of audio, the first segment, and the others lazily as they are read.

        Args:
            parameters: What to embed.
            stack: Receives the resources to close once the document is written.

        Raises:
            RefusalError: A URL is unreachable, a value is out of range, or media are invalid (option `bad_media`).
        """
        inputs = (parameters.text, parameters.image, parameters.audio)
        alone = sum(given is not None for given in inputs) == 1
        results = []
        if parameters.text is not None:
            results.append(await self._text(parameters, parameters.text))
        image = await self._media(parameters.image, "image", stack)
        audio = await self._media(parameters.audio, "audio", stack)
        if image:
            results.append(await self._guarded("image", image, self._image(parameters.model, image), alone=alone))
        if audio:
            sound = self._audio(parameters, audio, stack)
            results.append(await self._guarded("audio", audio, sound, alone=alone))
        return Document(parameters.model.name, tuple(results))

    async def _media(self, source: str | Upload | None, modality: Modality, stack: AsyncExitStack) -> Upload | None:
        if not isinstance(source, str):
            return source
        upload = await self._fetcher.fetch(source, f"{modality}_url")
        stack.callback(upload.file.close)
        return upload

    async def _text(self, parameters: Parameters, text: str) -> Result:
        model = parameters.model
        behaviour = self._when_too_long(parameters)
        if behaviour != "truncate" and count_tokens(text) > model.max_tokens:
            message = f"The text token length should be less than or equal to {model.max_tokens}."
            if behaviour == "reject":
                raise invalid("text", message)
            return Result("text", segments_of(), error_message=message)
        side: Side = "start" if model.honours_truncate and parameters.truncate == "start" else "end"
        vector = await self._text_vector(truncate(text, model.max_tokens, side), model.dimensions)
        return Result("text", segments_of(Segment(vector)))

    async def _text_vector(self, text: str, dimensions: int) -> Vector:
        if len(text) <= _INLINE_CHARACTERS:
            return text_vector(text, dimensions)
        return await self._threads.run(lambda: text_vector(text, dimensions))

    def _when_too_long(self, parameters: Parameters) -> LongTextReply:
        if not parameters.model.honours_truncate:
            return self._options.long_text
        return "reject" if parameters.truncate == "none" else "truncate"

    async def _image(self, model: Model, upload: Upload) -> Segments:
        vector = await self._image_thread.run(lambda: image_vector(upload, model, self._options.max_image_pixels))
        return segments_of(Segment(vector))

    async def _audio(self, parameters: Parameters, upload: Upload, stack: AsyncExitStack) -> Segments:
        stop = Stop()
        steps = audio_segments(upload, parameters.model, parameters.audio_start_sec, self._options, stop.check)
        segments = await stack.enter_async_context(aclosing(self._threads.step_by_step(steps, stop)))
        return _chained(await anext(segments), segments)  # a broken file is detected before the status is sent

    async def _guarded(self, modality: Modality, upload: Upload, work: Awaitable[Segments], *, alone: bool) -> Result:
        metadata = _metadata(upload)
        try:
            return Result(modality, await work, metadata)
        except MediaError as bad:
            if self._options.bad_media == "reject" or (self._options.bad_media == "auto" and alone):
                raise invalid(f"{modality}_{'url' if upload.url else 'file'}", bad.message) from None
            return Result(modality, segments_of(), metadata, bad.message)


async def _chained(first: Segment, rest: Segments) -> Segments:
    yield first
    async for segment in rest:
        yield segment


def _metadata(upload: Upload) -> dict[str, str]:
    # A file part without a name has empty metadata; the upstream's behaviour is unknown.
    known = {"input_url": upload.url, "input_filename": upload.filename}
    return {name: value for name, value in known.items() if value is not None}
