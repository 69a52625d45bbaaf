"""Computes the embeddings of a call or a task in the v2 dialect."""

from contextlib import AsyncExitStack
from math import ceil
from typing import Any, Final

from embedwire_sandbox.errors import MediaError, RefusalError, invalid
from embedwire_sandbox.media.background import Stop, Threads
from embedwire_sandbox.media.image import image_vector
from embedwire_sandbox.media.text import count_tokens, text_vector, truncate
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.media.vectors import Vector
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.v2.audio_items import AudioEmbedding, DurationError, Embedded
from embedwire_sandbox.v2.audio_parameters import AudioParameters
from embedwire_sandbox.v2.models import TASK_MIN_SEC, Limits
from embedwire_sandbox.v2.parameters import Common, Parameters
from embedwire_sandbox.v2.result import Embeddings, Item, shuffled
from embedwire_sandbox.v2.sources import Source, Sources
from embedwire_sandbox.v2.vectors import combined, of_model, uncertainty

_THREADS: Final = 2
_IMAGE_TOKENS: Final = 256
_TOKENS_PER_SEC: Final = 25
_TRUNCATED: Final = "model_context_window"
_MB: Final = 1_000_000


class Embedder:
    """Computes embeddings.

    Args:
        options: The options.
        sources: Opens media sources.
    """

    def __init__(self, options: SandboxOptions, sources: Sources) -> None:
        self._options = options
        self._sources = sources
        self._threads = Threads(_THREADS)
        self._image_thread = Threads(1)  # decoding the largest image takes some 400 MB: one at a time

    def close(self) -> None:
        """Shut down the thread pools."""
        self._threads.close()
        self._image_thread.close()

    async def embed(self, parameters: Parameters, owner: str) -> Embeddings:
        """Embed the input of a synchronous call.

        Args:
            parameters: The call.
            owner: API key of the call.

        Raises:
            RefusalError: A source cannot be opened, or its media are invalid, too large or too long.
        """
        async with AsyncExitStack() as stack:
            if parameters.input_type == "audio":
                return await self._sync_audio(parameters, parameters.audio[0], owner, stack)
            return await self._one_vector(parameters, owner, stack)

    async def embed_task(self, audio: AudioParameters, common: Common, upload: Upload) -> Embeddings:
        """Embed the audio of a task.

        Args:
            audio: What to compute.
            common: Model and dimension.
            upload: The file.

        Raises:
            MediaError: The file is broken.
            DurationError: It is too long or too short.
            RefusalError: The section lies outside the file.
        """
        work = AudioEmbedding(audio, common, self._options, self._options.max_task_audio_sec, TASK_MIN_SEC)
        return self._result(await self._run(work, upload), audio, common, upload)

    async def _sync_audio(
        self, parameters: Parameters, audio: AudioParameters, owner: str, stack: AsyncExitStack
    ) -> Embeddings:
        upload = await self._open(audio.source, parameters.common.limits, owner, stack, "Audio")
        embedded = await self._sync_run(audio, parameters.common, upload)
        return self._result(embedded, audio, parameters.common, upload)

    async def _one_vector(self, parameters: Parameters, owner: str, stack: AsyncExitStack) -> Embeddings:
        common, tokens = parameters.common, {}
        vectors: list[Vector] = []
        truncated = False
        if parameters.text is not None:
            text, truncated = self._text(parameters, parameters.text)
            vectors.append(await self._threads.run(lambda: text_vector(text, common.limits.model.dimensions)))
            tokens["text"] = count_tokens(text)
        upload: Upload | None = None
        for source in parameters.images:
            upload = await self._open(source, common.limits, owner, stack, "Image")
            vectors.append(await self._image(source, common.limits, upload))
            tokens["image"] = tokens.get("image", 0) + _IMAGE_TOKENS
        for audio in parameters.audio:
            upload = await self._open(audio.source, common.limits, owner, stack, "Audio")
            embedded = await self._sync_run(audio, common, upload)
            vectors.append(embedded.items[0].vector)
            tokens["audio"] = tokens.get("audio", 0) + ceil(embedded.duration_sec * _TOKENS_PER_SEC)
        vector = of_model(combined(vectors) if len(vectors) > 1 else vectors[0], common)
        item = Item(vector, uncertainty=uncertainty(vector, common))
        usage = _usage(tokens, truncated=truncated) if common.limits.is_newer else None
        return Embeddings([item], _metadata(parameters, upload), usage)

    def _text(self, parameters: Parameters, text: str) -> tuple[str, bool]:
        limits = parameters.common.limits
        limit = limits.model.max_tokens
        if count_tokens(text) <= limit:
            return text, False
        # Whether Marengo 3.0 cuts a text is not documented for v2; there is no parameter.
        cut = parameters.auto_truncate if limits.is_newer else self._options.long_text == "truncate"
        if not cut:
            path = f"{parameters.input_type}.input_text"
            raise invalid(path, f"The text token length should be less than or equal to {limit}.")
        return truncate(text, limit, "end"), True

    async def _image(self, source: Source, limits: Limits, upload: Upload) -> Vector:
        try:
            return await self._image_thread.run(
                lambda: image_vector(upload, limits.model, self._options.max_image_pixels)
            )
        except MediaError as bad:
            raise invalid(source.path, bad.message) from None

    async def _sync_run(self, audio: AudioParameters, common: Common, upload: Upload) -> Embedded:
        longest = common.limits.sync_audio_sec or self._options.max_sync_audio_sec
        try:
            return await self._run(AudioEmbedding(audio, common, self._options, longest), upload)
        except DurationError as bad:
            raise self._over_limit(bad.message) from None
        except MediaError as bad:
            raise invalid(audio.source.path, bad.message) from None

    async def _run(self, work: AudioEmbedding, upload: Upload) -> Embedded:
        stop = Stop()
        return await self._threads.run(lambda: work.compute(upload, stop.check), stop)

    async def _open(self, source: Source, limits: Limits, owner: str, stack: AsyncExitStack, kind: str) -> Upload:
        upload = await self._sources.open(source, owner, stack)
        model = limits.model
        limit = limits.base64_bytes if source.upload else limits.sync_bytes
        if kind == "Image":
            limit = model.max_image_bytes
        if limit is not None and upload.size > limit:
            sizes = f"({upload.size / _MB:.1f} MB) exceeds maximum limit of {limit / _MB:g} MB"
            raise self._over_limit(f"{kind} {sizes}")
        return upload

    def _over_limit(self, message: str) -> RefusalError:
        if self._options.over_limit_status == 413:  # noqa: PLR2004
            return RefusalError(413, "content_too_large", message)
        return RefusalError(400, "parameter_invalid", message)

    def _result(self, embedded: Embedded, audio: AudioParameters, common: Common, upload: Upload) -> Embeddings:
        metadata: dict[str, Any] = {"input_type": "audio", **_origin(upload)}
        metadata |= {
            "embedding_options": list(audio.options),
            "embedding_scopes": list(audio.scopes),
            "duration": embedded.duration_sec,
        }
        if audio.start_sec is not None:
            metadata["start_offset_sec"] = audio.start_sec
        if audio.end_sec is not None:
            metadata["end_offset_sec"] = audio.end_sec
        usage = None
        if common.limits.is_newer:
            metadata["embedding_dimension"] = common.dimension
            usage = _usage({"audio": ceil(embedded.duration_sec * _TOKENS_PER_SEC)}, truncated=False)
        options = self._options
        items = shuffled(embedded.items, options.shuffle_seed) if options.shuffle_data else embedded.items
        return Embeddings(items, metadata, usage)


def _metadata(parameters: Parameters, upload: Upload | None) -> dict[str, Any] | None:
    if parameters.input_type == "text":
        return None
    if parameters.input_type == "multi_input":
        newer = parameters.common.limits.is_newer
        dimension = {"embedding_dimension": parameters.common.dimension} if newer else {}
        return {"input_type": "multi_input", **dimension}
    return {"input_type": parameters.input_type, **(_origin(upload) if upload else {})}


def _origin(upload: Upload) -> dict[str, str]:
    known = {"input_url": upload.url, "input_filename": upload.filename}
    return {name: value for name, value in known.items() if value is not None}


def _usage(tokens: dict[str, int], *, truncated: bool) -> dict[str, Any]:
    return {
        "input_tokens": tokens,
        "truncated": truncated,
        **({"truncation_reason": _TRUNCATED} if truncated else {}),
    }
