"""What comes back: segments and results as they arrive, embeddings when they are complete.

All values are frozen. Seconds are floats; vectors are float32 (see `embedwire.vectors.Vector`).
"""

import dataclasses
from typing import TYPE_CHECKING, Literal

from embedwire.errors import Failure
from embedwire.vectors import HAS_NUMPY, Vector

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Modality = Literal["text", "image", "audio", "unknown"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One vector of one input. Provisional: a failed `Result` of the same input voids it.

    Attributes:
        input_index: which input it belongs to, counted from 0 in the request.
        input_key: the key of that input.
        segment_index: its position among the segments of the input, counted from 0, in the upstream's order.
        modality: what it is a part of; "unknown" if the server knows a modality that this client does not.
        vector: the embedding, float32, of shape (dimensions,).
        start_offset_sec: start of the window, in seconds from the beginning of the file; None unless audio.
        end_offset_sec: end of the window, likewise; None unless audio, or if the upstream does not tell.
        embedding_option: what of the audio was embedded, in the upstream's words, for instance "audio" or
            "transcription"; empty unless audio, or if the upstream does not say.
    """

    input_index: int
    input_key: str = dataclasses.field(repr=False)
    segment_index: int
    modality: Modality
    vector: Vector = dataclasses.field(repr=False)
    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    embedding_option: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one input went, in seconds.

    Attributes:
        queue: waiting for a turn within the server.
        upload: waiting for the bytes of an upload.
        upstream: waiting for the upstream, over all attempts.
        decode: decoding the upstream's reply.
    """

    queue: float
    upload: float
    upstream: float
    decode: float


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The end of one input, after its last segment. With a failure, its segments are void.

    Attributes:
        input_index: which input, counted from 0 in the request.
        input_key: the key of that input.
        model_name: the model as the upstream names it; empty if the input failed.
        dimensions: length of each vector; 0 if the input failed.
        segment_count: how many segments were sent for this input.
        input_url: the URL of the media, in the upstream's words; None for anything else.
        input_filename: the name of the file, in the upstream's words; None for anything else.
        truncated: whether the input was cut; None if the upstream does not tell.
        media_duration_sec: length of the audio in seconds; None if the upstream does not tell.
        attempts: how many upstream requests were made.
        timings: where the time went.
        upstream: who answered: "twelvelabs", "sandbox" or "custom". Vectors of the sandbox are not the real
            model's and do not belong into a real index.
        failure: why the input failed; None means success.
        request_id: the id of the call, under which the server's log has the details.
    """

    input_index: int
    input_key: str = dataclasses.field(repr=False)
    model_name: str
    dimensions: int
    segment_count: int
    input_url: str | None = dataclasses.field(repr=False)
    input_filename: str | None = dataclasses.field(repr=False)
    truncated: bool | None
    media_duration_sec: float | None
    attempts: int
    timings: Timings
    upstream: str
    failure: Failure | None
    request_id: str

    def raise_for_failure(self) -> None:
        """Raise the failure, if there is one.

        Raises:
            EmbedwireError: the input failed.
        """
        if self.failure is not None:
            raise self.failure.error(self.request_id, self.attempts)


Event = Segment | Result


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Everything of one input.

    Attributes:
        result: how it ended.
        segments: its segments in their order; none if the input failed.
    """

    result: Result
    segments: tuple[Segment, ...]

    @property
    def failure(self) -> Failure | None:
        """Why the input failed; None means success."""
        return self.result.failure

    @property
    def vector(self) -> Vector:
        """The only vector, as texts and images have it: float32, of shape (dimensions,).

        Raises:
            EmbedwireError: the input failed.
            ValueError: there are several segments, as audio has them.
        """
        self.result.raise_for_failure()
        if len(self.segments) != 1:
            raise ValueError(f"there are {len(self.segments)} segments; take them from `segments` or `matrix()`")
        return self.segments[0].vector

    def matrix(self) -> "npt.NDArray[np.float32]":
        """All vectors as one numpy array: float32, of shape (segments, dimensions).

        Raises:
            EmbedwireError: the input failed.
            ImportError: numpy is missing; it comes with `embedwire[numpy]`.
        """
        self.result.raise_for_failure()
        if not HAS_NUMPY:
            raise ImportError("matrix() needs numpy: pip install 'embedwire[numpy]'")
        import numpy as np  # noqa: PLC0415 - an extra

        return np.stack([np.asarray(segment.vector) for segment in self.segments])


@dataclasses.dataclass(frozen=True, slots=True)
class TextSupport:
    """The text that a model accepts.

    Attributes:
        max_tokens: longest text in tokens, for information: the upstream's tokenizer is not public.
        truncates: the values of `Text.truncate` that the model can honour.
        max_bytes: longest text in bytes of UTF-8 that the server accepts.
    """

    max_tokens: int
    truncates: tuple[str, ...]
    max_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSupport:
    """The images that a model accepts.

    Attributes:
        media_types: for instance "image/png".
        max_bytes: largest file in bytes.
        min_side_px: least width and height in pixels.
    """

    media_types: tuple[str, ...]
    max_bytes: int
    min_side_px: int


@dataclasses.dataclass(frozen=True, slots=True)
class AudioSupport:
    """The audio that a model accepts.

    Attributes:
        media_types: for instance "audio/mpeg".
        max_bytes: largest file in bytes.
    """

    media_types: tuple[str, ...]
    max_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """What one model accepts and returns.

    Attributes:
        name: the name to put into a request.
        aliases: other spellings that mean the same model.
        dimensions: length of every vector. Vectors of different models are not comparable.
        text: what it takes as text; None if it takes none.
        image: what it takes as images; None if it takes none.
        audio: what it takes as audio; None if it takes none.
    """

    name: str
    aliases: tuple[str, ...]
    dimensions: int
    text: TextSupport | None
    image: ImageSupport | None
    audio: AudioSupport | None
