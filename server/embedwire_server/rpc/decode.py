"""Request decoding and validation: protobuf messages to domain values, checked against the contract.

All violations of a request are reported together, each with the path of its field.
"""

import asyncio
import re
from pathlib import Path

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.config.settings import MAX_UPLOAD_BYTES, Settings
from embedwire_server.core.errors import InvalidRequest, Violation
from embedwire_server.core.inputs import (
    AudioInput,
    Caller,
    EmbedRequest,
    ImageInput,
    Input,
    Limits,
    TaskSource,
    TextInput,
)
from embedwire_server.core.models import Modality, Model, ModelTable, Truncate
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.media.spool import SpooledUpload, UploadDeclaration
from embedwire_server.rpc.audio_selection import audio_input
from embedwire_server.rpc.call_context import UPSTREAM_KEY
from embedwire_server.rpc.media_source import Declare, SizeLimit, SourceReader

KEY_BYTES = 256
MAX_SEGMENTS_PER_MESSAGE = 1000

_MODALITIES = {str(modality): modality for modality in Modality}  # five times as fast as calling `Modality`
_TRUNCATES = {pb.TRUNCATE_NONE: Truncate.NONE, pb.TRUNCATE_START: Truncate.START, pb.TRUNCATE_END: Truncate.END}
_ENCODINGS = frozenset(pb.VectorEncoding.values())
_UPSTREAM_KEY = re.compile(r"[\x21-\x7e]{1,256}")

Request = pb.CreateEmbeddingRequest | pb.CreateEmbeddingUnaryRequest


class RequestReader:
    """Decodes and validates requests against a model table and limits. Keeps no state between requests.

    Args:
        models: the models that may be requested.
        limits: the limits on a request.
        open_uploads: how many uploads of one call may be open at a time.
        content_memory: the memory budget that uploads are charged to.
        spool_dir: the directory in which uploads are spooled.
        accepts_upstream_keys: whether callers may send their own upstream API key.
    """

    def __init__(  # noqa: PLR0913 - what requests are read against
        self,
        models: ModelTable,
        limits: Limits,
        open_uploads: int,
        content_memory: ContentMemory,
        spool_dir: Path | None = None,
        *,
        accepts_upstream_keys: bool = False,
    ) -> None:
        self._models = models
        self._limits = limits
        self._open_uploads = open_uploads
        self._content_memory = content_memory
        self._spool_dir = spool_dir
        self._accepts_upstream_keys = accepts_upstream_keys

    def reconfigure(self, settings: Settings) -> None:
        """Use the models and limits of these settings for later requests."""
        self._models, self._limits = settings.model_table, settings.limits
        self._open_uploads = settings.concurrency.inputs_per_call
        self._accepts_upstream_keys = settings.auth.allow_caller_api_keys

    def read(
        self, message: Request, upstream_key: str | bytes | None = None, caller: Caller = ("", "")
    ) -> EmbedRequest:
        """Decode a request without uploads, together with its upstream key and its caller.

        Raises:
            InvalidRequest: with all violations.
        """
        reading = _Reading(self._models, self._limits, "", None)
        key = reading.upstream_key(upstream_key, is_accepted=self._accepts_upstream_keys)
        return reading.request(message, key, caller)

    def read_upload(
        self, message: pb.CreateEmbeddingRequest, upstream_key: str | bytes | None = None, caller: Caller = ("", "")
    ) -> tuple[EmbedRequest, dict[int, SpooledUpload]]:
        """Decode the first message of an upload call; also return the inputs that wait for chunks, in order.

        Raises:
            InvalidRequest: with all violations.
        """
        uploads: dict[int, SpooledUpload] = {}
        slots, memory = asyncio.Semaphore(self._open_uploads), self._content_memory.account(caller)

        def announce(index: int, declaration: UploadDeclaration) -> SpooledUpload:
            uploads[index] = SpooledUpload(declaration, slots, memory, self._spool_dir)
            return uploads[index]

        reading = _Reading(self._models, self._limits, "request.", announce)
        key = reading.upstream_key(upstream_key, is_accepted=self._accepts_upstream_keys)
        return reading.request(message, key, caller), uploads


