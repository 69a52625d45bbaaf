"""Response types: segments and results of a stream, complete embeddings, models.

All are frozen. Durations are seconds as floats; vectors are float32 (see `embedwire.vectors.Vector`).
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
    """One vector of one input. Provisional: a failed `Result` of the same input makes it invalid.

    Attributes:
        input_index: index of the input in the request, from 0.
        input_key: the key of that input.
        segment_index: index of the segment within the input, from 0, in the upstream's order.
        modality: modality of the input; "unknown" if it is newer than this client.
        vector: the embedding, float32, of shape (dimensions,).
        start_offset_sec: start of the window, in seconds from the beginning of the file; None unless audio.
        end_offset_sec: end of the window, likewise; None unless audio, or if the upstream does not report it.
        embedding_option: the embedded part of the audio, as the upstream names it, for instance "audio" or
            "transcription"; empty unless audio, or if the upstream does not report it.
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
    """Time that one input spent in each phase, in seconds.

    Attributes:
        queue: waiting in the server's queue.
        upload: waiting for the bytes of an upload.
        upstream: waiting for the upstream, in all attempts.
        decode: decoding the upstream's response.
    """

    queue: float
    upload: float
    upstream: float
    decode: float


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Result of one input, sent after its last segment. If it has a failure, the segments are invalid.

    Attributes:
        input_index: index of the input in the request, from 0.
        input_key: the key of that input.
        model_name: the model as the upstream names it; empty if the input failed.
        dimensions: length of each vector; 0 if the input failed.
        segment_count: number of segments that were sent for this input.
        input_url: URL of the media, as the upstream reports it; None for other sources.
        input_filename: name of the file, as the upstream reports it; None for other sources.
        truncated: whether the input was truncated; None if the upstream does not report it.
        media_duration_sec: length of the audio in seconds; None if the upstream does not report it.
        attempts: number of upstream requests.
        timings: time spent in each phase.
        upstream: the upstream: "twelvelabs", "sandbox" or "custom". Vectors of the sandbox are not those of the real
            model; do not store them in a real index.
        failure: the failure of the input; None means success.
        request_id: the id of the call in the server's log.
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
    """Result and segments of one input.

    Attributes:
        result: the result.
        segments: the segments in order; empty if the input failed.
    """

    result: Result
    segments: tuple[Segment, ...]

    @property
    def failure(self) -> Failure | None:
        """The failure of the input; None means success."""
        return self.result.failure

    @property
    def vector(self) -> Vector:
        """The vector of a text or an image, which have one segment: float32, of shape (dimensions,).

        Raises:
            EmbedwireError: the input failed.
            ValueError: there is not exactly one segment, as with audio.
        """
        self.result.raise_for_failure()
        if len(self.segments) != 1:
            raise ValueError(f"there are {len(self.segments)} segments; take them from `segments` or `matrix()`")
        return self.segments[0].vector

    def matrix(self) -> "npt.NDArray[np.float32]":
        """Return all vectors as one numpy array: float32, of shape (segments, dimensions).

        Raises:
            EmbedwireError: the input failed.
            ImportError: numpy is not installed; the extra `embedwire[numpy]` includes it.
        """
        self.result.raise_for_failure()
        if not HAS_NUMPY:
            raise ImportError("matrix() needs numpy: pip install 'embedwire[numpy]'")
        import numpy as np  # noqa: PLC0415 - optional

        return np.stack([np.asarray(segment.vector) for segment in self.segments])


@dataclasses.dataclass(frozen=True, slots=True)
class TextSupport:
    """Text support of a model.

    Attributes:
        max_tokens: longest text in tokens, for information: the upstream's tokenizer is not public.
        truncates: the values of `Text.truncate` that the model supports.
        max_bytes: longest text that the server accepts, in bytes of UTF-8.
    """

    max_tokens: int
    truncates: tuple[str, ...]
    max_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSupport:
    """Image support of a model.

    Attributes:
        media_types: accepted media types, for instance "image/png".
        max_bytes: largest file in bytes.
        min_side_px: smallest width and height in pixels.
    """

    media_types: tuple[str, ...]
    max_bytes: int
    min_side_px: int


@dataclasses.dataclass(frozen=True, slots=True)
class AudioSupport:
    """Audio support of a model.

    Attributes:
        media_types: accepted media types, for instance "audio/mpeg".
        max_bytes: largest file in bytes.
    """

    media_types: tuple[str, ...]
    max_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A model: its names, and what it accepts and returns.

    Attributes:
        name: name of the model in a request.
        aliases: other accepted names of the model.
        dimensions: length of every vector. Vectors of different models are not comparable.
        text: text support; None if unsupported.
        image: image support; None if unsupported.
        audio: audio support; None if unsupported.
    """

    name: str
    aliases: tuple[str, ...]
    dimensions: int
    text: TextSupport | None
    image: ImageSupport | None
    audio: AudioSupport | None