class _Reading:
    """Decoding state of one request: its violations, and the bytes of its inline content."""

    def __init__(
        self,
        models: ModelTable,
        limits: Limits,
        prefix: str,
        announce: Declare | None,
    ) -> None:
        self._models = models
        self._limits = limits
        self._prefix = prefix
        self._violations: list[Violation] = []
        self._sources = SourceReader(self._fault, limits.url_chars, announce, prefix)
        self._text_bytes = 0
        self._has_uncertainty = False

    def upstream_key(self, key: str | bytes | None, *, is_accepted: bool) -> str | None:
        """Return the caller's upstream API key if it sent a valid one and may send one."""
        if key is None:
            return None
        if not is_accepted:
            text = "this server does not accept upstream API keys of callers; omit it to use the server's key"
            self._violations.append(Violation(UPSTREAM_KEY, text))
        elif not isinstance(key, str) or not _UPSTREAM_KEY.fullmatch(key):
            self._violations.append(Violation(UPSTREAM_KEY, "must have 1 to 256 printable ASCII characters, no spaces"))
        else:
            return key
        return None

    def request(self, message: Request, upstream_key: str | None, caller: Caller) -> EmbedRequest:
        """Decode the whole request, then raise or return."""
        model, items = self._model(message.model_name), message.inputs
        if not items:
            self._fault("inputs", "must hold at least one input")
        if len(items) > self._limits.inputs:
            count = len(items)
            self._fault(
                "inputs", f"at most {self._limits.inputs} inputs are allowed in one call, got {count}; split them"
            )
            raise InvalidRequest(*self._violations)
        if message.vector_encoding not in _ENCODINGS:
            self._fault("vector_encoding", f"unknown value {message.vector_encoding}")
        if message.max_retries < 0:
            self._fault("max_retries", "must not be negative; leave it unset for the server's policy")
        if isinstance(message, pb.CreateEmbeddingRequest):
            self._segments_per_message(message.max_segments_per_message)
        self._check_vectors(message, model)
        inputs = [self._input(item, index, model) for index, item in enumerate(items)]
        checked = tuple(item for item in inputs if item is not None)
        if self._violations or model is None:
            raise InvalidRequest(*self._violations)
        retries = message.max_retries if message.HasField("max_retries") else None
        return EmbedRequest(
            model.with_dimensions(message.dimensions) if message.HasField("dimensions") else model,
            checked,
            retries,
            upstream_key,
            caller,
            self._text_bytes + self._sources.content_bytes,
            path=self._prefix,
            has_uncertainty=self._has_uncertainty,
        )

    def _check_vectors(self, message: Request, model: Model | None) -> None:
        """Check which vectors the caller asks for."""
        self._has_uncertainty = message.include_uncertainty
        if model is None:
            return
        supported = model.supported_dimensions or (model.dimensions,)
        if message.HasField("dimensions") and message.dimensions not in supported:
            can = ", ".join(map(str, supported))
            self._fault("dimensions", f"model {model.name} supports {can}, got {message.dimensions}")
        if message.include_uncertainty and not model.supports_uncertainty:
            self._fault("include_uncertainty", f"model {model.name} does not report the uncertainty; leave it unset")

    def _segments_per_message(self, number: int) -> None:
        if not 0 <= number <= MAX_SEGMENTS_PER_MESSAGE:
            self._fault("max_segments_per_message", f"must be 0 to {MAX_SEGMENTS_PER_MESSAGE}, got {number}")

    def _model(self, name: str) -> Model | None:
        model = self._models.find(name)
        if model is None:
            known = ", ".join(model.name for model in self._models)
            self._fault("model_name", f"must be one of: {known}" if name else f"is required; one of: {known}")
        return model

    def _input(self, item: pb.Input, index: int, model: Model | None) -> Input | None:
        path = f"inputs[{index}]"
        name = item.WhichOneof("modality")
        if name is None:
            self._fault(path, "must have exactly one of text, image, audio")
            return None
        modality, key = _MODALITIES[name], item.key
        if len(key.encode()) > KEY_BYTES:
            self._fault(f"{path}.key", f"at most {KEY_BYTES} bytes are allowed, got {len(key.encode())}")
        if model is not None and not model.takes(modality):
            self._fault(f"{path}.{modality}", f"model {model.name} does not support this modality; see ListModels")
        if modality is Modality.TEXT:
            return self._text(key, item.text, f"{path}.text", model)
        if modality is Modality.IMAGE:
            return self._image(item, index, f"{path}.image", model)
        return self._audio(item, index, f"{path}.audio", model)

    def _text(self, key: str, text: pb.TextInput, path: str, model: Model | None) -> TextInput:
        value, limit = text.value, self._limits.text_bytes
        size = len(value.encode())
        self._text_bytes += size
        if not value:
            self._fault(f"{path}.value", "must not be empty")
        if size > limit:
            self._fault(f"{path}.value", f"at most {limit} bytes of UTF-8 are allowed, got {size}; shorten or split it")
        wanted = text.truncate
        truncate = _TRUNCATES.get(wanted)
        if truncate is None and wanted != pb.TRUNCATE_UNSPECIFIED:
            self._fault(f"{path}.truncate", f"unknown value {wanted}")
        elif truncate and model is not None and model.text is not None and truncate not in model.text.truncates:
            can = ", ".join(f"TRUNCATE_{value.name}" for value in model.text.truncates)
            self._fault(
                f"{path}.truncate", f"model {model.name} does not support this value; leave it unset, or use: {can}"
            )
        return TextInput(key, value, truncate)

    def _image(self, item: pb.Input, index: int, path: str, model: Model | None) -> ImageInput | None:
        most = model.image.max_bytes if model is not None and model.image is not None else self._limits.image_bytes
        limit = SizeLimit.of(most, self._limits.image_bytes, "request_limits.image_bytes")
        source = self._sources.read(item.image.source, index, f"{path}.source", limit, model)
        if isinstance(source, TaskSource):
            self._fault(f"{path}.source.task", "only audio is processed in tasks; use url, file, upload or asset")
        return None if source is None else ImageInput(item.key, source)

    def _audio(self, item: pb.Input, index: int, path: str, model: Model | None) -> AudioInput | None:
        most = model.audio.max_bytes if model is not None and model.audio is not None else None
        limit = SizeLimit.of(most, self._limits.upload_bytes, "request_limits.upload_bytes", MAX_UPLOAD_BYTES)
        source = self._sources.read(item.audio.source, index, f"{path}.source", limit, model)
        if source is None:
            return None
        return audio_input(item, source, path, model, self._fault, uncertainty=self._has_uncertainty)

    def _fault(self, field: str, description: str) -> None:
        self._violations.append(Violation(self._prefix + field, description))
